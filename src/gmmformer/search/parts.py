"""Append-only files of records of one size. What the database counts is there; what lies behind it is nobody's."""

import os
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

PATTERN = "part-*.bin"
"""The names of all parts of a library, for those who look for left-overs."""


def part_path(folder: Path, kind: str, number: int) -> Path:
    """Where a part lies; `kind` says what its records are."""
    return folder / f"part-{number:06d}-{kind}.bin"


def append(path: Path, at: int, records: UInt8[np.ndarray, "records bytes"]) -> None:
    """Write records behind the first `at` of a part, over whatever a killed writer left there, down to the disk.

    Raises:
        OSError: The disk is full or fails. The file may have grown; the first `at` records are as they were.
    """
    if not records.size:
        return
    new = not path.exists()
    data = memoryview(np.ascontiguousarray(records).data).cast("B")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        offset = at * records.shape[1]
        while data:
            written = os.pwrite(descriptor, data, offset)
            offset, data = offset + written, data[written:]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if new:
        sync_folder(path.parent)


def truncate(path: Path, size: int) -> None:
    """Give back what lies behind the first `size` bytes of a part; nobody has it mapped."""
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)


def sync_folder(folder: Path) -> None:
    """Bring the names of a folder's files down to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(seed: object, *data: UInt8[np.ndarray, "bytes"]) -> int:
    """CRC-32 of what a record is about and of its bytes, so that a record in a wrong place is noticed too."""
    value = zlib.crc32(repr(seed).encode("utf-8", "backslashreplace"))
    for some in data:
        value = zlib.crc32(np.ascontiguousarray(some).data, value)
    return value
