"""The cores that are ours: how many, how threads wait for each other, work ahead and how far it is; memory kept."""

import ctypes
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def silent(what: str, done: int, total: int) -> None:
    """The progress that nobody watches."""


Item = TypeVar("Item")
Made = TypeVar("Made")

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
"""By these a user tells threads of OpenMP how to wait."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""As malloc.h of glibc numbers them."""


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on, and no more than its container's quota (cgroup), rounded up.

    Args:
        root: Where /proc and /sys are.
    """
    return min([_cores(), *(math.ceil(quota) for quota in _quotas(root))])


def share_cores(environment: MutableMapping[str, str], root: Path = Path("/")) -> None:
    """Let threads of OpenMP (torch's, faiss') that wait give up their core soon, and be no more than the quota allows.

    OpenMP reads `environment` when it is loaded, so this comes before `import torch`. By itself a thread that waits for
    another spins for milliseconds; where other programs run, the other one has no core meanwhile, at every one of a
    step's thousands of barriers. What the user has set stays.
    """
    if not any(name in environment for name in _WAITING):
        environment["OMP_WAIT_POLICY"] = "passive"
        environment["GOMP_SPINCOUNT"] = "1000"  # GNU's, some 20 us: where the other has a core it is soon there
    if (cores := usable_cores(root)) < _cores():
        environment.setdefault("OMP_NUM_THREADS", str(cores))


def keep_memory() -> None:
    """Let freed memory stay with the process, for whoever frees and takes the same large blocks again and again.

    By itself glibc hands blocks of many megabytes back to the system, which then fills each new page with noughts: an
    encoder of frames spends up to half of its time on that, a training step a tenth. Where the C library has no such
    setting nothing happens.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 2**30)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def read_ahead(make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Iterator[Made]:
    """`map(make, items)`, made by `workers` threads that stay at most `workers` results ahead; 0: made when asked for.

    Threads, not processes: the copies out of mapped files and the arithmetic run outside Python's lock, so nothing
    needs to be passed between processes. An error of `make` is raised at its place in the order.
    """
    if workers == 0:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="gmmformer-ahead") as pool:
        ahead: deque[Future[Made]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(make, item))
                if len(ahead) > workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """What each group that this process is in may use of the processor, in cores, where that is limited."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)  # version 2 has no kinds
            if kinds == "" or "cpu" in kinds.split(","):
                place = root / "sys/fs/cgroup" / ("cpu" if kinds else "")
                group = place / path.lstrip("/")
                for folder in (group, *group.parents):
                    if folder.is_relative_to(place):
                        yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if float(quota) > 0:  # not "max" or -1
                yield float(quota) / float(period)
