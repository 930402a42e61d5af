"""Ways to spoil a valid file, as values that Hypothesis draws and makes simpler: each takes bytes and gives bytes."""

import functools
import io
import json
import re
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from hypothesis import strategies as st

Mutation = Callable[[bytes], bytes]

NUMBERS = tuple(
    struct.pack(form, value)
    for form, values in {
        "B": (0, 0x7F, 0x80, 0xFF),
        "<I": (1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
        ">I": (1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF),
        "<Q": (1 << 40, (1 << 63) - 1, 1 << 63),
        ">Q": (1 << 40, (1 << 63) - 1, 1 << 63),
        "<f": (float("nan"), float("inf"), 3e38, -0.0),
        "<d": (float("nan"), float("inf"), 1e308, -1.0),
    }.items()
    for value in values
)
WORDS = (
    *(b"", b"0", b"-1", b"1", b"2", b"1.5", b"NaN", b"Infinity", b"-inf", b"1e999", b"1e308", b"9223372036854775808"),
    *(
        b"0x10",
        b"1_000",
        b"null",
        b"true",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n\n",
        b"\xe2\x80\xa8",
        b" ",
        b"#",
    ),
    *(b"'", b'"', b"\\", b"[", b"{", b"(", b",", b"..", b"/", b"../../../../etc/passwd", b"/dev/zero", b"\xed\xa0\x80"),
    *("e\u0301".encode(), "\u00e9".encode(), "\u202e".encode(), "\U0001f600".encode(), "\u0663".encode()),
)
LONG = (
    b"9" * 5_000,
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b"(" * 100_000,
    b"a" * 100_000,
    b"-" * 100_000,
    b"\n" * 100_000,
)
LITERALS = (
    *("null", "true", "false", "0", "1", "-1", "0.5", "1e308", "1e999", "NaN", "Infinity", "-Infinity", '""', '" "'),
    *("[]", "{}", "[1, 2]", "[[]]", '{"a": 1}', '"x"', '"1"', '"nan"', '"\\ud800"', '"\\u0000"', '"\\n"'),
    *("2147483648", "9223372036854775808", "1000000000000", "9" * 400, "9" * 5_000, "[" * 5_000 + "]" * 5_000),
    *("[" * 100_000, '"../../../../etc/passwd"', '"/dev/zero"', '"' + "a" * 5_000 + '"', "[1e308, 1e308]"),
)


MOST_UNPACKED = 1 << 26
"""Bytes that a zip may hold and still be taken apart here: what is tried is no larger, but for bombs."""


class Flip(NamedTuple):
    """Turn one bit."""

    at: int
    bit: int

    def __call__(self, data: bytes) -> bytes:
        at = min(self.at, len(data) - 1)
        return data and data[:at] + bytes([data[at] ^ 1 << self.bit]) + data[at + 1 :]


class Cut(NamedTuple):
    """Keep the first bytes."""

    at: int

    def __call__(self, data: bytes) -> bytes:
        return data[: self.at]


class Drop(NamedTuple):
    """Leave out a stretch."""

    at: int
    length: int

    def __call__(self, data: bytes) -> bytes:
        return data[: self.at] + data[self.at + self.length :]


class Splice(NamedTuple):
    """Put a stretch in another place too."""

    start: int
    length: int
    at: int

    def __call__(self, data: bytes) -> bytes:
        return data[: self.at] + data[self.start : self.start + self.length] + data[self.at :]


class Put(NamedTuple):
    """Write over what is there."""

    at: int
    what: bytes

    def __call__(self, data: bytes) -> bytes:
        return data[: self.at] + self.what + data[self.at + len(self.what) :]


class Insert(NamedTuple):
    """Push the rest back."""

    at: int
    what: bytes

    def __call__(self, data: bytes) -> bytes:
        return data[: self.at] + self.what + data[self.at :]


class Long(NamedTuple):
    """Insert something of great length or depth."""

    at: int
    which: int

    def __call__(self, data: bytes) -> bytes:
        return data[: self.at] + LONG[self.which] + data[self.at :]


class Word(NamedTuple):
    """Replace a number or a word of a text."""

    number: int
    what: bytes

    def __call__(self, data: bytes) -> bytes:
        words = list(re.finditer(rb"-?\d+(?:\.\d+)?|\w+", data))
        if not words:
            return self.what
        word = words[self.number % len(words)]
        return data[: word.start()] + self.what + data[word.end() :]


class Line(NamedTuple):
    """Drop a line of a text, or repeat it, or swap it with the first."""

    number: int
    times: int

    def __call__(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        number = self.number % max(1, len(lines))
        return b"".join([*lines[:number], *lines[number : number + 1] * self.times, *lines[number + 1 :]])


class Json(NamedTuple):
    """Put a literal in the place of one value of a JSON text, or of a line of it; None drops the value."""

    number: int
    which: int | None

    def __call__(self, data: bytes) -> bytes:
        lines = [data]
        with suppress(ValueError, RecursionError):
            lines = [json.dumps(json.loads(data)).encode()]
        if lines == [data]:
            lines = data.splitlines(keepends=True)
        number = self.number
        for place, line in enumerate(lines):
            with suppress(ValueError, RecursionError):
                value = json.loads(line)
                spots = list(_spots([value], 0))
                if number < len(spots) or place == len(lines) - 1:
                    lines[place] = self._changed([value], spots[number % len(spots)]) + b"\n"
                    break
                number -= len(spots)
        return b"".join(lines)

    def _changed(self, whole: list[Any], path: tuple[Any, ...]) -> bytes:
        holder: Any = whole
        for step in path[:-1]:
            holder = holder[step]
        if self.which is None:
            del holder[path[-1]]
            return json.dumps(whole[0]).encode() if whole else b""
        holder[path[-1]] = "here it goes"
        return json.dumps(whole[0]).replace('"here it goes"', LITERALS[self.which]).encode("utf-8", "surrogatepass")


def _spots(holder: Any, step: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to a value and to all below it."""
    path = (*path, step)
    yield path
    value = holder[step]
    if isinstance(value, dict | list):
        for inner in value if isinstance(value, dict) else range(len(value)):
            yield from _spots(value, inner, path)


class Header(NamedTuple):
    """Spoil the JSON at the head of a safetensors file; its length is told truly."""

    change: Json

    def __call__(self, data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = self.change(data[8 : 8 + length])
        return len(header).to_bytes(8, "little") + header + data[8 + length :]


class Weight(NamedTuple):
    """Replace one 32-bit number behind the head of a safetensors file, or of a file of nothing but numbers."""

    number: int
    value: float
    head: bool = True

    def __call__(self, data: bytes) -> bytes:
        start = 8 + int.from_bytes(data[:8], "little") if self.head else 0
        count = (len(data) - start) // 4
        return Put(start + 4 * (self.number % max(1, count)), struct.pack("<f", self.value))(data)


def _entries(data: bytes) -> list[tuple[str, bytes]]:
    """The entries of a zip; none where it is no zip, or claims so much that an earlier mutation must have made it."""
    with (
        suppress(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError),
        zipfile.ZipFile(io.BytesIO(data)) as archive,
    ):
        if sum(entry.file_size for entry in archive.infolist()) < MOST_UNPACKED:
            return [(name, archive.read(name)) for name in archive.namelist()]
    return []


class Entry(NamedTuple):
    """Spoil one entry of a zip, with checksums that fit; None drops it."""

    number: int
    change: Mutation | None
    compressed: bool = False

    def __call__(self, data: bytes) -> bytes:
        made, entries = io.BytesIO(), _entries(data)
        kind = zipfile.ZIP_DEFLATED if self.compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(made, "w", kind) as new:
            for number, (name, held) in enumerate(entries):
                if number != self.number % len(entries):
                    new.writestr(name, held)
                elif self.change is not None:
                    new.writestr(name, self.change(held))
        return made.getvalue() if entries else data


class Bomb(NamedTuple):
    """Put 2 GiB of zeros, compressed to 2 MB, in the place of one entry of a zip."""

    number: int

    def __call__(self, data: bytes) -> bytes:
        made, entries = io.BytesIO(), _entries(data)
        stream, crc = _zeros(2048)
        with zipfile.ZipFile(made, "w") as new:
            for number, (name, held) in enumerate(entries):
                if number != self.number % len(entries):
                    new.writestr(name, held)
                    continue
                entry = zipfile.ZipInfo(name)
                entry.compress_type, entry.CRC, entry.header_offset = zipfile.ZIP_DEFLATED, crc, made.tell()
                entry.file_size, entry.compress_size = 2048 << 20, len(stream)
                made.write(entry.FileHeader() + stream)
                new.filelist.append(entry)
                new.start_dir = made.tell()
        return made.getvalue() if entries else data


class Claim(NamedTuple):
    """Let one entry of a zip, stored as it is, say that it has so many bytes."""

    number: int
    size: int

    def __call__(self, data: bytes) -> bytes:
        made, entries = io.BytesIO(), _entries(data)
        if not entries:
            return data
        with zipfile.ZipFile(made, "w") as new:
            for name, held in entries:
                new.writestr(name, held)
            entry = new.filelist[self.number % len(entries)]
            entry.file_size = entry.compress_size = self.size
        return made.getvalue()


@functools.cache
def _zeros(megabytes: int) -> tuple[bytes, int]:
    """So many MiB of zeros, deflated, and their CRC-32."""
    deflate, zeros, crc = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1 << 20), 0
    block = deflate.compress(zeros) + deflate.flush(zlib.Z_FULL_FLUSH)
    for _ in range(megabytes):
        crc = zlib.crc32(zeros, crc)
    return block * megabytes + deflate.flush(zlib.Z_FINISH), crc


class State(NamedTuple):
    """Put something else in the place of one value of what torch.save wrote; None drops it."""

    number: int
    what: str | None

    def __call__(self, data: bytes) -> bytes:
        made = io.BytesIO()
        try:
            whole = [torch.load(io.BytesIO(data), weights_only=True)]
            spots = list(_spots(whole, 0))
            *path, last = spots[self.number % len(spots)]
            holder: Any = whole
            for step in path:
                holder = holder[step]
            if self.what is None:
                del holder[last]
            else:
                holder[last] = VALUES[self.what](holder[last])
            torch.save(whole[0], made)
        except Exception:  # what an earlier mutation made of it, or a value that cannot be so
            return data
        return made.getvalue()


VALUES: dict[str, Callable[[Any], Any]] = {
    "none": lambda old: None,
    "true": lambda old: True,
    "minus one": lambda old: -1,
    "nought": lambda old: 0,
    "half": lambda old: 0.5,
    "large": lambda old: 1 << 62,
    "nan": lambda old: torch.full_like(old, torch.nan) if isinstance(old, torch.Tensor) else float("nan"),
    "infinite": lambda old: torch.full_like(old, torch.inf) if isinstance(old, torch.Tensor) else float("inf"),
    "text": lambda old: "text",
    "list": lambda old: [old],
    "empty": lambda old: {},
    "number tensor": lambda old: torch.tensor(3),
    "empty tensor": lambda old: torch.empty(0),
    "vast tensor": lambda old: torch.zeros(1).expand(1 << 40),
    "whole tensor": lambda old: old.long(),
    "wide tensor": lambda old: torch.stack([old, old]),
}


class Sql(NamedTuple):
    """Change a database by a statement; what SQLite does not take leaves it as it is."""

    statement: str

    def __call__(self, data: bytes) -> bytes:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        try:
            connection.deserialize(data)
            with suppress(sqlite3.Error):
                connection.executescript(self.statement)
            return bytes(connection.serialize())
        except sqlite3.Error:
            return data
        finally:
            connection.close()


class Dataset(NamedTuple):
    """Put something else in the place of a dataset of an HDF5 file."""

    number: int
    what: str

    def __call__(self, data: bytes) -> bytes:
        file = io.BytesIO(data)
        with (
            suppress(Exception),
            h5py.File(file, "r+") as opened,
        ):  # an earlier mutation may have made it something else
            names = sorted(opened)
            name = names[self.number % len(names)]
            old = np.asarray(opened[name])
            del opened[name]
            DATASETS[self.what](opened, name, old)
        return file.getvalue()


def _spoilt(old: np.ndarray, value: float) -> np.ndarray:
    new = np.array(old)
    new.flat[0] = value
    return new


DATASETS: dict[str, Callable[[Any, str, np.ndarray], Any]] = {
    "gone": lambda file, name, old: None,
    "nan": lambda file, name, old: file.create_dataset(name, data=_spoilt(old, np.nan)),
    "infinite": lambda file, name, old: file.create_dataset(name, data=_spoilt(old, -np.inf)),
    "too large": lambda file, name, old: file.create_dataset(name, data=old.astype("f8") * 1e300),
    "text": lambda file, name, old: file.create_dataset(name, data="words"),
    "texts": lambda file, name, old: file.create_dataset(name, data=[["words"]]),
    "whole numbers": lambda file, name, old: file.create_dataset(name, data=old.astype("i8")),
    "complex": lambda file, name, old: file.create_dataset(name, data=old.astype("c8")),
    "truths": lambda file, name, old: file.create_dataset(name, data=old > 0),
    "fields": lambda file, name, old: file.create_dataset(name, data=np.zeros(3, [("a", "f4"), ("b", "i4")])),
    "half": lambda file, name, old: file.create_dataset(name, data=old.astype("f2")),
    "no rows": lambda file, name, old: file.create_dataset(name, data=old[:0]),
    "no columns": lambda file, name, old: file.create_dataset(name, data=old[:, :0]),
    "wider": lambda file, name, old: file.create_dataset(name, data=np.hstack([old, old])),
    "flat": lambda file, name, old: file.create_dataset(name, data=old.ravel()),
    "deep": lambda file, name, old: file.create_dataset(name, data=old[None]),
    "one number": lambda file, name, old: file.create_dataset(name, data=1.0),
    "nothing": lambda file, name, old: file.create_dataset(name, data=h5py.Empty("f4")),
    "endless": lambda file, name, old: file.create_dataset(name, (1 << 40, old.shape[1]), "f4", chunks=(1024, 4)),
    "bomb": lambda file, name, old: file.create_dataset(
        name, data=np.zeros((1 << 20, old.shape[1]), "f4"), compression="gzip", compression_opts=1
    ),
    "group": lambda file, name, old: file.create_group(name),
    "loop": lambda file, name, old: file.__setitem__(name, h5py.SoftLink(name)),
    "elsewhere": lambda file, name, old: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", name)),
    "bytes elsewhere": lambda file, name, old: file.create_dataset(
        name, (4, old.shape[1]), "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]
    ),
    "compressed": lambda file, name, old: file.create_dataset(name, data=old, chunks=True, compression="lzf"),
    "big-endian": lambda file, name, old: file.create_dataset(name, data=old.astype(">f4")),
}


def anywhere(length: int) -> st.SearchStrategy[int]:
    """A place in so many bytes, the first of them, which say what the rest is, more often."""
    return st.integers(0, min(256, length)) | st.integers(0, length)


def of_bytes(length: int) -> st.SearchStrategy[Mutation]:
    """What can be done to any file."""
    place, some = anywhere(length), st.integers(1, max(1, length // 2)) | st.integers(1, 16)
    put = st.sampled_from(NUMBERS) | st.binary(min_size=1, max_size=8)
    return st.one_of(
        st.builds(Flip, place, st.integers(0, 7)),
        st.builds(Cut, place),
        st.builds(Drop, place, some),
        st.builds(Splice, place, some, place),
        st.builds(Put, place, put),
        st.builds(Insert, place, put),
    )


def of_text(length: int) -> st.SearchStrategy[Mutation]:
    """What can be done to any text."""
    place, word = anywhere(length), st.sampled_from(WORDS)
    return st.one_of(
        st.builds(Word, st.integers(0, 400), word),
        st.builds(Insert, place, word),
        st.builds(Line, st.integers(0, 40), st.sampled_from((0, 2))),
        st.builds(Long, place, st.integers(0, len(LONG) - 1)),
    )


def of_json() -> st.SearchStrategy[Json]:
    """What can be done to JSON, whole or in lines, so that it stays JSON or nearly."""
    return st.builds(Json, st.integers(0, 60), st.none() | st.integers(0, len(LITERALS) - 1))


def of_zip(length: int) -> st.SearchStrategy[Mutation]:
    """What can be done to a zip whose first entry is what matters most."""
    number, inner = st.integers(0, 3) | st.integers(0, 200), of_bytes(4_000) | of_text(4_000)
    spoilt = st.builds(Entry, number, st.none() | inner, st.booleans())
    return st.one_of(spoilt, spoilt, st.builds(Bomb, number), claims())


def claims() -> st.SearchStrategy[Mutation]:
    """Entries of a zip that say that they are larger than the file."""
    return st.builds(Claim, st.integers(0, 200), st.sampled_from((1 << 31, 1 << 34, 1 << 62)))


NOT_FINITE = (float("nan"), float("inf"), float("-inf"))


def of_file(name: str, length: int) -> st.SearchStrategy[Mutation]:
    """What suits a file, by its ending."""
    ending = name.rpartition(".")[2]
    numbers = st.integers(0, 10_000)
    suited: dict[str, list[st.SearchStrategy[Mutation]]] = {
        "json": [of_json(), of_json(), of_text(length)],
        "jsonl": [of_json(), of_json(), of_text(length)],
        "csv": [of_text(length)],
        "txt": [of_text(length)],
        "tsv": [of_text(length)],
        "bin": [st.builds(Weight, numbers, st.sampled_from(NOT_FINITE), st.just(False))],
        "safetensors": [
            st.builds(Header, of_json()),
            st.builds(Weight, numbers, st.sampled_from((*NOT_FINITE, 3e38))),
        ],
        "hdf5": [st.builds(Dataset, st.integers(0, 30), st.sampled_from(sorted(DATASETS)))],
        "ckpt": [of_zip(length)],
        "pt": [of_zip(length), st.builds(State, numbers, st.none() | st.sampled_from(sorted(VALUES)))],
    }
    kinds = suited.get(ending, [])
    return st.one_of(*kinds, of_bytes(length)) if kinds else of_bytes(length)
