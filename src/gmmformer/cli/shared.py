"""What several commands show and ask: progress bars, the line of an epoch, the device."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmmformer.media.report import ExtractStatus
    from gmmformer.training import EpochEnd


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr for each kind of work that is reported: what, how much is done, how much there is."""
    from tqdm import tqdm

    bars: dict[str, tqdm[Any]] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit_scale=True, leave=False)
        bars[what].update(done - bars[what].n)
        if done >= total:
            bars.pop(what).close()

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()


@contextmanager
def film_bar() -> Iterator[Callable[["ExtractStatus"], None]]:
    """A progress bar on stderr of the films that are decoded."""
    from tqdm import tqdm

    started = time.perf_counter()
    with tqdm(desc="films", unit="film", leave=False) as bar:

        def show(status: "ExtractStatus") -> None:
            bar.total = status.films
            rate = status.frames / (time.perf_counter() - started)
            bar.set_postfix_str(f"{rate:,.0f} frames/s, {status.failed} failed", refresh=False)
            bar.update(status.done - bar.n)

        yield show


def device(name: str) -> str:
    from gmmformer.model import find_device

    return find_device(name)


def report_epoch(end: "EpochEnd") -> None:
    from tqdm import tqdm

    recall = "  ".join(f"{value:5.2f}" for value in end.metrics.recall)
    tqdm.write(
        f"epoch {end.epoch + 1:3d}  loss {end.losses['total']:.4f}  R@1/5/10/100 {recall}  "
        f"SumR {end.metrics.sum_recall:6.2f}{' *' if end.best else '  '}  {end.videos_per_second:,.0f} videos/s",
        file=sys.stdout,
    )
