"""What a GPU gives: a step, an epoch, an evaluation, indexing at TVR's shape, beside what the device could do at most.

    bash benchmarks/gpu.sh OUT                                        # all of it, on a bare machine with CUDA
    python benchmarks/gpu.py OUT [--videos 17435] [--device cuda]     # in an environment that is there

OUT gets a simulated collection of TVR's shape (20 GB for all 17,435 training videos), runs, and table.md. The limits,
the matrix rates in float32 and bfloat16 and the bandwidth of the device's memory, are measured in the same run. With
--device cpu --videos 40 the benchmark itself can be tried where there is no GPU.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gmmformer.config import ModelConfig, Precision  # before torch: gmmformer says how threads wait

# isort: split
import torch
from torch.utils.flop_counter import FlopCounterMode

from gmmformer.data import Collection, simulate
from gmmformer.data.resident import bytes_of
from gmmformer.evaluation import evaluate
from gmmformer.model import GMMFormer, GMMFormerV2, Network, find_precision, load_model
from gmmformer.search import Library, index_collection
from gmmformer.training import EpochEnd, train
from training import DTYPES, SHAPES, batch_of, matrix_rate, seconds, training_step

EPOCHS = 3
"""The last counts: the first reads the features."""
PUBLISHED_EPOCHS = 100


def bandwidth(device: str) -> float:
    """Bytes that the device's memory reads and writes in a second, the best of several copies."""
    source = torch.ones(2**28 if device == "cuda" else 2**25, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(seconds(lambda: target.copy_(source), device) for _ in range(6))


def step_row(network: Network, name: str, precision: Precision, device: str, rate: float) -> list[str]:
    """How long a step takes, and its share of the matrix rate."""
    step = training_step(network, precision, batch_of(SHAPES["tvr"]), device)
    with FlopCounterMode(display=False) as counter:
        step()
    took = min(seconds(step, device) for _ in range(20 if device == "cuda" else 2))
    share = counter.get_total_flops() / took / rate
    return [f"a step of {name}, 128 videos, {precision}", f"{1e3 * took:,.1f} ms", f"{share:.0%} of its matrix rate"]


def epoch_rows(collection: Collection, out: Path, device: str) -> list[list[str]]:
    """How long an epoch takes with the features on the device, and with them on the disk."""
    rows = []
    for resident in ("yes", "no"):
        ends: list[tuple[float, EpochEnd]] = []
        shutil.rmtree(out / "run", ignore_errors=True)
        train(
            collection,
            out / "run",
            preset="tvr",
            epochs=EPOCHS,
            device=device,
            resident=resident,
            report=lambda end: ends.append((time.perf_counter(), end)),  # noqa: B023
        )
        whole, videos = ends[-1][0] - ends[-2][0], len(collection.captions("train").video_ids)
        took = videos / ends[-1][1].videos_per_second
        where = "on the device" if resident == "yes" else "read from the disk"
        rows.append([f"training of an epoch, features {where}", f"{took:,.2f} s", f"{videos / took:,.0f} videos/s"])
        rows.append(["the same with its evaluation and state saved", f"{whole:,.2f} s", ""])
    scaled = PUBLISHED_EPOCHS * took * SHAPES["tvr"].videos / videos
    rows.append(
        [f"{PUBLISHED_EPOCHS} epochs of 17,435 videos, by the last", f"{scaled:,.0f} s", "goal: 60 s on an H200"]
    )
    return rows


def timed(device: str, work: Callable[[], object]) -> float:
    """Seconds of a call, once warm."""
    work()
    return seconds(work, device)


def main() -> None:
    """Measure, print a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=int, default=SHAPES["tvr"].videos, help="training videos of the collection")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    device: str = options.device
    name = torch.cuda.get_device_name(0) if device == "cuda" else "the processor, to try the benchmark"
    units = device == "cuda" or find_precision("auto", device) == "bf16"  # else they are but imitated
    rates = {kind: matrix_rate(dtype, device) for kind, dtype in DTYPES.items() if units or kind == "float32"}
    rows = [[f"matrix products, {precision}", f"{rate / 1e12:,.2f} TF/s", "limit"] for precision, rate in rates.items()]
    rows.append(["memory", f"{bandwidth(device) / 1e9:,.0f} GB/s", "limit"])
    config = ModelConfig(feature_dim=3072, query_dim=768)
    for precision, rate in rates.items():
        rows.append(step_row(GMMFormer(config), "GMMFormer", precision, device, rate))
        rows.append(step_row(GMMFormerV2(replace(config, network="v2")), "GMMFormer v2", precision, device, rate))
    if not (options.out / "tvr").exists():
        simulate(options.out, videos=options.videos)
    collection = Collection.open(options.out, "tvr")
    rows.append(["features on the device", f"{bytes_of(collection, 'train', config) / 1e9:,.1f} GB at most", ""])
    rows += epoch_rows(collection, options.out, device)
    model = load_model(options.out / "run").to(device)
    took = timed(device, lambda: evaluate(model, collection, "val", workers=2))
    count = len(collection.captions("val").video_ids)
    rows.append([f"evaluation of {count:,} videos", f"{took:,.2f} s", f"{count / took:,.0f} videos/s"])
    shutil.rmtree(options.out / "library", ignore_errors=True)
    with Library.create(options.out / "library", options.out / "run") as library, library.writing() as into:
        took = seconds(lambda: index_collection(into, collection, "train", workers=2), device)
        rows.append([f"indexing of {len(library):,} videos", f"{took:,.2f} s", f"{len(library) / took:,.0f} videos/s"])
    head = [f"{name}, torch {torch.__version__}", "measured", "share or rate"]
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * 3, *rows)]
    (options.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
