"""Which rows of the feature matrix belong to which video."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from gmmformer.data.frame_names import FrameNames


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
