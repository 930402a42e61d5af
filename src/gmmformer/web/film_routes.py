"""Routes about films: which there are, how they look, their bytes."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from gmmformer.media.cutting import MOST_SECONDS
from gmmformer.web.files import FileAnswer, media_type_of, open_film, tag_of, unchanged
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.schemas import LONGEST, MOST_ID, FilmOut, FilmsOut, LibraryOut
from gmmformer.web.services import Given

router = APIRouter(tags=["films"])

Id = Annotated[int, Path(ge=1, le=MOST_ID, description="The film's id in the library.")]
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_RANGES: dict[int | str, dict[str, Any]] = {
    200: {"description": "All of it.", "content": {"video/*": _BINARY, "application/octet-stream": _BINARY}},
    206: {"description": "The bytes that the Range header asks for.", "content": {"video/*": _BINARY}},
    304: {"description": "The client has it already."},
}
_CACHED = {"cache-control": "private, max-age=86400"}


@router.get("/api/library", responses=documented())
async def library(services: Given) -> LibraryOut:
    """What the library holds, and what is being done to it."""
    return await services.catalogue.whole(locked=services.tokens.needed)


@router.get(
    "/api/events",
    response_class=StreamingResponse,
    responses={
        **documented(),
        200: {
            "description": 'Server-sent events, without end. "library": the counts {films, seconds, failed}; '
            '"activity": as in /api/library. Each is sent at first and when it changes; a comment every 15 s.',
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def events(services: Given) -> StreamingResponse:
    """What changes in the library, as it changes."""
    services.events.admit()
    return StreamingResponse(
        services.events.stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


@router.get("/api/films", responses=documented(422))
async def films(
    services: Given,
    offset: Annotated[int, Query(ge=0, le=MOST_ID, description="Films to pass over.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500, description="Most films of the page.")] = 50,
    q: Annotated[str, Query(max_length=1_000, description="Only films whose path holds this text, in any case.")] = "",
) -> FilmsOut:
    """A page of the library's films."""
    return await services.catalogue.page(offset, limit, q)


@router.get("/api/films/{id}", responses=documented(404, 422))
async def film(services: Given, id: Id) -> FilmOut:  # noqa: A002
    """One film."""
    return (await services.catalogue.cards([await services.catalogue.film(id)]))[0]


@router.head("/api/films/{id}/thumbnail", include_in_schema=False)
@router.get(
    "/api/films/{id}/thumbnail",
    response_class=Response,
    responses={
        **documented(404, 409, 410, 422, 429),
        200: {"description": "A JPEG.", "content": {"image/jpeg": _BINARY}},
        304: {"description": "The client has it already."},
    },
)
async def thumbnail(
    request: Request,
    services: Given,
    id: Id,  # noqa: A002
    t: Annotated[float, Query(ge=0, le=LONGEST, allow_inf_nan=False, description="Second of the film.")] = 0.0,
    height: Annotated[int, Query(ge=32, le=720, description="Pixels; the width follows from the film.")] = 180,
) -> Response:
    """The frame on screen at a second."""
    film = await services.catalogue.film(id)
    second = round(min(t, film.timing.length), 1)
    headers = {"etag": tag_of("thumbnail", film.id, film.stamp, second, height), **_CACHED}
    if unchanged(request.headers, headers["etag"]):
        return Response(status_code=304, headers=headers)
    image = await services.work.thumbnail(film, second, height)
    return Response(image, headers=headers, media_type="image/jpeg")


@router.head("/api/films/{id}/preview", include_in_schema=False)
@router.get(
    "/api/films/{id}/preview",
    response_class=Response,
    responses={
        **documented(404, 409, 410, 416, 422, 429),
        **_RANGES,
        200: {"description": "All of it.", "content": {"video/mp4": _BINARY}},
    },
)
async def preview(
    services: Given,
    id: Id,  # noqa: A002
    start: Annotated[float, Query(ge=0, le=LONGEST, allow_inf_nan=False, description="Second at which it begins.")],
    end: Annotated[
        float, Query(ge=0, le=LONGEST, allow_inf_nan=False, description="Second at which it ends, 600 later at most.")
    ],
) -> Response:
    """Some seconds of a film in a form that any browser plays, made when first asked for.

    Its own time 0 is `start`, as the header X-Preview-Start says too. Ranges are answered.
    """
    film = await services.catalogue.film(id)
    start, end = checked_span(start, end, film.timing.length)
    opened = await services.work.preview(film, start, end)
    tag = tag_of("preview", film.id, film.stamp, start, end, opened.stamp)
    return FileAnswer(opened, media_type="video/mp4", tag=tag, headers={"x-preview-start": f"{start:.3f}", **_CACHED})


@router.head("/media/{id}", include_in_schema=False)
@router.get("/media/{id}", response_class=Response, responses={**documented(404, 409, 410, 416, 422), **_RANGES})
async def media(services: Given, id: Id) -> Response:  # noqa: A002
    """A film's bytes as they are. Ranges are answered, so that a player can seek."""
    film = await services.catalogue.film(id)
    opened = await asyncio.to_thread(open_film, film)
    return FileAnswer(opened, media_type=media_type_of(film.path), tag=tag_of("media", film.id, film.stamp))


def checked_span(start: float, end: float, length: float) -> tuple[float, float]:
    """The seconds to cut, within the film.

    Raises:
        ProblemError: They are no span of the film, or longer than a cut may be (422).
    """
    if end <= start:
        raise ProblemError(422, "end: must be after start.")
    if end - start > MOST_SECONDS:
        raise ProblemError(422, f"end: must be at most {MOST_SECONDS:.0f} s after start.")
    if start >= length:
        raise ProblemError(422, f"start: the film ends at {length:.3f} s.")
    start, end = round(start, 3), round(end, 3)
    if end <= start:
        raise ProblemError(422, "end: must be at least 0.001 s after start.")
    return start, end
