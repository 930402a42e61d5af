"""Which vectors an approximate index holds: fewer than there are clips, as neighbouring clips are alike."""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

GROUP = 2
"""Neighbouring clips that share one vector of an index, their mean: what the index finds is scored clip by clip anyway.
Half as many vectors take half the memory and half the time to build."""


def group_count(clips: int) -> int:
    """Vectors of an index for each window."""
    return clips // GROUP if clips % GROUP == 0 else clips


def vector_ids(windows: Int[np.ndarray, "n"], clips: int) -> Int[np.ndarray, "vectors"]:
    """What an index calls the vectors of some windows (ids), window after window."""
    groups = group_count(clips)
    return np.asarray((windows[:, None] * groups + np.arange(groups)).ravel())


def grouped(fused: Float[Tensor, "windows clips dim"]) -> Float[np.ndarray, "windows groups dim"]:
    """The vectors of an index: means of neighbouring clips."""
    windows, clips, dim = fused.shape
    groups = group_count(clips)
    return np.asarray(fused.reshape(windows, groups, clips // groups, dim).mean(2).numpy())
