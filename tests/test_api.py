"""What a user imports: there, sorted, and without waiting for torch."""

import builtins
import dis
import importlib
import importlib.util
import pkgutil
import subprocess
import sys
from types import CodeType

import pytest

import gmmformer

PACKAGES = [
    "gmmformer",
    *(f"gmmformer.{module.name}" for module in pkgutil.iter_modules(gmmformer.__path__) if module.ispkg),
]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_whole_and_importable(name):
    package = importlib.import_module(name)
    names = list(getattr(package, "__all__", []))  # none where users import the package's modules
    assert len(set(names)) == len(names)
    constants, classes, functions = (
        [n for n in names if kind(n)]
        for kind in (str.isupper, lambda n: n[0].isupper() and not n.isupper(), lambda n: not n[0].isupper())
    )
    assert names == [*sorted(constants), *sorted(classes), *sorted(functions)]
    for exported in names:
        assert getattr(package, exported) is not None
        assert not exported.startswith("_")


def test_every_module_imports():
    modules = [module.name for module in pkgutil.walk_packages(gmmformer.__path__, "gmmformer.")]
    assert len(modules) > 20
    for name in modules:
        if name != "gmmformer.__main__":
            importlib.import_module(name)


def globals_named(code: CodeType) -> set[str]:
    """The names that some code, and the code within it, takes from its module."""
    named = {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}
    return named.union(*(globals_named(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def test_every_name_that_code_uses_is_there():
    """Linters cannot say so: they take the axes of a tensor, which stand in annotations, for names."""
    for module in pkgutil.walk_packages(gmmformer.__path__, "gmmformer."):
        if module.name != "gmmformer.__main__":
            there = vars(importlib.import_module(module.name)).keys() | vars(builtins).keys()
            code = importlib.util.find_spec(module.name).loader.get_code(module.name)
            assert globals_named(code) <= there, module.name


def test_the_package_shows_what_it_has():
    assert set(gmmformer.__all__) <= set(dir(gmmformer))
    assert gmmformer.__version__ == importlib.import_module("importlib.metadata").version("gmmformer")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = gmmformer.nonsense
    with pytest.raises(ImportError):
        from gmmformer import nonsense  # noqa: F401


@pytest.mark.parametrize("module", ["gmmformer", "gmmformer.cli", "gmmformer.config", "gmmformer.files"])
def test_importing_does_not_import_torch(module):
    heavy = "torch", "numpy", "h5py", "matplotlib", "huggingface_hub", "lightning_fabric", "tensorboard"
    code = f"import sys, {module}; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_looking_at_collections_and_making_one_up_does_not_import_torch():
    code = "import sys, gmmformer.data.check, gmmformer.data.simulation; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_importing_everything_leaves_the_extras_alone():
    code = """
import sys, gmmformer
for name in gmmformer.__all__:
    getattr(gmmformer, name)
extras = "tensorboard", "torch.utils.tensorboard", "av", "transformers", "faiss", "fastapi", "matplotlib.pyplot"
print(*[name for name in extras if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.split(), done.returncode) == ([], 0), done.stderr
