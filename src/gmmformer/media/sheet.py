"""Contact sheets: a row of pictures for each sentence."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gmmformer.files import written_whole

RIGHT = "#2e9e5b"
"""Frame of a picture that is the right answer."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One frame of a film in a contact sheet."""

    image: UInt8[np.ndarray, "height width 3"] | None
    """None where the film could not be read: an empty place."""
    caption: str
    """What stands under it."""
    colour: str | None = None
    """Colour of its frame."""


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """A sentence and its pictures, best first."""

    sentence: str
    pictures: Sequence[Picture]


def draw_contact_sheet(rows: Sequence[SheetRow], path: Path, *, title: str = "") -> None:
    """Draw the rows as a PNG: sentences down the left side, their pictures beside them.

    Raises:
        InputError: `path` cannot be written to.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row.pictures) for row in rows)
    figure = Figure(figsize=(2.6 + 2.3 * columns, 0.5 + 2.0 * len(rows)), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=[1.2] + [1] * columns)
    for places, row in zip(grid, rows, strict=True):
        for place in places:
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
        places[0].text(0.0, 0.5, textwrap.fill(_plain(row.sentence), 30), va="center", ha="left", fontsize=9.5)
        for place, picture in zip(places[1:], row.pictures, strict=False):
            image = picture.image if picture.image is not None else np.full((90, 120, 3), 230, np.uint8)
            place.imshow(image)
            place.set_xlabel(_plain(picture.caption), fontsize=8, color=picture.colour or "#444444")
            if picture.colour:
                for spine in place.spines.values():
                    spine.set(visible=True, color=picture.colour, linewidth=4)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=110, format="png")


def _plain(text: str) -> str:
    """Text that matplotlib draws as it stands: no mathematics, nothing unprintable."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")
