"""Search: films in a library against latency, throughput, recall, memory and bytes, for every engine.

    gmmformer simulate DATA --like tvr --videos 600 --feature-dim 96 --query-dim 64 --difficulty 0.1
    gmmformer train --data DATA --collection tvr --preset tvr --out RUN --epochs 6 --lr 5e-4
    python benchmarks/search.py RUN DATA tvr [--videos 10000 100000] [--engines exact ann http://localhost:19530]

The vectors are those of the trained model for the collection's videos, enlarged: a new video is one of them (the base)
with its clips moved along by up to a quarter of the film, plus a share of the difference between the clips of two other
videos, put back to the base's lengths. Differences between real videos have the covariance of the data, so new videos
lie where videos lie, and `--jitter` says how near to their base. The report shows how like a clip the likest clip of
another video is: among 94 to 750 of a model's own videos this grew by some 0.017 with each doubling of their number,
and with the default jitter of 1 it went on like that or somewhat faster, so the neighbours are rather nearer than those
of as many real videos would be. Queries are the test split's sentences.

RUN may be one of GMMFormer v2. What is true is then found with the vectors of all frames; the library has what it keeps
of them.

Latency is that of `Library.search_vectors` for one query, moments included, without the text encoder; beside it that of
finding the films alone (`Engine.search`). Each engine runs in a process of its own, after the library's files have been
read once, so that nothing waits for the disk, and after a Milvus server has made its index. Memory is that of the
process, at most and in the end: what it holds itself, and beside it the mapped pages, which the system can drop. A
Milvus server's own is not in it.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from gmmformer.data import Collection
from gmmformer.evaluation.evaluating import embed_queries, embed_videos
from gmmformer.model import VectorGroup, best_of, load_model, products
from gmmformer.search import Library, ModelEmbedder, NewFilm
from gmmformer.search.embedding import condensed
from gmmformer.search.engines import is_address
from gmmformer.search.vectors import DTYPES
from gmmformer.search.windows import Window, timing

K = 10
CHUNK = 2_000


def model_vectors(model: ModelEmbedder, collection: Collection) -> tuple[torch.Tensor, np.ndarray]:
    """The vectors that score all videos, and unit vectors of the test split's sentences.

    A video's frames, if the model scores by them, are taken several times until there are as many as the model sees.
    """
    every, groups = [], model.model.groups
    with torch.inference_mode():
        for split in ("train", "val", "test"):
            room = torch.empty(
                len(collection.captions(split).video_ids), sum(group.vectors for group in groups), model.dim
            )
            embed_videos(model.model, collection, split, room)
            every.append(room)
        queries = embed_queries(model.model, collection, "test").numpy()
    stored = torch.cat(every)
    for group in groups[1:]:
        frames = stored[:, -group.vectors :]
        rows = (frames.norm(dim=-1) > 0).sum(1, keepdim=True)
        place = torch.arange(group.vectors) * rows // group.vectors
        stored[:, -group.vectors :] = frames.gather(1, place[..., None].expand(frames.shape))
    return stored, np.array(queries)


def enlarged(base: torch.Tensor, videos: int, jitter: float, groups: Sequence[VectorGroup]) -> Iterator[torch.Tensor]:
    """`videos` videos in chunks: the model's own first, then new ones made of them."""
    generator = torch.Generator().manual_seed(9527)
    yield base[:videos]
    clips = groups[0].vectors
    for first in range(len(base), videos, CHUNK):
        count = min(CHUNK, videos - first)
        own, one, other = (torch.randint(len(base), (count,), generator=generator) for _ in range(3))
        moved = torch.randint(-clips // 4, clips // 4 + 1, (count, 1), generator=generator)
        places = [
            first_of + (torch.arange(count_of) + moved * (count_of // clips)).clamp(0, count_of - 1)
            for first_of, count_of in zip((0, clips), (group.vectors for group in groups), strict=False)
        ]
        place = torch.cat(places, dim=1)
        vectors = base[own].gather(1, place[..., None].expand(-1, -1, base.shape[2]))
        lengths = vectors.norm(dim=-1, keepdim=True)
        share = jitter * torch.rand(count, 1, 1, generator=generator)
        vectors = vectors + share * (base[one] - base[other])
        yield vectors * (lengths / vectors.norm(dim=-1, keepdim=True))


class Nearest:
    """The best of all videos for some vectors, as videos come in; memory does not grow with them."""

    def __init__(self, vectors: Float[torch.Tensor, "vectors dim"], count: int, groups: Sequence[VectorGroup]) -> None:
        self.vectors, self.count, self.groups, self.videos = vectors, count, groups, 0
        self.scores = torch.empty(len(vectors), 0)
        self.places = torch.empty(len(vectors), 0, dtype=torch.long)

    def look(self, fused: Float[torch.Tensor, "videos clips dim"]) -> None:
        """Take in the next videos."""
        scores = best_of(products(self.vectors, fused), self.groups)[0]
        new = torch.arange(self.videos, self.videos + len(fused)).expand(len(scores), -1)
        scores, places = torch.cat([self.scores, scores], dim=1), torch.cat([self.places, new], dim=1)
        self.scores, order = scores.topk(min(self.count, scores.shape[1]))
        self.places, self.videos = places.gather(1, order), self.videos + len(fused)


def probes(videos: Float[torch.Tensor, "videos clips dim"]) -> Nearest:
    """The first clips of some of these videos, to look for the clips that are likest to them."""
    some = torch.linspace(0, len(videos) - 1, min(50, len(videos))).long()
    return Nearest(torch.nn.functional.normalize(videos[some, 0], dim=-1), 2, (VectorGroup(videos.shape[1], 1.0),))


def build(
    folder: Path,
    model: ModelEmbedder,
    base: torch.Tensor,
    queries: np.ndarray,
    videos: int,
    options: argparse.Namespace,
) -> np.ndarray:
    """Fill a library, and say how; the best films of each query in float32."""
    library = Library.create(folder, model, store=options.dtype, keep_features=False)
    groups = model.model.groups
    truth, stored, first = Nearest(torch.from_numpy(queries), K, groups), 0.0, 0
    clips = groups[0].vectors
    likeness = probes(torch.cat(list(islice(enlarged(base, videos, options.jitter, groups), 2)))[:, :clips])
    with library.writing() as into:
        for fused in enlarged(base, videos, options.jitter, groups):
            for start in range(0, len(fused), 500):
                some = fused[start : start + 500]
                truth.look(some)
                likeness.look(torch.nn.functional.normalize(some[:, :clips], dim=-1))
            kept = condensed(fused, groups, model.frames)
            films = [_film(f"{first + index:08d}.mp4", one) for index, one in enumerate(kept)]
            began = time.perf_counter()
            into.add(films)
            stored += time.perf_counter() - began
            first += len(fused)
    library.close()
    size = sum(path.stat().st_size for path in folder.iterdir()) / videos
    print(f"\n{videos:,} videos, {options.dtype}: {size:,.0f} bytes a video, stored at {videos / stored:,.0f} videos/s")
    print(f"likeness of the nearest {float(likeness.scores[:, 1].median()):.3f}", flush=True)
    return truth.places.numpy()


def _film(name: str, fused: torch.Tensor) -> NewFilm:
    return NewFilm(
        path=name,
        windows=[Window(0, 64)],
        vectors=fused[None],
        rows=64,
        timing=timing(64, None, None, name),
        fingerprint=name,
    )


def measure(folder: Path, engine: str, queries: np.ndarray, seconds: float, sender: Connection) -> None:
    """What one engine does, in a process of its own."""
    torch.set_num_threads(os.cpu_count() or 1)
    for path in folder.iterdir():
        with path.open("rb") as file:
            while file.read(2**24):
                pass
    idle, began = memory(), time.perf_counter()
    with Library.open(folder, engine=engine) as library:
        library.search_vectors(queries[:1], K)
        opened = time.perf_counter() - began
        times = timed(lambda query: library.search_vectors(query, K), queries, seconds)
        ranking = timed(lambda query: library.engine.search(library.store.snapshot(), query, K), queries, seconds)
        batch = np.concatenate([queries] * -(-256 // len(queries)))[:256]
        library.search_vectors(batch, K)
        began = time.perf_counter()
        library.search_vectors(batch, K)
        together = time.perf_counter() - began
        found = [[int(hit.film.path.split(".")[0]) for hit in hits] for hits in library.search_vectors(queries, K)]
        held = memory()
    sender.send(
        {
            "p50 ms": 1e3 * float(np.percentile(times, 50)),
            "p95 ms": 1e3 * float(np.percentile(times, 95)),
            "best ms": 1e3 * min(times),
            "p50 ms without moments": 1e3 * float(np.percentile(ranking, 50)),
            "p50 ms of the quietest pass": 1e3 * quietest(times, len(queries)),
            "p50 ms of the quietest pass without moments": 1e3 * quietest(ranking, len(queries)),
            "best ms without moments": 1e3 * min(ranking),
            "queries/s in batch": len(batch) / together,
            "s to open and search once": opened,
            "MB own": held["RssAnon"],
            "MB own above idle": held["RssAnon"] - idle["RssAnon"],
            "MB mapped": held["RssFile"],
            "MB resident at most": held["VmHWM"],
            "found": found,
        }
    )


def timed(search: Callable[[np.ndarray], object], queries: np.ndarray, seconds: float) -> list[float]:
    """The seconds of each of many searches for one query."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 20:
        query = queries[len(times) % len(queries)][None]
        began = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - began)
    return times


def quietest(times: list[float], queries: int) -> float:
    """The least median of all whole passes over the queries: what a busy machine adds comes and goes."""
    passes = [times[first : first + queries] for first in range(0, max(1, len(times) - queries + 1), queries)]
    return min(float(np.median(one)) for one in passes)


def make_index(folder: Path, engine: str, sender: Connection) -> None:
    """Make an engine's index, in a process of its own; the seconds that takes, and its memory at most."""
    torch.set_num_threads(os.cpu_count() or 1)
    most, done = [memory()["RssAnon"]], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            most.append(max(most.pop(), memory()["RssAnon"]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    with Library.open(folder, engine=engine) as library:
        with library.writing() as into:
            into.update_engine(anew=True)
        seconds = time.perf_counter() - began
        if is_address(engine):
            wait_for_index(engine, f"gmmformer_{library.settings.identity}")
    done.set()
    watcher.join()
    sender.send(
        {
            "index built in s": seconds,
            "MB own at most while building": most[0],
            "MB resident at most while building": memory()["VmHWM"],
        }
    )


def milvus(address: str) -> Any:
    """A client, whose package only those processes load that need it."""
    from pymilvus import MilvusClient

    return MilvusClient(uri=address)


def wait_for_index(address: str, collection: str) -> None:
    """Wait until a Milvus server has made its index of all that was put in, and has not begun another for 15 s."""
    client, quiet = milvus(address), 0
    while quiet < 15:
        quiet = 0 if client.describe_index(collection, "vector")["pending_index_rows"] else quiet + 1
        time.sleep(1)


def memory() -> dict[str, float]:
    """Megabytes of this process by kind; VmHWM is all that it ever held at once."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    pairs = (line.split(":") for line in lines if line.startswith(("Rss", "VmHWM")))
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


def in_own_process(work: Callable[..., None], *arguments: Any) -> dict[str, Any]:
    """What a function sends, which runs in a fresh process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*arguments, sender))
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
    parser.add_argument(
        "--engines", nargs="+", default=["exact", "ann"], help="exact, ann, or a Milvus server's address"
    )
    parser.add_argument("--frames-a-clip", type=int, default=1, help="frames that are kept of a GMMFormer v2")
    parser.add_argument("--folder", type=Path, help="where libraries are made; a temporary folder without it")
    parser.add_argument("--again", type=Path, help="measure this library, made before, with the index that it has")
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    model = ModelEmbedder(load_model(options.run), frames_a_clip=options.frames_a_clip)
    base, queries = model_vectors(model, Collection.open(options.data, options.collection))
    queries = queries[np.linspace(0, len(queries) - 1, min(options.queries, len(queries))).astype(int)]
    own = probes(base[:, : model.clips])
    own.look(torch.nn.functional.normalize(base[:, : model.clips], dim=-1))
    likeness = float(own.scores[:, 1].median())
    print(f"{len(base)} videos of the model, likeness of the nearest {likeness:.3f}", flush=True)
    if options.again is not None:
        with Library.open(options.again) as library:
            videos = len(library)
        report(options.again, videos, queries, options, None)
        return
    for videos in options.videos:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            truth = build(folder / "library", model, base, queries, videos, options)
            report(folder / "library", videos, queries, options, truth)
        finally:
            shutil.rmtree(folder)


def report(
    folder: Path, videos: int, queries: np.ndarray, options: argparse.Namespace, truth: np.ndarray | None
) -> None:
    """Measure one library, whose index is made first where what is true is known, that is, where it is new."""
    exact: list[list[int]] | None = None
    for engine in options.engines:
        built = in_own_process(make_index, folder, engine) if truth is not None and engine != "exact" else {}
        limit = memory_bandwidth()
        result = in_own_process(measure, folder, engine, queries, options.seconds)
        found = result.pop("found")
        if engine == "exact":
            exact = found
            with Library.open(folder) as library:
                bytes_read = videos * library.settings.format.vector_bytes
            result["memory bandwidth GB/s"] = limit
            result["share of memory bandwidth"] = bytes_read / (1e-3 * result["best ms without moments"]) / 1e9 / limit
        if truth is not None:
            result["recall@10 of float32"] = recall(found, truth)
        if exact is not None:
            result["recall@10 of exact"] = recall(found, np.array(exact))
        result.update(built)
        if engine == "ann":
            result["index bytes a video"] = sum(path.stat().st_size for path in folder.glob("ann-*")) / videos
        if is_address(engine) and truth is not None:
            with Library.open(folder) as library:
                milvus(engine).drop_collection(f"gmmformer_{library.settings.identity}")
        print(f"{engine:>8}  " + "  ".join(f"{name} {value:,.4g}" for name, value in result.items()))
        print(json.dumps({"engine": engine, "videos": videos, "dtype": options.dtype, **result}), flush=True)


if __name__ == "__main__":
    main()
