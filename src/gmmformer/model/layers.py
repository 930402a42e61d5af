"""The parts of the network: input stages, attention under Gaussian windows, attention pooling.

Rows of several videos (or sentences) stand packed one after the other, without padding, wherever a row is worked on by
itself; only attention, where the rows of one video meet, lays them out as (sequences, longest).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

WINDOW_WIDTHS: tuple[float | None, ...] = (None, 0.5, 1.0, 5.0)
"""Widths of the four windows of a Gaussian-mixture block; None is no window."""

LENGTH_GROUPS = 4
"""Groups of like lengths in which a frame branch lays out a batch, so that attention meets little padding."""


class Padded(NamedTuple):
    """Sequences of like lengths, which stand packed one after the other, laid out as (sequences, longest)."""

    rows: int
    """How many packed rows they have."""
    cells: Int[Tensor, "group_rows"]
    """Cell of each of those rows among sequences * longest."""
    sequences: int
    longest: int
    padding: Bool[Tensor, "sequences 1 longest"] | None
    """True where a cell is no row; None where every cell is one."""


class Layout(NamedTuple):
    """Where the packed rows of some sequences stand when the sequences are laid out."""

    groups: tuple[Padded, ...]
    """Every sequence once, those of like lengths together: attention costs the square of the longest of a group."""
    whole: Padded
    """All sequences together."""
    position: Int[Tensor, "rows"]
    """The place of each packed row in its sequence, from 0."""


def layout(lengths: Int[Tensor, "sequences"], device: torch.device, groups: int = 1) -> Layout:
    """Lay out sequences of `lengths`, cut into at most `groups` runs of neighbours: let those be of like lengths."""
    lengths = lengths.cpu()
    whole = _padded(lengths, device)
    runs = [run for run in lengths.tensor_split(groups) if len(run)] if groups > 1 else []
    parts = tuple(_padded(run, device) for run in runs) or (whole,)
    return Layout(parts, whole, _positions(lengths).to(device))


def by_length(lengths: Int[Tensor, "sequences"]) -> tuple[Int[Tensor, "sequences"], Int[Tensor, "rows"]]:
    """The order of sequences, and of their packed rows, in which the longer ones come last."""
    order = lengths.argsort(stable=True)
    return order, order.argsort().repeat_interleave(lengths).argsort(stable=True)


def _positions(lengths: Int[Tensor, "sequences"]) -> Int[Tensor, "rows"]:
    return torch.arange(int(lengths.sum())) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)


def _padded(lengths: Int[Tensor, "group"], device: torch.device) -> Padded:
    longest = max(lengths.tolist(), default=1)
    cells = torch.repeat_interleave(torch.arange(len(lengths)), lengths) * longest + _positions(lengths)
    padding = None
    if len(cells) < len(lengths) * longest:
        padding = (torch.arange(longest) >= lengths[:, None])[:, None].to(device)
    return Padded(len(cells), cells.to(device), len(lengths), longest, padding)


def pad(rows: Float[Tensor, "... rows dim"], to: Padded) -> Float[Tensor, "... sequences longest dim"]:
    """Lay out the rows of a group, zeros where there is none."""
    if to.padding is None:
        return rows.reshape(*rows.shape[:-2], to.sequences, to.longest, rows.shape[-1])
    laid_out = rows.new_zeros(*rows.shape[:-2], to.sequences * to.longest, rows.shape[-1])
    laid_out = laid_out.index_copy(-2, to.cells, rows)
    return laid_out.view(*rows.shape[:-2], to.sequences, to.longest, rows.shape[-1])


def unpad(laid_out: Float[Tensor, "... sequences longest dim"], of: Padded) -> Float[Tensor, "... rows dim"]:
    """The rows of a group, packed again."""
    if of.padding is None:
        return laid_out.flatten(-3, -2)
    rows: Tensor = _Select.apply(laid_out.flatten(-3, -2), of.cells)  # type: ignore[no-untyped-call]
    return rows


class _Select(torch.autograd.Function):
    """index_select on the last but one axis for an index without repeats: its gradient is copied, not added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return x.index_select(-2, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.shape).index_copy_(-2, index, gradient), None


def gaussian_windows(
    widths: Sequence[float | None], positions: int, device: torch.device | None = None
) -> Float[Tensor, "windows positions positions"]:
    """The windows that attention logits are multiplied by, laid over `positions` (paper: Gaussian block).

    G[i, j] = exp(-(x_j - c_i)^2 / (2 s^2)) with s = max(width, 0.01) / 9, c_i = i / positions and
    x_j = j / (positions - 1), each row divided by its maximum. A width of None gives ones.

    >>> gaussian_windows([None, 0.5], 2)
    tensor([[[1., 1.],
             [1., 1.]],
    <BLANKLINE>
            [[1., 0.],
             [1., 1.]]])
    """
    # Float32 throughout, as published: the windows of a wide embedding differ in the sixth digit otherwise.
    centres = torch.arange(positions, device=device)[:, None] / positions
    places = torch.linspace(0, 1, positions, device=device)[None, :]
    windows = []
    for width in widths:
        if width is None:
            windows.append(torch.ones(positions, positions, device=device))
            continue
        deviation = max(width, 1e-2) / 9
        exponents = -((places - centres) ** 2) / (2 * deviation**2)
        exponents = exponents - (exponents.amax(-1, keepdim=True) + 80).clamp(max=0)  # a narrow one between few places
        window = torch.exp(exponents)
        windows.append(window / window.max(dim=-1, keepdim=True).values)
    return torch.stack(windows)


