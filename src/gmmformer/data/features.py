"""Video features in the MS-SL layout: one big matrix on disk, mapped, and which of its rows belong to which video."""

import mmap
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gmmformer.data.rows import RowTable, locate_rows, read_frame_names
from gmmformer.errors import InputError, one_line, suggest
from gmmformer.files import lookalikes, read_bounded
from gmmformer.presets import PRESETS

_WILL_NEED: int | None = getattr(mmap, "MADV_WILLNEED", None)  # not on Windows
_WHITE = bytes.maketrans(b"\t\n\r\x0b\x0c", b"     ")


class FrameFeatures:
    """The features of every video of a collection: `feature.bin` mapped read-only, never copied into memory as a whole.

    Opening reads the names (TVR: about half a second) and keeps first and last row per video. Objects may be
    used from several threads and sent to other processes, which map the file anew.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], table: RowTable) -> None:
        """Use `open`, which reads and checks `shape` and `table`."""
        self.folder = folder
        self.rows, self.dim = shape
        self._table = table
        self._names = folder / "video2frames.txt"
        self._index = {video_id: index for index, video_id in enumerate(table.video_ids)}
        self._map()

    @classmethod
    def open(cls, folder: Path) -> "FrameFeatures":
        """The features in FeatureData/FEATURE.

        Raises:
            InputError: A file is missing, or shape.txt, id.txt, feature.bin or times.npy do not fit each other, or
                video2frames.txt is no literal of the right shape.
        """
        shape = read_shape(folder)
        check_size(folder, shape)
        row_names = read_row_names(folder, shape[0])
        table = locate_rows(read_frame_names(folder / "video2frames.txt"), row_names)
        return cls(folder, shape, table)

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Every video of video2frames.txt, in its order."""
        return self._table.video_ids

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._index

    def count_of(self, video_id: str) -> int:
        """How many rows the video has; errors as of `rows_of`."""
        rows = self.rows_of(video_id)
        return rows.stop - rows.start if isinstance(rows, slice) else len(rows)

    def rows_of(self, video_id: str) -> slice | Int[np.ndarray, "frames"]:
        """The video's rows in feature.bin: a slice where they follow each other there, as they do in published files.

        Raises:
            InputError: The video is unknown, has no rows, or names a row that is not in id.txt.
        """
        index = self._index.get(video_id)
        if index is None:
            raise InputError(
                f"{self._names}: there is no entry for video {video_id!r}; add it or remove its captions"
                f" (`gmmformer check-data` lists everything that is missing){lookalikes(video_id, self._index)}"
            )
        if index in self._table.unknown:
            raise InputError(
                f"{self._names}: video {video_id!r} names the row {self._table.unknown[index]!r}, which is not in"
                " id.txt; make the two files agree (`gmmformer check-data` lists all such videos)"
            )
        if index in self._table.scattered:
            return self._table.scattered[index]
        start, stop = self._table.starts[index], self._table.stops[index]
        if start == stop:
            raise InputError(
                f"{self._names}: video {video_id!r} has no rows, so it cannot be embedded; extract its features or"
                " remove its captions (`gmmformer check-data` lists all such videos)"
            )
        return slice(int(start), int(stop))

    def features_of(self, video_id: str) -> Float[np.ndarray, "frames dim"]:
        """A copy of the video's rows, float32, in the order of the film, as they are on disk (not normalised).

        Raises:
            InputError: As for `rows_of`.
        """
        return np.array(self._matrix[self.rows_of(video_id)])

    def views_of(self, video_ids: Iterable[str]) -> list[Float[np.ndarray, "_frames dim"]]:
        """The rows of several videos, still in the mapped file where they follow each other there.

        The system is asked at once for all the pages that are not in memory yet, which more than doubles the speed
        at which a disk delivers videos in random order.

        Raises:
            InputError: As for `rows_of`.
        """
        rows = [self.rows_of(video_id) for video_id in video_ids]
        row_bytes = self.dim * 4
        for wanted in rows:
            if isinstance(wanted, slice) and _WILL_NEED is not None:
                begin = wanted.start * row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
                self._file.madvise(_WILL_NEED, begin, wanted.stop * row_bytes - begin)
        return [self._matrix[wanted] for wanted in rows]

    def seconds_of(self, video_id: str) -> Float[np.ndarray, "frames"] | None:
        """The second of its film at which each row was taken, float64; None where the folder has no times.npy.

        Raises:
            InputError: As for `rows_of`.
        """
        return None if self._seconds is None else np.array(self._seconds[self.rows_of(video_id)])

    def _map(self) -> None:
        path = self.folder / "feature.bin"
        try:
            with path.open("rb") as file:
                self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{path}: cannot be mapped ({error.strerror or error}); check its permissions") from error
        self._matrix = np.frombuffer(self._file, dtype="<f4", count=self.rows * self.dim).reshape(self.rows, self.dim)
        self._seconds = read_seconds(self.folder, self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "shape": (self.rows, self.dim), "table": self._table}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def read_shape(folder: Path) -> tuple[int, int]:
    """Rows and dims of feature.bin, from shape.txt.

    Raises:
        InputError: The file is missing or does not hold two whole numbers of at least 1.
    """
    path = folder / "shape.txt"
    words = _read(path).split()
    if len(words) != 2 or not all(re.fullmatch(rb"0*[1-9][0-9]{0,17}", word) for word in words):
        raise InputError(
            f"{path}: must hold 'ROWS DIM', two whole numbers of at least 1; write the shape of feature.bin there"
        )
    return int(words[0]), int(words[1])


