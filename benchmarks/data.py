"""Speed of the data alone: opening a collection of TVR's size, and making batches of one like it.

    python benchmarks/data.py [--small] [--videos 2000] [--folder DIR]

The names and the size on disk of the opened collection are TVR's (feature.bin is sparse). Batches come from a simulated
collection of TVR's widths, read once before measuring; the simplest loader takes one row, one segment, one sentence at
a time and gives the same numbers. GB/s count the bytes of the features that a batch needs, once.
"""

import argparse
import ast
import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader

from gmmformer.config import ModelConfig
from gmmformer.data import Collection, FrameFeatures, simulate
from gmmformer.data.rows import read_frame_names
from gmmformer.model import pool_segments, segment_edges

BATCH = 128


def write_sparse(folder: Path, videos: int) -> None:
    """A feature folder with TVR's widths and lengths and no features in it."""
    lengths = (
        np.exp(np.random.default_rng(0).normal(np.log(47), 0.4, videos)).round().clip(20, 200).astype(int).tolist()
    )
    names = [f"castle_s{n % 8:02d}e{n % 25:02d}_seg{n % 3:02d}_clip_{n:05d}" for n in range(videos)]
    rows = {name: [f"{name}_{row}" for row in range(length)] for name, length in zip(names, lengths, strict=True)}
    (folder / "id.txt").write_text(" ".join(" ".join(own) for own in rows.values()))
    (folder / "video2frames.txt").write_text(str(rows))
    (folder / "shape.txt").write_text(f"{sum(lengths)} 3072")
    with (folder / "feature.bin").open("wb") as file:
        file.truncate(sum(lengths) * 3072 * 4)