class Dropout(nn.Module):
    """Dropout whose CPU form is several times faster than torch's, which draws a wide number for every element.

    Here 64 random bits serve four elements, so `share` is met to 1 / 65,536.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """While training, `x` with a random `share` of its elements 0 and the others scaled up; `x` otherwise."""
        threshold = round(self.share * 65536)
        if not self.training or threshold == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= threshold - 32768
        return x * kept.to(x.dtype).mul_(65536 / (65536 - threshold))


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


class AttentionWeights(nn.Module):
    """What makes queries, keys and values of rows."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)


def attention(
    rows: Float[Tensor, "rows hidden"],
    weights: Sequence[AttentionWeights],
    layout: Layout,
    gaussians: Float[Tensor, "windows positions positions"],
    heads: int,
    dropout: Dropout,
) -> Float[Tensor, "windows rows hidden"]:
    """Self-attention within each sequence under several windows, each with its own weights, before any output layer.

    softmax(window * QK^T / sqrt(width)) V, with one product for the queries, keys and values of all windows and one
    softmax. `gaussians` cover at least the longest sequence.
    """
    linears = [linear for part in ("query", "key", "value") for linear in (getattr(one, part) for one in weights)]
    projected = F.linear(
        rows, torch.cat([linear.weight for linear in linears]), torch.cat([linear.bias for linear in linears])
    )  # rows, 3 * windows * hidden
    width = rows.shape[-1] // heads
    projected = projected.view(len(rows), 3 * len(weights) * heads, width)
    scale = (_at_least_float32(gaussians, projected) / width**0.5).to(projected.dtype)  # windows, positions, positions
    parts = torch.split(projected, [group.rows for group in layout.groups])
    attended = torch.cat(
        [_attend(part, group, scale, dropout) for part, group in zip(parts, layout.groups, strict=True)], dim=1
    )
    return attended.view(len(weights), heads, len(rows), width).transpose(1, 2).flatten(2)


def _attend(
    projected: Float[Tensor, "group_rows three_heads width"],
    group: Padded,
    scale: Float[Tensor, "windows p p"],
    dropout: Dropout,
) -> Float[Tensor, "heads group_rows width"]:
    """The same over the rows of one group, all windows and heads at once."""
    padded = pad(projected.transpose(0, 1), group)
    query, key, value = padded.view(3, len(padded) // 3, *padded.shape[1:])  # heads, sequences, longest, width
    logits = query @ key.transpose(-1, -2)  # heads, sequences, longest, longest
    window = scale[:, None, None, : group.longest, : group.longest]
    logits = (logits.view(len(scale), len(logits) // len(scale), *logits.shape[1:]) * window).view_as(logits)
    if group.padding is not None:
        logits = logits.masked_fill(group.padding, float("-inf"))
    return unpad(dropout(logits.softmax(-1)) @ value, group)


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
        mixed = [block.norm(output + rows) for block, output in zip(blocks, self.dropout(outputs), strict=True)]
        averaged: Tensor = sum(mixed[1:], mixed[0]) / len(mixed)
        return averaged

    def _blocks(self) -> list[WindowWeights]:
        return [block for block in self.windows if isinstance(block, WindowWeights)]


class AttentionPooling(nn.Module):
    """One vector per sequence: its rows weighted by a softmax over a learned score."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, rows: Float[Tensor, "rows hidden"], layout: Layout) -> Float[Tensor, "sequences hidden"]:
        """Pool the rows of each sequence."""
        scores = self.score(rows)
        scores = pad(_at_least_float32(scores, scores), layout.whole).squeeze(-1)  # sequences, longest
        if layout.whole.padding is not None:
            scores = scores.masked_fill(layout.whole.padding.squeeze(1), float("-inf"))
        weights = scores.softmax(-1)[:, None].to(rows.dtype)  # sequences, 1, longest
        pooled: Tensor = weights @ pad(rows, layout.whole)
        return pooled.squeeze(1)


def _at_least_float32(x: Tensor, like: Tensor) -> Tensor:
    """What half precision is too coarse for is done in single precision, in a network of double precision in that."""
    return x.to(torch.promote_types(like.dtype, torch.float32))