def check_size(folder: Path, shape: tuple[int, int]) -> None:
    """See that feature.bin has as many bytes as shape.txt says.

    Raises:
        InputError: It has not, or is not there.
    """
    path = folder / "feature.bin"
    if not path.is_file():
        raise InputError(f"{path}: missing; it holds the rows that shape.txt announces, as float32")
    size, expected = path.stat().st_size, shape[0] * shape[1] * 4
    if size != expected:
        raise InputError(
            f"{path}: has {size:,} bytes, but shape.txt says {shape[0]} x {shape[1]} float32, which is {expected:,};"
            " the file is incomplete or shape.txt belongs to another one, so copy both again"
        )


def read_row_names(folder: Path, rows: int) -> bytes:
    """The names of all rows, joined by single spaces.

    Raises:
        InputError: id.txt is missing or does not hold one name per row.
    """
    names = _read(folder / "id.txt").translate(_WHITE).strip(b" ")
    while b"  " in names:
        names = names.replace(b"  ", b" ")
    count = names.count(b" ") + 1 if names else 0
    if count != rows:
        raise InputError(f"{folder / 'id.txt'}: holds {count} names, but shape.txt says {rows} rows; copy both again")
    return names


def read_seconds(folder: Path, rows: int) -> Float[np.ndarray, "rows"] | None:
    """The second of each row, mapped, from times.npy; None if there is no such file.

    Raises:
        InputError: The file does not hold one float64 per row.
    """
    path = folder / "times.npy"
    if not path.exists():
        return None
    try:
        seconds = np.lib.format.open_memmap(path, mode="r")  # an array alone: no archive, nothing pickled
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise InputError(
            f"{path}: is not a readable NumPy array ({one_line(error)}); write it with numpy.save or remove it"
        ) from error
    if seconds.shape != (rows,) or seconds.dtype != np.float64:
        raise InputError(f"{path}: must hold one float64 for each of the {rows} rows; write it again or remove it")
    return seconds


def _read(path: Path) -> bytes:
    try:
        return read_bounded(path, None)
    except FileNotFoundError:
        known = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise InputError(
            f"{path}: missing; {suggest(path.name, known) if known else 'there is no such folder'}"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path}: cannot be read ({why}); check its permissions") from error


def feature_of(root: Path, name: str, feature: str | None) -> str:
    """The folder under FeatureData to read: `feature`, else the published one, else the only one.

    Raises:
        InputError: It is not there, or there are several.
    """
    folder = root / name / "FeatureData"
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; ROOT/COLLECTION/FeatureData/FEATURE/feature.bin is where features are expected"
        )
    known = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if feature is None and name in PRESETS and PRESETS[name].feature in known:
        return PRESETS[name].feature
    if feature is None and len(known) == 1:
        return known[0]
    if not known:
        raise InputError(
            f"{folder}: holds no features; put a folder with feature.bin, id.txt, shape.txt, video2frames.txt there"
        )
    if feature is None:
        raise InputError(f"{folder}: holds several kinds of features ({', '.join(known)}); say which with --feature")
    if feature not in known:
        raise InputError(f"{folder / feature}: there are no such features; {suggest(feature, known)}")
    return feature
