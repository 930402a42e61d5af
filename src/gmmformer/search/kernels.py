"""The loop that every search ends in, compiled when it is first needed: it reads windows once, where they lie."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Int8, Int64, UInt8

_INT8 = (
    "void(int8[:,:,::1], uint8[:,::1], int64[::1], int64[::1],"
    " float32[:,::1], int64[::1], float32[:,:,::1], float32[:,::1])"
)


def score_int8(
    vectors: Int8[np.ndarray, "records clips dim"],
    heads: UInt8[np.ndarray, "records bytes"],
    at: Int64[np.ndarray, "some"],
    firsts: Int64[np.ndarray, "some"],
    queries: Float32[np.ndarray, "queries dim"],
    strides: Int64[np.ndarray, "strides"],
    scores: Float32[np.ndarray, "queries some_or_none run"],
    best: Float32[np.ndarray, "queries some"],
) -> None:
    """Score the clips of int8 records (see `VectorFormat`), summing in float32; other threads go on meanwhile.

    Args:
        vectors: The records' numbers, mapped or not.
        heads: Their heads.
        at: Which records to score.
        firsts: The clip that the run of clips to score begins with, a multiple of `vectors.STRETCH`.
        queries: Unit vectors.
        strides: `vectors.STRIDES`.
        scores: To be filled with the score of every clip of the runs, whose length is its last dimension; a run may
            end sooner, with its record. Where the middle dimension is 0 they are not wanted.
        best: To be filled with the score of each run's best clip.
    """
    _compiled(_score_int8, _INT8)(vectors, heads, at, firsts, queries, strides, scores, best)


@cache
def _compiled(function: Callable[..., None], signature: str) -> Callable[..., None]:
    import numba  # takes half a second, which what does not search can save

    def compile_it(kept: bool) -> Any:
        return numba.njit(signature, nogil=True, fastmath={"reassoc", "contract", "nnan", "nsz"}, cache=kept)(function)

    try:
        return compile_it(True)  # type: ignore[no-any-return]
    except (RuntimeError, OSError):  # there is no folder, or no room, where it could be kept for the next time
        return compile_it(False)  # type: ignore[no-any-return]


def _score_int8(
    vectors: Any, heads: Any, at: Any, firsts: Any, queries: Any, strides: Any, scores: Any, best: Any
) -> None:
    clips, dim = vectors.shape[1:]
    count, half = len(queries), (dim + 1) // 2
    told = np.empty((4, clips), dtype=np.float32)
    scales = np.empty(clips, dtype=np.float32)
    mean = np.empty(2 * half, dtype=np.float32)
    steps = np.float32(2.0) ** (np.maximum(np.arange(32), 1) - 25).astype(np.float32)
    for place in range(len(at)):
        record, begin = at[place], firsts[place]
        length = min(scores.shape[2], clips - begin)
        for clip in range(length + 1):  # the last scale is that of the mean
            byte = 2 * (begin + clip if clip < length else clips)
            bits = np.int32(heads[record, byte]) | np.int32(heads[record, byte + 1]) << 8
            exponent, fraction = bits >> 10, bits & 1023  # of a float16 that is not negative
            scale = np.float32(fraction + 1024 if exponent else fraction) * steps[exponent]
            if clip < length:
                scales[clip] = scale
        for column in range(half):
            byte = np.int32(heads[record, 2 * clips + 2 + column])
            mean[column] = np.float32((byte & 15) - 8) * scale
            mean[half + column] = np.float32((byte >> 4) - 8) * scale
        rows = vectors[record, begin:]
        first = 0
        while first < count:
            together = 4 if first + 4 <= count else 1  # a row's numbers are converted once for four queries
            if together == 4:
                one, two, three, four = queries[first], queries[first + 1], queries[first + 2], queries[first + 3]
                for clip in range(length):
                    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                    for column in range(dim):
                        number = np.float32(rows[clip, column])
                        a += number * one[column]
                        b += number * two[column]
                        c += number * three[column]
                        d += number * four[column]
                    told[0, clip], told[1, clip] = a * scales[clip], b * scales[clip]
                    told[2, clip], told[3, clip] = c * scales[clip], d * scales[clip]
            else:
                one = queries[first]
                for clip in range(length):
                    a = np.float32(0)
                    for column in range(dim):
                        a += np.float32(rows[clip, column]) * one[column]
                    told[0, clip] = a * scales[clip]
            for index in range(together):
                query = first + index
                for stride in strides:
                    step = stride // 2
                    for clip in range(step, length, stride):
                        right = clip + step if clip + step < length else clip - step
                        told[index, clip] += np.float32(0.5) * (told[index, clip - step] + told[index, right])
                base, highest = np.float32(0), told[index, 0]
                for column in range(dim):
                    base += mean[column] * queries[query, column]
                for clip in range(length):
                    highest = max(highest, told[index, clip])
                best[query, place] = highest + base
                if scores.shape[1]:
                    for clip in range(length):
                        scores[query, place, clip] = told[index, clip] + base
            first += together
