"""What goes wrong because of what a user gave us: one sentence that names the file, the record and the remedy."""

import difflib
import reprlib
from collections.abc import Iterable
from importlib import import_module
from typing import Any


class InputError(Exception):
    """Input that cannot be used. The command line prints the message alone and exits with code 2.

    Not a ValueError: the parser of the command line dresses those of a setting up as its own.
    """


class MissingExtraError(ImportError):
    """An optional part of the package is not installed; the message is the line that installs it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra {extra!r}: pip install 'gmmformer[{extra}]'")


def of_extra(module: str, what: str, extra: str) -> Any:
    """A module that an optional part of the package brings, for `what` it is needed for.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(what, extra) from error


def one_line(error: object, longest: int = 200) -> str:
    r"""What an error of a library, or a value of a file, says on one printable line; its type if it says nothing.

    >>> one_line(RuntimeError("first line\nsecond")), one_line(MemoryError())
    ('first line second', 'MemoryError')
    """
    said = str(error)[: 4 * longest]
    plain = " ".join("".join(c if c.isprintable() else " " for c in said).split()) or type(error).__name__
    return plain if len(plain) <= longest else f"{plain[:longest]}..."


def shown(value: object) -> str:
    """A value that is wrong as an error names it: on one short line, whatever it is.

    >>> shown("x" * 1000 + "y"), shown([[[1]]])
    ("'xxxxxxxxxxxxxxxxxxxxxxxxxxx...xxxxxxxxxxxxxxxxxxxxxxxxxxxy'", '[[[...]]]')
    """
    return _SHORT.repr(value)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 60, 60


def suggest(given: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, or all of them.

    >>> suggest("tvrr", ["tvr", "charades"])
    "did you mean 'tvr'?"
    >>> suggest("x", ["tvr", "charades"])
    'known: charades, tvr'
    """
    known = sorted(known)
    close = difflib.get_close_matches(given, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
