"""The loops that every search ends in, compiled when they are first used.

That takes a moment, which what does not search can save: the module is imported where its functions are called.

With them goes a guard (`guarded`) against mapped files that somebody cuts off while they are read, which Linux answers
with a signal that ends the process. A page that is not there any more is replaced by one of noughts, so that the loop
that reads it goes on, and counted for the mapping that it belongs to; who reads asks for that count afterwards. A check
before reading would leave a gap, and copies of all that is read would take twice the time.

The signal is SIGBUS, the process's own, as there is no other. Faults elsewhere than in these mappings, and signals that
another process sent, go to whoever had it before, and no system call is made but mmap and sigaction, as a handler may.
"""

import ctypes
import inspect
import mmap
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numba
import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt8
from numba.extending import intrinsic, overload

Function = TypeVar("Function", bound=Callable[..., Any])

_pread = numba.types.ExternalFunction(
    "pread", numba.int64(numba.int32, numba.types.uintp, numba.types.uintp, numba.int64)
)


def _compiled(signature: str) -> Callable[[Function], Function]:
    """Compile a function for one signature; other threads go on while it runs."""

    def compile_it(function: Function) -> Function:
        function = inspect.unwrap(function)  # of what checks its shapes in tests
        options = {"nogil": True, "fastmath": {"reassoc", "contract", "nnan", "nsz"}}
        try:
            return numba.njit(signature, cache=True, **options)(function)  # type: ignore[no-any-return]
        except (RuntimeError, OSError):  # there is no folder, or no room, where it could be kept for the next time
            return numba.njit(signature, **options)(function)  # type: ignore[no-any-return]

    return compile_it


@_compiled("boolean(int32, int64, uintp, int64)")
def _read(file: int, start: int, into: int, size: int) -> bool:
    """Read some bytes of an open file to an address; whether all were there."""
    done = 0
    while done < size:
        got = _pread(file, into + done, size - done, start + done)
        if got <= 0:
            return False
        done += got
    return True


@_compiled("int64(int32, int64[::1], uint8[:,::1])")
def read_each(file: int, at: Int64[np.ndarray, "some"], into: UInt8[np.ndarray, "some bytes"]) -> int:
    """Read some records of an open file, each into a row of `into`.

    Returns:
        Which of them could not be read; -1 if all were.
    """
    size = into.shape[1]
    for place in range(len(at)):
        if not _read(file, at[place] * size, into.ctypes.data + place * size, size):
            return place
    return -1


def _number(stored: Any) -> Any:
    """A stored number in float32; a bfloat16 lies there as the 16 bits that it has of one."""


@overload(_number, strict=False)  # type: ignore[untyped-decorator]
def _number_of(stored: Any) -> Callable[[Any], Any]:
    if stored == numba.uint16:
        return lambda stored: np.uint32(np.uint32(stored) << np.uint32(16)).view(np.float32)
    return lambda stored: np.float32(stored)


@cache
def scorer(stored: str) -> Callable[..., int]:
    """`_score`, compiled for vectors of one type: int8, uint16 (that is bfloat16) or float32."""
    return _compiled(
        f"int64({stored}[:,:,::1], uint8[:,::1], int64, int32, int64, int64[::1], int64[::1],"
        " float32[:,::1], int64[::1], float32[:,:,::1], float32[:,::1])"
    )(_score)


