"""Films in, frame features out: decoding in worker processes, encoding here in batches that several films share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from gmmformer.config import DecodeConfig
from gmmformer.media.decoding import FilmChunk, FilmEnd, decode_films
from gmmformer.media.encoders import FrameEncoder
from gmmformer.media.pool import GIB

Image = UInt8[np.ndarray, "height width 3"]
_ROWS_APART = 16
"""Of the rows of pixels that are compared first: hardly ever are all of these equal and others not."""
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
    text: bool = False
    """Whether there is text beside the pictures, as subtitles are."""


Source = Callable[..., Iterator[FilmFeatures | FilmEnd]]
"""Called like `featurise`: where films become features, here or on a cluster."""


def featurise(
    films: Iterable[Path],
    encoder: FrameEncoder,
    settings: DecodeConfig,
    *,
    batch: int = 128,
    on_frames: Callable[[int], None] = lambda frames: None,
) -> Iterator[FilmFeatures | FilmEnd]:
    """Decode and encode films; a film that fails gives its `FilmEnd` and costs nothing else.

    Films come out as they are finished, which is not the order they went in; short ones wait for each other until they
    fill a batch. A film's features do not depend on the films beside it. While frames are encoded here, the processes
    decode on. Frames that are equal to the one before them in their film, as while a title stands, are encoded once,
    if the encoder does not look at the frame before.

    Args:
        films: Their files.
        encoder: Turns frames into vectors.
        settings: The rate, the processes, the limits.
        batch: Frames, of all films together, that are gathered before they are encoded.
        on_frames: Told of every so many frames that have features now.
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
    new: list[Bool[np.ndarray, "frames"]] = field(default_factory=list)
    """Which frames are others than those before them; `features` are of these alone."""
    features: list[Float[np.ndarray, "_new dim"]] = field(default_factory=list)


class _Chunk(NamedTuple):
    film: _Film
    frames: int
    images: list[Image]
    """Those that are to be encoded."""
    previous: list[Image | None]


class _Gathering:
    """Frames of several films on their way through one encoder."""

    def __init__(self, encoder: FrameEncoder) -> None:
        self.encoder = encoder
        self.waiting = 0
        self._films: dict[Path, _Film] = {}
        self._chunks: list[_Chunk] = []

    def add(self, chunk: FilmChunk) -> None:
        film = self._films.setdefault(chunk.path, _Film())
        new = np.ones(len(chunk.images), bool) if self.encoder.needs_previous else _new(chunk.images, film.last)
        images = list(chunk.images if new.all() else chunk.images[new])  # a copy, which keeps the others no longer
        self._chunks.append(_Chunk(film, len(new), images, [film.last, *images][: len(images)]))
        film.last = images[-1] if images else film.last
        film.seconds.append(chunk.seconds)
        film.new.append(new)
        self.waiting += len(images)

    def encode(self) -> int:
        frames = sum(chunk.frames for chunk in self._chunks)
        chunks = [chunk for chunk in self._chunks if chunk.images]
        self._chunks, self.waiting = [], 0
        if chunks:
            images = [image for chunk in chunks for image in chunk.images]
            previous = [image for chunk in chunks for image in chunk.previous]
            vectors = self.encoder.encode(images, previous if self.encoder.needs_previous else None)
            ends = np.cumsum([len(chunk.images) for chunk in chunks])
            for chunk, part in zip(chunks, np.split(vectors, ends[:-1]), strict=True):
                chunk.film.features.append(part)
        return frames

    def finished(self, end: FilmEnd) -> FilmFeatures:
        film = self._films.pop(end.path)
        features, new = np.concatenate(film.features), np.concatenate(film.new)
        if not new.all():
            features = features[np.cumsum(new) - 1]
        return FilmFeatures(end.path, features, np.concatenate(film.seconds), end.seconds, end.warning, end.text)

    def forget(self, path: Path) -> None:
        film = self._films.pop(path, None)
        self._chunks = [chunk for chunk in self._chunks if chunk.film is not film]
        self.waiting = sum(len(chunk.images) for chunk in self._chunks)


def _new(images: UInt8[np.ndarray, "frames height width 3"], last: Image | None) -> Bool[np.ndarray, "frames"]:
    """Which images are others than the one before, which is `last` for the first."""
    new = np.ones(len(images), bool)
    few = images[:, ::_ROWS_APART]
    new[1:] = (few[1:] != few[:-1]).any((1, 2, 3))
    alike = np.flatnonzero(~new)
    new[alike] = [not np.array_equal(images[index], images[index - 1]) for index in alike]
    new[0] = last is None or not np.array_equal(images[0], last)
    return new
