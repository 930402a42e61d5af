"""Routes to take moments away: a cut as a film, a list for an editing program or a table."""

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from gmmformer.media.cutting import moment_filename
from gmmformer.media.frames import FilmInfo
from gmmformer.web.exports import exported
from gmmformer.web.files import FileAnswer, tag_of
from gmmformer.web.placing import Elsewhere, Picked, Wanted
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.routes import BINARY, RANGES, Given, Services, checked_span
from gmmformer.web.schemas import (
    LONGEST,
    MOST_ID,
    MOST_PICKED,
    ExportFormat,
    ExportIn,
    FilmId,
    Model,
    MomentIn,
    Second,
)

MEDIA_TYPES: dict[ExportFormat, str] = {
    "edl": "text/plain; charset=utf-8",
    "fcpxml": "application/xml",
    "xml": "application/xml",
    "otio": "application/json",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
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
        description="edl (CMX 3600), fcpxml (Final Cut Pro), xml (Final Cut Pro 7, Premiere Pro) or otio "
        "(OpenTimelineIO), with sound and time code; csv or json, in seconds."
    ),
]


class CutIn(Model):
    """A moment to cut out of its film."""

    id: FilmId
    start: Second = Field(description="Second at which it begins.")
    end: Second = Field(description="Second at which it ends, at most 600 after the start.")
    exact: bool | None = Field(
        None,
        description="true encodes anew, to begin at the very frame; false copies from the key frame before; null "
        "copies where a key frame is at the start.",
    )


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
    elsewhere = Elsewhere(picked.elsewhere.here, picked.elsewhere.there) if picked.elsewhere else None
    return await _exported(services, picked.moments, format, Wanted(picked.handles, elsewhere))


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
    return await _exported(services, [_moment(text) for text in m], format, Wanted())


async def _exported(services: Services, moments: Sequence[MomentIn], kind: ExportFormat, wanted: Wanted) -> Response:
    for number, moment in enumerate(moments):
        if moment.end <= moment.start:
            raise ProblemError(422, f"moments.{number}.end: must be after start.")
    films = {identity: await services.catalogue.film(identity) for identity in {moment.id for moment in moments}}
    if wanted.elsewhere is not None and not any(wanted.elsewhere.holds(film.path) for film in films.values()):
        raise ProblemError(422, f"elsewhere.here: none of these films lies in {wanted.elsewhere.here}.")
    infos: dict[int, FilmInfo | None] = {}
    if kind not in ("csv", "json"):
        found = await asyncio.gather(*(services.work.info(film) for film in films.values()))
        infos = dict(zip(films, found, strict=True))
    picked = [
        Picked(films[one.id], one.start, one.end, one.query, one.name, one.note, infos.get(one.id)) for one in moments
    ]
    text = await asyncio.to_thread(exported, picked, kind, wanted)
    return Response(text, media_type=MEDIA_TYPES[kind], headers={"content-disposition": _attachment(f"moments.{kind}")})


def _attachment(name: str) -> str:
    """The header that makes a browser save an answer, under a name of plain ASCII letters."""
    return f'attachment; filename="{name}"'


def _moment(text: str) -> MomentIn:
    match = _MOMENT.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= MOST_ID or max(float(match[2]), float(match[3])) > LONGEST:
        raise ProblemError(422, "m: each must be id:start:end, such as 12:3.5:8.25.")
    return MomentIn(id=int(match[1]), start=float(match[2]), end=float(match[3]), query="", name="", note="")
