"""Which rows of the feature matrix belong to which video: video2frames.txt read fast, and its names found in id.txt."""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from gmmformer.errors import InputError, one_line
from gmmformer.files import read_bounded

_SHAPE = "{'video id': ['row name', ...], ...}"
_MOST_PARSED = 2**21
"""Bytes that Python's own parser is given: it takes 500 times as much memory."""

# What str() of a dict writes, without escapes; the names between the brackets are verified one level further down.
_PLAIN_ENTRY = re.compile(rb"""\s*(?:'([^'\\\n]*)'|"([^"\\\n]*)")\s*:\s*\[([^\]\\]*)\]\s*([,}])""")
# The same with every string literal spelt out: mixed quotes, escapes, brackets in names, line breaks, trailing commas.
_STRING = rb"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
_ENTRY = re.compile(rb"\s*(%b)\s*:\s*(\[(?:\s*%b\s*,)*+(?:\s*%b\s*)?+\s*\])\s*([,}])" % (_STRING, _STRING, _STRING))
_STRINGS = re.compile(_STRING)


class FrameNames(NamedTuple):
    """One video's entry in video2frames.txt."""

    video_id: str
    names: bytes
    """Row names in UTF-8, in the order of the film, one space between two; empty if the video has no rows."""


def read_frame_names(path: Path) -> list[FrameNames]:
    """Every entry of a video2frames.txt in the order of the file; nothing in it is ever executed.

    The form that `str` gives a dict of lists of strings is read by two regular expressions that account for every byte,
    at about 0.1 s for TVR's 40 MB. Any other literal goes through Python's literal parser (seconds and a gigabyte).
    A video that is there twice is returned twice.

    Raises:
        InputError: The file cannot be read or holds anything but a literal of that shape.
    """
    try:
        data = read_bounded(path, None).removeprefix(b"\xef\xbb\xbf").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path}: cannot be read ({why}); check the folder and its permissions") from error
    entries = _entries(data)
    if entries is None:
        entries = _parsed_entries(path, data)
    try:
        return [FrameNames(video_id.decode(), names) for video_id, names in entries]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a video id is not UTF-8 ({error.object!r}); save the file in UTF-8") from error


