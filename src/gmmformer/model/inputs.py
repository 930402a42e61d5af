"""What the network takes: batches without padding, every row of every video one after the other."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