def _score(
    vectors: Shaped[np.ndarray, "records vectors dim"],
    heads: UInt8[np.ndarray, "records bytes"],
    clips: int,
    file: int,
    near: int,
    at: Int64[np.ndarray, "some"],
    firsts: Int64[np.ndarray, "some"],
    queries: Float32[np.ndarray, "queries dim"],
    strides: Int64[np.ndarray, "strides"],
    scores: Float32[np.ndarray, "queries some_or_none run"],
    best: Float32[np.ndarray, "queries some"],
) -> int:
    """Score the clips of records (see `VectorFormat`), summing in float32.

    What one query gets depends on it and on the record alone: not on what else is scored, nor where the record lies.
    Four queries at once have their sums in another order, and may get another last digit.

    Args:
        vectors: The records' numbers, mapped or not.
        heads: Their heads, if the numbers are coded; else of no bytes.
        clips: How many of a record's vectors, the first, are clips; those behind them are frames.
        file: The open file of the vectors.
        near: How many records, the first, are read where `vectors` has them; others are copied from the file.
        at: Which records to score.
        firsts: The clip that the run of clips to score begins with, a multiple of `vectors.STRETCH`.
        queries: Unit vectors.
        strides: `vectors.STRIDES` if the numbers are coded; else none.
        scores: To be filled with the score of every clip of the runs (its own and the best frame's), whose length is
            its last dimension; a run may end sooner, with its record. Where the middle dimension is 0 they are not
            wanted.
        best: To be filled with the score of each run: that of its best clip, and of its best frame.

    Returns:
        Which of them could not be read; -1 if all were.
    """
    whole, dim = vectors.shape[1:]
    frames, run = whole - clips, scores.shape[2]
    each = frames // clips  # frames that stand for the rows of a clip
    longest = max(min(run, clips), frames if run >= clips else (run - 1) * each + 1)
    count, half = len(queries), (dim + 1) // 2
    coded, told = heads.shape[1] > 0, np.empty((4, longest), dtype=np.float32)
    scales = np.ones(longest, dtype=np.float32)
    mean = np.empty(2 * half, dtype=np.float32)
    steps = np.float32(2.0) ** (np.maximum(np.arange(32), 1) - 25).astype(np.float32)
    room = np.empty((longest, dim), dtype=vectors.dtype)
    for place in range(len(at)):
        record = at[place]
        for group in range(2 if frames else 1):
            size, begin, behind, head = clips, firsts[place], 0, 0
            length = min(run, clips - begin)
            if group:
                size, behind, head = frames, clips, 2 * (clips + 1) + half
                begin, length = (0, frames) if run >= clips else (begin * each, (run - 1) * each + 1)
                length = min(length, frames - begin)
            if coded:
                for clip in range(length + 1):  # the last scale is that of the mean
                    byte = head + 2 * (begin + clip if clip < length else size)
                    bits = np.int32(heads[record, byte]) | np.int32(heads[record, byte + 1]) << 8
                    exponent, fraction = bits >> 10, bits & 1023  # of a float16 that is not negative
                    scale = np.float32(fraction + 1024 if exponent else fraction) * steps[exponent]
                    if clip < length:
                        scales[clip] = scale
                for column in range(half):
                    two_of_it = np.int32(heads[record, head + 2 * size + 2 + column])
                    mean[column] = np.float32((two_of_it & 15) - 8) * scale
                    mean[half + column] = np.float32((two_of_it >> 4) - 8) * scale
            rows = vectors[record, behind + begin :]
            if record >= near:
                rows = room
                width, first = dim * vectors.itemsize, record * whole + behind + begin
                if not _read(file, first * width, room.ctypes.data, length * width):
                    return place
            first = 0
            while first < count:
                together = 4 if first + 4 <= count else 1  # a row's numbers are converted once for four queries
                if together == 4:
                    one, two, three, four = queries[first], queries[first + 1], queries[first + 2], queries[first + 3]
                    for clip in range(length):
                        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                        for column in range(dim):
                            number = _number(rows[clip, column])
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
                            a += _number(rows[clip, column]) * one[column]
                        told[0, clip] = a * scales[clip]
                for index in range(together):
                    query = first + index
                    for stride in strides:
                        step = stride // 2
                        for clip in range(step, length, stride):
                            right = clip + step if clip + step < length else clip - step
                            told[index, clip] += np.float32(0.5) * (told[index, clip - step] + told[index, right])
                    base, highest = np.float32(0), told[index, 0]
                    if coded:
                        for column in range(dim):
                            base += mean[column] * queries[query, column]
                    for clip in range(length):
                        highest = max(highest, told[index, clip])
                    best[query, place] = highest + base if group == 0 else best[query, place] + (highest + base)
                    if scores.shape[1]:
                        for clip in range(min(run, clips - firsts[place])):
                            if group == 0:
                                scores[query, place, clip] = told[index, clip] + base
                            else:
                                scores[query, place, clip] += highest + base
                first += together
    return -1


_MOST = 4096
_MAP_FIXED = 0x10
_SIGINFO, _ONSTACK = 4, 0x08000000

_mappings = np.zeros((_MOST, 3), dtype=np.int64)
"""Of each mapping its first address, the one after its last, and how many of its pages were lost; noughts if free."""
_lock = threading.Lock()

types: Any = numba.core.types
_mmap: Any = types.ExternalFunction(
    "mmap", types.uintp(types.uintp, types.uintp, types.int32, types.int32, types.int32, types.int64)
)
_sigaction: Any = types.ExternalFunction("sigaction", types.int32(types.int32, types.uintp, types.uintp))


class _Action(ctypes.Structure):
    """struct sigaction, as Linux' C libraries have it."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_byte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_before = _Action()


@intrinsic  # type: ignore[untyped-decorator]
def _numbers_at(context: Any, address: Any) -> Any:
    """The int64 numbers that lie at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(types.uintp), generate


def guarded(memory: mmap.mmap, address: int) -> Int64[np.ndarray, "1"] | None:
    """Have the pages of a mapping that are not there when they are read replaced by noughts, as long as it lives.

    Args:
        memory: The mapping.
        address: Where it begins.

    Returns:
        How many pages were replaced, which grows; None where there is no guard, as on other systems than Linux.
    """
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    with _lock:
        free = np.flatnonzero(_mappings[:, 1] == 0)
        if not len(free):
            return None
        own = _mappings[free[0]]
        own[:] = address, address + len(memory), 0
        action = _Action()
        _libc().sigaction(signal.SIGBUS, None, ctypes.byref(action))
        if action.handler != _handler().address:  # ours is not there, or somebody else came after us
            ctypes.memmove(ctypes.byref(_before), ctypes.byref(action), ctypes.sizeof(_Action))
            action = _Action(handler=_handler().address, flags=_SIGINFO | _ONSTACK)
            _libc().sigaction(signal.SIGBUS, ctypes.byref(action), None)
    weakref.finalize(memory, own.fill, 0)
    lost: Int64[np.ndarray, 1] = own[2:]
    return lost


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _handler() -> Any:
    """What runs when a page is not there."""
    table, before, size = _mappings.ctypes.data, ctypes.addressof(_before), mmap.PAGESIZE
    protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED

    def handle(number: int, told: Any, context: int) -> None:
        fault = told[2]
        if told[1] & 0xFFFFFFFF in (1, 2, 3):  # of the kernel, about an address
            mappings = _numbers_at(np.uintp(table))
            for place in range(_MOST):
                if mappings[3 * place] <= fault < mappings[3 * place + 1]:
                    _mmap(
                        np.uintp(fault & -size), np.uintp(size), np.int32(protection), np.int32(flags), np.int32(-1), 0
                    )
                    mappings[3 * place + 2] += 1
                    return
        _sigaction(np.int32(number), np.uintp(before), np.uintp(0))

    signature = types.void(types.int32, types.CPointer(types.int64), types.uintp)
    return numba.cfunc(signature, nopython=True)(inspect.unwrap(handle))  # of what checks its shapes in tests
