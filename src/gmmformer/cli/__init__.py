"""The command line: one function per command, its signature is its interface. The only pages that print."""

import contextlib
import dataclasses
import functools
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import tyro
from tyro.conf import Positional, Suppress

from gmmformer.cli import terminal
from gmmformer.cli.comparing import compare
from gmmformer.cli.evaluating import evaluate
from gmmformer.cli.films import extract, index
from gmmformer.cli.looking_after import library
from gmmformer.cli.models import models
from gmmformer.cli.research import check_data, convert, demo, simulate, train
from gmmformer.cli.searching import search
from gmmformer.cli.serving import mcp, serve
from gmmformer.errors import InputError
from gmmformer.presets import Preset, preset

_NO_OPTION = {mark for kind in (Positional[str], Suppress[str]) for mark in typing.get_args(kind)[1:]}

GOES_WITH: dict[str, dict[str, str]] = {
    "evaluate": {"--mix": "--with", "--films": "--report"},
    "extract": {"--captions-format": "--captions", "--skip-broken": "--captions", "--text-encoder": "--captions"},
    "index": {
        "--with": "--model",
        "--mix": "--with",
        "--frames-a-clip": "--model",
        "--video-encoder": "--model",
        "--text-encoder": "--model",
        "--fps": "--model",
        "--collection": "--data",
        "--split": "--data",
        "--feature": "--data",
    },
    "search": {"--exact-cut": "--cut"},
    "serve": {"--clips": "--mcp"},
}
"""Options that do nothing without another one."""

_OF_FILMS = (
    "--add",
    "--prune",
    "--retry",
    "--watch",
    "--batch-size",
    "--decoders",
    "--time-limit",
    "--memory-limit",
    "--ray",
)
_COMPOSED = ("--then", "--also", "--without")
NOT_WITH: dict[str, dict[str, tuple[str, ...]]] = {
    "index": {"--data": _OF_FILMS, "--features-of": _OF_FILMS},
    "search": {
        "--sentences": ("--contact-sheet", "--cut", *_COMPOSED),
        **dict.fromkeys(_COMPOSED, ("--in", "--moments", "--engine")),
    },
}
"""Options that do nothing beside the one that is the key."""


class Option(NamedTuple):
    """An option of a command."""

    name: str
    """As it is shown: `--allow-host`."""
    several: bool
    """Whether it takes several values."""
    flag: bool
    """Whether it takes none."""


class Arguments(NamedTuple):
    """A command line in its plainest form."""

    given: list[str]
    """With all values of an option in one place."""
    options: tuple[str, ...]
    """The options in it, each once."""


@functools.cache
def options_of(command: Callable[..., int]) -> dict[str, Option]:
    """The options of a command, by every spelling of each."""
    found: dict[str, Option] = {}
    for names, kind in _options(command, typing.get_type_hints(command, include_extras=True)):
        option = Option(names[0], typing.get_origin(kind) is tuple, kind is bool)
        found |= dict.fromkeys(names, option)
    return found


def _options(owner: Any, hints: dict[str, Any]) -> Iterator[tuple[list[str], Any]]:
    for name, hint in hints.items():
        kind, *marks = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
        if name == "return" or not _NO_OPTION.isdisjoint(marks):
            continue
        if dataclasses.is_dataclass(kind):
            yield from _options(kind, typing.get_type_hints(kind, include_extras=True))
            continue
        named = next((mark.name for mark in marks if getattr(mark, "name", None)), name)
        aliases = [alias for mark in marks for alias in getattr(mark, "aliases", None) or ()]
        yield [f"--{named.replace('_', '-')}", *aliases], kind


def read_arguments(name: str, command: Callable[..., int], arguments: Sequence[str]) -> Arguments:
    """Bring the values of each option together: `--x a --x b` is `--x a b`.

    Args:
        name: The command's.
        command: What runs it; its signature says which options there are.
        arguments: What follows the name.

    Raises:
        InputError: An option for one value is there twice, one for several has none, or one is there that would do
            nothing beside the others.
    """
    known = options_of(command)
    current: list[str] = []
    parts, first = [current], dict[str, list[str]]()
    for position, token in enumerate(arguments):
        if token == "--":
            parts.append(list(arguments[position:]))
            break
        if not (token.startswith("-") and token.lstrip("-")[:1].isalpha()):
            current.append(token)
            continue
        option = known.get(_spelling(token, known))
        if option is not None and option.several and option.name in first:
            current = first[option.name]
            current += [token.partition("=")[2]] if "=" in token else []
            continue
        if option is not None and option.name in first and not option.flag:
            both = [part[: 1 if "=" in part[0] else 2] for part in (first[option.name], arguments[position:])]
            raise InputError(
                f"{' and '.join(map(' '.join, both))}: {option.name} takes one value, and is there twice; leave out one"
            )
        current = [token]
        parts.append(current)
        if option is not None:
            first.setdefault(option.name, current)
    for option in set(known.values()):
        if option.several and len(values := first.get(option.name, ["", ""])) == 1 and "=" not in values[0]:
            raise InputError(f"{option.name} has no value; give it one or more, or leave it out")
    _check_together(name, first)
    return Arguments([token for part in parts for token in part], tuple(first))


def _spelling(token: str, known: Collection[str]) -> str:
    """How an option is known that stands there as `--x_y=value` or `-k5`."""
    key = token.partition("=")[0]
    if key.startswith("--"):
        return f"--{key[2:].replace('_', '-')}"
    return key if key in known else key[:2]


def _check_together(name: str, given: Collection[str]) -> None:
    for option, needed in GOES_WITH.get(name, {}).items():
        if option in given and needed not in given:
            raise InputError(f"{option} goes with {needed}, and does nothing without it; add that, or leave it out")
    for option, useless in NOT_WITH.get(name, {}).items():
        for other in useless:
            if option in given and other in given:
                raise InputError(f"{other} does nothing with {option}; leave one of them out")


__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "convert": convert,
    "check-data": check_data,
    "simulate": simulate,
    "models": models,
    "extract": extract,
    "index": index,
    "search": search,
    "library": library,
    "serve": serve,
    "mcp": mcp,
    "demo": demo,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 (done, but not all is well), 2 (bad input) or 130 (interrupted)."""
    try:
        terminal.prepare()
        with contextlib.redirect_stdout(terminal.Output(sys.stdout)) as output:
            try:
                return _run(list(sys.argv[1:] if arguments is None else arguments))
            finally:
                output.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = terminal.told(error)
        if code is None:
            raise
        return code


def _run(arguments: list[str]) -> int:
    commands = dict(COMMANDS)
    if arguments and arguments[0] in commands:
        name = arguments[0]
        read = read_arguments(name, commands[name], arguments[1:])
        arguments = [name, *read.given]
        if name == "train":
            commands[name] = _train_from(_preset_in(arguments), read.options)
    code: int = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="gmmformer",
        description="Find the untrimmed video, and the seconds in it, that a sentence describes.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    return code


def _preset_in(arguments: list[str]) -> Preset | None:
    """The preset that the arguments of `train` name: its values are the defaults of the other flags."""
    for position, argument in enumerate(arguments[1:], start=1):
        if argument == "--preset" and position + 1 < len(arguments):
            return preset(arguments[position + 1])
        if argument.startswith("--preset="):
            return preset(argument.removeprefix("--preset="))
    return None


def _train_from(start: Preset | None, given: tuple[str, ...]) -> Callable[..., int]:
    defaults: dict[str, Any] = {"network": start.network, "training": start.train} if start else {}
    return functools.partial(train, given=given, **defaults)
