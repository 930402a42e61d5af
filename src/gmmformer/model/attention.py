"""Attention under Gaussian windows within each of several sequences, which stand packed one after the other."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Padded(NamedTuple):
    """Sequences of like lengths, which stand packed one after the other, laid out as (sequences, longest)."""

    rows: int
    """How many packed rows they have."""
    cells: Int[Tensor, "group_rows"]
    """Cell of each of those rows among sequences * longest."""
    sources: Int[Tensor, "group_cells"]
    """The row of each cell, counted from the group's first; of a cell that is no row, the last of its sequence."""
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
    places = torch.arange(longest).minimum(lengths[:, None] - 1) + (lengths.cumsum(0) - lengths)[:, None]
    return Padded(len(cells), cells.to(device), places.flatten().to(device), len(lengths), longest, padding)


def pad(rows: Float[Tensor, "... rows dim"], to: Padded) -> Float[Tensor, "... sequences longest dim"]:
    """Lay out the rows of a group. A cell that is no row holds the last of its sequence: give it no weight.

    So no gradient is taken from such a cell.
    """
    laid_out = rows if to.padding is None else _Pad.apply(rows, to)  # type: ignore[no-untyped-call]
    return laid_out.reshape(*rows.shape[:-2], to.sequences, to.longest, rows.shape[-1])


class _Pad(torch.autograd.Function):
    """index_select by sources; what is in cells that are no row has no weight, so the gradient is a selection too."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, to: Padded) -> Tensor:
        ctx.to = to
        return rows.index_select(-2, to.sources)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(-2, ctx.to.cells), None


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

    @property
    def _threshold(self) -> int:
        """Of 65,536 draws those that drop an element."""
        return round(self.share * 65536)

    @property
    def scale(self) -> float:
        """What the elements that are kept are multiplied by."""
        return 65536 / (65536 - self._threshold)

    def kept(self, like: Float[Tensor, "..."]) -> Bool[Tensor, "..."] | None:
        """Which elements of a tensor of that shape are kept, drawn anew at each call; None for all of them."""
        if not self.training or self._threshold == 0:
            return None
        if like.device.type != "cpu":
            return torch.empty_like(like, dtype=torch.bool).bernoulli_(1 / self.scale)
        draws = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        return draws.view(torch.int16)[: like.numel()].view(like.shape) >= self._threshold - 32768

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """While training, `x` with a random `share` of its elements 0 and the others scaled up; `x` otherwise."""
        kept = self.kept(x)
        if kept is None:
            return x
        dropped: Tensor = _Drop.apply(x, kept, self.scale)  # type: ignore[no-untyped-call]
        return dropped


class _Drop(torch.autograd.Function):
    """x * kept * scale, of which only `kept` is remembered."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return torch.where(kept, x, 0).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return torch.where(kept, gradient, 0).mul_(ctx.scale), None, None


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
    projected = projected.view(len(rows), 3, len(weights), heads, width)
    scale = (at_least_float32(gaussians, projected) / width**0.5).to(projected.dtype)  # windows, positions, positions
    attended: Tensor = _Attend.apply(projected, scale, layout.groups, dropout)  # type: ignore[no-untyped-call]
    return attended


