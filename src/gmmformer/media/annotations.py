"""Sentences about films, with the seconds they are true of, from the annotation files people have."""

import csv
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from gmmformer.errors import InputError, one_line, shown, suggest
from gmmformer.files import parsed_json, read_text

LONGEST_TEXT = 10_000
"""Letters of a sentence or a name; what is longer is a file gone wrong."""
SPLITS = ("train", "val", "test")
"""The splits that a `split` column may name."""


Format = Literal["auto", "jsonl", "csv", "activitynet", "charades", "tvr", "qvhighlights"]

_CHARADES = re.compile(r"^(\S+)\s+(\S+)\s+(\S+?)\s*##(.*)$")
_COLUMNS = "video, sentence and, if known, start, end (seconds), split"


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


def checked_annotation(fields: Mapping[str, Any], windows: tuple[tuple[float, float], ...] = ()) -> Annotation:
    """An annotation of fields as a file gives them, by the names that `Annotation` has for them.

    Raises:
        BrokenRecordError: One of them is missing, or not what it should be.
    """
    video, sentence = needed(fields, "video"), needed(fields, "sentence")
    start, end, split, duration, caption = (
        fields.get(name) for name in ("start", "end", "split", "duration", "caption")
    )
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


def read_annotations(
    path: str | Path,
    format: str = "auto",  # noqa: A002
    *,
    on_broken: Callable[[InputError], None] | None = None,
) -> list[Annotation]:
    """The sentences of a file, in its order.

    Formats:
        jsonl: One object per line: video, sentence, optional start, end, split, duration, caption.
        csv: The same as columns, under a header line; comma, semicolon or tab.
        activitynet: ActivityNet Captions: `{video: {"duration", "timestamps": [[start, end]], "sentences": []}}`.
        charades: Charades-STA: lines `VIDEO START END##SENTENCE`.
        tvr: TVR: JSON lines with desc_id, desc, vid_name, ts, duration.
        qvhighlights: QVHighlights: JSON lines with qid, query, vid, relevant_windows, duration.

    Args:
        path: The file, in UTF-8.
        format: "auto" tells it from the content.
        on_broken: Takes the error of each record that cannot be used, which is then left out (published files hold a
            few moments that end before they start); without it the first such record is raised.

    Raises:
        InputError: The file cannot be read, is of no known format or holds nothing; or a record is broken.
    """
    path = Path(path)
    if format not in get_args(Format):
        raise InputError(f"format {format}: {suggest(format, get_args(Format))}")
    text = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{path}: the file is empty; give a file of annotations")
    found: list[Annotation] = []
    records, annotation = _LAYOUTS[_told(path, text) if format == "auto" else format]
    for place, record in records(path, text):
        try:
            found.append(annotation(record))
        except BrokenRecordError as error:
            broken = InputError(f"{path}, {place}: {error}")
            if on_broken is None:
                raise broken from error
            on_broken(broken)
    if not found and on_broken is None:
        raise InputError(f"{path}: it holds no sentence; give a file of annotations")
    return found


def read_captions_files(
    given: Sequence[str],
    format: str = "auto",  # noqa: A002
    *,
    on_broken: Callable[[InputError], None] | None = None,
) -> list[Annotation]:
    """The sentences of several files, each given as FILE or as SPLIT=FILE where the whole file is one split.

    Raises:
        InputError: As `read_annotations`, or a split is unknown.
    """
    found: list[Annotation] = []
    for each in given:
        split, equals, path = each.partition("=")
        if not equals or Path(each).exists():
            found += read_annotations(each, format, on_broken=on_broken)
            continue
        if split not in SPLITS:
            raise InputError(f"--captions {each}: there is no split {split!r}; {suggest(split, SPLITS)}")
        found += [replace(one, split=split) for one in read_annotations(path, format, on_broken=on_broken)]
    return found


def _told(path: Path, text: str) -> str:
    """The format of a file, from its content."""
    line = text.lstrip().partition("\n")[0].strip()
    if _CHARADES.match(line):
        return "charades"
    if line[0] in "{[":
        try:
            first = parsed_json(line)
        except ValueError:
            whole = line == "{" or line.count("{") > 1
            return "activitynet" if whole else "jsonl"
        fields = first if isinstance(first, dict) else {}
        if {"desc", "vid_name"} & fields.keys():
            return "tvr"
        if {"query", "vid"} & fields.keys():
            return "qvhighlights"
        films = not {"video", "sentence"} & fields.keys() and any(isinstance(film, dict) for film in fields.values())
        return "activitynet" if films else "jsonl"
    if {"video", "sentence"} & {column.strip().strip('"').lower() for column in re.split("[,;\t]", line)}:
        return "csv"
    raise InputError(
        f"{path}: not a known format of annotations; write JSON lines or a CSV with a header ({_COLUMNS}), or give an "
        "ActivityNet Captions, Charades-STA, TVR or QVHighlights file"
    )


def _lines(path: Path, text: str) -> Iterator[tuple[str, str]]:
    for row, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {row}", line.strip()


