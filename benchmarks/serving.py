"""The server under load: clients that search all at once, with micro-batching and without.

    python benchmarks/serving.py [--videos 10000] [--clients 32] [--seconds 60] [--folder DIR]

The library has the size of TVR's model (384 numbers a vector, 32 clips a video) and is filled with made-up vectors; the
model's weights are drawn, since what they are does not change what they cost. Sentences are those of the demo's world,
each asked for once or nearly so, and go all the way: words to token features, the model's query encoder, the exact
search, the moments, JSON. The server runs in a process of its own, the clients as threads of another; all share the
machine. Each client keeps one connection and asks as soon as it is answered. Without micro-batching each query is
searched for by itself, on as many threads as the machine has cores.

Memory is what the server's process holds itself, without mapped files; the first figure is taken after a second of
load.
"""

import argparse
import http.client
import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
import torch.nn.functional as F

from gmmformer.config import ModelConfig
from gmmformer.cores import usable_cores
from gmmformer.demo.encoders import ShapeFrames, ShapeWords
from gmmformer.demo.world import plan_films
from gmmformer.model import GMMFormer
from gmmformer.search import Library, NewFilm, choose_encoders
from gmmformer.search.windows import Window, timing
from gmmformer.web import ServeConfig, batching, serve

ROWS = 64
CHUNK = 500
WARM_UP = 1.0


def build(folder: Path, videos: int) -> None:
    """A library of made-up videos and a model of drawn weights."""
    torch.manual_seed(9527)
    config = ModelConfig(
        feature_dim=ShapeFrames().dim,
        query_dim=ShapeWords().dim,
        video_encoder=ShapeFrames.name,
        text_encoder=ShapeWords.name,
        fps=1.0,
    )
    GMMFormer(config).eval().save_pretrained(folder / "model")
    generator = torch.Generator().manual_seed(1)
    with Library.create(folder / "library", choose_encoders(folder / "model"), keep_features=False) as library:
        for first in range(0, videos, CHUNK):
            count = min(CHUNK, videos - first)
            drawn = torch.randn(count, 1, config.map_size, config.hidden, generator=generator)
            fused = 0.9 * F.normalize(drawn, dim=-1)
            with library.writing() as into:
                into.add([made_up(f"{first + number:08d}.mp4", fused[number]) for number in range(count)])


def made_up(name: str, fused: torch.Tensor) -> NewFilm:
    """A video of one window."""
    return NewFilm(
        path=name,
        windows=[Window(0, ROWS)],
        vectors=fused,
        rows=ROWS,
        timing=timing(ROWS, None, None, name),
        fingerprint=name,
    )


def run_server(folder: Path, together: bool, sender: Connection) -> None:
    """Serve until told to end."""
    if not together:
        batching.TOGETHER, batching.THREADS = 1, usable_cores()
    with Library.open(folder / "library") as library:
        serve(library, ServeConfig(port=0), ready=sender.send)


def run_clients(port: int, clients: int, seconds: float, sender: Connection) -> None:
    """Ask all the time; send the latencies in seconds and the number of errors."""
    sentences = [text for plan in plan_films(500, seed=11) for scene in plan.scenes for text in scene.sentences]
    latencies: list[list[float]] = [[] for _ in range(clients)]
    errors = [0] * clients
    until = time.perf_counter() + seconds

    def ask(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        number = client
        while time.perf_counter() < until:
            sentence = quote(f"{sentences[number % len(sentences)]} {number // len(sentences) or ''}")
            number += clients
            began = time.perf_counter()
            try:
                connection.request("GET", f"/api/search?q={sentence}")
                answer = connection.getresponse()
                body = answer.read()
                errors[client] += answer.status != 200 or len(json.loads(body)["hits"]) != 12
            except (OSError, http.client.HTTPException, ValueError):
                errors[client] += 1
                connection.close()
            latencies[client].append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=ask, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sender.send(([latency for some in latencies for latency in some], sum(errors)))


def memory(process: int) -> float:
    """Megabytes that a process holds itself."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def measure(folder: Path, together: bool, clients: int, seconds: float) -> dict[str, Any]:
    """What one server does under load."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    server = context.Process(target=run_server, args=(folder, together, sender))
    server.start()
    port = int(receiver.recv().rstrip("/").rpartition(":")[2])
    assert server.pid is not None
    try:
        in_load(context, port, clients, WARM_UP)
        start = memory(server.pid)
        latencies, errors = in_load(context, port, clients, seconds)
        end = memory(server.pid)
    finally:
        server.terminate()
        server.join()
    return {
        "batching": together,
        "queries/s": len(latencies) / seconds,
        "p50 ms": 1e3 * float(np.percentile(latencies, 50)),
        "p95 ms": 1e3 * float(np.percentile(latencies, 95)),
        "most ms": 1e3 * max(latencies),
        "errors": errors,
        "MB start": start,
        "MB end": end,
        "ended with": server.exitcode,
    }


def in_load(context: Any, port: int, clients: int, seconds: float) -> tuple[list[float], int]:
    """The clients, in a process of their own."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_clients, args=(port, clients, seconds, sender))
    process.start()
    result: tuple[list[float], int] = receiver.recv()
    process.join()
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load for each of the two servers")
    parser.add_argument("--folder", type=Path, help="where the library is made; a temporary folder without it")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        build(folder, options.videos)
        with_it, without = (measure(folder, on, options.clients, options.seconds) for on in (True, False))
    finally:
        shutil.rmtree(folder)
    print(f"{options.videos:,} videos, {options.clients} clients, {options.seconds:.0f} s each")
    for result in (with_it, without):
        name = "with micro-batching" if result["batching"] else "without"
        print(f"{name:>20}  " + "  ".join(f"{key} {value:,.4g}" for key, value in result.items() if key != "batching"))
        print(json.dumps({"videos": options.videos, "clients": options.clients, **result}))
    print(f"queries/s, as a ratio: {with_it['queries/s'] / without['queries/s']:.2f}")


if __name__ == "__main__":
    main()