class _Attend(torch.autograd.Function):
    """The rest of `attention`, group by group, with a gradient that is written out.

    Queries, keys and values of a group are laid out once, as (window, head, sequence) x longest x width, and what comes
    of them is written where it is wanted; autograd would fill, lay out, stack and join several times as many numbers.
    Dropout's scale is left to the products.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, scale: Tensor, groups: tuple[Padded, ...], dropout: Dropout) -> Tensor:
        rows, _, windows, heads, width = projected.shape
        attended = projected.new_empty(windows, rows, heads, width)
        unused = projected.new_empty(1, 1, 1)
        saved: list[Tensor | None] = []
        for group, its in _each(groups):
            laid_out = _gathered(projected[its].flatten(1, 3).transpose(0, 1), group)
            laid_out = laid_out.view(3, windows * heads * group.sequences, group.longest, width)
            query, key, value = laid_out
            logits = torch.bmm(query, key.transpose(1, 2))
            logits = logits.view(windows, heads, group.sequences, group.longest, group.longest)
            window = scale[:, None, None, : group.longest, : group.longest]
            if group.padding is None:
                logits.mul_(window)
            else:
                hidden = logits.new_zeros(group.padding.shape).masked_fill_(group.padding, float("-inf"))
                torch.addcmul(hidden, logits, window, out=logits)
            shares = logits.softmax(-1).to(value.dtype)
            kept = dropout.kept(shares)
            used = (shares if kept is None else torch.where(kept, shares, 0)).view(-1, group.longest, group.longest)
            found = torch.baddbmm(unused, used, value, beta=0, alpha=1.0 if kept is None else dropout.scale)
            _scatter(found.view(windows, heads, -1, width), group, attended[:, its].transpose(1, 2))
            if ctx.needs_input_grad[0]:  # else a group's are given back before the next one's are made
                saved += [laid_out, shares, kept]
        ctx.save_for_backward(scale, *saved)
        ctx.groups, ctx.heads, ctx.dropped = groups, heads, dropout.scale
        return attended.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        scale, *saved = ctx.saved_tensors
        windows, rows, heads, width = *gradient.shape[:2], ctx.heads, saved[0].shape[-1]
        gradient = gradient.reshape(windows, rows, heads, width)
        of_projected = gradient.new_empty(rows, 3, windows, heads, width)
        unused = gradient.new_empty(1, 1, 1)
        remembered = zip(saved[::3], saved[1::3], saved[2::3], strict=True)
        for (group, its), (laid_out, shares, kept) in zip(_each(ctx.groups), remembered, strict=True):
            of_found = _gathered(gradient[:, its].transpose(1, 2), group)
            of_found = of_found.view(windows, heads, group.sequences, group.longest, width)
            if group.padding is not None:
                of_found.masked_fill_(group.padding.transpose(1, 2), 0)
            of_found = of_found.view(-1, group.longest, width)
            query, key, value = laid_out
            cells, dropped = (-1, group.longest, group.longest), 1.0 if kept is None else ctx.dropped
            used = (shares if kept is None else torch.where(kept, shares, 0)).view(cells).transpose(1, 2)
            of_laid_out = torch.empty_like(laid_out)
            torch.baddbmm(unused, used, of_found, beta=0, alpha=dropped, out=of_laid_out[2])
            of_shares = torch.baddbmm(unused, of_found, value.transpose(1, 2), beta=0, alpha=dropped).view_as(shares)
            if kept is not None:
                torch.where(kept, of_shares, of_shares.new_zeros(()), out=of_shares)
            of_logits = torch._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            of_logits = of_logits.mul_(scale[:, None, None, : group.longest, : group.longest]).view(cells)
            torch.bmm(of_logits, key, out=of_laid_out[0])
            torch.bmm(of_logits.transpose(1, 2), query, out=of_laid_out[1])
            into = of_projected[its].flatten(1, 3).transpose(0, 1)
            _scatter(of_laid_out.view(3 * windows * heads, -1, width), group, into)
        return of_projected, None, None, None


def _each(groups: Sequence[Padded]) -> Iterator[tuple[Padded, slice]]:
    """Each group and its packed rows."""
    first = 0
    for group in groups:
        yield group, slice(first, first + group.rows)
        first += group.rows


def _gathered(rows: Tensor, group: Padded) -> Tensor:
    """A group's rows, the last but one axis, in its cells, as a new tensor."""
    if group.padding is None:
        return rows.clone(memory_format=torch.contiguous_format)
    return rows.index_select(-2, group.sources)


def _scatter(cells: Tensor, group: Padded, into: Tensor) -> None:
    """A group's cells, the last but one axis, written where its rows stand."""
    if group.padding is None:
        into.copy_(cells)
    else:
        torch.index_select(cells, -2, group.cells, out=into)


def at_least_float32(x: Tensor, like: Tensor) -> Tensor:
    """What half precision is too coarse for is done in single precision, in a network of double precision in that."""
    return x.to(torch.promote_types(like.dtype, torch.float32))
