"""Search: films in a library against latency, throughput, recall, memory and bytes, for every engine.

    gmmformer simulate DATA --like tvr --videos 600 --feature-dim 96 --query-dim 64 --difficulty 0.1
    gmmformer train --data DATA --collection tvr --preset tvr --out RUN --epochs 6 --lr 5e-4
    python benchmarks/search.py RUN DATA tvr [--videos 10000 100000] [--dtype int8] [--folder DIR]

The vectors are those of the trained model for the collection's videos, enlarged: a new video is one of them (the base)
with its clips moved along by up to a quarter of the film, plus a share of the difference between the clips of two other
videos, put back to the base's lengths. Differences between real videos have the covariance of the data, so new videos
lie where videos lie, and `--jitter` says how near to their base. The report shows how like a video's nearest
neighbour is to it: among the model's own videos this grows by some 0.025 with each doubling of their number, and the
default jitter of 1 goes on like that. Queries are the test split's sentences.

Latency is that of `Library.search_vectors` for one query, moments included, without the text encoder. Each engine runs
in a process of its own; memory is what the process holds itself, and beside it the mapped pages, which the system can
drop.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from gmmformer.data import Collection
from gmmformer.evaluation.evaluating import embed_queries, embed_videos
from gmmformer.model import load_model
from gmmformer.search import Library, ModelEmbedder, NewFilm
from gmmformer.search.vectors import DTYPES
from gmmformer.search.windows import Window, timing

K = 10
CHUNK = 2_000


def model_vectors(model: ModelEmbedder, collection: Collection) -> tuple[torch.Tensor, np.ndarray]:
    """Fused vectors of all videos, and unit vectors of the test split's sentences."""
    fused = []
    with torch.inference_mode():
        for split in ("train", "val", "test"):
            room = torch.empty(len(collection.captions(split).video_ids), model.clips, model.dim)
            embed_videos(model.model, collection, split, room)
            fused.append(room)
        queries = embed_queries(model.model, collection, "test").numpy()
    return torch.cat(fused), np.array(queries)


