"""Append-only files of records of one size. What the database counts is there; what lies behind it is nobody's.

Readers map them where they read all, and copy where they want few records. What is read of a mapped file counts as the
process's memory until the system wants it back, which may be never, and Linux maps 64 KiB and more around each byte:
some thousand searches of a few records each would hold the whole library. Copied, they hold nothing. What is read of a
mapped file that somebody cuts off meanwhile is nought (see `guarded`), so whoever reads `rows` asks afterwards whether
the part was `whole`.
"""

import errno
import mmap
import os
import stat
import weakref
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from gmmformer.errors import InputError
from gmmformer.files import synced

PATTERN = "part-*.bin"
"""The names of all parts of a library, for those who look for left-overs."""


def part_path(folder: Path, kind: str, number: int) -> Path:
    """Where a part lies; `kind` says what its records are."""
    return folder / f"part-{number:06d}-{kind}.bin"


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file of a library: an ordinary file in its own folder, whatever else somebody put in its place.

    Raises:
        InputError: It is a link, a folder, a pipe or a device.
        OSError: It is missing, or cannot be opened.
    """
    try:
        file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)  # a pipe does not hold us up
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise _no_file(path) from error
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise _no_file(path)


def _no_file(path: Path) -> InputError:
    return InputError(
        f"{path}: is a link, a folder, a pipe or a device, where the library keeps a file of its own; put the file "
        "itself there, from where it was moved to or from a backup"
    )


def append(path: Path, at: int, records: UInt8[np.ndarray, "records bytes"]) -> None:
    """Write records behind the first `at` of a part, over whatever a killed writer left there, down to the disk.

    Raises:
        OSError: The disk is full or fails. The file may have grown; the first `at` records are as they were.
    """
    if not records.size:
        return
    new = not path.exists()
    data = memoryview(np.ascontiguousarray(records).data).cast("B")
    descriptor = open_own(path, os.O_WRONLY | os.O_CREAT)
    try:
        offset = at * records.shape[1]
        while data:
            written = os.pwrite(descriptor, data, offset)
            offset, data = offset + written, data[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if new:
        synced(path.parent)


def truncate(path: Path, size: int) -> None:
    """Give back what lies behind the first `size` bytes of a part."""
    try:
        descriptor = open_own(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        if os.fstat(descriptor).st_size > size:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def file_checksum(path: Path) -> int:
    """CRC-32 of all of a file of a library, as long as it is when this begins.

    Raises:
        InputError: It is no ordinary file.
        OSError: It is missing, or cannot be read.
    """
    value = 0
    with os.fdopen(open_own(path), "rb") as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0 and (data := file.read(min(left, 2**25))):
            value, left = zlib.crc32(data, value), left - len(data)
    return value


def checksum(seed: object, *data: UInt8[np.ndarray, "..."]) -> int:
    """CRC-32 of what a record is about and of its bytes, so that a record in a wrong place is noticed too."""
    value = zlib.crc32(repr(seed).encode("utf-8", "backslashreplace"))
    for some in data:
        value = zlib.crc32(np.ascontiguousarray(some).data, value)
    return value


class MappedPart:
    """The first records of a part."""

    def __init__(self, path: Path, records: int, record_bytes: int) -> None:
        """Open a part of at least `records` records of `record_bytes` bytes.

        Raises:
            InputError: The part is missing, shorter than that, or cannot be read.
        """
        self.path, self.file, self.records, self.width = path, -1, records, record_bytes
        if not records * record_bytes:
            return
        try:
            self.file = open_own(path)
        except FileNotFoundError as error:
            raise InputError(
                f"{path}: this part of the library is missing; restore it from a backup, or index the films anew"
            ) from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
        weakref.finalize(self, os.close, self.file)
        self.check_whole()

    @cached_property
    def rows(self) -> UInt8[np.ndarray, "records bytes"]:
        """All records, mapped when this is first asked for. Private pages: writing to them would change no file.

        Raises:
            InputError: The part was cut off, or there is no room for it.
        """
        from gmmformer.search.kernels import guarded

        if self.file < 0:
            return np.empty((self.records, self.width), dtype=np.uint8)
        self.check_whole()
        try:
            memory = mmap.mmap(self.file, self.records * self.width, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: cannot be mapped ({error}); free some memory, or try again") from error
        rows = np.frombuffer(memory, dtype=np.uint8).reshape(self.records, self.width)
        self._lost = guarded(memory, rows.ctypes.data)
        return rows

    _lost: Int[np.ndarray, "1"] | None = None
    """How many pages of the mapping were not there when they were read."""

    @property
    def whole(self) -> bool:
        """Whether all records are there, and were whenever one of them was read."""
        return self.file < 0 or (
            os.fstat(self.file).st_size >= self.records * self.width and (self._lost is None or not self._lost[0])
        )

    def check_whole(self) -> None:
        """See to it that all records are there, and were whenever one of them was read.

        Raises:
            InputError: They are not.
        """
        if not self.whole:
            there, counted = os.fstat(self.file).st_size, self.records * self.width
            raise InputError(
                f"{self.path}: has {there:,} bytes, but the library counts {counted:,} in it; it was cut off: copy it "
                "again, or index the films anew"
                if there < counted
                else f"{self.path}: was cut off while it was read, and is whole again; ask again"
            )

    def copied(self, at: Int[np.ndarray, "some"]) -> UInt8[np.ndarray, "some bytes"]:
        """Copies of some records.

        Raises:
            InputError: They cannot be read.
        """
        from gmmformer.search.kernels import read_each

        copies = np.empty((len(at), self.width), dtype=np.uint8)
        if copies.size:
            self.check(at, read_each(self.file, np.ascontiguousarray(at, dtype=np.int64), copies))
        return copies

    def check(self, at: Int[np.ndarray, "some"], wrong: int) -> None:
        """Say that a record of some could not be read, as the compiled loops tell: which of them, -1 for none.

        Raises:
            InputError: So it is.
        """
        if wrong >= 0:
            raise InputError(
                f"{self.path}: record {at[wrong]} cannot be read; the disk fails, or the file was cut off: copy it "
                "again, or index the films anew"
            )
