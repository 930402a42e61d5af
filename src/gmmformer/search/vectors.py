"""How a window's vectors lie on disk, as float32, bfloat16 or int8 with a scale per vector, and products with them."""

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int8, UInt8
from torch import Tensor

from gmmformer.errors import InputError, suggest
from gmmformer.search.parts import MappedPart

Dtype = Literal["int8", "bf16", "float32"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

STRIDES = (4, 2)
"""Every fourth clip of an int8 window is told by its difference from the window's mean; then those half way between two
that are known, and again, by their difference from the two's mean."""
STRETCH = STRIDES[0]
"""Clips that follow each other and whose scores can be told without those of the rest of their window."""

_RUN = STRETCH + 1
"""Clips that those of a stretch are told by: the last of them by the first one of the next stretch too."""

_TORCH = {"int8": torch.int8, "bf16": torch.bfloat16, "float32": torch.float32}
_NUMPY = {"int8": "int8", "bf16": "uint16", "float32": "float32"}


class Records(NamedTuple):
    """Some windows as they lie on disk, byte for byte."""

    vectors: UInt8[np.ndarray, "records vector_bytes"]
    heads: UInt8[np.ndarray, "records head_bytes"]
    """What the numbers of an int8 window mean; no bytes where vectors are stored as they are."""
    part: MappedPart | None = None
    """Where `vectors` are mapped from, if they are."""
    near: int = 0
    """How many mapped vectors, the first, may be read where they lie; others are to be copied."""


@dataclass(frozen=True, kw_only=True)
class VectorFormat:
    """One record per window: the vectors of its clips and, behind them, of frames, if the model scores by these too.

    A window scores the largest product of a clip's vector, and of a frame's; they are as long as each counts. GMMFormer
    has fused clips alone, GMMFormer v2 both.

    int8 takes a quarter of float32's bytes. The clips of a window are alike, the more so the nearer they are, so their
    mean is kept by itself, in four bits a number, and the int8 numbers say how every fourth clip differs from that, and
    how each of the others differs from the mean of its neighbours (`STRIDES`), with a scale for each clip. A clip's
    error is that of its own numbers alone, for the differences are those from what the numbers so far say; as they are
    smaller than the clip, so is the error, by more than half. Scales are float16.
    """

    dtype: Dtype
    clips: int
    """Clips of a window."""
    dim: int
    """Numbers in a vector."""
    frames: int = 0
    """Vectors of frames, a multiple of the clips: as many stand for the same rows as each clip. Coded by themselves."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"--store {self.dtype}: {suggest(self.dtype, DTYPES)}")

    @property
    def vectors(self) -> int:
        """Vectors of a window."""
        return self.clips + self.frames

    @property
    def vector_bytes(self) -> int:
        """Bytes of a window's vectors."""
        return self.vectors * self.dim * _TORCH[self.dtype].itemsize

    @property
    def head_bytes(self) -> int:
        """Bytes of a window's head: of clips and of frames the scales, that of their mean, and the mean."""
        return sum(2 * (count + 1) + self._half for count in self._groups) if self.dtype == "int8" else 0

    @property
    def _groups(self) -> list[int]:
        """Vectors that are coded together."""
        return [self.clips, self.frames] if self.frames else [self.clips]

    @property
    def _half(self) -> int:
        return (self.dim + 1) // 2

    def encode(self, vectors: Float[Tensor, "windows vectors dim"]) -> Records:
        """The records of these windows: the vectors of clips, then those of frames."""
        vectors = vectors.detach().to("cpu", torch.float32)
        windows = len(vectors)
        if self.dtype != "int8":
            stored = vectors.to(_TORCH[self.dtype])
            return Records(_bytes_of(stored, windows), np.empty((windows, 0), dtype=np.uint8))
        codes, heads = [], []
        for group in torch.split(vectors, self._groups, dim=1):
            mean = group.mean(1)
            mean_scale = _scales_of(mean, 7)
            nibbles = _codes(mean, mean_scale, 7)
            code, scales = _differences(group - (nibbles * mean_scale.float()[:, None])[:, None])
            padded = F.pad(nibbles + 8, (0, 2 * self._half - self.dim)).to(torch.uint8)
            packed = padded[:, : self._half] | padded[:, self._half :] << 4
            codes.append(code)
            heads += [_bytes_of(part, windows) for part in (scales, mean_scale, packed)]
        return Records(_bytes_of(torch.cat(codes, 1), windows), np.concatenate(heads, axis=1))

    def decode(self, records: Records) -> Float[Tensor, "windows vectors dim"]:
        """The vectors of these records, in float32."""
        stored = self._stored(records).float()
        if self.dtype != "int8":
            return stored
        groups = []
        for group, (scales, mean_scale, low, high) in zip(
            torch.split(stored, self._groups, dim=1), self._heads(records), strict=True
        ):
            mean = torch.cat([low, high], dim=1)[:, : self.dim] * mean_scale[:, None]
            groups.append(mean[:, None] + _sums(group.shape[1]) @ (group * scales[..., None]))
        return torch.cat(groups, dim=1)

    def finite(self, records: Records) -> Bool[np.ndarray, "windows"]:
        """Whether each record's vectors are finite: for int8 that is whether its scales are."""
        numbers = (
            self._stored(records).float().flatten(1)
            if self.dtype != "int8"
            else torch.cat([part for head in self._heads(records) for part in (head[0], head[1][:, None])], dim=1)
        )
        return np.asarray(torch.isfinite(numbers).all(1).numpy())

    def score(
        self,
        queries: Float[np.ndarray, "queries dim"],
        records: Records,
        at: Int[np.ndarray, "some"],
        firsts: Int[np.ndarray, "some"] | None = None,
        *,
        scores: Float[np.ndarray, "queries some_or_none run"] | None = None,
    ) -> Float[np.ndarray, "queries some"]:
        """The score of each of the records `at`: in float32, the largest products with what `decode` gives, added up.

        The records are read once, as they lie in the mapped file, and what `decode` gives is not made.

        Args:
            queries: Unit vectors.
            records: Where they are.
            at: Which of them.
            firsts: Multiples of STRETCH: the stretch of each record that begins with that clip is enough; no more is
                read than that and the clip after it, and the frames of the same rows.
            scores: To be filled with the score of every clip, where these are wanted too: its own product, and the
                largest of a frame.

        Raises:
            InputError: Some cannot be read.
        """
        from gmmformer.search.kernels import scorer

        if scores is None:
            scores = np.empty((len(queries), 0, self.clips if firsts is None else _RUN), dtype=np.float32)
        best = np.empty((len(queries), len(at)), dtype=np.float32)
        kind = _NUMPY[self.dtype]
        stored = records.vectors.view(kind).reshape(-1, self.vectors, self.dim)
        firsts = np.zeros_like(at) if firsts is None else firsts
        at, firsts = (np.ascontiguousarray(some, dtype=np.int64) for some in (at, firsts))
        strides = np.array(STRIDES if self.dtype == "int8" else (), dtype=np.int64)
        file, near = (-1, len(stored)) if records.part is None else (records.part.file, records.near)
        wrong = scorer(kind)(stored, records.heads, self.clips, file, near, at, firsts, queries, strides, scores, best)
        if records.part is not None:
            records.part.check(at, wrong)
        return best

    def _stored(self, records: Records) -> Tensor:
        """The (windows, vectors, dim) numbers as they lie there, not copied."""
        shape = (len(records.vectors), self.vectors, self.dim)
        return torch.from_numpy(records.vectors).view(-1).view(_TORCH[self.dtype]).view(shape)

    def _heads(self, records: Records) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each group the scales of its vectors and of the mean, in float32, and the two halves of the mean, int8."""
        heads, groups = torch.from_numpy(records.heads), []
        for head, count in zip(
            torch.split(heads, [2 * (count + 1) + self._half for count in self._groups], 1), self._groups, strict=True
        ):
            table = head[:, : 2 * count + 2].clone().view(torch.float16).float()
            packed = head[:, 2 * count + 2 :]
            low, high = ((nibbles.view(torch.int8) - 8) for nibbles in (packed & 15, packed >> 4))
            groups.append((table[:, :-1], table[:, -1], low, high))
        return groups


@cache
def _levels(clips: int) -> list[tuple[Int[Tensor, "some"], Int[Tensor, "some"], Int[Tensor, "some"]]]:
    """The clips that are told by their neighbours, level by level, and the places of these to the left and right."""
    levels = []
    for stride in STRIDES:
        half = stride // 2
        places = torch.arange(clips)[half::stride]
        levels.append((places, places - half, torch.where(places + half < clips, places + half, places - half)))
    return levels


def _differences(
    rest: Float[Tensor, "windows clips dim"],
) -> tuple[Int8[Tensor, "windows clips dim"], Float[Tensor, "windows clips"]]:
    """The numbers and scales of clips from which their mean has been taken."""
    codes, scales = torch.empty_like(rest, dtype=torch.int8), rest.new_empty(rest.shape[:2], dtype=torch.half)
    known = torch.empty_like(rest)

    def tell(places: Tensor | slice, guess: Tensor | float) -> None:
        some = rest[:, places] - guess
        scale = _scales_of(some, 127)
        code = _codes(some, scale, 127)
        codes[:, places], scales[:, places] = code.to(torch.int8), scale
        known[:, places] = guess + code * scale.float()[..., None]

    tell(slice(0, None, STRIDES[0]), 0.0)
    for places, left, right in _levels(rest.shape[1]):
        tell(places, (known[:, left] + known[:, right]) / 2)
    return codes, scales


@cache
def _sums(clips: int) -> Float[Tensor, "clips clips"]:
    """Which sum of differences each clip is."""
    sums = torch.eye(clips)
    for places, left, right in _levels(clips):
        sums[places] += (sums[left] + sums[right]) / 2
    return sums


def _scales_of(vectors: Float[Tensor, "*any dim"], steps: int) -> Tensor:
    """The largest number of each vector, over `steps`, rounded up to a float16."""
    exact = vectors.abs().amax(-1) / steps
    scales = exact.half()
    return (scales.view(torch.int16) + (scales.float() < exact)).view(torch.half)


def _codes(vectors: Float[Tensor, "*any dim"], scales: Tensor, steps: int) -> Float[Tensor, "*any dim"]:
    """The vectors in whole steps of their scales."""
    return (vectors / scales.float().clamp_min(1e-12)[..., None]).round_().clamp_(-steps, steps)


def _bytes_of(values: Tensor, windows: int) -> UInt8[np.ndarray, "windows bytes"]:
    return values.contiguous().view(torch.uint8).numpy().reshape(windows, -1)
