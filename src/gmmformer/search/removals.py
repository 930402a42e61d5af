"""When films were taken out: a note beside the database, whose rows count changes and not days.

A note says that whatever is out after a change was taken out by a certain second. Without notes - an older library, a
folder that was copied without them - films count as taken out just now, so that none goes too early.
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gmmformer.errors import InputError
from gmmformer.files import read_json, write_text

KEPT_DAYS = 30
"""That films which were taken out can be brought back, at least."""
_NOTES = "removed.json"
_DAY = 24 * 3600.0


class _Note(NamedTuple):
    generation: int
    """Of the change."""
    seconds: float
    """Of the system's clock."""


def note_removal(folder: Path, generation: int) -> None:
    """Note that films were taken out by now; where that cannot be written, they are kept for longer."""
    now = time.time()
    old = [note for note in _notes(folder) if note.seconds > now - KEPT_DAYS * _DAY]
    ended = [note for note in _notes(folder) if note not in old][-1:]
    if old and int(old[-1].seconds / _DAY) == int(now / _DAY):
        old.pop()  # one of each day is enough
    with suppress(OSError):
        write_text(folder / _NOTES, json.dumps([*ended, *old, _Note(generation, now)]))


def long_gone(folder: Path) -> int:
    """The change up to which films were taken out more than `KEPT_DAYS` ago; 0: none is known to be."""
    ended = (note for note in _notes(folder) if note.seconds < time.time() - KEPT_DAYS * _DAY)
    return max((note.generation for note in ended), default=0)


def _notes(folder: Path) -> list[_Note]:
    try:
        told = read_json(folder / _NOTES)
        return [_Note(int(generation), float(seconds)) for generation, seconds in told]
    except (OSError, InputError, ValueError, TypeError, OverflowError):
        return []
