"""How fused vectors lie on disk, as float32, bfloat16 or int8 with a scale per vector, and products with them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gmmformer.errors import InputError, suggest

Dtype = Literal["int8", "bf16", "float32"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

ROUNDING = 0.008
"""How far a score may be off because its terms were rounded to bfloat16: by 2**-9 of each. A clip vector without its
window's mean is at most 1 + 1 long and what four bits lose, and each half of the mean at most 1."""

_TORCH = {"int8": torch.int8, "bf16": torch.bfloat16, "float32": torch.float32}
_CONVERTED_BYTES = 2**20


class Records(NamedTuple):
    """Some windows as they lie on disk, byte for byte."""

    vectors: UInt8[np.ndarray, "windows bytes"]
    heads: UInt8[np.ndarray, "windows bytes"]
    """What the numbers of an int8 window mean; no bytes where vectors are stored as they are."""


@dataclass(frozen=True, kw_only=True)
class VectorFormat:
    """One record per window: its clips' fused vectors.

    int8 takes a quarter of float32's bytes. The clips of a window are alike, so their mean is kept by itself, in four
    bits a number, and the int8 numbers say what each clip adds to that, with a scale for each clip: as this is smaller
    than the clip, so is the error, by about a third. Scales are float16.
    """

    dtype: Dtype
    clips: int
    """Vectors of a window."""
    dim: int
    """Numbers in a vector."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype {self.dtype}: {suggest(self.dtype, DTYPES)}")

    @property
    def vector_bytes(self) -> int:
        """Bytes of a window's vectors."""
        return self.clips * self.dim * _TORCH[self.dtype].itemsize

    @property
    def head_bytes(self) -> int:
        """Bytes of a window's head: the scales of the clips and of the mean, and the mean, two numbers a byte."""
        return 2 * (self.clips + 1) + self._half if self.dtype == "int8" else 0

    @property
    def _half(self) -> int:
        return (self.dim + 1) // 2

    def encode(self, fused: Float[Tensor, "windows clips dim"]) -> Records:
        """The records of these windows."""
        fused = fused.detach().to("cpu", torch.float32)
        windows = len(fused)
        if self.dtype != "int8":
            stored = fused.to(_TORCH[self.dtype])
            return Records(_bytes_of(stored, windows), np.empty((windows, 0), dtype=np.uint8))
        mean = fused.mean(1)
        mean_scale = _scales_of(mean, 7)
        nibbles = _codes(mean, mean_scale, 7)
        rest = fused - (nibbles * mean_scale.float()[:, None])[:, None]
        scales = _scales_of(rest, 127)
        codes = _codes(rest, scales, 127).to(torch.int8)
        padded = F.pad(nibbles + 8, (0, 2 * self._half - self.dim)).to(torch.uint8)
        packed = padded[:, : self._half] | padded[:, self._half :] << 4
        heads = [_bytes_of(scales, windows), _bytes_of(mean_scale, windows), packed.numpy()]
        return Records(_bytes_of(codes, windows), np.concatenate(heads, axis=1))

    def decode(self, records: Records) -> Float[Tensor, "windows clips dim"]:
        """The vectors of these records, in float32."""
        stored = self._stored(records).float()
        if self.dtype != "int8":
            return stored
        scales, mean_scale, low, high = self._heads(records)
        mean = torch.cat([low, high], dim=1)[:, : self.dim] * mean_scale[:, None]
        return torch.addcmul(mean[:, None], stored, scales[..., None])

    def products(
        self, queries: Float[Tensor, "queries dim"], records: Records
    ) -> Float[Tensor, "queries windows clips"]:
        """The score of every clip, at the speed of memory rather than to the last digit: see `margin`.

        The records are read once, as they lie in the mapped file; what must be converted is converted block by block
        in the processor's cache.
        """
        rows = self._stored(records).view(-1, self.dim)
        shape = (len(queries), len(records.vectors), self.clips)
        if self.dtype == "float32":
            plain: Tensor = (queries @ rows.T).view(shape)
            return plain
        if self.dtype == "bf16":
            if _has_bf16_products():
                products: Tensor = (queries.to(torch.bfloat16) @ rows.T).float().view(shape)
                return products
            return _converted_products(queries, rows).view(shape)
        scales, mean_scale, low, high = self._heads(records)
        padded = F.pad(queries, (0, 2 * self._half - self.dim))
        mean = _products(padded[:, : self._half], low) + _products(padded[:, self._half :], high)
        scores: Tensor = torch.addcmul((mean * mean_scale)[..., None], _products(queries, rows).view(shape), scales)
        return scores

    def margin(self, queries: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries"]:
        """How far a score of `products` may be from the exact one; fused vectors are at most 1 long."""
        if self.dtype == "float32":
            return torch.full((len(queries),), 1e-6)
        rounded = queries.to(torch.bfloat16).float()
        margin: Tensor = torch.linalg.vector_norm(queries - rounded, dim=-1) + ROUNDING
        return margin

    def _stored(self, records: Records) -> Tensor:
        """The (windows, clips, dim) numbers as they lie there, not copied."""
        shape = (len(records.vectors), self.clips, self.dim)
        return torch.from_numpy(records.vectors).view(-1).view(_TORCH[self.dtype]).view(shape)

    def _heads(self, records: Records) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The scales of the clips and of the mean, in float32, and the two halves of the mean's numbers, int8."""
        table = torch.from_numpy(records.heads[:, : 2 * self.clips + 2].copy()).view(torch.float16).float()
        packed = torch.from_numpy(records.heads[:, 2 * self.clips + 2 :])
        low, high = ((nibbles.view(torch.int8) - 8) for nibbles in (packed & 15, packed >> 4))
        return table[:, :-1], table[:, -1], low, high


def _scales_of(vectors: Float[Tensor, "*any dim"], steps: int) -> Tensor:
    """The largest number of each vector, over `steps`, rounded up to a float16."""
    exact = vectors.abs().amax(-1) / steps
    scales = exact.half()
    return torch.where(scales.float() < exact, torch.nextafter(scales, torch.tensor(torch.inf).half()), scales)


def _codes(vectors: Float[Tensor, "*any dim"], scales: Tensor, steps: int) -> Float[Tensor, "*any dim"]:
    """The vectors in whole steps of their scales."""
    return (vectors / scales.float().clamp_min(1e-12)[..., None]).round_().clamp_(-steps, steps)


def _bytes_of(values: Tensor, windows: int) -> UInt8[np.ndarray, "windows bytes"]:
    return values.contiguous().view(torch.uint8).numpy().reshape(windows, -1)


def _products(queries: Float[Tensor, "queries dim"], rows: Tensor) -> Float[Tensor, "queries rows"]:
    """Products with int8 rows, each rounded to bfloat16.

    One query is multiplied by the kernel of weight-only int8 layers, which streams rows at the speed of memory.
    """
    if len(queries) > 1 or rows.shape[1] % 32:
        return _converted_products(queries, rows)
    ones = torch.ones(len(rows), dtype=torch.bfloat16)
    products: Tensor = torch._weight_int8pack_mm(queries.to(torch.bfloat16), rows, ones)
    return products.float()


def _converted_products(queries: Float[Tensor, "queries dim"], rows: Tensor) -> Float[Tensor, "queries rows"]:
    """Products with rows that are converted block by block, each in the cache; int8 is exact in bfloat16."""
    dtype = torch.bfloat16 if _has_bf16_products() else torch.float32
    queries = queries.to(dtype)
    step = max(1, _CONVERTED_BYTES // (rows.shape[1] * dtype.itemsize))
    scores = torch.empty(len(queries), len(rows))
    room = torch.empty(step, rows.shape[1], dtype=dtype)
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        scores[:, first : first + step] = queries @ room[: len(some)].copy_(some).T
    return scores


def _has_bf16_products() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it does not, float32 is faster."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known and known())
