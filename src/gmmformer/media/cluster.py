"""The same work on a Ray cluster: films decoded on all its processors, frames encoded on its GPUs or beside them."""

import importlib.util
import inspect
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from gmmformer.config import DecodeConfig
from gmmformer.errors import InputError, MissingExtraError
from gmmformer.media.decoding import FilmChunk, FilmEnd, decode_films
from gmmformer.media.encoders import FrameEncoder
from gmmformer.media.featurise import NO_FRAME, FilmFeatures, Image, Source
from gmmformer.media.pool import GIB

CHUNKS_AHEAD = 2
"""Chunks of a film that wait decoded until they are taken, and chunks that wait for an encoder."""


def featurise_on(address: str, make_encoder: Callable[[], FrameEncoder]) -> Source:
    """`gmmformer.media.featurise.featurise` on a Ray cluster: what it returns is called alike and gives the same.

    A film is decoded by a task, under the same limits as here, on any node with a processor to spare; its chunks of
    frames go through Ray's object store to an encoder, of which there is one on each GPU where the cluster has GPUs,
    else one for each processor. Only features come back to this process. Frames in flight are bounded, whatever the
    number of films. When a worker or a node is lost, what it was at is done again elsewhere; a film that cannot be
    decoded gives its `FilmEnd` as ever. `settings.decoders` has no meaning here: Ray decodes as many films at a time
    as there are processors.

    The nodes must see the films, and a model's folder, under the same paths (a shared disk), and have this package:
    installed, or brought along by a runtime environment, as in `ray job submit --runtime-env-json
    '{"pip": ["gmmformer[films,ray]"]}' -- gmmformer extract FILMS ... --ray auto`. A process that is connected to a
    cluster already (`ray.init` with a `runtime_env` of its own) uses that one.

    Args:
        address: "auto" for the cluster that this machine is part of, or "HOST:PORT" of its head.
        make_encoder: Makes the encoder, once in each process that encodes; it is pickled.

    Raises:
        InputError: The address is that of a Ray client, which cannot stream.
        MissingExtraError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("Work on a cluster", "ray")
    if address.startswith("ray://"):
        raise InputError(f"--ray {address}: a Ray client cannot stream; run on the cluster itself (`ray job submit`)")

    def featurise(
        films: Iterable[Path],
        encoder: FrameEncoder,
        settings: DecodeConfig,
        *,
        on_frames: Callable[[int], None] = lambda frames: None,
    ) -> Iterator[FilmFeatures | FilmEnd]:
        waiting = deque(films)
        if not waiting:
            return
        limits = {
            "fps": settings.fps,
            "size": encoder.size,
            "time_limit": settings.time_limit,
            "memory_limit": int(settings.memory_limit * GIB),
        }
        with _connected(address):
            yield from _Run(waiting, limits, encoder.needs_previous, make_encoder, on_frames).results()

    return featurise


@contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():  # where nobody listens Ray asks on for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, ValueError, RuntimeError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(
            f"--ray {address}: no Ray cluster could be reached there ({reason}); start one with `ray start --head`, or "
            "give the HOST:PORT of a running one"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def decode(film: Path, limits: dict[str, Any], with_previous: bool) -> Iterator[tuple[FilmChunk | FilmEnd, Any]]:
    """Runs on the cluster: the chunks of a film, each with the frame before it where that is wanted, and its end."""
    last: Image | None = None
    for part in decode_films([film], workers=1, **limits):
        yield part, last
        if with_previous and isinstance(part, FilmChunk):
            last = part.images[-1]


class Encode:
    """Runs on the cluster, one for each encoder: chunks of frames into their features."""

    def __init__(self, make_encoder: Callable[[], FrameEncoder]) -> None:
        self._make = make_encoder

    @cached_property
    def _encoder(self) -> FrameEncoder:
        try:
            return self._make()
        except MissingExtraError as error:  # cannot be pickled
            raise InputError(str(error)) from None

    def encode(self, given: tuple[FilmChunk | FilmEnd, Image | None]) -> "_Features | FilmEnd":
        """The features of a chunk; the end of a film is passed on."""
        part, last = given
        if isinstance(part, FilmEnd):
            return part
        images = list(np.array(part.images))  # writable, as they are where no cluster is
        before = [last, *images[:-1]] if self._encoder.needs_previous else None
        return self._encoder.encode(images, before), part.seconds


_Features = tuple[Float[np.ndarray, "frames dim"], Float[np.ndarray, "frames"]]
"""Of a chunk: features, and their seconds."""


@dataclass(eq=False)
class _Film:
    """A film on the cluster."""

    path: Path
    decoding: Any
    """Ray's generator of its chunks; None at their end."""
    chunks: list[Any] = field(default_factory=list)
    """For each chunk in order what Ray calls its features, then those; the film's end comes last."""
    missing: int = 0
    """Chunks that are being encoded."""

    def finished(self) -> FilmFeatures | FilmEnd:
        chunks = self.chunks[:-1]
        end: FilmEnd = self.chunks[-1]
        if not end.ok or not chunks:
            return replace(end, path=self.path, reason=end.reason or NO_FRAME)
        features, seconds = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return FilmFeatures(self.path, features, seconds, end.seconds, end.warning)


