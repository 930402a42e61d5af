"""The model in its simplest correct form: padded batches, four attentions in turn, torch's own layers.

What ours is measured against. It has the parameter names of `GMMFormer`, so that one set of weights serves both.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmmformer.config import ModelConfig
from gmmformer.model import GMMFormer, QueryBatch, VideoBatch, VideoEmbeddings
from gmmformer.model.attention import gaussian_windows
from gmmformer.model.layers import WINDOW_WIDTHS


def padded(rows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(sequences, longest, dim) and the mask of what is no padding."""
    parts = torch.split(rows, lengths.tolist())
    laid_out = nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    return laid_out, torch.arange(laid_out.shape[1])[None] < lengths[:, None]


class Stage(nn.Module):
    def __init__(self, dim: int, hidden: int, positions: int, drop: float) -> None:
        super().__init__()
        self.input_norm, self.linear = nn.LayerNorm(dim), nn.Linear(dim, hidden)
        self.positions, self.norm = nn.Embedding(positions, hidden), nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.linear(self.dropout(self.input_norm(x))))
        hidden = hidden + self.positions(torch.arange(x.shape[1], device=x.device))
        return self.dropout(self.norm(hidden))  # type: ignore[no-any-return]


class Attention(nn.Module):
    def __init__(self, hidden: int, heads: int, drop: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.value, self.output = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.norm, self.dropout = nn.LayerNorm(hidden), nn.Dropout(drop)

    def forward(self, x: Tensor, mask: Tensor, window: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) * window
        logits = logits + (~mask)[:, None, None] * -10000.0
        attended = self.dropout(logits.softmax(-1)) @ value
        output = self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        return self.norm(output + x)  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, hidden: int, heads: int, drop: float, windows: int) -> None:
        super().__init__()
        self.windows = nn.ModuleList(Attention(hidden, heads, drop) for _ in range(windows))

    def forward(self, x: Tensor, mask: Tensor, gaussians: Tensor) -> Tensor:
        length = x.shape[1]
        outputs = [block(x, mask, g[:length, :length]) for block, g in zip(self.windows, gaussians, strict=True)]
        return torch.stack(outputs).mean(0)


class Pool(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = self.score(x).squeeze(-1).masked_fill(~mask, -1e10).softmax(-1)
        return torch.einsum("bl,bld->bd", weights, x)


class SimplestGMMFormer(nn.Module):
    """The network of `GMMFormer`, window "full"."""

    objective, decayed = GMMFormer.objective, GMMFormer.decayed

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = c = config
        self.query_input = Stage(c.query_dim, c.hidden, c.max_desc_l, c.input_drop)
        self.clip_input = Stage(c.feature_dim, c.hidden, c.max_ctx_l, c.input_drop)
        self.frame_input = Stage(c.feature_dim, c.hidden, c.max_ctx_l, c.input_drop)
        self.query_encoder = Block(c.hidden, c.heads, c.drop, 1)
        self.clip_encoder = nn.ModuleList(Block(c.hidden, c.heads, c.drop, 4) for _ in range(2))
        self.frame_encoder = nn.ModuleList(Block(c.hidden, c.heads, c.drop, 4) for _ in range(2))
        self.query_pool, self.frame_pool = Pool(c.hidden), Pool(c.hidden)

    def embed_query(self, batch: QueryBatch) -> Tensor:
        tokens, mask = padded(batch.tokens, batch.lengths)
        window = gaussian_windows([None], tokens.shape[1])
        return self.query_pool(self.query_encoder(self.query_input(tokens), mask, window), mask)  # type: ignore[no-any-return]

    def embed_video(self, batch: VideoBatch) -> VideoEmbeddings:
        clips, frames = batch.clips, batch.frames
        everywhere = torch.ones(clips.shape[:2], dtype=torch.bool)
        window = gaussian_windows(WINDOW_WIDTHS, clips.shape[1])
        hidden = self.clip_input(clips)
        for block in self.clip_encoder:
            hidden = block(hidden, everywhere, window)
        frames, mask = padded(batch.frames, batch.lengths)
        window = gaussian_windows(WINDOW_WIDTHS, self.config.max_ctx_l)
        frame_hidden = self.frame_input(frames)
        for block in self.frame_encoder:
            frame_hidden = block(frame_hidden, mask, window)
        return VideoEmbeddings(hidden, self.frame_pool(frame_hidden, mask))

    def forward(self, queries: QueryBatch, videos: VideoBatch) -> tuple[Tensor, VideoEmbeddings]:
        return self.embed_query(queries)[:, None], self.embed_video(videos)
