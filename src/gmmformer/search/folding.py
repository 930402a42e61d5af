"""Films that show the same thing, such as other encodings of one film: found together, they are one hit."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gmmformer.search.engines.exact import Found
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Film
from gmmformer.search.windows import clips_at

ALIKE = 0.85
"""From which likeness on two films show the same thing; docs/search.md has what was measured."""
LOOKS, STRETCHES = 32, 8
"""Films are looked at so many times, evenly spaced, and compared by the means of so many stretches."""
SECONDS, SHARE = 1.0, 0.005
"""By how much the lengths of copies may differ: seconds, or a share of the longer one."""
BEYOND = 8
"""Films that are found beyond those wanted, so that copies of the last ones are known too."""
_TOGETHER = 256

Find = Callable[[Int[np.ndarray, "some"], int], list[Found]]
"""The best films for some queries, by their places, so many for each."""
Spans = dict[int, tuple[Film, Float[np.ndarray, "windows clips 2"]]]
"""Films, by their index in a snapshot, each with the seconds of the clips of its windows."""


class Folded(NamedTuple):
    """The best films for a query, each but once."""

    found: Found
    copies: dict[int, list[int]]
    """The films (indices into the snapshot's) that show the same as one of these, best first."""


def search_folded(
    snapshot: Snapshot,
    queries: int,
    k: int,
    find: Find,
    spans_of: Callable[[Int[np.ndarray, "films"]], Spans],
) -> list[Folded]:
    """The k best films for each query that show different things; only films that are found are compared.

    Args:
        snapshot: Of the library.
        queries: How many.
        k: Films wanted.
        find: Finds that many films for queries; asked again for twice as many where too few are different.
        spans_of: Of some films.
    """
    folded: dict[int, Folded] = {}
    left, count = np.arange(queries), k + BEYOND
    while len(left):
        found = find(left, count)
        spans = spans_of(np.unique(np.concatenate([some.films for some in found])))
        for query, some in zip(left.tolist(), found, strict=True):
            folded[query] = _folded(snapshot, some, k, spans)
        short = [
            len(folded[query].found.films) < k and len(some.films) == count
            for query, some in zip(left.tolist(), found, strict=True)
        ]
        left, count = left[short], 2 * count
    return [folded[query] for query in range(queries)]


def _folded(snapshot: Snapshot, found: Found, k: int, spans: Spans) -> Folded:
    lengths = np.array([spans[film][0].length if film in spans else np.nan for film in found.films.tolist()])
    paired = np.flatnonzero(_paired(lengths))
    leaders = np.ones(len(lengths), dtype=bool)
    copies: dict[int, list[int]] = {}
    seen, looks = paired[:0], np.empty((0, STRETCHES * snapshot.format.dim), dtype=np.float32)
    for first in range(0, len(paired), _TOGETHER):
        some = paired[first : first + _TOGETHER]
        seen, looks = np.concatenate([seen, some]), np.concatenate([looks, _looks(snapshot, found.films[some], spans)])
        squares, new = (looks**2).sum(1), len(seen) - len(some)
        products = (torch.from_numpy(looks[new:]) @ torch.from_numpy(looks).T).numpy()  # numpy's has threads of its own
        alike = 2 * products >= ALIKE * (squares[new:, None] + squares)
        alike &= np.abs(lengths[some][:, None] - lengths[seen]) <= _tolerance(lengths[seen])
        for place in range(new, len(seen)):
            before = np.flatnonzero(alike[place - new, :place] & leaders[seen[:place]])
            if len(before):
                leaders[seen[place]] = False
                leader = int(found.films[seen[before[0]]])
                copies.setdefault(leader, []).append(int(found.films[seen[place]]))
        seen, looks = seen[leaders[seen]], looks[leaders[seen]]
    best = np.flatnonzero(leaders)[:k]
    return Folded(Found(found.films[best], found.scores[best]), copies)


def _paired(lengths: Float[np.ndarray, "films"]) -> Bool[np.ndarray, "films"]:
    """Which films are as long as another one."""
    order = np.argsort(lengths)
    near = np.diff(lengths[order]) <= _tolerance(lengths[order])[1:]
    paired = np.zeros(len(lengths), dtype=bool)
    paired[order[1:][near]] = paired[order[:-1][near]] = True
    return paired


def _tolerance(lengths: Float[np.ndarray, "films"]) -> Float[np.ndarray, "films"]:
    return np.maximum(SECONDS, SHARE * lengths)


def _looks(snapshot: Snapshot, films: Int[np.ndarray, "films"], spans: Spans) -> Float[np.ndarray, "films numbers"]:
    """What is seen in stretches of each film, less what is seen in the library on the whole.

    So two films of a library of films that are much alike are held to what they differ in.
    """
    windows, clips = np.empty((2, len(films), LOOKS), dtype=np.int64)
    for row, film in enumerate(films.tolist()):
        windows[row], clips[row] = clips_at(spans[film][1], LOOKS)
    slots, place = np.unique(snapshot.starts[films][:, None] + windows, return_inverse=True)
    seen = snapshot.fused(slots).numpy()[place.reshape(windows.shape), clips] - snapshot.middle
    return np.asarray(seen.reshape(len(films), STRETCHES, LOOKS // STRETCHES, -1).mean(2).reshape(len(films), -1))