def _fields(line: str) -> Mapping[str, Any]:
    """The object that a line of JSON holds."""
    try:
        fields = parsed_json(line)
    except ValueError as error:
        raise BrokenRecordError(f"it is not JSON ({one_line(error)}); write one object per line") from error
    if not isinstance(fields, dict):
        raise BrokenRecordError("it is not a JSON object; write one object per line")
    return fields


def _tvr(fields: Mapping[str, Any]) -> Annotation:
    if "vid_name" not in fields and "desc" in fields:
        raise BrokenRecordError("it has no 'vid_name' (TVR's public test file withholds the videos); take the val file")
    start, end = window_of(fields["ts"]) if fields.get("ts") is not None else (None, None)
    named = {"video": "vid_name", "sentence": "desc", "caption": "desc_id"}
    told = {ours: needed(fields, theirs) for ours, theirs in named.items()}
    return checked_annotation({**told, "start": start, "end": end, "duration": fields.get("duration")})


def _qvhighlights(fields: Mapping[str, Any]) -> Annotation:
    given = fields.get("relevant_windows") or []
    if not isinstance(given, list):
        raise BrokenRecordError("'relevant_windows' is not a list of [start, end]; mend the record")
    windows = tuple(moment(*window_of(window)) for window in given)
    start, end = max(windows, key=lambda window: (window[1] - window[0], -window[0])) if windows else (None, None)
    named = {"video": "vid", "sentence": "query", "caption": "qid"}
    told = {ours: needed(fields, theirs) for ours, theirs in named.items()}
    return checked_annotation({**told, "start": start, "end": end, "duration": fields.get("duration")}, windows)


def _activitynet_records(path: Path, text: str) -> Iterator[tuple[str, tuple[str, Any, int | None]]]:
    """Video, its entry and the row of a sentence in it; no row for an entry without sentences to count."""
    try:
        films = parsed_json(text)
    except ValueError as error:
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}{place}: it is not JSON ({one_line(error)}); fetch or write the file again") from error
    if not isinstance(films, dict):
        raise InputError(f"{path}: it is not an object of films; write {{video: {{duration, timestamps, sentences}}}}")
    for video, film in films.items():
        times, sentences = (film.get("timestamps"), film.get("sentences")) if isinstance(film, dict) else (None, None)
        if isinstance(times, list) and isinstance(sentences, list) and len(times) == len(sentences):
            for row in range(len(sentences)):
                yield f"video {shown(video)}, sentence {row + 1}", (video, film, row)
        else:
            yield f"video {shown(video)}", (video, film, None)


def _activitynet(record: tuple[str, Any, int | None]) -> Annotation:
    video, film, row = record
    if row is None:
        raise BrokenRecordError("it needs the lists 'timestamps' and 'sentences', of one length; mend the record")
    start, end = window_of(film["timestamps"][row])
    told = {"video": video, "sentence": film["sentences"][row], "start": start, "end": end}
    return checked_annotation({**told, "duration": film.get("duration")})


def _charades(line: str) -> Annotation:
    parts = _CHARADES.match(line)
    if not parts:
        raise BrokenRecordError("it is not of the form 'VIDEO START END##SENTENCE'; mend the line")
    video, start, end, sentence = parts.groups()
    seconds = {"start": number(start, "start"), "end": number(end, "end")}
    return checked_annotation({"video": video, "sentence": sentence, **seconds})


def _csv_records(path: Path, text: str) -> Iterator[tuple[str, tuple[list[str], list[str]]]]:
    """Names of the columns and values of a row."""
    header = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    try:
        for row in rows:
            place = f"line {rows.line_num}"
            if names and any(value.strip() for value in row):
                yield place, (names, row)
            elif any(value.strip() for value in row):
                names = [value.strip().lower() for value in row]
                if not {"video", "sentence"} <= set(names) or len(set(names)) < len(names):
                    raise InputError(
                        f"{path}, {place}: the header is {shown(', '.join(names))}; it needs {_COLUMNS}, once"
                    )
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: it is not CSV ({error}); check the quotes") from error


def _csv(record: tuple[list[str], list[str]]) -> Annotation:
    names, row = record
    if len(row) != len(names):
        raise BrokenRecordError(
            f"it has {len(row)} columns where the header has {len(names)}; put quotes around text with commas"
        )
    fields: dict[str, Any] = dict(zip(names, row, strict=True))
    for name in ("start", "end", "split", "duration", "caption"):
        if not fields.get(name, "").strip():
            fields[name] = None
        elif name in ("start", "end", "duration"):
            fields[name] = number(fields[name], name)
        else:
            fields[name] = fields[name].strip()
    return checked_annotation(fields)


_LAYOUTS: dict[str, tuple[Callable[[Path, str], Iterator[tuple[str, Any]]], Callable[[Any], Annotation]]] = {
    "jsonl": (_lines, lambda line: checked_annotation(_fields(line))),
    "csv": (_csv_records, _csv),
    "activitynet": (_activitynet_records, _activitynet),
    "charades": (_lines, _charades),
    "tvr": (_lines, lambda line: _tvr(_fields(line))),
    "qvhighlights": (_lines, lambda line: _qvhighlights(_fields(line))),
}
"""What cuts a file of each format into records, each with its place, and what makes annotations of them."""
