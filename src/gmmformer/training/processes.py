"""One process or many: the device, the precision, and a batch whose videos several processes share.

Each of N processes encodes its share of a batch; the embeddings are gathered from all, so that every process sees every
negative and computes the loss of the whole batch.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning_fabric import Fabric
from torch import Tensor

from gmmformer.config import Precision, RunConfig
from gmmformer.cores import keep_memory
from gmmformer.model import find_device, find_precision

_FABRIC: dict[Precision, Literal["32-true", "bf16-mixed"]] = {"float32": "32-true", "bf16": "bf16-mixed"}
"""What Fabric calls them."""


def launch(config: RunConfig) -> tuple[Fabric, RunConfig]:
    """Join the processes that `torchrun` started, or be the only one; `config` comes back with its precision decided.

    The first process decides it for all: each could time another outcome.

    Raises:
        InputError: There is no such device here.
    """
    keep_memory()
    device = find_device(config.device)
    fabric = _fabric(device, "float32")
    precision = fabric.broadcast(find_precision(config.precision, device) if fabric.is_global_zero else None)
    if precision != "float32":  # which must be known when a Fabric is made; the processes have joined already
        fabric = _fabric(device, precision)
    return fabric, replace(config, precision=precision)


def _fabric(device: str, precision: Precision) -> Fabric:
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    kind, _, number = device.partition(":")
    fabric = Fabric(
        accelerator=kind,
        devices=[int(number)] if number else local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=_FABRIC[precision],
    )
    fabric.launch()
    return fabric


class Gathered(NamedTuple):
    """The embeddings of a whole batch, on every process; gradients flow back to the process they came from."""

    queries: Float[Tensor, "queries encodings dim"]
    videos: tuple[Tensor, ...]
    """As the network gave them."""
    labels: Int[Tensor, "queries"]
    """On the CPU."""
    stop: bool
    """Whether any process was asked to stop."""


def gather(
    fabric: Fabric,
    queries: Float[Tensor, "queries encodings dim"],
    videos: tuple[Tensor, ...],
    labels: Int[Tensor, "queries"],
    stop: bool,
) -> Gathered:
    """Bring together what each process encoded of a batch, in the order of the processes.

    The gradient of each embedding is the sum over the processes' equal losses; averaged over processes, as
    data-parallel training does with the weights' gradients, that is the gradient of the one loss.
    """
    again: Callable[[Iterable[Tensor]], tuple[Tensor, ...]] = getattr(type(videos), "_make", tuple)
    queries, videos = queries.float(), again(part.float() for part in videos)
    if fabric.world_size == 1:
        return Gathered(queries, videos, labels, stop)
    counts = fabric.all_gather(torch.tensor([len(queries), len(videos[0]), int(stop)], device=fabric.device)).cpu()
    of_queries, of_videos = counts[:, 0].tolist(), counts[:, 1].tolist()
    return Gathered(
        _gather_rows(fabric, queries, of_queries),
        again(_gather_rows(fabric, part, of_videos) for part in videos),
        _gather_rows(fabric, labels.to(fabric.device), of_queries).cpu(),
        bool(counts[:, 2].any()),
    )


def _gather_rows(fabric: Fabric, rows: Tensor, counts: list[int]) -> Tensor:
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded = torch.cat([rows, padded[len(rows) :]])
    everyone = fabric.all_gather(padded, sync_grads=rows.is_floating_point())
    return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])


def seed_step(seed: int, step: int, rank: int) -> torch.Generator:
    """Seed what a step draws from (seed, step) alone, so that a resumed run draws what it would have drawn.

    Dropout takes torch's own generators, seeded for this process; the returned CPU generator draws the negatives, the
    same on every process.
    """
    torch.manual_seed(_mixed(seed, step, rank + 1))
    return torch.Generator().manual_seed(_mixed(seed, step, 0))


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def stop_on_signal(interrupt: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM call `interrupt`, which ends training after a step; the second is immediate."""

    def stop(number: int, _: FrameType | None) -> None:
        interrupt()
        signal.signal(number, previous[signal.Signals(number)])

    previous = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, stop)
    except ValueError:  # not the main thread: signals are somebody else's
        previous = {}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