def in_own_process(job: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds of the job, and the process's resident megabytes before it and at their peak, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(job, sender))
    process.start()
    result: tuple[float, float, float] = receiver.recv()
    process.join()
    return result


def _measured(job: Callable[[], object], sender: "multiprocessing.connection.Connection") -> None:
    before = peak_megabytes()
    start = time.perf_counter()
    kept = job()
    sender.send((time.perf_counter() - start, before, peak_megabytes()))
    del kept


def peak_megabytes() -> float:
    """The most memory that this process has had resident (Linux; getrusage would count its parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def literal(path: Path) -> object:
    """What everyone writes first."""
    return ast.literal_eval(path.read_text())


def simplest_batch(collection: Collection, videos: list[int], config: ModelConfig) -> tuple[list[np.ndarray], ...]:
    """A training batch row by row: one read per row, one mean per segment, one HDF5 dataset per sentence."""
    captions = collection.captions("train")
    matrix = np.memmap(collection.frames.folder / "feature.bin", dtype="<f4", mode="r").reshape(-1, config.feature_dim)
    clips, frames, tokens = [], [], []
    with h5py.File(collection.text.path) as file:
        for video in videos:
            wanted = collection.frames.rows_of(captions.video_ids[video])
            numbers = range(wanted.start, wanted.stop) if isinstance(wanted, slice) else wanted.tolist()
            rows = np.array([matrix[number] for number in numbers])
            clips.append(simplest_pooling(rows, config.map_size))
            kept = rows if len(rows) <= config.max_ctx_l else simplest_pooling(rows, config.max_ctx_l)
            frames.append(np.array([row / (np.linalg.norm(row) + 1e-5) for row in kept]))
            for query in np.flatnonzero(captions.video_of_query == video):
                sentence = file[captions.caption_ids[query]][: config.max_desc_l]
                tokens.append(np.array([row / (np.linalg.norm(row) + 1e-5) for row in sentence]))
    return clips, frames, tokens


def simplest_pooling(rows: np.ndarray, segments: int) -> np.ndarray:
    """Segment means one by one, each of unit length."""
    edges = segment_edges(len(rows), segments).tolist()
    means = [rows[a:b].mean(axis=0) if b > a else rows[a] for a, b in pairwise(edges)]
    return np.array([mean / (np.linalg.norm(mean) + 1e-5) for mean in means])


def seconds_per_batch(batches: Iterator[object], count: int) -> float:
    """Mean over `count` batches, the start of the reading ahead included."""
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    return (time.perf_counter() - start) / count


class _OneBatch(torch.utils.data.Dataset[object]):
    """Whole batches by number, for torch's worker processes."""

    def __init__(self, collection: Collection, config: ModelConfig, order: np.ndarray) -> None:
        self.collection, self.config, self.order = collection, config, order

    def __len__(self) -> int:
        return len(self.order) // BATCH

    def __getitem__(self, index: int) -> object:
        own = self.order[index * BATCH : (index + 1) * BATCH]
        return next(self.collection.training_batches("train", self.config, batch_size=BATCH, order=own, workers=0))


def opening(folder: Path, videos: int) -> None:
    """Print how long opening takes and what it needs."""
    write_sparse(folder, videos)
    size = (folder / "video2frames.txt").stat().st_size / 1e6
    print(f"{videos:,} videos, {(folder / 'shape.txt').read_text().split()[0]} rows, video2frames of {size:.0f} MB")
    print(f"{'':32}{'seconds':>8}{'MB before':>11}{'MB at peak':>12}")
    for name, job in (
        ("FrameFeatures.open", partial(FrameFeatures.open, folder)),
        ("video2frames: ours", partial(read_frame_names, folder / "video2frames.txt")),
        ("video2frames: ast.literal_eval", partial(literal, folder / "video2frames.txt")),
    ):
        seconds, before, peak = in_own_process(job)
        print(f"{name:32}{seconds:8.2f}{before:11.0f}{peak:12.0f}")


def batches(folder: Path, videos: int, dims: tuple[int, int]) -> None:
    """Print how fast batches are made."""
    made = simulate(folder, videos=(videos, 1, 1), feature_dim=dims[0], query_dim=dims[1])
    collection = Collection.open(folder, made.name)
    config = ModelConfig(feature_dim=dims[0], query_dim=dims[1])
    order = np.random.default_rng(0).permutation(videos)
    count = videos // BATCH
    ours = {
        f"ours, {workers} threads": lambda workers=workers: seconds_per_batch(
            collection.training_batches("train", config, batch_size=BATCH, order=order, workers=workers), count
        )
        for workers in (0, 1, 2)
    }
    loader = DataLoader(
        _OneBatch(collection, config, order), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    runs: dict[str, Callable[[], float]] = {
        **ours,
        "ours in 2 torch DataLoader processes": lambda: seconds_per_batch(iter(loader), count),
        "the simplest loader": lambda: seconds_per_batch(
            (simplest_batch(collection, own.tolist(), config) for own in np.split(order[: count * BATCH], count)),
            min(count, 2),
        ),
    }
    rows = [collection.frames.features_of(collection.captions("train").video_ids[video]) for video in order[:BATCH]]
    gigabytes = sum(own.nbytes for own in rows) / 1e9
    results = {name: min(run() for _ in range(2)) for name, run in runs.items()}
    results["numpy copy of the same bytes"] = fastest(partial(np.concatenate, rows))
    slowest = results["the simplest loader"]
    print(f"\nbatches of {BATCH} of {videos:,} videos, {dims[0]}-d, {gigabytes:.2f} GB each; files in memory")
    print(f"{'':38}{'batches/s':>10}{'GB/s':>8}{'ratio':>8}")
    for name, seconds in results.items():
        print(f"{name:38}{1 / seconds:10.2f}{gigabytes / seconds:8.2f}{slowest / seconds:8.1f}")


def fastest(job: Callable[[], object], times: int = 5) -> float:
    """Median seconds of a job."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def pooling(dim: int) -> None:
    """Print what the ways to take segment means cost."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(np.log(46), 0.4, BATCH)).round().clip(20, 200).astype(np.int64)
    rows = rng.standard_normal((lengths.sum(), dim), dtype=np.float32)
    edges = np.stack([segment_edges(int(length), 32) for length in lengths]) + (np.cumsum(lengths) - lengths)[:, None]
    sizes = np.maximum(np.diff(edges), 1)

    def reduceat() -> np.ndarray:
        sums = np.add.reduceat(rows, edges.ravel(), axis=0).reshape(BATCH, 33, dim)[:, :32]
        return np.asarray(sums / sizes[..., None].astype(np.float32))

    columns = np.concatenate([np.arange(a, a + n) for a, n in zip(edges[:, :32].ravel(), sizes.ravel(), strict=True)])
    offsets = np.cumsum(sizes) - sizes.ravel()
    weights = np.repeat(1 / sizes.ravel(), sizes.ravel()).astype(np.float32)
    places = torch.from_numpy(np.stack([np.repeat(np.arange(sizes.size), sizes.ravel()), columns]))
    warnings.simplefilter("ignore")  # torch calls its sparse matrices a beta
    size = (sizes.size, len(rows))
    matrix = torch.sparse_coo_tensor(places, torch.from_numpy(weights), size).coalesce().to_sparse_csr()
    expected = pool_segments(rows, lengths, 32)
    print(f"\n32 segment means of {BATCH} videos, {dim}-d")
    jobs: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: pool_segments(rows, lengths, 32),
        "np.add.reduceat": reduceat,
        "torch embedding_bag": lambda: (
            torch.nn.functional.embedding_bag(
                torch.from_numpy(columns), torch.from_numpy(rows), torch.from_numpy(offsets), mode="mean"
            )
            .numpy()
            .reshape(BATCH, 32, dim)
        ),
        "sparse CSR product": lambda: torch.mm(matrix, torch.from_numpy(rows)).numpy().reshape(BATCH, 32, dim),
    }
    for name, job in jobs.items():
        assert np.abs(job() - expected).max() < 1e-5
        print(f"{name:38}{fastest(job) * 1e3:10.1f} ms")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a run of seconds, to see that it works")
    parser.add_argument("--videos", type=int, default=2000, help="training videos of the simulated collection")
    parser.add_argument("--folder", type=Path, help="where to put scratch files (removed at the end)")
    options = parser.parse_args()
    dim, text = (256, 64) if options.small else (3072, 768)
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch) / "sparse"
        folder.mkdir()
        opening(folder, 1000 if options.small else 19_614)
        batches(Path(scratch) / "simulated", 256 if options.small else options.videos, (dim, text))
    pooling(dim)


if __name__ == "__main__":
    main()
