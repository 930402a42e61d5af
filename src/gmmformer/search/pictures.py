"""What a search found, to look at and to take along: a contact sheet, and the moments as clips."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from gmmformer.errors import InputError
from gmmformer.media.cutting import Cut, cut_moment, moment_filename
from gmmformer.media.films import printable
from gmmformer.media.frames import frame_at
from gmmformer.media.sheet import Picture, SheetRow, draw_contact_sheet
from gmmformer.search.hits import Hit, clock

_HEIGHT = 144
_MOST_PICTURES = 8


def draw_hits(answers: Sequence[tuple[str, Sequence[Hit]]], path: Path, *, most: int = _MOST_PICTURES) -> None:
    """Draw a contact sheet: a row for each sentence, with the frame in the middle of each hit's best clip.

    Args:
        answers: Sentences, each with its hits, best first.
        path: PNG to write.
        most: Pictures in a row; of films that cannot be read any more the place stays empty.

    Raises:
        InputError: There is nothing to draw, or `path` cannot be written to.
    """
    if not any(hits for _, hits in answers):
        raise InputError(
            f"{path}: there is nothing to draw, as nothing was found; ask without --where and --min-length"
        )
    rows = [
        SheetRow(sentence=sentence, pictures=[_picture(rank, hit) for rank, hit in enumerate(hits[:most], start=1)])
        for sentence, hits in answers
    ]
    draw_contact_sheet(rows, path)


def _picture(rank: int, hit: Hit) -> Picture:
    caption = f"{rank}. {printable(Path(hit.film.path).name)}\n{clock(hit.start)} - {clock(hit.end)}"
    return Picture(image=_frame(hit), caption=caption)


def _frame(hit: Hit) -> UInt8[np.ndarray, "height width 3"] | None:
    begin, end = hit.clip_spans[int(np.argmax(hit.clip_scores))]
    try:
        return frame_at(hit.film.path, float(begin + end) / 2, size=_HEIGHT).image
    except InputError:
        return None


class CutHit(NamedTuple):
    """A hit that was to be cut out."""

    hit: Hit
    clip: Path
    cut: Cut | None
    """None if it could not be."""
    reason: str | None
    """Why not."""


def cut_hits(hits: Sequence[Hit], folder: Path, *, exact: bool | None = None) -> Iterator[CutHit]:
    """Cut the moments of hits out of their films, one mp4 each; a film that cannot be read costs only its own clip.

    Raises:
        InputError: `folder` cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder for the clips") from error
    for rank, hit in enumerate(hits, start=1):
        clip = folder / f"{rank:02d}_{moment_filename(hit.film.path, hit.start, hit.end)}"
        try:
            yield CutHit(hit, clip, cut_moment(hit.film.path, hit.start, hit.end, clip, exact=exact), None)
        except InputError as error:
            yield CutHit(hit, clip, None, str(error))