class _Run:
    """Films on their way through the decoders and the encoders of a cluster."""

    def __init__(
        self,
        waiting: deque[Path],
        limits: dict[str, Any],
        with_previous: bool,
        make_encoder: Callable[[], FrameEncoder],
        on_frames: Callable[[int], None],
    ) -> None:
        import ray

        self._ray, self._waiting, self._on_frames = ray, waiting, on_frames
        resources = ray.cluster_resources()
        gpus, self._processors = int(resources.get("GPU", 0)), max(1, int(resources.get("CPU", 1)))
        again = {"max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": "SPREAD"}
        made = ray.remote(Encode).options(num_cpus=0, num_gpus=1 if gpus else 0, **again)
        self._encoders = [made.remote(make_encoder) for _ in range(gpus or self._processors)]
        self._load = [0] * len(self._encoders)
        start = ray.remote(inspect.unwrap(decode)).options(  # Ray wants a generator, not what checks one's types
            num_cpus=1, num_returns="streaming", max_retries=-1, _generator_backpressure_num_objects=CHUNKS_AHEAD
        )
        self._decode: Callable[[Path], Any] = lambda film: start.remote(film, limits, with_previous)
        self._films: dict[Any, _Film] = {}
        """By the generator of their chunks."""
        self._encoding: dict[Any, tuple[_Film, int, int]] = {}
        """By what Ray calls the features: the film, which of its chunks, which encoder."""

    def results(self) -> Iterator[FilmFeatures | FilmEnd]:
        while self._waiting or self._films or self._encoding:
            while self._waiting and len(self._films) < self._processors:
                path = self._waiting.popleft()
                decoding = self._decode(path)
                self._films[decoding] = _Film(path, decoding)
            free = len(self._encoding) < (1 + CHUNKS_AHEAD) * len(self._encoders)
            (ready,), _ = self._ray.wait([*self._encoding, *(self._films if free else ())], fetch_local=False)
            film = self._decoded(ready) if ready in self._films else self._encoded(ready)
            if film.decoding is None and not film.missing:
                yield film.finished()

    def _decoded(self, decoding: Any) -> _Film:
        """A chunk, or the end of all: hand it to the encoder with least to do."""
        film = self._films[decoding]
        try:
            chunk = next(decoding)
        except StopIteration:
            film.decoding = None
            del self._films[decoding]
            return film
        least = self._load.index(min(self._load))
        features = self._encoders[least].encode.remote(chunk)
        self._encoding[features] = film, len(film.chunks), least
        film.chunks.append(features)
        film.missing += 1
        self._load[least] += 1
        return film

    def _encoded(self, features: Any) -> _Film:
        film, chunk, encoder = self._encoding.pop(features)
        try:
            found = film.chunks[chunk] = self._ray.get(features)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise InputError(f"on a node of the cluster: {error.cause}") from None
            raise
        film.missing -= 1
        self._load[encoder] -= 1
        if not isinstance(found, FilmEnd):
            self._on_frames(len(found[1]))
        return film