def enlarged(base: torch.Tensor, videos: int, jitter: float) -> Iterator[torch.Tensor]:
    """`videos` videos in chunks: the model's own first, then new ones made of them."""
    generator = torch.Generator().manual_seed(9527)
    yield base[:videos]
    clips = base.shape[1]
    for first in range(len(base), videos, CHUNK):
        count = min(CHUNK, videos - first)
        own, one, other = (torch.randint(len(base), (count,), generator=generator) for _ in range(3))
        moved = torch.randint(-clips // 4, clips // 4 + 1, (count, 1), generator=generator)
        place = (torch.arange(clips) + moved).clamp(0, clips - 1)
        vectors = base[own].gather(1, place[..., None].expand(-1, -1, base.shape[2]))
        lengths = vectors.norm(dim=-1, keepdim=True)
        share = jitter * torch.rand(count, 1, 1, generator=generator)
        vectors = vectors + share * (base[one] - base[other])
        yield vectors * (lengths / vectors.norm(dim=-1, keepdim=True))


def nearest_likeness(vectors: Float[torch.Tensor, "videos clips dim"], sample: int = 200) -> float:
    """The median cosine of a video's first clip and the likest clip of another video."""
    flat = torch.nn.functional.normalize(vectors, dim=-1)
    drawn = torch.linspace(0, len(flat) - 1, min(sample, len(flat))).long()
    likest = torch.full((len(drawn),), -1.0)
    for first in range(0, len(flat), CHUNK):
        cosines = torch.einsum("nd,vcd->nvc", flat[drawn, 0], flat[first : first + CHUNK]).amax(-1)
        own = drawn[:, None] == torch.arange(first, first + cosines.shape[1])
        likest = torch.maximum(likest, cosines.masked_fill(own, -1).amax(1))
    return float(likest.median())


def build(
    folder: Path,
    model: ModelEmbedder,
    base: torch.Tensor,
    queries: np.ndarray,
    videos: int,
    options: argparse.Namespace,
) -> tuple[np.ndarray, float]:
    """Fill a library; the best films of each query in float32, and the seconds that storing took."""
    library = Library.create(folder, model, dtype=options.dtype, keep_features=False)
    scores, stored, first = np.empty((len(queries), videos), dtype=np.float32), 0.0, 0
    vectors = torch.from_numpy(queries)
    with library.writing():
        for fused in enlarged(base, videos, options.jitter):
            for start in range(0, len(fused), 500):
                some = fused[start : start + 500]
                best = torch.einsum("qd,vcd->qvc", vectors, some).amax(-1)
                scores[:, first : first + len(some)] = best.numpy()
                films = [_film(f"{first + index:08d}.mp4", one) for index, one in enumerate(some)]
                began = time.perf_counter()
                library.add_windows(films)
                stored += time.perf_counter() - began
                first += len(some)
    library.close()
    return np.argpartition(-scores, K, axis=1)[:, :K], stored


def _film(name: str, fused: torch.Tensor) -> NewFilm:
    return NewFilm(
        path=name,
        windows=[Window(0, 64)],
        fused=fused[None],
        rows=64,
        timing=timing(64, None, None, name),
        fingerprint=name,
    )


def measure(folder: Path, engine: str, queries: np.ndarray, seconds: float, sender: Connection) -> None:
    """What one engine does, in a process of its own."""
    torch.set_num_threads(os.cpu_count() or 1)
    idle = memory()
    with Library.open(folder, engine=engine) as library:
        library.search_vectors(queries[:1], K)
        times: list[float] = []
        while sum(times) < seconds or len(times) < 20:
            query = queries[len(times) % len(queries)][None]
            began = time.perf_counter()
            library.search_vectors(query, K)
            times.append(time.perf_counter() - began)
        batch = np.concatenate([queries] * -(-256 // len(queries)))[:256]
        library.search_vectors(batch, K)
        began = time.perf_counter()
        library.search_vectors(batch, K)
        together = time.perf_counter() - began
        found = [[int(film.split(".")[0]) for film in films] for films, _ in library.rank(queries, K)]
    held = memory()
    sender.send(
        {
            "p50 ms": 1e3 * float(np.percentile(times, 50)),
            "p95 ms": 1e3 * float(np.percentile(times, 95)),
            "best ms": 1e3 * min(times),
            "queries/s in batch": len(batch) / together,
            "MB own": held["RssAnon"],
            "MB own above idle": held["RssAnon"] - idle["RssAnon"],
            "MB mapped": held["RssFile"],
            "found": found,
        }
    )


def memory() -> dict[str, float]:
    """Megabytes of this process by kind."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    pairs = (line.split(":") for line in lines if line.startswith("Rss"))
    return {name: int(value.split()[0]) / 1024 for name, value in pairs}


def memory_bandwidth() -> float:
    """GB/s at which all cores together read memory, the best of several passes over 1 GB."""
    values = torch.ones(2**27, dtype=torch.int64)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        values.sum()
        best = min(best, time.perf_counter() - began)
    return values.nbytes / best / 1e9


def in_own_process(folder: Path, engine: str, queries: np.ndarray, seconds: float) -> dict[str, Any]:
    """`measure` in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(folder, engine, queries, seconds, sender))
    process.start()
    sender.close()
    result: dict[str, Any] = receiver.recv()
    process.join()
    return result


def recall(found: list[list[int]], truth: np.ndarray) -> float:
    """The share of the true best films that were found."""
    return float(
        np.mean([len(set(one) & set(other.tolist())) / len(other) for one, other in zip(found, truth, strict=True)])
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data", type=Path)
    parser.add_argument("collection")
    parser.add_argument("--videos", type=int, nargs="+", default=[10_000])
    parser.add_argument("--dtype", choices=DTYPES, default="int8")
    parser.add_argument("--jitter", type=float, default=1.0)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0, help="for the latency of each engine")
    parser.add_argument("--engines", nargs="+", default=["exact", "ann"])
    parser.add_argument("--folder", type=Path, help="where libraries are made; a temporary folder without it")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    model = ModelEmbedder(load_model(options.run))
    base, queries = model_vectors(model, Collection.open(options.data, options.collection))
    queries = queries[np.linspace(0, len(queries) - 1, min(options.queries, len(queries))).astype(int)]
    limit = memory_bandwidth()
    print(f"{len(base)} videos of the model, likeness of the nearest {nearest_likeness(base):.3f}; {limit:.1f} GB/s")
    for videos in options.videos:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            report(folder / "library", model, base, queries, videos, limit, options)
        finally:
            shutil.rmtree(folder)


def report(
    folder: Path,
    model: ModelEmbedder,
    base: torch.Tensor,
    queries: np.ndarray,
    videos: int,
    limit: float,
    options: argparse.Namespace,
) -> None:
    """Measure one size."""
    truth, stored = build(folder, model, base, queries, videos, options)
    everything = torch.cat([some[:, :1] for some in enlarged(base, videos, options.jitter)])
    size = sum(path.stat().st_size for path in folder.iterdir()) / videos
    print(
        f"\n{videos:,} videos, {options.dtype}: {size:,.0f} bytes a video, stored at {videos / stored:,.0f} videos/s",
        end="",
    )
    print(f", likeness of the nearest {nearest_likeness(everything):.3f}")
    exact: list[list[int]] | None = None
    for engine in options.engines:
        began = time.perf_counter()
        if engine == "ann":
            with Library.open(folder, model) as library:
                library.rebuild()
        built = time.perf_counter() - began
        result = in_own_process(folder, engine, queries, options.seconds)
        found = result.pop("found")
        if engine == "exact":
            exact = found
            bytes_read = videos * (model.clips * model.dim * {"int8": 1, "bf16": 2, "float32": 4}[options.dtype])
            result["share of memory bandwidth"] = bytes_read / (1e-3 * result["best ms"]) / 1e9 / limit
        result["recall@10 of float32"] = recall(found, truth)
        if exact is not None:
            result["recall@10 of exact"] = recall(found, np.array(exact))
        if engine != "exact":
            result["built in s"] = built
        if engine == "ann":
            result["index bytes a video"] = sum(path.stat().st_size for path in folder.glob("ann-*")) / videos
        print(f"{engine:>8}  " + "  ".join(f"{name} {value:,.4g}" for name, value in result.items()))
        print(json.dumps({"engine": engine, "videos": videos, "dtype": options.dtype, **result}))


if __name__ == "__main__":
    main()
