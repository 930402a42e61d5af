"""How the shapes and types that are written down are checked while tests run: import this before what is checked.

jaxtyping has a hook for that too. It has each module that a checked one imports first compiled anew, whoever wrote it,
compiles two checks of each function when a module is loaded, binds each call to a signature, and checks what a call is
given twice: a third of the time of tests that search, and 8 s of each process. Here a function has one check, compiled
when it is first called, and is checked once; where no array is written down there are no axes to compare.
"""

import ast
import dataclasses
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType
from typing import Any

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, config, jaxtyped

CHECKED = tuple(f"gmmformer.{name}" for name in ["data", "model", "media", "evaluation", "search", "training", "demo"])
"""The packages whose functions are checked."""
NAME = "__checked__"
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""A whole number will do for a float, as everywhere in Python (PEP 484)."""


class Marks(ast.NodeTransformer):
    """Puts the check next to each function, under its own decorators, and over each class."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list.insert(0, ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return self.generic_visit(node)


class Loader(SourceFileLoader):
    """Loads a module with those marks; compiled, it is kept nowhere."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return compile(Marks().visit(ast.parse(self.get_data(path), path)), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)[NAME] = checked
        super().exec_module(module)


class Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not f"{fullname}.".startswith(tuple(f"{name}." for name in CHECKED)):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


assert not any(name in sys.modules for name in CHECKED), "what is to be checked has been imported already"
sys.meta_path.insert(0, Finder())


def checked(fn: Any) -> Any:
    """A function that checks what it is given and what it returns; a dataclass that checks what it is made of."""
    if inspect.isclass(fn):
        made = vars(fn).get("__init__")
        if dataclasses.is_dataclass(fn) and isinstance(made, FunctionType) and not hasattr(made, "__wrapped__"):
            fn.__init__ = checked(made)
        return fn
    if not isinstance(fn, FunctionType) or inspect.isgeneratorfunction(fn):
        return jaxtyped(fn, typechecker=check)
    if "<locals>" in fn.__qualname__ and not any(map(of_arrays, fn.__annotations__.values())):
        return fn  # made anew for each call of another, which is dearer than what it does
    with_check: Callable[..., Any] | None = None

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal with_check
        if config.jaxtyping_disable:
            return fn(*args, **kwargs)
        if with_check is None:
            with_check = compiled(fn)
        return with_check(*args, **kwargs)

    return run


def compiled(fn: FunctionType) -> Callable[..., Any]:
    """A function with one check around it, in which an axis has one length."""
    twin = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    twin.__kwdefaults__, twin.__module__, twin.__qualname__ = fn.__kwdefaults__, fn.__module__, fn.__qualname__
    twin.__annotations__ = {name: resolved(hint, fn.__globals__) for name, hint in fn.__annotations__.items()}
    alone = check(twin)
    if not any(map(of_arrays, twin.__annotations__.values())):
        return alone

    def with_axes(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with jaxtyped("context"):
            return alone(*args, **kwargs)

    return with_axes


def resolved(hint: Any, names: dict[str, Any]) -> Any:
    """What an annotation means that may be written as text; anything, where only mypy can tell."""

    def of(value: hint) -> None: ...

    try:
        return typing.get_type_hints(of, names, include_extras=True)["value"]
    except (NameError, TypeError):
        return Any


def of_arrays(hint: Any) -> bool:
    """Whether a type names the axes of an array somewhere."""
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(of_arrays, typing.get_args(hint)))


@contextmanager
def unchecked() -> Iterator[None]:
    """Where wrong types are given on purpose: as users have it, nothing is checked."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)
