"""What a search found, to look at and to take along: a contact sheet, and the moments as files."""

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gmmformer.errors import InputError
from gmmformer.files import written_whole
from gmmformer.media.cutting import cut_moment, moment_filename
from gmmformer.media.films import printable
from gmmformer.media.frames import frame_at
from gmmformer.search.hits import Hit
from gmmformer.search.words import clock

STILL_HEIGHT = 144
_WIDEST, _CAPTION, _GAP = 1_300, 18, 4
"""Pixels of a sheet of stills, of what stands below one, and between two."""
_MOST_PICTURES = 8
"""In a row."""
_RIGHT = "#2e9e5b"


def draw_hits(
    answers: Sequence[tuple[str, Sequence[Hit]]], path: Path, *, right: Sequence[str] = (), title: str = ""
) -> None:
    """Draw a contact sheet: sentences down the left side, beside each the frames in the middle of its hits' best clips.

    Args:
        answers: Sentences, each with its hits, best first; of films that cannot be read any more the place stays empty.
        path: PNG to write.
        right: Path of the film that each sentence is about, where that is known: its picture is framed.
        title: Stands above it all.

    Raises:
        InputError: There is nothing to draw, or `path` cannot be written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_MOST_PICTURES, max((len(hits) for _, hits in answers), default=0))
    if not columns:
        raise InputError(
            f"{path}: there is nothing to draw, as nothing was found; ask without --where and --min-length"
        )
    figure = Figure(figsize=(2.6 + 2.3 * columns, 0.5 + 2.0 * len(answers)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    grid = figure.subplots(len(answers), columns + 1, squeeze=False, width_ratios=[1.2] + [1] * columns)
    for number, (places, (sentence, hits)) in enumerate(zip(grid, answers, strict=True)):
        for place in places:
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
        places[0].text(0.0, 0.5, textwrap.fill(_plain(sentence), 30), va="center", ha="left", fontsize=9.5)
        for rank, (place, hit) in enumerate(zip(places[1:], hits, strict=False), start=1):
            place.imshow(_frame(hit))
            caption = f"{rank}. {printable(Path(hit.film.path).name)}\n{clock(hit.start)} - {clock(hit.end)}"
            framed = hit.film.path in right[number : number + 1]
            place.set_xlabel(_plain(caption), fontsize=8, color=_RIGHT if framed else "#444444")
            if framed:
                place.spines[:].set(visible=True, color=_RIGHT, linewidth=4)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=110, format="png")


def cut_hits(
    hits: Sequence[Hit], folder: Path, *, exact: bool | None = None
) -> Iterator[tuple[Path, InputError | None]]:
    """Cut the moments of hits out of their films, an mp4 each: where it is, and why there is none where there is none.

    Raises:
        InputError: `folder` cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder for the clips") from error
    for rank, hit in enumerate(hits, start=1):
        path = folder / f"{rank:02d}_{moment_filename(hit.film.path, hit.start, hit.end)}"
        try:
            cut_moment(hit.film.path, hit.start, hit.end, path, exact=exact)
            yield path, None
        except InputError as error:
            yield path, error


def sheet_of(images: Sequence[bytes | BaseException], seconds: Sequence[float]) -> bytes:
    """A JPEG of pictures, STILL_HEIGHT high, each with its second below; where there is none it stays grey."""
    from PIL import Image, ImageDraw, ImageFont

    pictures = [Image.open(io.BytesIO(image)) if isinstance(image, bytes) else None for image in images]
    width = max(picture.width for picture in pictures if picture is not None)
    columns = max(1, min(math.ceil(math.sqrt(len(pictures))), _WIDEST // (width + _GAP)))
    across, down = width + _GAP, STILL_HEIGHT + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * across, math.ceil(len(pictures) / columns) * down), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, (picture, second) in enumerate(zip(pictures, seconds, strict=True)):
        x, y = place % columns * across, place // columns * down
        sheet.paste(picture if picture is not None else Image.new("RGB", (width, STILL_HEIGHT), "#cccccc"), (x, y))
        pen.text((x + 2, y + STILL_HEIGHT + 1), clock(second), fill="black", font=font)
    written = io.BytesIO()
    sheet.save(written, "JPEG", quality=80, optimize=True)
    return written.getvalue()


def _frame(hit: Hit) -> UInt8[np.ndarray, "height width 3"]:
    begin, end = hit.clip_spans[int(np.argmax(hit.clip_scores))] if len(hit.clip_scores) else (hit.start, hit.end)
    try:
        return frame_at(hit.film.path, float(begin + end) / 2, size=STILL_HEIGHT).image
    except InputError:
        return np.full((90, 120, 3), 230, np.uint8)


def _plain(text: str) -> str:
    """Text that matplotlib draws as it stands: no mathematics, nothing unprintable."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text).replace("$", r"\$")
