"""Searching by example: pictures, and moments that the library has, alone or with words."""

import io
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Unpack

import numpy as np
from jaxtyping import Float, UInt8

from gmmformer.errors import InputError, of_extra
from gmmformer.media.films import printable
from gmmformer.model.pooling import l2_normalise
from gmmformer.search.hits import Hit, Wanted, clip_at
from gmmformer.search.library import Library
from gmmformer.search.words import MOST_HITS, check_counts


class Spot(NamedTuple):
    """A second of a film that the library has."""

    film: str | os.PathLike[str] | int
    """Its path or id."""
    second: float


Example = str | os.PathLike[str] | bytes | Spot
"""The path of a picture or what such a file holds, or a moment of the library."""
FORMATS = ("JPEG", "PNG", "WEBP")
"""Of pictures; whoever sends one is not to choose among all that Pillow reads."""
MOST_PIXELS = 60_000_000
"""Of a picture, which is decoded whole."""


class NotAPictureError(InputError):
    """What was given cannot be read as a picture."""


class NoFrameEncoderError(InputError):
    """A library's model cannot look at pictures here."""


def search_like(
    library: Library,
    examples: Sequence[Example],
    k: int = 10,
    *,
    sentence: str | None = None,
    words: float = 0.5,
    **wanted: Unpack[Wanted],
) -> list[Hit]:
    """The moments of the k films that look most like some examples, and match a sentence.

    A picture becomes what a film of that one frame would be in the library; of a moment the clip over it is taken. The
    query is the mean of these, and of the sentence's vector with the weight `words`; both are divided by how far the
    library's films differ in what they score for them, as a picture is nearer to all films than any sentence is. Hits
    have no strength and no word, which are about sentences. Films that a moment is of are not found.

    Args:
        library: Opened with its model, where there is a picture or a sentence.
        examples: At least one.
        k: Films; fewer are found only if there are no more.
        sentence: What is to be seen too.
        words: The sentence's share, in [0, 1].
        wanted: As for `Library.search_vectors`; films that show the same thing are folded unless `fold` is False.

    Raises:
        InputError: There is no example, a moment is not in the library, or a number is out of range.
        NotAPictureError: A picture cannot be read.
        NoFrameEncoderError: There is a picture, and the library's model has nothing to look at it with.
    """
    if not examples:
        raise InputError("nothing to look alike: give a picture, or a moment of the library")
    if not 0 <= words <= 1:
        raise InputError(f"--words {words} must be at least 0 and at most 1")
    pictures = [one for one in examples if not isinstance(one, Spot)]
    moments = [_found(library, one) for one in examples if isinstance(one, Spot)]
    vectors = [*_of_pictures(library, pictures), *(vector for _, vector in moments)]
    query = l2_normalise(np.mean(vectors, axis=0, keepdims=True))
    if sentence is not None and len(library):
        both = np.concatenate([query, library.embed([sentence])])
        shares = np.array([1 - words, words]) / np.maximum(library.store.snapshot().spreads(both), 1e-6)
        query = l2_normalise((shares[None] @ both).astype(np.float32))
    shown = {film for film, _ in moments}
    wanted.setdefault("fold", True)
    check_counts(k, wanted.get("moments", 1), skip := wanted.pop("skip", 0))
    (hits,) = library.search_vectors(query, min(skip + k + len(shown), MOST_HITS), **wanted)
    others = [hit for hit in hits if not shown & {film.id for film in (hit.film, *hit.copies)}]
    kept = list(dict.fromkeys(hit.film.id for hit in others))[skip : skip + k]
    return [replace(hit, strength=None, word=None) for hit in others if hit.film.id in kept]


def _of_pictures(
    library: Library, given: Sequence[str | os.PathLike[str] | bytes]
) -> Float[np.ndarray, "pictures dim"]:
    """The unit vector of each picture."""
    if not given:
        return np.empty((0, library.settings.dim), dtype=np.float32)
    try:
        frames = library.models.encoders.frames
    except InputError as error:
        raise NoFrameEncoderError(
            f"{printable(library.folder)}: cannot be searched by a picture here, only by words and by its own "
            f"moments: {error}"
        ) from error
    pictures = [_picture(one, frames.size) for one in given]
    embedder = library.models.embedder
    windows = embedder.embed_windows([row[None] for row in frames.encode(pictures)]).numpy()
    return l2_normalise(windows[:, : embedder.clips].mean(1))


def _picture(given: str | os.PathLike[str] | bytes, size: int) -> UInt8[np.ndarray, "height width 3"]:
    """A picture upright, in RGB, its shorter side not above `size`, as frames of films are."""
    name = "what was sent" if isinstance(given, bytes) else printable(os.fspath(given))
    pil, ops = (of_extra(f"PIL.{name}", "to read a picture", "films") for name in ("Image", "ImageOps"))
    try:
        file = io.BytesIO(given) if isinstance(given, bytes) else given
        with warnings.catch_warnings(), pil.open(file, formats=FORMATS) as image:
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} by {image.height} are more than {MOST_PIXELS:,} pixels")
            image.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded no larger than it need be
            upright = ops.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, pil.DecompressionBombError, pil.DecompressionBombWarning) as error:
        unknown = isinstance(error, pil.UnidentifiedImageError)
        reason = getattr(error, "strerror", None) or ("of no known kind" if unknown else str(error))
        raise NotAPictureError(
            f"{name}: is no picture that can be read ({reason}); give a JPEG, PNG or WebP"
        ) from error
    scale = min(1.0, size / min(upright.size))
    width, height = (max(1, round(side * scale)) for side in upright.size)
    return np.asarray(upright.resize((width, height), pil.Resampling.BICUBIC))


def _found(library: Library, moment: Spot) -> tuple[int, Float[np.ndarray, "dim"]]:
    """The id of a moment's film, and the unit vector of the clip over it."""
    film = library.store.film(moment.film)
    where = f"{printable(os.fspath(moment.film)) if not isinstance(moment.film, int) else moment.film}"
    if film is None:
        raise InputError(f"{where}: there is no such film in {library.folder}; `list` shows what there is")
    if not (math.isfinite(moment.second) and 0 <= moment.second <= film.length):
        raise InputError(f"{where}: has no second {moment.second:g}; it lasts {film.length:.1f} s")
    vector = clip_at(library.store, library.store.snapshot(), film.id, moment.second)
    return film.id, l2_normalise(vector[None])[0]
