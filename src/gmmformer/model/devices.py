"""Where a model runs, and what its matrices are multiplied in."""

import logging
import math
import time
from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F

from gmmformer.config import Precision
from gmmformer.errors import InputError, suggest

LOG = logging.getLogger("gmmformer")

_PAYS = 0.8
"""Most of float32's time that a product may take for a narrower type to pay: around it there is more to convert."""
_TURNS = 5


def find_device(name: str, auto: Sequence[str] = ("cuda",)) -> str:
    """The device that `name` means: "cpu", "cuda", "cuda:1" or "mps"; "auto" is the first of `auto` that is here.

    Raises:
        InputError: There is no such device here.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next((kind for kind in auto if here[kind]), "cpu")
    kind, numbered, number = name.partition(":")
    if kind not in here or (numbered and not (kind == "cuda" and number.isascii() and number.isdecimal())):
        raise InputError(f"--device {name}: {suggest(name, ['auto', *here, 'cuda:1'])}")
    if not here[kind] or (numbered and int(number) >= torch.cuda.device_count()):
        raise InputError(f"--device {name}: torch finds no such device here; take --device cpu")
    return name


def find_precision(asked: Precision, device: str) -> Precision:
    """What training multiplies matrices in on `device`: "float32" or "bf16"; "auto" is bfloat16 where it pays.

    Where bfloat16 is asked for and costs time, that is logged as a warning.
    """
    if asked == "bf16":
        tell_cost("--precision bf16", torch.bfloat16, device)
    if asked != "auto":
        return asked
    if device == "cpu":
        return "bf16" if relative_time(torch.bfloat16) <= _PAYS else "float32"
    return "bf16" if device.startswith("cuda") and _has_bfloat16() else "float32"


def tell_cost(setting: str, dtype: torch.dtype, device: str) -> None:
    """Log a warning if products in `dtype`, which `setting` asks for, take longer than in float32 on `device`."""
    name = str(dtype).removeprefix("torch.")
    if device == "cpu" and (times := relative_time(dtype)) > 1:
        LOG.warning(
            "%s: matrix products in %s take %.1f times as long as in float32 on this processor; leave it out, or set "
            "it where there are units for %s",
            *(setting, name, times, name),
        )
    if device.startswith("cuda") and dtype == torch.bfloat16 and not _has_bfloat16():
        LOG.warning("%s: this GPU has no units for bfloat16 and only imitates it; leave it out to be faster", setting)


@cache
def relative_time(dtype: torch.dtype) -> float:
    """How long a matrix product in `dtype` takes on the processor, in units of its time in float32; timed once.

    The two take turns, and the best of each counts, in processor time of this thread: other work is not in it.
    """
    best = {torch.float32: math.inf, dtype: math.inf}
    for _ in range(_TURNS):
        for kind in best:
            best[kind] = min(best[kind], _product_seconds(kind))
    return best[dtype] / best[torch.float32]


def _product_seconds(dtype: torch.dtype) -> float:
    """Processor time of one product as the model has them: 512 rows through a layer of its width."""
    rows, weight = torch.ones(512, 384, dtype=dtype), torch.ones(384, 384, dtype=dtype)
    started = time.thread_time()
    with torch.inference_mode():
        F.linear(rows, weight)
    return time.thread_time() - started


def _has_bfloat16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
