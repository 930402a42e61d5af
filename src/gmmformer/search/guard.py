"""Mapped files that somebody cuts off while they are read, which Linux answers with a signal that ends the process.

A page that is not there any more is replaced by one of noughts, so that the loop that reads it goes on, and counted for
the mapping that it belongs to; who reads asks for that count afterwards. A check before reading would leave a gap, and
copies of all that is read would take twice the time.

The signal is SIGBUS, the process's own, as there is no other. Faults elsewhere than in these mappings, and signals that
another process sent, go to whoever had it before, and no system call is made but mmap and sigaction, as a handler may.
"""

import ctypes
import mmap
import signal
import sys
import threading
import weakref
from functools import cache
from typing import Any

import numba
import numpy as np
from jaxtyping import Int64
from numba.extending import intrinsic

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
    return numba.cfunc(signature, nopython=True)(handle)
