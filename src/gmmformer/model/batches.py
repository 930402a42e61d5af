"""What a network takes: batches without padding, every row of every video, or sentence, one after the other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gmmformer.config import ModelConfig
from gmmformer.errors import InputError
from gmmformer.model.pooling import l2_normalise, pool_segments, row_norms


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
