"""Parts of a library as readers have them: mapped for those who read all, copied where few records are wanted.

What is read of a mapped file counts as the process's memory until the system wants it back, which may be never, and
Linux maps 64 KiB and more around each byte: some thousand searches of a few records each would hold the whole library.
Copied, they hold nothing.
"""

import mmap
import os
import weakref
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from gmmformer.errors import InputError


class MappedPart:
    """The first records of a part. Private pages: writing to them would change no file."""

    rows: UInt8[np.ndarray, "records bytes"]
    """All records, mapped."""

    def __init__(self, path: Path, records: int, record_bytes: int) -> None:
        """Map `records` records of `record_bytes` bytes.

        Raises:
            InputError: The part is missing, shorter than that, or cannot be read.
        """
        self.path, self.file, size = path, -1, records * record_bytes
        if not size:
            self.rows = np.empty((records, record_bytes), dtype=np.uint8)
            return
        try:
            self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self.file)
            there = os.fstat(self.file).st_size
            if there < size:
                raise InputError(
                    f"{path}: has {there:,} bytes, but the library counts {size:,} in it; it was cut off: copy it "
                    "again, or index the films anew"
                )
            memory = mmap.mmap(self.file, size, access=mmap.ACCESS_COPY)
        except FileNotFoundError as error:
            raise InputError(
                f"{path}: this part of the library is missing; restore it from a backup, or index the films anew"
            ) from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
        self.rows = np.frombuffer(memory, dtype=np.uint8).reshape(records, record_bytes)

    def copied(self, at: Int[np.ndarray, "some"]) -> UInt8[np.ndarray, "some bytes"]:
        """Copies of some records.

        Raises:
            InputError: They cannot be read.
        """
        from gmmformer.search.kernels import read_each

        copies = np.empty((len(at), self.rows.shape[1]), dtype=np.uint8)
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
