"""The same extraction on a Ray cluster: films decoded on all its processors, frames encoded in a pool of encoders."""

import importlib.util
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gmmformer.config import DecodeConfig
from gmmformer.errors import InputError, MissingExtraError
from gmmformer.media.decoding import FilmChunk, FilmEnd, decode_films
from gmmformer.media.encoders import FrameEncoder
from gmmformer.media.featurise import NO_FRAME, FilmFeatures, Image
from gmmformer.media.pool import GIB

if TYPE_CHECKING:
    import pyarrow as pa

    from gmmformer.media.extract import Source

CHUNK_FRAMES = 64
"""Most frames in a chunk of a film, as `decode_films` cuts them."""
BLOCK_BYTES = 64 << 20
"""Bytes of frames that a decoder hands over at a time."""
MOST_BLOCKS = 10_000
"""Up to so many films each is a task of its own; of more, a task takes several, one after another."""


def featurise_on(address: str, make_encoder: Callable[[], FrameEncoder]) -> "Source":
    """`gmmformer.media.featurise.featurise` on a Ray cluster: what it returns is called alike and gives the same.

    A film is decoded by a task, under the same limits as here, on any node with a processor to spare; its chunks of
    frames go through Ray's object store to a pool of encoders, one on each GPU where the cluster has GPUs, else
    beside the decoders. Only features come back to this process. The pipeline streams: frames in flight are bounded
    by the object store, whatever the number of films. When a worker or a node is lost, what it was at is done again
    elsewhere; a film that cannot be decoded gives its `FilmEnd` as ever. `settings.decoders` has no meaning here: Ray
    decodes as many films at a time as there are processors.

    The nodes must see the films, and a model's folder, under the same paths (a shared disk), and have this package:
    installed, or brought along by a runtime environment, as in `ray job submit --runtime-env-json
    '{"pip": ["gmmformer[films,ray]"]}' -- gmmformer extract FILMS ... --ray auto`. A process that is connected to a
    cluster already (`ray.init` with a `runtime_env` of its own) uses that one.

    Args:
        address: "auto" for the cluster that this machine is part of, "HOST:PORT" of its head, or "ray://HOST:10001"
            for a Ray client from outside, which needs `pip install 'ray[client]'`.
        make_encoder: Makes the encoder, once in each process of the pool; it is pickled.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError("Extraction on a cluster", "ray")

    def featurise(
        films: Iterable[Path],
        encoder: FrameEncoder,
        settings: DecodeConfig,
        *,
        batch: int = 256,
        on_frames: Callable[[int], None] = lambda frames: None,
    ) -> Iterator[FilmFeatures | FilmEnd]:
        paths = list(films)
        if not paths:
            return
        with _connected(address), _quiet():
            yield from _Assembly(paths, on_frames).results(_features(paths, encoder, make_encoder, settings, batch))

    return featurise


@contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(
            f"--ray {address}: no Ray cluster could be reached there ({reason}); start one with `ray start --head`, or "
            "give the HOST:PORT of a running one"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Data's own progress and log off the terminal; warnings of its Python code stay."""
    from ray.data import DataContext

    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    wanted = {"enable_progress_bars": False, "print_on_execution_start": False, "target_max_block_size": BLOCK_BYTES}
    before = {name: getattr(context, name) for name in wanted if hasattr(context, name)}
    level = logger.level
    try:
        for name in before:
            setattr(context, name, wanted[name])
        logger.setLevel(logging.ERROR)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)


