"""One annotation: a sentence about a film, and the checks that every format's records go through."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gmmformer.errors import shown, suggest

LONGEST_TEXT = 10_000
"""Letters of a sentence or a name; what is longer is a file gone wrong."""
SPLITS = ("train", "val", "test")
"""The splits that a `split` column may name."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A sentence that a film contains."""

    video: str
    """The film's name as the file gives it."""
    sentence: str
    """Without white space at its ends; never empty."""
    start: float | None = None
    """Second at which the moment begins; None, as is `end`, where the file does not say."""
    end: float | None = None
    """Second at which it ends; not before `start`."""
    split: str | None = None
    """One of SPLITS, where the file says."""
    duration: float | None = None
    """Seconds of the whole film, where the file says."""
    caption: str | None = None
    """The sentence's own id, where it has one."""
    windows: tuple[tuple[float, float], ...] = ()
    """All moments, where the file gives several (QVHighlights); `start` and `end` are the longest."""


class BrokenRecordError(ValueError):
    """What is wrong with a record, and what to do about it; the reader adds the file and the place."""


def checked_annotation(
    *,
    video: Any,
    sentence: Any,
    start: Any = None,
    end: Any = None,
    split: Any = None,
    duration: Any = None,
    caption: Any = None,
    windows: tuple[tuple[float, float], ...] = (),
) -> Annotation:
    """An annotation of fields as a file gives them.

    Raises:
        BrokenRecordError: One of them is not what it should be.
    """
    for name, value in (("video", video), ("sentence", sentence)):
        if not isinstance(value, str):
            raise BrokenRecordError(f"its {name} is {shown(value)}, not text; mend the record")
        if not value.strip():
            raise BrokenRecordError(f"its {name} is empty; fill it in or remove the record")
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise BrokenRecordError(f"its {name} holds half a surrogate pair; write the letter itself")
        if "\0" in value:
            raise BrokenRecordError(f"its {name} holds a NUL; leave it out")
        if len(value) > LONGEST_TEXT:
            raise BrokenRecordError(f"its {name} has {len(value):,} letters, more than {LONGEST_TEXT:,}; shorten it")
    if split is not None and split not in SPLITS:
        raise BrokenRecordError(f"its split is {shown(split)}; {suggest(str(split)[:60], SPLITS)}")
    if (start is None) != (end is None):
        raise BrokenRecordError("it has only one of start and end; give both or neither")
    if duration is not None and _second(duration, "duration") == 0:
        raise BrokenRecordError("its duration is 0; give the film's seconds or leave it out")
    if caption is not None and (isinstance(caption, bool) or not isinstance(caption, str | int)):
        raise BrokenRecordError(f"its caption id is {shown(caption)}; give a text or a whole number")
    first, last = (None, None) if start is None else moment(start, end)
    return Annotation(
        video=video.strip(),
        sentence=" ".join(sentence.split()),
        start=first,
        end=last,
        split=split,
        duration=None if duration is None else float(duration),
        caption=None if caption is None else str(caption),
        windows=windows,
    )


def needed(fields: Mapping[str, Any], name: str) -> Any:
    """A field that must be there."""
    if name not in fields:
        known = ", ".join(shown(field) for field in list(fields)[:8]) or "none"
        raise BrokenRecordError(f"it has no field {name!r} (its fields: {known}); add it, or name the file's format")
    return fields[name]


def window_of(pair: Any) -> tuple[Any, Any]:
    """The two members of a pair [start, end], still to be looked at."""
    if not isinstance(pair, list) or len(pair) != 2:
        raise BrokenRecordError(f"its moment is {shown(pair)}, not [start, end]; mend the record")
    return pair[0], pair[1]


def moment(start: Any, end: Any) -> tuple[float, float]:
    """Start and end in seconds: finite, 0 or more, in order."""
    start, end = _second(start, "start"), _second(end, "end")
    if start > end:
        raise BrokenRecordError(f"it starts at {start:g} s, after its end at {end:g} s; swap or mend them")
    return start, end


def _second(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BrokenRecordError(f"its {name} is {shown(value)}, not a number of seconds; mend the record")
    if not 0 <= value < math.inf or value > sys.float_info.max:
        raise BrokenRecordError(f"its {name} is {shown(value)}; seconds are finite and 0 or more")
    return float(value)


def number(text: str, name: str) -> float:
    """A number written as text."""
    try:
        return float(text)
    except ValueError as error:
        raise BrokenRecordError(f"its {name} is {shown(text)}, not a number of seconds; mend the record") from error
