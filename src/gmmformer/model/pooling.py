"""From a video's rows to the clips and frames that the network sees: segment means, each of unit length.

NumPy alone: `gmmformer check-data` and `simulate` do not wait for torch.
"""

import numpy as np
from jaxtyping import Float, Int

_BLOCK_BYTES = 1 << 20


def segment_edges(frames: int, segments: int) -> Int[np.ndarray, "edges"]:
    """The segments + 1 edges of a video's segments: i / segments * frames, rounded half to even, at most frames - 1.

    Segment i is the mean of the rows from edge i up to, not including, edge i + 1; if there is none, the row at edge i.

    >>> segment_edges(5, 4)
    array([0, 1, 2, 4, 4])
    """
    edges = np.rint(np.arange(segments + 1) / segments * frames).astype(np.int64)
    return np.minimum(edges, frames - 1)


def pool_segments(
    rows: Float[np.ndarray, "rows dim"], lengths: Int[np.ndarray, "videos"], segments: int
) -> Float[np.ndarray, "videos segments dim"]:
    """The segment means of many videos at once, whose rows stand one video after the other.

    `lengths` are the rows of each video, at least 1 each. The result has the dtype of `rows`.

    Segments are taken a megabyte at a time, the longest first, and grow by one row per step; complete ones
    drop out. Several times as fast as `np.add.reduceat` at TVR's widths (benchmarks/data.py). A sparse
    product or an embedding bag of torch is as fast on an idle machine, but makes its threads wait for each other
    while the model computes in others.
    """
    edges = np.rint(np.arange(segments + 1) / segments * lengths[:, None]).astype(np.int64)
    edges = np.minimum(edges, lengths[:, None] - 1) + (np.cumsum(lengths) - lengths)[:, None]
    starts, counts = edges[:, :-1].ravel(), np.maximum(np.diff(edges), 1).ravel()
    means = np.empty((len(starts), rows.shape[1]), dtype=rows.dtype)
    order = np.argsort(-counts, kind="stable")
    block = max(1, _BLOCK_BYTES // (rows.shape[1] * rows.itemsize))
    for first in range(0, len(order), block):
        own = order[first : first + block]
        sums = rows[starts[own]]
        for done in range(1, int(counts[own[0]])):
            growing = own[: np.searchsorted(-counts[own], -done)]
            sums[: len(growing)] += rows[starts[growing] + done]
        sums /= counts[own, None].astype(rows.dtype)
        means[own] = sums
    return means.reshape(len(lengths), segments, rows.shape[1])


def concatenated_ranges(starts: Int[np.ndarray, "n"], counts: Int[np.ndarray, "n"]) -> Int[np.ndarray, "total"]:
    """The whole numbers starts[i], starts[i] + 1, ... (counts[i] of them) for each i in turn.

    >>> concatenated_ranges(np.array([5, 0]), np.array([3, 2]))
    array([5, 6, 7, 0, 1])
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(starts - (ends - counts), counts))


def row_norms(x: Float[np.ndarray, "*rows dim"]) -> Float[np.ndarray, "*rows"]:
    """The Euclidean length of each row; not finite if any of its values is not."""
    return np.asarray(np.sqrt(np.einsum("...d,...d->...", x, x)))


def l2_normalise(
    x: Float[np.ndarray, "*rows dim"],
    *,
    norms: Float[np.ndarray, "*rows"] | None = None,
    out: Float[np.ndarray, "*rows dim"] | None = None,
) -> Float[np.ndarray, "*rows dim"]:
    """Each row x as x / (norm + 1e-5); `norms` where they are known already, `out=x` to do it in place.

    >>> l2_normalise(np.array([[3.0, 4.0], [0.0, 0.0]])).round(4)
    array([[0.6, 0.8], [0. , 0. ]])
    """
    norms = row_norms(x) if norms is None else norms
    return np.asarray(np.divide(x, norms[..., None] + np.asarray(1e-5, dtype=x.dtype), out=out))
