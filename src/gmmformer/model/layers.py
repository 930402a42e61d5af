"""The parts of the network: input stages, blocks of attention under Gaussian windows, attention pooling.

Rows of several videos (or sentences) stand packed one after the other, without padding, wherever a row is worked on by
itself; only attention, where the rows of one video meet, lays them out as (sequences, longest).
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gmmformer.model.attention import AttentionWeights, Dropout, Layout, at_least_float32, attention, pad

WINDOW_WIDTHS: tuple[float | None, ...] = (None, 0.5, 1.0, 5.0)
"""Widths of the four windows of a Gaussian-mixture block; None is no window."""

LENGTH_GROUPS = 4
"""Groups of like lengths in which a frame branch lays out a batch, so that attention meets little padding."""


class InputStage(nn.Module):
    """LayerNorm, Linear, ReLU, learned positions, LayerNorm: what every row passes first."""

    def __init__(self, dim: int, hidden: int, positions: int, drop: float) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(dim)
        self.linear = nn.Linear(dim, hidden)
        self.positions = nn.Embedding(positions, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = Dropout(drop)

    def forward(self, rows: Float[Tensor, "rows dim"], position: Int[Tensor, "rows"]) -> Float[Tensor, "rows hidden"]:
        """Embed each row at its `position` (0 is the first of its sequence)."""
        hidden = F.relu(self.linear(self.dropout(self.input_norm(rows))))
        embedded: Tensor = self.dropout(self.norm(hidden + self.positions(position)))
        return embedded


class WindowWeights(AttentionWeights):
    """The weights of one attention block."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.output = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)


class MixtureBlock(nn.Module):
    """Self-attention blocks side by side, each under its own Gaussian window, averaged (paper: GMM block).

    All windows run as one attention, with one product for their outputs. With one window of width None it is a plain
    self-attention block.
    """

    def __init__(self, hidden: int, heads: int, drop: float, windows: int = len(WINDOW_WIDTHS)) -> None:
        super().__init__()
        self.heads = heads
        self.windows = nn.ModuleList(WindowWeights(hidden) for _ in range(windows))
        self.dropout = Dropout(drop)

    def forward(
        self,
        rows: Float[Tensor, "rows hidden"],
        layout: Layout,
        gaussians: Float[Tensor, "windows positions positions"],
    ) -> Float[Tensor, "rows hidden"]:
        """Let the rows of each sequence attend to one another; `gaussians` cover at least the longest sequence."""
        blocks = self._blocks()
        attended = attention(rows, blocks, layout, gaussians, self.heads, self.dropout)
        outputs = torch.baddbmm(
            torch.stack([block.output.bias for block in blocks])[:, None].to(attended.dtype),
            attended,
            torch.stack([block.output.weight for block in blocks]).transpose(1, 2).to(attended.dtype),
        )  # windows, rows, hidden
        norms = [block.norm for block in blocks]
        weights, biases = (torch.stack([getattr(norm, part) for norm in norms]) for part in ("weight", "bias"))
        averaged: Tensor = _Average.apply(rows, outputs, weights, biases, norms[0].eps, self.dropout)  # type: ignore[no-untyped-call]
        return averaged

    def _blocks(self) -> list[WindowWeights]:
        return [block for block in self.windows if isinstance(block, WindowWeights)]


class _Average(torch.autograd.Function):
    """The mean over the windows of LayerNorm(rows + dropout(outputs)), with a gradient that is written out."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, outputs: Tensor, weights: Tensor, biases: Tensor, eps: float, dropout: Dropout
    ) -> Tensor:
        kept, ctx.dropped = dropout.kept(outputs), dropout.scale
        added = rows + outputs if kept is None else rows.add(torch.where(kept, outputs, 0), alpha=dropout.scale)
        weights, biases, width = weights / len(weights), biases / len(biases), added.shape[-1:]
        each = zip(added, weights, biases, strict=True)
        normed = [torch.native_layer_norm(one, width, weight, bias, eps) for one, weight, bias in each]
        ctx.save_for_backward(added, kept, weights, biases, *(part for _, *parts in normed for part in parts))
        ctx.of_outputs = outputs.dtype
        averaged = normed[0][0]
        for one, *_ in normed[1:]:
            averaged += one
        return averaged

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        added, kept, weights, biases, *parts = ctx.saved_tensors
        of_outputs, of_rows, nought = torch.empty_like(added), torch.zeros_like(added[0]), added.new_zeros(())
        of_weights, of_biases = torch.empty_like(weights), torch.empty_like(biases)
        for window, (mean, deviation) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            of_added, of_weights[window], of_biases[window] = torch.ops.aten.native_layer_norm_backward(
                gradient, added[window], added.shape[-1:], mean, deviation, weights[window], biases[window], [True] * 3
            )
            of_rows += of_added
            if kept is None:
                of_outputs[window] = of_added
            else:
                torch.where(kept[window], of_added, nought, out=of_outputs[window])
        if kept is not None:
            of_outputs *= ctx.dropped
        share = 1 / len(weights)
        return of_rows, of_outputs.to(ctx.of_outputs), of_weights * share, of_biases * share, None, None


class AttentionPooling(nn.Module):
    """One vector per sequence: its rows weighted by a softmax over a learned score."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, rows: Float[Tensor, "rows hidden"], layout: Layout) -> Float[Tensor, "sequences hidden"]:
        """Pool the rows of each sequence."""
        scores = self.score(rows)
        scores = pad(at_least_float32(scores, scores), layout.whole).squeeze(-1)  # sequences, longest
        if layout.whole.padding is not None:
            scores = scores.masked_fill(layout.whole.padding.squeeze(1), float("-inf"))
        weights = scores.softmax(-1)[:, None].to(rows.dtype)  # sequences, 1, longest
        pooled: Tensor = weights @ pad(rows, layout.whole)
        return pooled.squeeze(1)
