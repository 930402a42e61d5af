"""The moments that a person picked, for editing programs and tables."""

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from gmmformer.media.films import printable
from gmmformer.search import Film
from gmmformer.web.schemas import ExportFormat

if TYPE_CHECKING:
    import opentimelineio as otio

MEDIA_TYPES: dict[ExportFormat, str] = {
    "edl": "text/plain; charset=utf-8",
    "fcpxml": "application/xml",
    "otio": "application/json",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
STANDARD_RATES = (
    Fraction(24_000, 1_001),
    Fraction(24),
    Fraction(25),
    Fraction(30_000, 1_001),
    Fraction(30),
    Fraction(50),
    Fraction(60_000, 1_001),
    Fraction(60),
)
"""Frames per second that editing programs know."""
WHOLE_RATES = tuple(rate for rate in STANDARD_RATES if rate.denominator == 1)
"""Those that OpenTimelineIO's FCPXML adapter holds without drift; its times are seconds, so any of them will do."""
_TITLE = "gmmformer moments"
_USUAL_RATE = Fraction(25)
_STAND_IN = "gmmformer-film-"
"""The FCPXML adapter looks films up by name, in XPath: names that are all different, and have no quotes, stand in."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Picked(NamedTuple):
    """A moment to export."""

    film: Film
    start: float
    """Seconds."""
    end: float
    query: str
    rate: float | None
    """Frames per second of the film, where known."""


def exported(moments: Sequence[Picked], kind: ExportFormat) -> bytes:
    """The moments as a file.

    In EDL and FCPXML all times are whole frames of one standard rate, the one nearest to that of most of the films; in
    OTIO they are whole frames of each film's own rate. FCPXML takes whole rates only: 24 for 23.976 and so on. A moment
    has one frame at least.
    """
    match kind:
        case "csv":
            return _table(moments).encode()
        case "json":
            return json.dumps({"moments": [_record(one) for one in moments]}, ensure_ascii=False, indent=1).encode()
        case _:
            return _timeline_text(moments, kind).encode()


def common_rate(rates: Sequence[float | None], standard: Sequence[Fraction] = STANDARD_RATES) -> Fraction:
    """The standard rate nearest to that of most films; 25 where nothing is known.

    >>> common_rate([12.0, 29.97, 29.97, None]), common_rate([12.0, 29.97, 29.97, None], WHOLE_RATES)
    (Fraction(30000, 1001), Fraction(30, 1))
    """
    known = Counter(min(standard, key=lambda rate: abs(rate - Fraction(value))) for value in rates if value)
    return known.most_common(1)[0][0] if known else _USUAL_RATE


def _timeline_text(moments: Sequence[Picked], kind: ExportFormat) -> str:
    import opentimelineio as otio

    common = common_rate([one.rate for one in moments], WHOLE_RATES if kind == "fcpxml" else STANDARD_RATES)
    timeline = otio.schema.Timeline(name=_TITLE)
    track = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    for one in moments:
        clip = _clip(one, float(one.rate or common) if kind == "otio" else float(common))
        track.append(clip)
        if kind == "edl":
            clip.metadata["cmx_3600"] = {"reel": f"F{one.film.id % 10**7:07d}"}  # 8 letters, so no film's name
        if kind == "fcpxml":
            clip.name = f"{_STAND_IN}{one.film.id}"
            # with the host named the adapter does not take it for a file, to run ffprobe on
            address = clip.media_reference.target_url.replace("file://", "file://localhost", 1)
            clip.media_reference.target_url = address
    text: str
    match kind:
        case "edl":
            text = otio.adapters.write_to_string(timeline, "cmx_3600", rate=float(common))
        case "fcpxml":
            names = {str(one.film.id): _name(one.film) for one in moments}
            text = otio.adapters.write_to_string(timeline, "fcpx_xml")
            text = re.sub(f'name="{_STAND_IN}([0-9]+)"', lambda found: f"name={quoteattr(names[found[1]])}", text)
        case _:
            text = otio.adapters.write_to_string(timeline, "otio_json")
    return text


def _clip(one: Picked, rate: float) -> "otio.schema.Clip":
    import opentimelineio as otio

    def frames(first: int, last: int) -> "otio.opentime.TimeRange":
        return otio.opentime.TimeRange(
            otio.opentime.RationalTime(first, rate), otio.opentime.RationalTime(last - first, rate)
        )

    start = round(one.start * rate)
    end = max(start + 1, round(one.end * rate))
    whole = frames(0, max(end, round(one.film.timing.length * rate)))
    clip = otio.schema.Clip(
        name=_name(one.film),
        media_reference=otio.schema.ExternalReference(target_url=_address(one.film.path), available_range=whole),
        source_range=frames(start, end),
    )
    clip.metadata["gmmformer"] = {"query": printable(one.query), "start": one.start, "end": one.end}
    return clip


def _name(film: Film) -> str:
    return printable(os.path.basename(film.path))  # noqa: PTH119 - may hold any bytes


def _address(path: str) -> str:
    """A film's path as a URL."""
    return Path(path).as_uri() if Path(path).is_absolute() else quote(os.fsencode(path))


def _record(one: Picked) -> dict[str, object]:
    return {
        "id": one.film.id,
        "film": os.fsencode(one.film.path).decode("utf-8", "backslashreplace"),
        "start": round(one.start, 3),
        "end": round(one.end, 3),
        "query": one.query,
    }


def _table(moments: Sequence[Picked]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["id", "film", "start", "end", "query"])
    for one in moments:
        writer.writerow([_cell(value) for value in _record(one).values()])
    return text.getvalue()


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
