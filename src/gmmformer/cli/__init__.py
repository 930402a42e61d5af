"""The command line: one function per command, its signature is its interface. The only pages that print."""

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from gmmformer.cli import terminal
from gmmformer.cli.arguments import read_arguments
from gmmformer.cli.films import extract, index
from gmmformer.cli.looking_after import library
from gmmformer.cli.research import check_data, convert, evaluate, simulate, train
from gmmformer.cli.searching import demo, search, serve
from gmmformer.config import Preset, preset

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "evaluate": evaluate,
    "convert": convert,
    "check-data": check_data,
    "simulate": simulate,
    "extract": extract,
    "index": index,
    "search": search,
    "library": library,
    "serve": serve,
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
