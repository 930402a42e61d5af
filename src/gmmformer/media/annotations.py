"""Sentences about films, with the seconds they are true of, from the annotation files people have."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from gmmformer.errors import InputError, one_line, shown, suggest
from gmmformer.files import parsed_json, read_text
from gmmformer.media.records import (
    SPLITS,
    Annotation,
    BrokenRecordError,
    checked_annotation,
    moment,
    needed,
    number,
    window_of,
)

__all__ = ["SPLITS", "Annotation", "Format", "read_annotations", "read_captions_files"]

Format = Literal["auto", "jsonl", "csv", "activitynet", "charades", "tvr", "qvhighlights"]

_CHARADES = re.compile(r"^(\S+)\s+(\S+)\s+(\S+?)\s*##(.*)$")
_COLUMNS = "video, sentence and, if known, start, end (seconds), split"


class _Layout(NamedTuple):
    """How a format is read."""

    records: Callable[[Path, str], Iterator[tuple[str, Any]]]
    """Cuts the file's text into records, each with the place it stands at."""
    annotation: Callable[[Any], Annotation]
    """Makes an annotation of a record; raises BrokenRecordError."""


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
    layout = _LAYOUTS[_told(path, text) if format == "auto" else format]
    for place, record in layout.records(path, text):
        try:
            found.append(layout.annotation(record))
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
        records = read_annotations(path, format, on_broken=on_broken)
        found += [replace(record, split=split) for record in records]
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


def _own(fields: Mapping[str, Any]) -> Annotation:
    return checked_annotation(
        video=needed(fields, "video"),
        sentence=needed(fields, "sentence"),
        start=fields.get("start"),
        end=fields.get("end"),
        split=fields.get("split"),
        duration=fields.get("duration"),
        caption=fields.get("caption"),
    )


def _tvr(fields: Mapping[str, Any]) -> Annotation:
    if "vid_name" not in fields and "desc" in fields:
        raise BrokenRecordError("it has no 'vid_name' (TVR's public test file withholds the videos); take the val file")
    start, end = window_of(fields["ts"]) if fields.get("ts") is not None else (None, None)
    return checked_annotation(
        video=needed(fields, "vid_name"),
        sentence=needed(fields, "desc"),
        start=start,
        end=end,
        duration=fields.get("duration"),
        caption=needed(fields, "desc_id"),
    )


def _qvhighlights(fields: Mapping[str, Any]) -> Annotation:
    given = fields.get("relevant_windows") or []
    if not isinstance(given, list):
        raise BrokenRecordError("'relevant_windows' is not a list of [start, end]; mend the record")
    windows = tuple(moment(*window_of(window)) for window in given)
    start, end = max(windows, key=lambda window: (window[1] - window[0], -window[0])) if windows else (None, None)
    return checked_annotation(
        video=needed(fields, "vid"),
        sentence=needed(fields, "query"),
        start=start,
        end=end,
        duration=fields.get("duration"),
        caption=needed(fields, "qid"),
        windows=windows,
    )


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
    return checked_annotation(
        video=video, sentence=film["sentences"][row], start=start, end=end, duration=film.get("duration")
    )


def _charades(line: str) -> Annotation:
    parts = _CHARADES.match(line)
    if not parts:
        raise BrokenRecordError("it is not of the form 'VIDEO START END##SENTENCE'; mend the line")
    video, start, end, sentence = parts.groups()
    return checked_annotation(video=video, sentence=sentence, start=number(start, "start"), end=number(end, "end"))


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
    return _own(fields)


_LAYOUTS = {
    "jsonl": _Layout(_lines, lambda line: _own(_fields(line))),
    "csv": _Layout(_csv_records, _csv),
    "activitynet": _Layout(_activitynet_records, _activitynet),
    "charades": _Layout(_lines, _charades),
    "tvr": _Layout(_lines, lambda line: _tvr(_fields(line))),
    "qvhighlights": _Layout(_lines, lambda line: _qvhighlights(_fields(line))),
}
