"""Reading ahead: batches are made in threads while the last one is being used, and come in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def read_ahead(make: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Iterator[Made]:
    """`map(make, items)`, made by `workers` threads that stay at most `workers` results ahead; 0: made when asked for.

    Threads, not processes: the copies out of mapped files and the arithmetic run outside Python's lock, so nothing
    needs to be passed between processes. An error of `make` is raised at its place in the order.
    """
    if workers == 0:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="gmmformer-data") as pool:
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
