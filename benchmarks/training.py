"""Speed of a training step on TVR-shaped input, against the simplest correct form of the same model.

    python benchmarks/training.py [--steps 3] [--batch-size 128] [--device cpu]

Both forms take the same batch in turn: videos of 20 to 128 frames, five sentences each. The share is of the rate at
which this machine multiplies matrices, measured in the same run and precision, reached by our form's multiplications.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gmmformer.config import ModelConfig, TrainConfig
from gmmformer.model import GMMFormer, QueryBatch, VideoBatch, objective
from gmmformer.training import optimiser_for
from simplest import SimplestGMMFormer

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}


def tvr_batch(videos: int) -> "Batch":
    """A batch of TVR's shape: 3,072-d rows, 20 to 128 frames; five sentences of 8 to 20 tokens a video."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(20, 129, (videos,), generator=generator)
    tokens = torch.randint(8, 21, (5 * videos,), generator=generator)
    unit = [
        nn.functional.normalize(torch.rand(*shape, generator=generator), dim=-1)
        for shape in ((videos, 32, 3072), (int(frames.sum()), 3072), (int(tokens.sum()), 768))
    ]
    return QueryBatch(unit[2], tokens), VideoBatch(unit[0], unit[1], frames), torch.arange(videos).repeat_interleave(5)


Batch = tuple[QueryBatch, VideoBatch, torch.Tensor]


def training_step(model: nn.Module, precision: str, batch: Batch, device: str) -> Callable[[], None]:
    """One whole step: forward, loss, backward, update."""
    config = TrainConfig()
    model.to(device).train()
    optimiser = optimiser_for(model, config)
    queries, videos, labels = batch[0].to(device), batch[1].to(device), batch[2]
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed"):
            encoded, embeddings = model(queries, videos)
        embeddings = type(embeddings)(*(part.float() for part in embeddings))
        losses = objective(encoded.float(), embeddings, labels, config, hard=True, generator=generator)
        optimiser.zero_grad()
        losses.total.backward()  # type: ignore[no-untyped-call]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="steps of each form, after one to warm up")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-simplest", action="store_true", help="measure ours alone")
    options = parser.parse_args()
    config = ModelConfig(feature_dim=3072, query_dim=768)
    batch = tvr_batch(options.batch_size)
    runs = {}
    for precision in DTYPES:
        if not options.without_simplest and options.device == "cpu":
            runs["simplest", precision] = training_step(SimplestGMMFormer(config), precision, batch, options.device)
        runs["ours", precision] = training_step(GMMFormer(config), precision, batch, options.device)
    with FlopCounterMode(display=False) as counter:
        runs["ours", "32-true"]()
    work = counter.get_total_flops()

    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for turn in range(options.steps + 1):
        for key, run in runs.items():
            spent = seconds(run, options.device)
            if turn:
                times[key].append(spent)
    slowest = statistics.median(next(iter(times.values())))
    print(f"{'form':10}{'precision':12}{'s/step':>8}{'videos/s':>10}{'ratio':>8}{'matrix rate':>13}{'share':>8}")
    for (form, precision), taken in times.items():
        median, rate = statistics.median(taken), matrix_rate(DTYPES[precision], options.device)
        print(
            f"{form:10}{precision:12}{median:8.3f}{options.batch_size / median:10.1f}{slowest / median:7.1f}x"
            f"{rate / 1e9:8,.0f} GF/s{work / median / rate:8.0%}"
        )


if __name__ == "__main__":
    main()