def _features(
    films: list[Path],
    encoder: FrameEncoder,
    make_encoder: Callable[[], FrameEncoder],
    settings: DecodeConfig,
    batch: int,
) -> Iterator["_Features"]:
    """Chunks of features as the cluster finishes them, in any order."""
    import ray
    from ray.data import ActorPoolStrategy

    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    # Shares of a processor differ, so that Ray does not fuse the two steps; together they fit on a single one.
    decoding = {"num_cpus": 1.0 if gpus else 0.5}
    encoding = {"num_cpus": 0.0, "num_gpus": 1} if gpus else {"num_cpus": 0.25}
    most = gpus or max(1, int(resources.get("CPU", 1)))
    given = [{"film": number, "path": os.fsencode(film.absolute())} for number, film in enumerate(films)]
    limits = {
        "fps": settings.fps,
        "size": encoder.size,
        "time_limit": settings.time_limit,
        "memory_limit": int(settings.memory_limit * GIB),
    }
    found = (
        ray.data.from_items(given, override_num_blocks=min(len(given), MOST_BLOCKS))
        .map_batches(
            decode,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={"limits": limits, "with_previous": encoder.needs_previous},
            **decoding,
        )
        .map_batches(
            Encode,
            batch_size=max(1, batch // CHUNK_FRAMES),
            batch_format="pyarrow",
            fn_constructor_args=(make_encoder,),
            compute=ActorPoolStrategy(min_size=1, max_size=most),
            **encoding,
        )
    )
    for table in found.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        for row in table.to_pylist():
            if row["problem"] is not None:
                raise InputError(f"on a node of the cluster: {row['problem']}")
            seconds = np.frombuffer(row["seconds"], dtype=np.float64)
            features = np.frombuffer(row["features"], dtype=np.float32).reshape(len(seconds), -1 if len(seconds) else 0)
            end = None if row["end"] is None else _end(films[row["film"]], row["end"])
            yield _Features(row["film"], row["chunk"], features, seconds, end)


_ALL = {"film": "int64", "chunk": "int64", "seconds": "large_binary", "end": "string"}
_CHUNKS = _ALL | {"height": "int64", "width": "int64", "images": "large_binary", "previous": "large_binary"}
_FEATURES = _ALL | {"features": "large_binary", "problem": "string"}


def decode(table: "pa.Table", limits: dict[str, Any], with_previous: bool) -> Iterator["pa.Table"]:
    """Runs on the cluster: films, by number and path, into one row for each chunk and a last one that says how it went.

    The number of the last row is the count of the film's chunks.
    """
    for film in table.to_pylist():
        last: Image | None = None
        number = count()
        for part in decode_films([os.fsdecode(film["path"])], workers=1, **limits):
            row = {"film": film["film"], "chunk": next(number), "seconds": b""}
            if isinstance(part, FilmChunk):
                row |= {"seconds": part.seconds.tobytes(), "images": part.images.tobytes()}
                row |= {"height": part.images.shape[1], "width": part.images.shape[2]}
                if with_previous and last is not None:
                    row["previous"] = last.tobytes()
                last = part.images[-1]
            else:
                row["end"] = json.dumps({name: value for name, value in vars(part).items() if name != "path"})
            yield _table([row], _CHUNKS)


class Encode:
    """Runs on the cluster, one for each encoder: chunks of frames into chunks of features."""

    def __init__(self, make_encoder: Callable[[], FrameEncoder]) -> None:
        self.problem: str | None = None
        try:
            self.encoder = make_encoder()
        except (InputError, MissingExtraError) as error:
            self.problem = str(error)

    def __call__(self, table: "pa.Table") -> "pa.Table":
        """Encode all frames of some rows of `decode` together; rows that end a film are passed on."""
        if self.problem is not None:
            return _table([{"problem": self.problem}], _FEATURES)
        rows = table.to_pylist()
        images: list[Image] = []
        previous: list[Image | None] = []
        ends = []
        for row in rows:
            chunk, before = _pictures(row, "images"), _pictures(row, "previous")
            previous += [before[0] if before else None, *chunk][: len(chunk)]
            images += chunk
            ends.append(len(images))
        vectors = np.zeros((0, self.encoder.dim), dtype=np.float32)
        if images:
            vectors = self.encoder.encode(images, previous if self.encoder.needs_previous else None)
        for row, features in zip(rows, np.split(vectors, ends[:-1]), strict=True):
            row["features"] = np.asarray(features, dtype=np.float32).tobytes()
        return _table(rows, _FEATURES)


def _pictures(row: dict[str, Any], name: str) -> list[Image]:
    """The pictures in a column of a row of `decode`, writable."""
    if row[name] is None:
        return []
    return list(np.frombuffer(bytearray(row[name]), dtype=np.uint8).reshape(-1, row["height"], row["width"], 3))


def _table(rows: list[dict[str, Any]], columns: dict[str, str]) -> "pa.Table":
    import pyarrow as pa

    types = {name: pa.type_for_alias(kind) for name, kind in columns.items()}
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def _end(film: Path, saved: str) -> FilmEnd:
    end = FilmEnd(path=film, **json.loads(saved))
    return replace(end, reason=NO_FRAME) if end.ok and not end.frames else end


class _Features(NamedTuple):
    """One chunk of a film, or how the film ended."""

    film: int
    chunk: int
    """Which of the film's chunks, from 0; how many there are, for the row that ends it."""
    features: Float[np.ndarray, "frames dim"]
    seconds: Float[np.ndarray, "frames"]
    end: FilmEnd | None


@dataclass
class _Parts:
    """What has come of a film so far."""

    chunks: dict[int, _Features] = field(default_factory=dict)
    end: _Features | None = None

    @property
    def complete(self) -> bool:
        return self.end is not None and len(self.chunks) == self.end.chunk


class _Assembly:
    """Chunks of many films, in any order, into films; what comes twice, after a retry, counts once."""

    def __init__(self, films: list[Path], on_frames: Callable[[int], None]) -> None:
        self._on_frames = on_frames
        self._parts = {number: _Parts() for number in range(len(films))}

    def results(self, rows: Iterable[_Features]) -> Iterator[FilmFeatures | FilmEnd]:
        for row in rows:
            film = self._parts.get(row.film)
            if film is None:
                continue
            if row.end is not None:
                film.end = row
            elif row.chunk not in film.chunks:
                film.chunks[row.chunk] = row
                self._on_frames(len(row.seconds))
            if film.end is not None and film.end.end is not None and not film.end.end.ok:
                del self._parts[row.film]
                yield film.end.end
            elif film.complete:
                del self._parts[row.film]
                yield _film(film)
        if self._parts:
            raise RuntimeError(f"the cluster gave no answer about {len(self._parts)} of the films")


def _film(film: _Parts) -> FilmFeatures:
    assert film.end is not None
    assert film.end.end is not None
    end, chunks = film.end.end, [film.chunks[number] for number in sorted(film.chunks)]
    return FilmFeatures(
        end.path,
        np.concatenate([chunk.features for chunk in chunks]),
        np.concatenate([chunk.seconds for chunk in chunks]),
        end.seconds,
        end.warning,
    )
