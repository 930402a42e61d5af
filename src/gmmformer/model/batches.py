"""What a network takes: videos pooled into clips and frames, rows of unit length, batches without padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gmmformer.config import ModelConfig
from gmmformer.errors import InputError

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


class VideoBatch(NamedTuple):
    """Videos as the network sees them; each row is L2-normalised."""

    clips: Float[Tensor, "videos clips dim"]
    """The same number of segment means for every video."""
    frames: Float[Tensor, "rows dim"]
    """The frames of all videos, video after video."""
    lengths: Int[Tensor, "videos"]
    """Frames of each video, on the CPU; at least 1 each, their sum is `rows`."""

    def to(self, device: torch.device | str) -> "VideoBatch":
        """The batch with its features on `device`; lengths steer indexing and stay on the CPU."""
        return VideoBatch(
            self.clips.to(device, non_blocking=True), self.frames.to(device, non_blocking=True), self.lengths
        )


class QueryBatch(NamedTuple):
    """Sentences as the network sees them; each row is L2-normalised."""

    tokens: Float[Tensor, "rows dim"]
    """The tokens of all sentences, sentence after sentence."""
    lengths: Int[Tensor, "queries"]
    """Tokens of each sentence, on the CPU; at least 1 each, their sum is `rows`."""

    def to(self, device: torch.device | str) -> "QueryBatch":
        """The batch with its features on `device`; lengths steer indexing and stay on the CPU."""
        return QueryBatch(self.tokens.to(device, non_blocking=True), self.lengths)


def video_batch(
    features: Sequence[Float[np.ndarray, "_frames dim"]], config: ModelConfig, *, names: Sequence[str] | None = None
) -> VideoBatch:
    """Videos, each given by its feature rows in the order of the film, pooled, L2-normalised and packed.

    Clips are `map_size` segment means. Frames are the rows themselves up to `max_ctx_l` of them, else `max_ctx_l`
    segment means. `names` says in errors which video is meant; without them it is its place in the batch.

    Raises:
        InputError: A video has no rows, rows of another width than `feature_dim`, or values that are not finite.
    """
    packed, lengths = _packed(features, config.feature_dim, "video", names)
    see_finite_rows(norms := row_norms(packed), lengths, "video", names)
    clips = pool_segments(packed, lengths, config.map_size)
    l2_normalise(clips, out=clips)
    if (lengths <= config.max_ctx_l).all():
        frames = l2_normalise(packed, norms=norms, out=packed)
    else:
        frames = _cut_to(config.max_ctx_l, packed, lengths)
        l2_normalise(frames, out=frames)
    kept = np.minimum(lengths, config.max_ctx_l)
    return VideoBatch(torch.from_numpy(clips), torch.from_numpy(frames), torch.from_numpy(kept))


def query_batch(
    tokens: Sequence[Float[np.ndarray, "_tokens dim"]], config: ModelConfig, *, names: Sequence[str] | None = None
) -> QueryBatch:
    """Sentences, each given by its token features, cut to `max_desc_l` tokens, L2-normalised and packed.

    Raises:
        InputError: A sentence has no tokens, tokens of another width than `query_dim`, or values that are not finite.
    """
    cut = [sentence[: config.max_desc_l] for sentence in tokens]
    packed, lengths = _packed(cut, config.query_dim, "sentence", names)
    see_finite_rows(norms := row_norms(packed), lengths, "sentence", names)
    return QueryBatch(torch.from_numpy(l2_normalise(packed, norms=norms, out=packed)), torch.from_numpy(lengths))


def _cut_to(
    most: int, packed: Float[np.ndarray, "rows dim"], lengths: Int[np.ndarray, "videos"]
) -> Float[np.ndarray, "frames dim"]:
    """The rows of all videos, those of videos with more than `most` rows averaged to that many segments."""
    parts = np.split(packed, np.cumsum(lengths)[:-1])
    long = np.flatnonzero(lengths > most)
    pooled = pool_segments(np.concatenate([parts[video] for video in long]), lengths[long], most)
    for video, segments in zip(long.tolist(), pooled, strict=True):
        parts[video] = segments
    return np.concatenate(parts)


def _packed(
    arrays: Sequence[Float[np.ndarray, "_rows _dim"]], dim: int, what: str, names: Sequence[str] | None
) -> tuple[Float[np.ndarray, "rows dim"], Int[np.ndarray, "arrays"]]:
    """All rows one after the other, as a float32 copy, and how many each array has."""
    for index, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != dim:
            raise InputError(
                f"{_called(what, index, names)}: its features have shape {array.shape}, but the model takes rows of"
                f" {dim} numbers; use the features that the model was trained on"
            )
        if not len(array):
            raise InputError(f"{_called(what, index, names)}: has no features, so it cannot be embedded; leave it out")
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    empty = np.empty((0, dim), dtype=np.float32)
    return np.concatenate([empty, *arrays], dtype=np.float32, casting="same_kind"), lengths


def see_finite_rows(
    norms: Float[np.ndarray, "rows"], lengths: Int[np.ndarray, "arrays"], what: str, names: Sequence[str] | None
) -> None:
    """Refuse features of which a row's length is not finite, given those of several arrays one after the other.

    Raises:
        InputError: The message names the array, a video or a sentence, and the row.
    """
    bad = np.flatnonzero(~np.isfinite(norms))
    if len(bad):
        index = int(np.searchsorted(np.cumsum(lengths), bad[0], side="right"))
        row = int(bad[0] - lengths[:index].sum())
        raise InputError(
            f"{_called(what, index, names)}: row {row} of its features holds NaN, infinity or a number too large to"
            " square; extract its features again (`gmmformer check-data` lists all such rows)"
        )


def _called(what: str, index: int, names: Sequence[str] | None) -> str:
    return f"{what} {names[index]!r}" if names is not None else f"{what} {index} of the batch"
