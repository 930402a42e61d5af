"""Films in, frame features out: decoding in worker processes, encoding here in batches that several films share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from gmmformer.config import DecodeConfig
from gmmformer.media.decoding import FilmChunk, FilmEnd, decode_films
from gmmformer.media.encoders import FrameEncoder
from gmmformer.media.pool import GIB

Image = UInt8[np.ndarray, "height width 3"]
NO_FRAME = "no frame could be decoded"
"""Why a film fails that the decoder took for whole and gave no frame of."""


class FilmFeatures(NamedTuple):
    """A film that was decoded and encoded to its end."""

    path: Path
    features: Float[np.ndarray, "frames dim"]
    seconds: Float[np.ndarray, "frames"]
    """When each frame was on screen, counted from the film's first frame."""
    duration: float
    """Length of the film in seconds."""
    warning: str | None
    """What is odd about the film."""


Source = Callable[..., Iterator[FilmFeatures | FilmEnd]]
"""Called like `featurise`: where films become features, here or on a cluster."""


def featurise(
    films: Iterable[Path],
    encoder: FrameEncoder,
    settings: DecodeConfig,
    *,
    batch: int = 256,
    on_frames: Callable[[int], None] = lambda frames: None,
) -> Iterator[FilmFeatures | FilmEnd]:
    """Decode and encode films; a film that fails gives its `FilmEnd` and costs nothing else.

    Films come out as they are finished, which is not the order they went in; short ones wait for each other until they
    fill a batch. A film's features do not depend on the films beside it.

    Args:
        films: Their files.
        encoder: Turns frames into vectors.
        settings: The rate, the processes, the limits.
        batch: Frames, of all films together, that are gathered before they are encoded.
        on_frames: Told of every so many frames that were encoded.
    """
    chunks = decode_films(
        films,
        fps=settings.fps,
        size=encoder.size,
        workers=settings.decoders,
        time_limit=settings.time_limit,
        memory_limit=int(settings.memory_limit * GIB),
    )
    gathering = _Gathering(encoder)
    ended: list[FilmEnd] = []
    for part in chunks:
        if isinstance(part, FilmChunk):
            gathering.add(part)
        elif part.ok and part.frames:
            ended.append(part)
        else:
            gathering.forget(part.path)
            yield replace(part, reason=part.reason or NO_FRAME)
        if gathering.waiting >= batch:
            on_frames(gathering.encode())
            yield from map(gathering.finished, ended)
            ended = []
    on_frames(gathering.encode())
    yield from map(gathering.finished, ended)


@dataclass
class _Film:
    last: Image | None = None
    seconds: list[Float[np.ndarray, "frames"]] = field(default_factory=list)
    features: list[Float[np.ndarray, "_frames dim"]] = field(default_factory=list)


class _Gathering:
    """Frames of several films on their way through one encoder."""

    def __init__(self, encoder: FrameEncoder) -> None:
        self.encoder = encoder
        self.waiting = 0
        self._films: dict[Path, _Film] = {}
        self._chunks: list[tuple[_Film, list[Image], list[Image | None]]] = []

    def add(self, chunk: FilmChunk) -> None:
        film = self._films.setdefault(chunk.path, _Film())
        images = list(chunk.images)
        self._chunks.append((film, images, [film.last, *images[:-1]]))
        film.last = images[-1]
        film.seconds.append(chunk.seconds)
        self.waiting += len(images)

    def encode(self) -> int:
        if not self._chunks:
            return 0
        images = [image for _, chunk, _ in self._chunks for image in chunk]
        previous = [image for _, _, chunk in self._chunks for image in chunk]
        vectors = self.encoder.encode(images, previous if self.encoder.needs_previous else None)
        ends = np.cumsum([len(chunk) for _, chunk, _ in self._chunks])
        for (film, _, _), part in zip(self._chunks, np.split(vectors, ends[:-1]), strict=True):
            film.features.append(part)
        self._chunks, self.waiting = [], 0
        return len(images)

    def finished(self, end: FilmEnd) -> FilmFeatures:
        film = self._films.pop(end.path)
        return FilmFeatures(
            end.path, np.concatenate(film.features), np.concatenate(film.seconds), end.seconds, end.warning
        )

    def forget(self, path: Path) -> None:
        film = self._films.pop(path, None)
        self._chunks = [chunk for chunk in self._chunks if chunk[0] is not film]
        self.waiting = sum(len(images) for _, images, _ in self._chunks)
