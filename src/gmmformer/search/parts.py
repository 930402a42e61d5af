"""Append-only files of records of one size. What the database counts is there; what lies behind it is nobody's."""

import errno
import os
import stat
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

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


def checksum(seed: object, *data: UInt8[np.ndarray, "bytes"]) -> int:
    """CRC-32 of what a record is about and of its bytes, so that a record in a wrong place is noticed too."""
    value = zlib.crc32(repr(seed).encode("utf-8", "backslashreplace"))
    for some in data:
        value = zlib.crc32(np.ascontiguousarray(some).data, value)
    return value
