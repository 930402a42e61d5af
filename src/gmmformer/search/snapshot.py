"""A library at one moment, as searches see it: which windows there are, whose they are, where their vectors lie."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gmmformer.errors import InputError
from gmmformer.media.films import printable
from gmmformer.model.pooling import concatenated_ranges
from gmmformer.search.database import damaged, records_in, rows_of
from gmmformer.search.parts import MappedPart, part_path
from gmmformer.search.tables import WINDOWS
from gmmformer.search.vectors import Records, VectorFormat

SAMPLE = 256
"""Windows that stand for the library where its background is wanted."""
NEAR_BYTES = 3 * 2**28
"""The first vectors of a library, so many bytes of them, are read where they lie, which is fastest. Linux holds 64 KiB
and more around what is read of a mapped file, so some thousand searches would hold all that is read like that."""
_CHUNK = 50_000
_SCAN, _APART = 64, 2
"""Of the others, so many at least, on average no further apart than that, are too; the rest is copied."""


class MappedRecords(NamedTuple):
    """The records of a part, mapped."""

    vectors: MappedPart
    heads: MappedPart


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """The windows that are there, in the order in which they came; a window's place in it is its slot.

    Windows of a film follow each other. Nothing of it changes; a library that grew gives another.
    """

    generation: int
    """Of the library; grows with every change."""
    layout: int
    """Grows when records move."""
    windows: Int[np.ndarray, "slots"]
    """Ids, ascending."""
    films: Int[np.ndarray, "films"]
    """Ids, ascending."""
    starts: Int[np.ndarray, "films"]
    """First slot of each film."""
    part: Int[np.ndarray, "slots"]
    record: Int[np.ndarray, "slots"]
    parts: dict[int, MappedRecords]
    format: VectorFormat

    @cached_property
    def film_of(self) -> Int[np.ndarray, "slots"]:
        """The film, as an index into `films`, of each slot."""
        return np.repeat(np.arange(len(self.films), dtype=np.int32), self.counts)

    @cached_property
    def counts(self) -> Int[np.ndarray, "films"]:
        """Windows of each film."""
        return np.diff(self.starts, append=len(self.windows))

    @cached_property
    def sampled(self) -> Records:
        """The records of windows drawn once for all; of all windows of a small library."""
        return self.records(np.sort(np.random.default_rng(9527).permutation(len(self.windows))[:SAMPLE]))

    @cached_property
    def middle(self) -> Float[np.ndarray, "dim"]:
        """The mean of the vectors of all clips, by the sample."""
        return np.asarray(self._of_clips(self.sampled).mean((0, 1)).numpy())

    def medians(self, queries: Float[np.ndarray, "queries dim"]) -> Float[np.ndarray, "queries"]:
        """What the window in the middle scores for each query, by the sample."""
        return np.asarray(np.median(self._sampled_scores(queries), axis=1))

    def spreads(self, queries: Float[np.ndarray, "queries dim"]) -> Float[np.ndarray, "queries"]:
        """The standard deviation of what windows score for each query, by the sample."""
        return np.asarray(np.std(self._sampled_scores(queries), axis=1))

    def _sampled_scores(self, queries: Float[np.ndarray, "queries dim"]) -> Float[np.ndarray, "queries sample"]:
        return self.format.score(queries, self.sampled, np.arange(len(self.sampled.vectors)))

    def slots_of_windows(self, windows: Int[np.ndarray, "n"]) -> tuple[Int[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
        """The slots of some windows (ids), and whether they are there; slots of those that are not mean nothing."""
        places = windows - self.windows[0] if self._gapless else np.searchsorted(self.windows, windows)
        slots = np.clip(places, 0, len(self.windows) - 1)
        return slots, np.asarray(self.windows[slots] == windows)

    @cached_property
    def _gapless(self) -> bool:
        return int(self.windows[-1] - self.windows[0]) + 1 == len(self.windows)

    def films_among(self, slots: Int[np.ndarray, "n"]) -> Int[np.ndarray, "some"]:
        """Where in some slots, which are in order, those of each film begin."""
        return np.flatnonzero(np.diff(self.film_of[slots], prepend=-1))

    def slots_of(self, films: Int[np.ndarray, "n"]) -> Int[np.ndarray, "slots"]:
        """The slots of some films (indices into `films`), film after film."""
        return concatenated_ranges(self.starts[films], self.counts[films])

    def records(self, slots: Int[np.ndarray, "n"]) -> Records:
        """Copies of the records of some slots, in their order."""
        vectors = np.empty((len(slots), self.format.vector_bytes), dtype=np.uint8)
        heads = np.empty((len(slots), self.format.head_bytes), dtype=np.uint8)
        for here, number, at in self._places(slots):
            part = self.parts[number]
            vectors[here], heads[here] = part.vectors.copied(at), part.heads.copied(at)
        return Records(vectors, heads)

    def fused(self, slots: Int[np.ndarray, "n"]) -> Float[Tensor, "n clips dim"]:
        """One vector for each clip of some slots, in float32: its own and the mean of the frames in its place.

        Raises:
            InputError: They are not finite, or cannot be read.
        """
        vectors = self._of_clips(self.records(slots))
        self._check_finite(bool(torch.isfinite(vectors).all()))
        return vectors

    def _of_clips(self, records: Records) -> Float[Tensor, "n clips dim"]:
        vectors, clips = self.format.decode(records), self.format.clips
        if not self.format.frames:
            return vectors
        of_frames = vectors[:, clips:].reshape(len(vectors), clips, -1, self.format.dim)
        return vectors[:, :clips] + of_frames.mean(2)

    def clip_scores(self, query: Float[np.ndarray, "dim"], slots: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n clips"]:
        """The exact score of every clip of some slots."""
        scores = np.empty((len(slots), self.format.clips), dtype=np.float32)
        for here, records, at in self._read(slots):
            piece = np.empty((1, len(at), self.format.clips), dtype=np.float32)
            self.format.score(query[None], records, at, scores=piece)
            scores[here] = piece[0]
        self._check_finite(bool(np.isfinite(scores).all()))
        return scores

    def score(
        self,
        queries: Float[np.ndarray, "queries dim"],
        slots: Int[np.ndarray, "n"],
        firsts: Int[np.ndarray, "n"] | None = None,
    ) -> Float[np.ndarray, "queries n"]:
        """The exact score of the best clip of some slots, or of a stretch of each; see `VectorFormat.score`."""
        scores = np.empty((len(queries), len(slots)), dtype=np.float32)
        for here, records, at in self._read(slots):
            scores[:, here] = self.format.score(queries, records, at, None if firsts is None else firsts[here])
        self._check_finite(bool(np.isfinite(scores).all()))
        return scores

    def _read(
        self, slots: Int[np.ndarray, "n"]
    ) -> Iterator[tuple[Int[np.ndarray, "some"] | slice, Records, Int[np.ndarray, "some"]]]:
        """Part by part: which of some slots lie in it, its records, and where among these they are."""
        for here, number, at in self._places(slots):
            vectors, heads = self.parts[number]
            near = self._near[number]
            if len(at) >= _SCAN and np.ptp(at) < _APART * len(at):
                near = vectors.records
            yield here, Records(vectors.rows, heads.rows, vectors, near), at
            vectors.check_whole()
            heads.check_whole()

    def _check_finite(self, finite: bool) -> None:
        if not finite:
            folder = next(iter(self.parts.values())).vectors.path.parent
            raise InputError(
                f"{folder}: not all its vectors are finite numbers, so nothing can be ranked by them; `gmmformer "
                "library DIR verify` names the films, index these again"
            )

    @property
    def whole(self) -> bool:
        """Whether all records are there, and were whenever they were read."""
        return all(part.vectors.whole and part.heads.whole for part in self.parts.values())

    @cached_property
    def _near(self) -> dict[int, int]:
        """How many records of each part, its first, are always read where they lie."""
        left, counts = NEAR_BYTES // self.format.vector_bytes, {}
        for number, part in self.parts.items():
            counts[number] = min(left, part.vectors.records)
            left -= counts[number]
        return counts

    def _places(
        self, slots: Int[np.ndarray, "n"]
    ) -> Iterator[tuple[Int[np.ndarray, "some"] | slice, int, Int[np.ndarray, "some"]]]:
        """Part by part: which of some slots lie in it, its number, and where in it they are."""
        numbers, record = self.part[slots], self.record[slots]
        if len(slots) and (numbers == numbers[0]).all():
            yield slice(None), int(numbers[0]), record
            return
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            yield here, int(number), record[here]


def read_snapshot(
    connection: sqlite3.Connection, folder: Path, vectors: VectorFormat, last: Snapshot | None = None
) -> Snapshot:
    """The library in `folder` as its database has it now; where `last` is of the same layout only what is new is read.

    Raises:
        InputError: What the database says cannot be, or a part is missing or too short.
    """
    (generation, layout), *_ = rows_of(connection, folder, "state", "generation, layout")
    if last is not None and last.layout == layout:
        if last.generation == generation:
            return last
        known: int | None = int(last.windows[-1]) if len(last.windows) else 0
        gone = connection.execute("SELECT id FROM films WHERE removed > ?", (last.generation,)).fetchall()
        old = np.stack([last.windows, last.films[last.film_of], last.part, last.record])
        if gone:
            old = old[:, ~np.isin(old[1], np.array([row[0] for row in gone], dtype=np.int64))]
    else:
        known, old = None, np.empty((4, 0), dtype=np.int64)
    new = live_windows(connection, folder, "w.id, w.film, w.part, w.record", known)
    windows, films, part, record = np.concatenate([old, new], axis=1)
    sizes = records_in(connection, folder, WINDOWS)
    check_places(folder, windows, part, record, sizes)
    if (np.diff(windows) <= 0).any() or (np.diff(films) < 0).any():
        raise damaged(folder, "the windows of a film do not follow each other")
    starts = np.flatnonzero(np.diff(films, prepend=-1))
    parts = {
        number: MappedRecords(
            vectors=MappedPart(part_path(folder, "vectors", number), records, vectors.vector_bytes),
            heads=MappedPart(part_path(folder, "heads", number), records, vectors.head_bytes),
        )
        for number, records in sizes.items()
    }
    return Snapshot(
        generation=generation,
        layout=layout,
        windows=windows,
        films=films[starts],
        starts=starts,
        part=part.astype(np.int32),
        record=record,
        parts=parts,
        format=vectors,
    )


def live_windows(
    connection: sqlite3.Connection, folder: Path, columns: str, after: int | None = None, removed: Sequence[int] = ()
) -> Int[np.ndarray, "columns windows"]:
    """Columns of every window that is there and comes after one, by id: in the order of its part and record too.

    Those of films that were `removed`, by their ids, come along.

    Raises:
        InputError: They hold something else than whole numbers from 0 on.
    """
    later, values = ("", ()) if after is None else (" AND w.id > ?", (after,))
    cursor = connection.execute(
        f"SELECT {columns} FROM windows w JOIN films f ON f.id = w.film "
        f"WHERE (f.removed IS NULL OR f.id IN (SELECT value FROM json_each(?))){later} ORDER BY w.id",
        (json.dumps([*removed]), *values),
    )
    pieces = [np.empty((0, len(cursor.description)), dtype=np.int64)]
    while rows := cursor.fetchmany(_CHUNK):
        try:
            pieces.append(np.array(rows))
        except (ValueError, OverflowError):
            pieces.append(np.array(rows, dtype=object))
        if pieces[-1].dtype != np.int64 or pieces[-1].min() < 0 or pieces[-1].max() > 2**40:
            wrong = next(row for row in rows if any(type(n) is not int or not 0 <= n <= 2**40 for n in row))
            raise damaged(folder, f"what it says of window {printable(str(wrong[0])[:40])} cannot be")
    return np.ascontiguousarray(np.concatenate(pieces).T)


def check_places(
    folder: Path,
    windows: Int[np.ndarray, "n"],
    part: Int[np.ndarray, "n"],
    record: Int[np.ndarray, "n"],
    sizes: dict[int, int],
) -> None:
    """See to it that the windows lie in parts of these sizes.

    Raises:
        InputError: One does not.
    """
    numbers, counts = np.array([*sizes, -1]), np.array([*sizes.values(), 0])
    order = np.argsort(numbers)
    place = order[np.searchsorted(numbers[order], part).clip(max=len(order) - 1)]
    lost = (numbers[place] != part) | (record >= counts[place])
    if lost.any():
        first = int(np.argmax(lost))
        raise damaged(
            folder, f"window {windows[first]} is to be record {record[first]} of part {part[first]}, which has none"
        )
