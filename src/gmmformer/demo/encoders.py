"""The demo's pair of encoders: no weights, no downloads, made for its small world of shapes, not for the world."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from jaxtyping import Float, Int, UInt8

from gmmformer.config import Running
from gmmformer.demo.descriptor import Described, compare, describe
from gmmformer.demo.objects import Objects

_CHUNK = 16
"""Frames described at once: what they need fits the processor's caches."""
_WORD = re.compile(r"\w+(?:['’]\w+)*")


class ShapeFrames:
    """A fixed descriptor of colour, layout, texture, coloured objects and their movement.

    Good enough for plain shapes on patterned ground, as the demo renders them; for real films take a pretrained
    encoder. A film of one frame per second moves far between frames, so movement is read from matched objects, not from
    optical flow. The same frames give the same vectors on every machine, but for rounding.
    """

    name = "gmmformer.demo.encoders:ShapeFrames"
    identity = "shape-frames-v1"
    size = 128
    needs_previous = True

    def __init__(self, running: Running | None = None) -> None:
        """Runs alike everywhere."""

    @property
    def dim(self) -> int:
        """Width of a frame's vector."""
        return _frame_dim()

    def encode(
        self,
        images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
        previous: Sequence[UInt8[np.ndarray, "_height _width 3"] | None] | None = None,
    ) -> Float[np.ndarray, "frames dim"]:
        """One vector per frame, whatever other frames it is passed with.

        Args:
            images: RGB frames of any sizes.
            previous: For each of them the frame sampled before it from the same film, None for the first. One that is
                itself among `images` (the same array) is not described twice. Without it no frame has one before.
        """
        if not len(images):
            return np.zeros((0, self.dim), np.float32)
        earlier = [None] * len(images) if previous is None else list(previous)
        places: dict[int, int] = {}
        distinct: list[UInt8[np.ndarray, "_height _width 3"]] = []
        for image in [*images, *(image for image in earlier if image is not None)]:
            if id(image) not in places:
                places[id(image)] = len(distinct)
                distinct.append(image)
        seen = _joined([describe(distinct[at : at + _CHUNK]) for at in range(0, len(distinct), _CHUNK)])
        now = np.array([places[id(image)] for image in images])
        before = np.array([now[row] if image is None else places[id(image)] for row, image in enumerate(earlier)])
        first = np.array([image is None for image in earlier])
        changes = compare(_rows(seen, now), _rows(seen, before), first)
        return np.concatenate([seen.vector[now], changes], axis=1)


class ShapeWords:
    """Hashed vectors of words and of the letters they are made of: one token per word.

    Words that share letters lie near each other ("square", "squares"), words that share a meaning do not: good enough
    to learn a small world's words from its captions. Text is put in Unicode normal form (NFKC) and lower case; a
    sentence without a word is one token for the empty word.
    """

    name = "gmmformer.demo.encoders:ShapeWords"
    identity = "shape-words-v1"
    dim = 256

    def __init__(self, running: Running | None = None) -> None:
        """Runs alike everywhere."""

    def encode(self, sentences: Sequence[str]) -> list[Float[np.ndarray, "_tokens dim"]]:
        """One (tokens, dim) array of unit rows per sentence, in the order of its words."""
        return [
            np.stack(
                [_word(word) for word in _WORD.findall(unicodedata.normalize("NFKC", sentence).casefold()) or [""]]
            )
            for sentence in sentences
        ]


@lru_cache(maxsize=1)
def _frame_dim() -> int:
    blank = np.zeros((1, 1, 3), np.uint8)
    seen = describe([blank])
    return int(seen.vector.shape[1] + compare(seen, seen, np.array([True])).shape[1])


def _joined(parts: Sequence[Described]) -> Described:
    objects = Objects(*(np.concatenate(fields) for fields in zip(*(seen.objects for seen in parts), strict=True)))
    vector, light, colours = (np.concatenate(fields) for fields in zip(*(seen[:3] for seen in parts), strict=True))
    return Described(vector, light, colours, objects)


def _rows(seen: Described, rows: Int[np.ndarray, "rows"]) -> Described:
    objects = Objects(*(field[rows] for field in seen.objects))
    return Described(seen.vector[rows], seen.light[rows], seen.colours[rows], objects)


@lru_cache(maxsize=65536)
def _word(word: str) -> Float[np.ndarray, "dim"]:
    """Half of the word's own direction, half of those of its pieces of 3 to 5 letters; of length 1."""
    marked = f"<{word}>"
    pieces = [marked[at : at + size] for size in (3, 4, 5) for at in range(len(marked) - size + 1)]
    parts = np.sum([_direction(piece) for piece in pieces], axis=0) / np.sqrt(len(pieces)) if pieces else 0
    vector = _direction(f"word {word}") + parts
    unit = np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
    unit.flags.writeable = False
    return unit


def _direction(text: str) -> Float[np.ndarray, "dim"]:
    """A direction that depends on the text alone: every component +-1/16, signs from its BLAKE2b hash."""
    bits = np.unpackbits(
        np.frombuffer(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest(), np.uint8)
    )
    return (bits * 2.0 - 1.0) / 16
