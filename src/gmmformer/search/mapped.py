"""Parts of a library as readers have them: mapped for those who read all, copied where few records are wanted.

What is read of a mapped file counts as the process's memory until the system wants it back, which may be never, and
Linux maps 64 KiB and more around each byte: some thousand searches of a few records each would hold the whole library.
Copied, they hold nothing. What is read of a mapped file that somebody cuts off meanwhile is nought (see `guarded`), so
whoever reads `rows` asks afterwards whether the part was `whole`.
"""

import mmap
import os
import weakref
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from gmmformer.errors import InputError
from gmmformer.search.parts import open_own


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
        from gmmformer.search.guard import guarded

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
