"""Speed of a training step of both networks, against the simplest correct form of the first; and beside other work.

    python benchmarks/training.py [--shape tvr] [--steps 3] [--batch-size 128] [--device cpu]
    python benchmarks/training.py --shape small --beside 6

All forms take the same batch in turn, five sentences a video. The share is of the rate at which this machine
multiplies matrices, measured in the same run and precision, reached by the multiplications of ours. bfloat16 is
measured where --precision auto takes it, or with --imitated.

With --beside N our form alone and our form beside N processes that never rest take turns. T threads beside N processes
are due T / (T + N) of what all of them got; the line printed tells a step's time as a multiple of what it takes with
that. What else ran on the machine is taken from all of them, so it is not in the ratio.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from gmmformer.config import ModelConfig, Precision, TrainConfig  # before torch: gmmformer says how threads wait

# isort: split
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gmmformer.cores import keep_memory, usable_cores
from gmmformer.model import GMMFormer, GMMFormerV2, Network, QueryBatch, VideoBatch, find_precision
from gmmformer.training import optimiser_for
from simplest import SimplestGMMFormer

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}


class Shape(NamedTuple):
    """What a batch is like."""

    batch_size: int
    longest: int
    """Rows of the longest video; the shortest has 20. The model averages longer ones down to 128."""
    feature_dim: int
    query_dim: int
    videos: int
    """Training videos of the collection: what an epoch goes through."""


SHAPES = {"tvr": Shape(128, 128, 3072, 768, 17_435), "small": Shape(64, 140, 256, 192, 600)}


def batch_of(shape: Shape) -> "Batch":
    """A batch of that shape; five sentences of 8 to 20 tokens a video."""
    generator = torch.Generator().manual_seed(0)
    videos = shape.batch_size
    frames = torch.randint(20, shape.longest + 1, (videos,), generator=generator).clamp(max=128)
    tokens = torch.randint(8, 21, (5 * videos,), generator=generator)
    sizes = (
        (videos, 32, shape.feature_dim),
        (int(frames.sum()), shape.feature_dim),
        (int(tokens.sum()), shape.query_dim),
    )
    unit = [nn.functional.normalize(torch.rand(*size, generator=generator), dim=-1) for size in sizes]
    return QueryBatch(unit[2], tokens), VideoBatch(unit[0], unit[1], frames), torch.arange(videos).repeat_interleave(5)


Batch = tuple[QueryBatch, VideoBatch, torch.Tensor]


def training_step(model: Network, precision: Precision, batch: Batch, device: str) -> Callable[[], None]:
    """One whole step: forward, loss, backward, update."""
    config = TrainConfig(matching_weight=0.09)
    model.to(device).train()
    optimiser = optimiser_for(model, config)
    queries, videos, labels = batch[0].to(device), batch[1].to(device), batch[2]
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            encoded, embeddings = model(queries, videos)
        embeddings = type(embeddings)(*(part.float() for part in embeddings))
        losses = model.objective(encoded.float(), embeddings, labels, config, hard=True, generator=generator)
        optimiser.zero_grad()
        losses["total"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def seconds(run: Callable[[], object], device: str) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matrix_rate(dtype: torch.dtype, device: str) -> float:
    """Multiply-adds, two operations each, that this machine does in a second on large matrices."""
    size = 2048 if device == "cpu" else 8192
    a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


BUSY = """
import os, sys
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""


@contextmanager
def busy(count: int) -> Iterator[Callable[[], float]]:
    """`count` processes that never rest; what is given tells the processor time that all have had, in seconds."""
    processes = [subprocess.Popen([sys.executable, "-S", "-c", BUSY], stdout=subprocess.PIPE) for _ in range(count)]

    def had() -> float:
        return sum(int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) for process in processes) / 1e9

    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield had
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def compare_beside(step: Callable[[], None], count: int, steps: int, device: str) -> str:
    """In a line: how long a step takes beside `count` busy processes, and how many times its fair share that is."""
    alone: list[float] = []
    wall = got = everything = 0.0
    seconds(step, device)
    for _ in range(steps):
        alone += [seconds(step, device) for _ in range(2)]
        with busy(count) as had:
            theirs, ours = had(), time.process_time()
            wall += seconds(step, device)
            ours, theirs = time.process_time() - ours, had() - theirs
        got, everything = got + ours, everything + ours + theirs
    threads, quickest = torch.get_num_threads(), min(alone)
    share = threads / (threads + count)
    possible = share * everything / (quickest * min(threads, usable_cores()))  # steps, with what was due
    return (
        f"beside {count}: {wall / steps:.2f} s a step, {possible / steps:.2f} times its fair share of "
        f"{wall / possible:.2f} s; alone {quickest:.2f} s (median {statistics.median(alone):.2f}); {threads} threads "
        f"were due {share:.0%} of what all got, and took {got / everything:.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="steps of each form, after one to warm up")
    parser.add_argument("--shape", choices=SHAPES, default="tvr")
    parser.add_argument("--batch-size", type=int, help="videos in a batch. Default: the shape's")
    parser.add_argument("--beside", type=int, default=0, metavar="N", help="measure beside N processes that never rest")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-simplest", action="store_true", help="measure ours alone")
    parser.add_argument(
        "--imitated", action="store_true", help="measure bfloat16 where the machine has no units for it"
    )
    options = parser.parse_args()
    keep_memory()  # as training does; the simplest form gains from it too
    shape = SHAPES[options.shape]
    shape = shape._replace(batch_size=options.batch_size or shape.batch_size)
    config = ModelConfig(feature_dim=shape.feature_dim, query_dim=shape.query_dim)
    batch = batch_of(shape)
    if options.beside:
        precision = find_precision("auto", options.device)
        step = training_step(GMMFormer(config), precision, batch, options.device)
        print(compare_beside(step, options.beside, options.steps, options.device))
        return
    forms: dict[str, Callable[[], Any]] = {
        "v1": lambda: GMMFormer(config),
        "v2": lambda: GMMFormerV2(replace(config, network="v2")),
    }
    if not options.without_simplest and options.device == "cpu":
        forms = {"simplest v1": lambda: SimplestGMMFormer(config), **forms}
    units = options.imitated or find_precision("auto", options.device) == "bf16"
    runs = {
        (form, precision): training_step(make(), precision, batch, options.device)
        for precision in DTYPES
        for form, make in forms.items()
        if precision == "float32" or units
    }
    work = {}
    for form in ("v1", "v2"):
        with FlopCounterMode(display=False) as counter:
            runs[form, "float32"]()
        work[form] = counter.get_total_flops()
    work["simplest v1"] = work["v1"]

    times: dict[tuple[str, Precision], list[float]] = {key: [] for key in runs}
    for turn in range(options.steps + 1):
        for key, run in runs.items():
            spent = seconds(run, options.device)
            if turn:
                times[key].append(spent)
    slowest = statistics.median(next(iter(times.values())))
    columns = {"s/step": 8, "videos/s": 10, "s/epoch": 9, "ratio": 8, "matrix rate": 13, "share": 8}
    print(f"{'form':13}{'precision':12}" + "".join(f"{name:>{width}}" for name, width in columns.items()))
    for (form, precision), taken in times.items():
        median, rate = statistics.median(taken), matrix_rate(DTYPES[precision], options.device)
        print(
            f"{form:13}{precision:12}{median:8.3f}{shape.batch_size / median:10.1f}"
            f"{median * shape.videos / shape.batch_size:9.1f}{slowest / median:7.1f}x"
            f"{rate / 1e9:8,.0f} GF/s{work[form] / median / rate:8.0%}"
        )


if __name__ == "__main__":
    main()
