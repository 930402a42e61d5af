"""A split in the memory of a device, as a network takes it: a batch is a list of rows, and nothing is read for it."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Int

from gmmformer.config import ModelConfig, RunConfig
from gmmformer.data.collection import Collection, TrainingBatch, shares
from gmmformer.model.batches import QueryBatch, VideoBatch
from gmmformer.model.pooling import concatenated_ranges

_SHARE = 0.5
"""Of what is free on a GPU that a split may take; the rest is a step's."""


class ResidentSplit:
    """A split's videos and sentences, pooled and normalised once; its batches are the collection's to the bit."""

    def __init__(
        self, collection: Collection, split: str, config: ModelConfig, device: torch.device, *, workers: int = 0
    ) -> None:
        """Read it.

        Raises:
            InputError: As for `Collection.video_batches` and `Collection.query_batches`.
        """
        self._captions = collection.captions(split)
        self._lengths = _kept(collection, split, config)
        self._starts = np.cumsum(self._lengths) - self._lengths
        videos = len(self._lengths)
        self._clips = torch.empty(videos, config.map_size, config.feature_dim, device=device)
        self._frames = torch.empty(int(self._lengths.sum()), config.feature_dim, device=device)
        video = row = 0
        for batch in collection.video_batches(split, config, workers=workers):
            self._clips[video : video + len(batch.clips)] = batch.clips
            self._frames[row : row + len(batch.frames)] = batch.frames
            video, row = video + len(batch.clips), row + len(batch.frames)
        queries = [batch.to(device) for batch in collection.query_batches(split, config, workers=workers)]
        self._tokens = torch.cat([batch.tokens for batch in queries])
        self._token_lengths = np.concatenate([batch.lengths.numpy() for batch in queries])
        self._token_starts = np.cumsum(self._token_lengths) - self._token_lengths

    def training_batches(
        self, *, batch_size: int, order: Int[np.ndarray, "videos"], skip: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[TrainingBatch]:
        """Those of `Collection.training_batches`, with their features on the device."""
        for share in shares(self._captions, batch_size, order, skip, rank, world):
            lengths, counts = self._lengths[share.videos], self._token_lengths[share.queries]
            rows = concatenated_ranges(self._starts[share.videos], lengths)
            tokens = concatenated_ranges(self._token_starts[share.queries], counts)
            clips, frames = self._taken(self._clips, share.videos), self._taken(self._frames, rows)
            yield TrainingBatch(
                VideoBatch(clips, frames, torch.from_numpy(lengths)),
                QueryBatch(self._taken(self._tokens, tokens), torch.from_numpy(counts)),
                torch.from_numpy(share.labels),
                share.batch_videos,
            )

    @staticmethod
    def _taken(rows: torch.Tensor, which: Int[np.ndarray, "some"]) -> torch.Tensor:
        return rows.index_select(0, torch.from_numpy(which).to(rows.device))


def resident(collection: Collection, run: RunConfig, config: ModelConfig, device: torch.device) -> ResidentSplit | None:
    """What a run trains on, if it is to be kept on the device: see `RunConfig.resident`."""
    wanted = run.resident == "yes"
    if run.resident == "auto" and device.type == "cuda":
        wanted = bytes_of(collection, run.train_split, config) <= _SHARE * torch.cuda.mem_get_info(device)[0]
    return ResidentSplit(collection, run.train_split, config, device, workers=run.workers) if wanted else None


def bytes_of(collection: Collection, split: str, config: ModelConfig) -> int:
    """How much memory a split takes on a device, at most."""
    rows = int(_kept(collection, split, config).sum()) + config.map_size * len(collection.captions(split).video_ids)
    tokens = config.max_desc_l * len(collection.captions(split).caption_ids)
    return 4 * (rows * config.feature_dim + tokens * config.query_dim)


def _kept(collection: Collection, split: str, config: ModelConfig) -> Int[np.ndarray, "videos"]:
    """How many rows of each video a network sees."""
    counts = [collection.frames.count_of(video) for video in collection.captions(split).video_ids]
    return np.minimum(np.array(counts, dtype=np.int64), config.max_ctx_l)
