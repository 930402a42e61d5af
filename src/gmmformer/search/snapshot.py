"""A library at one moment, as searches see it: which windows there are, whose they are, where their vectors lie."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from gmmformer.model import fused_clip_scores
from gmmformer.search.hits import medians_and_spreads
from gmmformer.search.vectors import Records, VectorFormat

SAMPLE = 256
"""Windows that stand for the library where its background is wanted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """The mapped records of one part."""

    vectors: UInt8[np.ndarray, "records bytes"]
    heads: UInt8[np.ndarray, "records bytes"]


class Block(NamedTuple):
    """Records that follow each other, mapped rather than copied, and the slots among them."""

    slots: slice
    places: Int[np.ndarray, "slots"]
    """Where in the block each slot is; other records belong to films that were removed."""
    records: Records


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
    parts: dict[int, Part]
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
    def sample(self) -> Float[Tensor, "sample clips dim"]:
        """The fused vectors of windows drawn once for all; of all windows of a small library."""
        return self.format.decode(self.sampled)

    @cached_property
    def sampled(self) -> Records:
        """The records of these windows."""
        return self.records(np.sort(np.random.default_rng(9527).permutation(len(self.windows))[:SAMPLE]))

    @cached_property
    def typical_spread(self) -> float:
        """How far apart windows of the sample score, if what others of it show in their middle is asked for."""
        if len(self.sample) < 2:
            return 0.0
        asked = F.normalize(self.sample[:, self.format.clips // 2], dim=-1)
        scores = fused_clip_scores(asked, self.sample).amax(-1).numpy()
        others = scores[~np.eye(len(scores), dtype=bool)].reshape(len(scores), -1)
        return float(np.median(medians_and_spreads(others)[1]))

    def slots_of(self, films: Int[np.ndarray, "n"]) -> Int[np.ndarray, "slots"]:
        """The slots of some films (indices into `films`), film after film."""
        counts = self.counts[films]
        ends = np.cumsum(counts)
        return np.asarray(np.arange(counts.sum()) + np.repeat(self.starts[films] - (ends - counts), counts))

    def best_of_films(
        self, scores: Float[np.ndarray, "queries slots"], since: int = 0
    ) -> Float[np.ndarray, "queries films"]:
        """Each film's score, that of its best window, from scores of the slots from `since` on, a film's first."""
        starts = self.starts[np.searchsorted(self.starts, since) :] - since
        best: np.ndarray = scores if scores.shape[1] == len(starts) else np.maximum.reduceat(scores, starts, axis=1)
        return best

    def records(self, slots: Int[np.ndarray, "n"]) -> Records:
        """Copies of the records of some slots, in their order."""
        vectors = np.empty((len(slots), self.format.vector_bytes), dtype=np.uint8)
        heads = np.empty((len(slots), self.format.head_bytes), dtype=np.uint8)
        part, record = self.part[slots], self.record[slots]
        for number in np.unique(part):
            here = np.flatnonzero(part == number)
            vectors[here] = self.parts[int(number)].vectors[record[here]]
            heads[here] = self.parts[int(number)].heads[record[here]]
        return Records(vectors, heads)

    def fused(self, slots: Int[np.ndarray, "n"]) -> Float[Tensor, "n clips dim"]:
        """The fused vectors of some slots, in float32."""
        return self.format.decode(self.records(slots))

    def clip_scores(self, query: Float[np.ndarray, "dim"], slots: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n clips"]:
        """The exact score of every clip of some slots."""
        step = max(1, 2**26 // (4 * self.format.clips * self.format.dim))
        vector = torch.from_numpy(query)
        some = [
            self.format.scores(vector, self.records(slots[first : first + step]))
            for first in range(0, len(slots), step)
        ]
        return np.asarray(torch.cat(some).numpy()) if some else np.empty((0, self.format.clips), dtype=np.float32)

    def blocks(self, windows: int, since: int = 0) -> Iterator["Block"]:
        """The library from slot `since` on, part by part, in blocks of at most `windows` records."""
        for number, part in self.parts.items():
            low, high = np.maximum(since, np.searchsorted(self.part, [number, number + 1]))
            record = self.record[low:high]
            for first in range(int(record[0]), int(record[-1]) + 1, windows) if len(record) else ():
                begin, end = np.searchsorted(record, [first, first + windows])
                if begin == end:
                    continue
                rows = slice(first, int(record[end - 1]) + 1)
                yield Block(
                    slots=slice(int(low + begin), int(low + end)),
                    places=record[begin:end] - first,
                    records=Records(part.vectors[rows], part.heads[rows]),
                )