def _entries(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Video ids and joined names, or None if the file is not made of such entries from end to end."""
    if not data.startswith(b"{") or not data.endswith(b"}"):
        return None
    entries: list[tuple[bytes, bytes]] = []
    position = 1
    while True:
        plain = _PLAIN_ENTRY.match(data, position)
        names = _plain_names(plain[3]) if plain else None
        if plain and names is not None:
            entries.append((plain[1] if plain[1] is not None else plain[2], names))
            position, end = plain.end(), plain[4]
        else:
            entry = _ENTRY.match(data, position)
            parsed = _spelt_names(entry[1] + b"," + entry[2]) if entry else None
            if not entry or not parsed:
                break
            entries.append(parsed)
            position, end = entry.end(), entry[3]
        if end == b"}":
            return entries if position == len(data) else None
    return entries if data[position:].strip() == b"}" else None


def _plain_names(inside: bytes) -> bytes | None:
    """The names of a list written `'a', 'b'` or `"a","b"`, joined by spaces; None if they are not that plain."""
    inside = inside.strip()
    if not inside:
        return b""
    quote = inside[:1]
    if quote not in (b"'", b'"') or inside[-1:] != quote or len(inside) < 3:
        return None
    body = inside[1:-1]
    for comma in (b", ", b","):
        names = body.replace(quote + comma + quote, b" ")
        commas = (len(body) - len(names)) // (len(comma) + 1)
        if quote not in names and names.count(b" ") == commas and b" ".join(names.split()) == names:
            return names
    return None


def _spelt_names(strings: bytes) -> tuple[bytes, bytes] | None:
    """The video id (first) and the joined names of string literals; None if a name cannot stand in id.txt."""
    literals = _STRINGS.findall(strings)
    if b"\\" in strings:
        try:
            values = [_literal(literal).encode() for literal in literals]
        except (SyntaxError, ValueError):
            return None
    else:
        values = [literal[1:-1] for literal in literals]
    names = b" ".join(values[1:])
    return (values[0], names) if names.split() == values[1:] else None


def _literal(source: bytes) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown escape such as '\d' is a warning, and no concern of ours
        value: str = ast.literal_eval(source.decode())
    return value


def _parsed_entries(path: Path, data: bytes) -> list[tuple[bytes, bytes]]:
    """The entries by Python's own literal parser.

    Raises:
        InputError: The file is no literal or not of the right shape.
    """
    remedy = f"write it as {_SHAPE}; it is read as a literal and never executed"
    if len(data) > _MOST_PARSED:
        raise InputError(f"{path}: is not in the form that `str` gives a dict, and too large for any other; {remedy}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(data.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save the file in UTF-8") from error
    except SyntaxError as error:
        raise InputError(f"{path}: not a Python literal from line {error.lineno} on; {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: holds code or something else that is no plain literal; {remedy}") from error
    except (MemoryError, RecursionError, TypeError) as error:
        raise InputError(f"{path}: cannot be parsed as a Python literal; {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}, not a dict; {remedy}")
    entries = []
    for video_id, names in value.items():
        if not isinstance(video_id, str):
            raise InputError(f"{path}: the video id {video_id!r} is not a string; {remedy}")
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: video {video_id!r} does not have a list of row names; {remedy}")
        for name in names:
            if name.split() != [name]:
                raise InputError(
                    f"{path}: the row name {name!r} of video {video_id!r} is empty or holds white space, so it cannot"
                    " be one of id.txt's names; name the row otherwise in both files"
                )
        entries.append((video_id.encode("utf-8", "surrogatepass"), " ".join(names).encode("utf-8", "surrogatepass")))
    return entries


class RowTable(NamedTuple):
    """Where each video's rows are."""

    video_ids: tuple[str, ...]
    starts: Int[np.ndarray, "videos"]
    """First row of a video whose rows follow each other; equal to `stops` if it has none."""
    stops: Int[np.ndarray, "videos"]
    """Row after its last."""
    scattered: dict[int, Int[np.ndarray, "frames"]]
    """Rows of the videos, by index, whose rows do not follow each other."""
    unknown: dict[int, str]
    """First row name that is not in id.txt, of the videos that have such."""


def locate_rows(entries: Sequence[FrameNames], row_names: bytes) -> RowTable:
    """Where the rows of each video are, given the names of all rows joined by single spaces.

    A video whose names are the next run of id.txt, as in published files, costs one comparison of bytes. The others are
    looked up. Where a name is twice in id.txt, its later row is meant, unless a run says otherwise; where a video is
    there twice, its later entry.
    """
    entries = list({entry.video_id: entry for entry in entries}.values())
    starts, stops = np.zeros(len(entries), dtype=np.int64), np.zeros(len(entries), dtype=np.int64)
    odd: list[int] = []
    position = row = 0
    for index, (_, names) in enumerate(entries):
        if not names:
            continue
        if not _is_run(row_names, position, names):
            odd.append(index)
            continue
        starts[index] = row
        row += names.count(b" ") + 1
        stops[index] = row
        position += len(names) + 1
    scattered: dict[int, np.ndarray] = {}
    unknown: dict[int, str] = {}
    found_odd = _locate_odd([entries[index].names for index in odd], row_names) if odd else ()
    for place, found in found_odd:
        index = odd[place]
        if isinstance(found, slice):
            starts[index], stops[index] = found.start, found.stop
        elif isinstance(found, str):
            unknown[index] = found
        else:
            scattered[index] = found
    return RowTable(tuple(entry.video_id for entry in entries), starts, stops, scattered, unknown)


def _locate_odd(
    videos: Sequence[bytes], row_names: bytes
) -> Iterator[tuple[int, slice | Int[np.ndarray, "frames"] | str]]:
    """For each video, given by its names: its run of rows, else its rows one by one, else the first unknown name."""
    lookup = _RowLookup(row_names)
    begins = np.insert(np.flatnonzero(np.frombuffer(row_names, dtype=np.uint8) == ord(" ")) + 1, 0, 0)
    firsts = lookup.rows(b" ".join(names.partition(b" ")[0] for names in videos))
    counts = np.array([names.count(b" ") + 1 for names in videos], dtype=np.int64)
    scattered = []
    for index, row in enumerate(firsts.tolist()):
        if row >= 0 and _is_run(row_names, int(begins[row]), videos[index]):
            yield index, slice(row, row + int(counts[index]))
        else:
            scattered.append(index)
    rows = lookup.rows(b" ".join(videos[index] for index in scattered))
    ends = np.cumsum(counts[scattered])
    for index, end in zip(scattered, ends.tolist(), strict=True):
        own = rows[end - counts[index] : end]
        unknown = own.min() < 0
        yield index, videos[index].split(b" ")[int(own.argmin())].decode(errors="replace") if unknown else own.copy()


def _is_run(row_names: bytes, position: int, names: bytes) -> bool:
    """Whether `names` stand at `position` of the row names, up to the end of a name."""
    end = position + len(names)
    return row_names.startswith(names, position) and row_names[end : end + 1] in (b" ", b"")


class _RowLookup:
    """Rows by name, through sorted 64-bit hashes: a tenth of a dict's memory, and two of millions never agree.

    Where a name is there twice, the later row.
    """

    def __init__(self, row_names: bytes) -> None:
        hashes = _hashes(row_names)
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        # ISO-8859-1 names are also found under the UTF-8 form that video2frames.txt has them in.
        self._recoded = None if row_names.isascii() else _hashes(row_names.decode("latin-1").encode())

    def rows(self, names: bytes) -> Int[np.ndarray, "names"]:
        """The row of each name, names joined by spaces; -1 for one that is not there."""
        wanted = _hashes(names)
        place = np.searchsorted(self._hashes, wanted, side="right") - 1
        rows = np.where(self._hashes[place] == wanted, self._order[place], -1)
        if self._recoded is not None and (rows < 0).any():
            known = {name: row for row, name in enumerate(self._recoded.tolist())}
            rows[rows < 0] = [known.get(name, -1) for name in wanted[rows < 0].tolist()]
        return rows


def _hashes(names: bytes) -> Int[np.ndarray, "names"]:
    """The hash of each name, in blocks, so that few names are objects at a time."""
    blocks = [np.empty(0, dtype=np.int64)]
    start = 0
    while start < len(names):
        end = names.find(b" ", start + (1 << 20))
        end = len(names) if end < 0 else end
        blocks.append(np.fromiter(map(hash, names[start:end].split(b" ")), dtype=np.int64))
        start = end + 1
    return np.concatenate(blocks)
