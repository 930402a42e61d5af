"""Routes to take moments away: a cut as a film, a list for an editing program or a table."""

import asyncio
import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from fastapi import APIRouter, Query
from starlette.responses import Response

from gmmformer.media.cutting import moment_filename
from gmmformer.media.films import printable
from gmmformer.search import Film
from gmmformer.web.files import FileAnswer, tag_of
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.routes import BINARY, RANGES, Given, Services, checked_span
from gmmformer.web.schemas import LONGEST, MOST_ID, MOST_PICKED, CutIn, ExportFormat, ExportIn, MomentIn

if TYPE_CHECKING:
    import opentimelineio as otio

MEDIA_TYPES: dict[ExportFormat, str] = {
    "edl": "text/plain; charset=utf-8",
    "fcpxml": "application/xml",
    "otio": "application/json",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
STANDARD_RATES = tuple(map(Fraction, ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")))
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


router = APIRouter(tags=["taking moments away"])

_EXPORTED: dict[int | str, dict[str, Any]] = {
    **documented(404, 422, 429),
    200: {
        "description": "The moments as a file.",
        "content": dict.fromkeys(dict.fromkeys(MEDIA_TYPES.values()), BINARY),
    },
}
_MOMENT = re.compile(r"(\d{1,16}):(\d{1,8}(?:\.\d{1,9})?):(\d{1,8}(?:\.\d{1,9})?)", re.ASCII)
Format = Annotated[
    ExportFormat,
    Query(
        description="edl (CMX 3600) or fcpxml, in whole frames of the standard rate nearest to that of most of the "
        "films; otio (OpenTimelineIO), in whole frames of each film; csv or json, in seconds."
    ),
]


@router.post(
    "/api/cut",
    response_class=Response,
    responses={
        **documented(404, 409, 410, 415, 416, 422, 429),
        **RANGES,
        200: {"description": "The moment, as a file to save.", "content": {"video/mp4": BINARY}},
    },
)
async def cut(services: Given, moment: CutIn) -> Response:
    """Cut a moment out of its film, as mp4."""
    film = await services.catalogue.film(moment.id)
    start, end = checked_span(moment.start, moment.end, film.timing.length)
    opened = await services.work.cut(film, start, end, moment.exact)
    return FileAnswer(
        opened,
        media_type="video/mp4",
        tag=tag_of("cut", film.id, film.stamp, start, end, moment.exact, opened.stamp),
        headers={"content-disposition": _attachment(moment_filename(film.path, start, end))},
    )


@router.post("/api/export", response_class=Response, responses={**_EXPORTED, **documented(404, 415, 422, 429)})
async def export(services: Given, format: Format, picked: ExportIn) -> Response:  # noqa: A002
    """The moments that a person picked, as a file for an editing program or a table."""
    return await _exported(services, picked.moments, format)


@router.get("/api/export", response_class=Response, responses=_EXPORTED)
async def export_link(
    services: Given,
    format: Format,  # noqa: A002
    m: Annotated[
        list[Annotated[str, Query(max_length=60)]],
        Query(
            min_length=1, max_length=MOST_PICKED, description="A moment as id:start:end, in seconds; may be repeated."
        ),
    ],
) -> Response:
    """As the POST, for a link."""
    return await _exported(services, [_moment(text) for text in m], format)


async def _exported(services: Services, moments: Sequence[MomentIn], kind: ExportFormat) -> Response:
    for number, moment in enumerate(moments):
        if moment.end <= moment.start:
            raise ProblemError(422, f"moments.{number}.end: must be after start.")
    films = {identity: await services.catalogue.film(identity) for identity in {moment.id for moment in moments}}
    rates: dict[int, float | None] = {}
    if kind not in ("csv", "json"):
        found = await asyncio.gather(*(services.work.frame_rate(film) for film in films.values()))
        rates = dict(zip(films, found, strict=True))
    picked = [Picked(films[one.id], one.start, one.end, one.query, rates.get(one.id)) for one in moments]
    text = await asyncio.to_thread(exported, picked, kind)
    return Response(text, media_type=MEDIA_TYPES[kind], headers={"content-disposition": _attachment(f"moments.{kind}")})


def _attachment(name: str) -> str:
    """The header that makes a browser save an answer, under a name of plain ASCII letters."""
    return f'attachment; filename="{name}"'


def _moment(text: str) -> MomentIn:
    match = _MOMENT.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= MOST_ID or max(float(match[2]), float(match[3])) > LONGEST:
        raise ProblemError(422, "m: each must be id:start:end, such as 12:3.5:8.25.")
    return MomentIn(id=int(match[1]), start=float(match[2]), end=float(match[3]), query="")
