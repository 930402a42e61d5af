"""What is written in a film: text on the screen, read where the picture has changed, as lines from when to when."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32, UInt8

from gmmformer.cores import usable_cores
from gmmformer.errors import of_extra, one_line
from gmmformer.files import words_in
from gmmformer.media.decoding import FilmEnd, decode_films
from gmmformer.media.films import DecodeError
from gmmformer.media.pool import GIB
from gmmformer.media.subtitles import Track, mended

FPS = 1
"""Pictures looked at in a second."""
HEIGHT, _WIDEST = 480, 960
"""Pixels of a picture's shorter side, and of its longer one where text is looked for."""
_TILE, _CHANGED = 16, 6.0
"""Pixels of a side of the squares that pictures are compared by, and by how much of 255 the mean of one differs at
least where something has changed."""
_SURE = 0.7
"""Text of which the reader is less sure is taken for none."""
_ALIKE = 0.75
"""Share of letters that two readings of one text have in common."""
_MISSED = 2.0
"""Seconds for which a text that is there before and after may be overlooked."""


@dataclass
class _Text:
    """Text that was seen, and may still be there."""

    text: str
    sure: float
    first: float
    last: float


class Written:
    """Reads text on the screen, with the networks that rapidocr-onnxruntime brings."""

    kind: ClassVar = "text"
    everywhere: ClassVar = True

    def __init__(self, memory_limit: int = 4 * GIB) -> None:
        """Load the networks.

        Args:
            memory_limit: Bytes that decoding a film may take.

        Raises:
            MissingExtraError: rapidocr-onnxruntime is not installed.
        """
        reader = of_extra("rapidocr_onnxruntime", "reading text on the screen", "text")
        self._read = reader.RapidOCR(
            det_limit_side_len=_WIDEST, det_limit_type="max", text_score=_SURE, intra_op_num_threads=usable_cores()
        )
        self._memory_limit = memory_limit
        self.identity = f"rapidocr-{version('rapidocr-onnxruntime')}"
        """What reads, without slashes."""

    def close(self) -> None:
        """As `Speech.close`; there is nothing to end."""

    def of(
        self, film: str, length: float, on_seconds: Callable[[float], None] = lambda seconds: None
    ) -> tuple[list[Track], list[str]]:
        """What is written in a film as a track, if anything is, and a sentence for what cannot be read.

        Args:
            film: Its path.
            length: Its seconds.
            on_seconds: Told up to which of them was read.
        """
        seen, end = list[_Text](), None

        def pictures(parts: Iterable[Any]) -> Iterator[tuple[float, UInt8[np.ndarray, "_height _width 3"]]]:
            nonlocal end
            for part in parts:
                if isinstance(part, FilmEnd):
                    end = part
                else:
                    yield from zip(part.seconds.tolist(), part.images, strict=True)

        before, there = None, list[_Text]()
        decoded: Any = decode_films([film], fps=FPS, size=HEIGHT, memory_limit=self._memory_limit)
        with closing(decoded) as parts:
            for second, image in pictures(parts):
                tiles = _tiles(image)
                if before is None or np.abs(tiles - before).max() >= _CHANGED:
                    there, before = list(_found(seen, self._texts(image), second)), tiles
                for text in there:
                    text.last = second
                on_seconds(second)
        if end is None or not end.ok:
            why = one_line(end.reason if end else "it has no pictures")
            return [], [f"what is written in it was left out: {DecodeError(film, why).reason}"]
        lines = [(text.first, min(text.last + 1 / FPS, max(length, text.last + 0.1)), text.text) for text in seen]
        track = Track(kind=self.kind, name="screen", lines=mended(lines))
        return ([track] if lines else []), []

    def _texts(self, image: UInt8[np.ndarray, "_height _width 3"]) -> list[tuple[str, float]]:
        """The lines of text in a picture, and how sure they are."""
        found, _ = self._read(np.ascontiguousarray(image[..., ::-1]), use_cls=False)
        return [(text, float(sure)) for _, text, sure in found or () if words_in(text)]


def _tiles(image: UInt8[np.ndarray, "_height _width 3"]) -> Float32[np.ndarray, "_rows _columns 3"]:
    """The mean colour of the squares of a picture."""
    rows, columns = (max(1, side // _TILE) for side in image.shape[:2])
    height, width = (min(side, count * _TILE) for side, count in zip(image.shape[:2], (rows, columns), strict=True))
    squares = image[:height, :width].reshape(rows, height // rows, columns, width // columns, 3)
    tiles: Float32[np.ndarray, "_rows _columns 3"] = squares.mean((1, 3), dtype=np.float32)
    return tiles


def _found(seen: list[_Text], texts: Sequence[tuple[str, float]], second: float) -> Iterator[_Text]:
    """The texts of a picture among those that were seen a moment ago, or as new ones, which `seen` has from then on."""
    recent = [one for one in seen if second - one.last <= _MISSED]
    for text, sure in texts:
        same = next((one for one in recent if _alike(one.text, text)), None)
        if same is None:
            same = _Text(text, sure, second, second)
            seen.append(same)
        else:
            recent.remove(same)
            if sure > same.sure:
                same.text, same.sure = text, sure
        yield same


def _alike(one: str, other: str) -> bool:
    """Whether two readings are of one text: numbers must be the same, as clocks and scores count on."""
    first, second = ("".join(words_in(text)) for text in (one, other))
    if [c for c in first if c.isdigit()] != [c for c in second if c.isdigit()]:
        return False
    return first == second or SequenceMatcher(None, first, second, autojunk=False).ratio() >= _ALIKE
