"""Routes that find and show: moments for sentences, scores along a film, films, how they look, their bytes."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from gmmformer.errors import InputError
from gmmformer.media.cutting import MOST_SECONDS
from gmmformer.search import Hit, Library
from gmmformer.search.embedding import checked_sentences, unknown_words
from gmmformer.search.words import lacks_lines
from gmmformer.web import schemas as wire
from gmmformer.web.batching import Batcher, SearchOptions
from gmmformer.web.catalogue import Catalogue, Events, best_word, rounded
from gmmformer.web.files import FileAnswer, media_type_of, open_film, tag_of, unchanged
from gmmformer.web.film_work import FilmWork
from gmmformer.web.guard import Tokens
from gmmformer.web.intake import Intake
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.roots import Roots
from gmmformer.web.schemas import (
    ClipsOut,
    FilmOut,
    FilmsOut,
    LibraryOut,
    MomentOut,
    SearchesOut,
    SearchIn,
    SearchOut,
    ShotsOut,
)
from gmmformer.web.server import Counters

searching, showing = APIRouter(tags=["search"]), APIRouter(tags=["films"])


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the routes stand on: everything that outlives a request."""

    library: Library
    counters: Counters
    tokens: Tokens
    batcher: Batcher
    work: FilmWork
    catalogue: Catalogue
    events: Events
    roots: Roots
    intake: Intake
    upload_bytes: int
    """Of a film that is sent by a browser, at most; 0: none is taken."""
    uploading: asyncio.Semaphore
    keeps_trays: bool


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Given = Annotated[Services, Depends(_services)]
"""The server's services, as a parameter of a route."""
Id = Annotated[int, Path(ge=1, le=wire.MOST_ID, description="The film's id in the library.")]
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
RANGES: dict[int | str, dict[str, Any]] = {
    200: {"description": "All of it.", "content": {"video/*": BINARY, "application/octet-stream": BINARY}},
    206: {"description": "The bytes that the Range header asks for.", "content": {"video/*": BINARY}},
    304: {"description": "The client has it already."},
}
_CACHED = {"cache-control": "private, max-age=86400"}


@searching.get("/api/search", response_model=SearchOut, responses=documented(422))
async def search(services: Given, asked: Annotated[wire.SearchQuery, Query()]) -> Response:
    """The moments that match a sentence best."""
    return await sent((await _search(services, [asked.q], asked))[0])


@searching.post("/api/search", response_model=SearchesOut, responses=documented(415, 422))
async def search_several(services: Given, asked: SearchIn) -> Response:
    """The moments that match each of several sentences best, found together.

    Sentences times k times moments may be 6,400 at most.
    """
    if len(asked.queries) * asked.k * asked.moments > wire.MOST_ANSWERED:
        raise ProblemError(422, f"queries times k times moments must be at most {wire.MOST_ANSWERED:,}.")
    return await sent(SearchesOut(results=await _search(services, asked.queries, asked)))


@searching.get("/api/films/{id}/clips", response_model=ClipsOut, responses=documented(404, 422))
async def clips(
    services: Given,
    id: Id,  # noqa: A002
    q: Annotated[wire.Sentence, Query()],
    moments: Annotated[int, Query(ge=1, le=wire.MOST_IN_FILM, description="Most moments.")] = 10,
) -> Response:
    """How well each stretch of a film matches a sentence, and its best moments."""
    await services.catalogue.film(id)
    _check([q])
    answer = (await services.batcher.ask([q], None))[0]
    hits = await asyncio.to_thread(services.library.search_film, answer.vector, id, moments)
    if not hits:
        raise ProblemError(404)
    best = [MomentOut.model_validate({name: hit.to_dict()[name] for name in MomentOut.model_fields}) for hit in hits]
    edges, scores = hits[0].curve
    return await sent(ClipsOut(id=id, query=q, edges=rounded(edges, 3), scores=rounded(scores, 6), moments=best))


@showing.get("/api/library", responses=documented())
async def library(services: Given) -> LibraryOut:
    """What the library holds, and what is being done to it."""
    able = {"locked": services.tokens.needed, "keeps_trays": services.keeps_trays}
    return await services.catalogue.whole(**able, changeable=bool(services.roots), uploads=services.upload_bytes)


@showing.get(
    "/api/events",
    response_class=StreamingResponse,
    responses={
        **documented(),
        200: {
            "description": 'Server-sent events, without end. "library": the counts {films, seconds, failed}; '
            '"activity": as in /api/library; with --roots "intake": as /api/intake. Each is sent at first and when it '
            "changes; a comment every 15 s.",
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


@showing.get("/api/films", responses=documented(422))
async def films(services: Given, asked: Annotated[wire.FilmsQuery, Query()]) -> FilmsOut:
    """A page of the library's films."""
    return await services.catalogue.page(asked)


@showing.get("/api/films/{id}", responses=documented(404, 422))
async def film(services: Given, id: Id) -> FilmOut:  # noqa: A002
    """One film."""
    return (await services.catalogue.cards([await services.catalogue.film(id)]))[0]


@showing.head("/api/films/{id}/thumbnail", include_in_schema=False)
@showing.get(
    "/api/films/{id}/thumbnail",
    response_class=Response,
    responses={
        **documented(404, 409, 410, 422, 429),
        200: {"description": "A JPEG.", "content": {"image/jpeg": BINARY}},
        304: {"description": "The client has it already."},
    },
)
async def thumbnail(
    request: Request,
    services: Given,
    id: Id,  # noqa: A002
    t: Annotated[float, Query(ge=0, le=wire.LONGEST, allow_inf_nan=False, description="Second of the film.")] = 0.0,
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


@showing.get("/api/films/{id}/shots", responses=documented(404, 409, 410, 422, 429))
async def shots(
    services: Given,
    id: Id,  # noqa: A002
    start: Annotated[float, Query(ge=0, le=wire.LONGEST, allow_inf_nan=False, description="Second to look from.")],
    end: Annotated[
        float, Query(ge=0, le=wire.LONGEST, allow_inf_nan=False, description="Second to look to, 60 later at most.")
    ],
) -> ShotsOut:
    """At which seconds of a part of a film another shot begins."""
    film = await services.catalogue.film(id)
    start, end = checked_span(start, end, film.timing.length, most=wire.MOST_LOOKED)
    rate, found = await services.work.shots(film, start, end)
    return ShotsOut(id=id, rate=rate, shots=found)


@showing.head("/api/films/{id}/preview", include_in_schema=False)
@showing.get(
    "/api/films/{id}/preview",
    response_class=Response,
    responses={
        **documented(404, 409, 410, 416, 422, 429),
        **RANGES,
        200: {"description": "All of it.", "content": {"video/mp4": BINARY}},
    },
)
async def preview(
    services: Given,
    id: Id,  # noqa: A002
    start: Annotated[
        float, Query(ge=0, le=wire.LONGEST, allow_inf_nan=False, description="Second at which it begins.")
    ],
    end: Annotated[
        float,
        Query(ge=0, le=wire.LONGEST, allow_inf_nan=False, description="Second at which it ends, 600 later at most."),
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


@showing.head("/media/{id}", include_in_schema=False)
@showing.get("/media/{id}", response_class=Response, responses={**documented(404, 409, 410, 416, 422), **RANGES})
async def media(services: Given, id: Id) -> Response:  # noqa: A002
    """A film's bytes as they are. Ranges are answered, so that a player can seek."""
    film = await services.catalogue.film(id)
    opened = await asyncio.to_thread(open_film, film)
    return FileAnswer(opened, media_type=media_type_of(film.path), tag=tag_of("media", film.id, film.stamp))


async def _search(services: Services, sentences: Sequence[str], asked: wire.Asked) -> list[SearchOut]:
    began = time.perf_counter()
    _check(sentences)
    within = tuple(asked.within) if asked.within else None
    if (
        within
        and not {"picture", "name"} & {*within}
        and await asyncio.to_thread(lacks_lines, services.library.store.reading)
    ):
        raise ProblemError(422, "within: the library was made before what is said in films was kept.")
    options = SearchOptions(
        asked.k, asked.skip, asked.moments, asked.where or None, asked.min_length, asked.fold, within
    )
    answers = await services.batcher.ask(sentences, options)
    return await told(services, sentences, [answer.hits or [] for answer in answers], asked.strips, began)


async def told(
    services: Services, sentences: Sequence[str], found: Sequence[Sequence[Hit]], strips: bool, began: float
) -> list[SearchOut]:
    """What was found for some sentences, each perhaps empty, in a search that began then (`time.perf_counter`)."""
    hits = await services.catalogue.hits(found, strips)
    counts = await services.catalogue.counts()
    embedder = services.catalogue.library.models.embedder
    unknown = await asyncio.to_thread(lambda: [unknown_words(embedder, one) if one else [] for one in sentences])
    taken = time.perf_counter() - began
    services.counters.queries.inc(len(sentences))
    services.counters.search_seconds.observe(taken)
    return [
        SearchOut(
            query=sentence,
            hits=some,
            seconds=round(taken, 6),
            word=best_word(some),
            films=counts.films,
            **({"unknown": words} if words else {}),
        )
        for sentence, some, words in zip(sentences, hits, unknown, strict=True)
    ]


async def sent(answer: BaseModel) -> Response:
    """An answer as JSON, made on a thread, since it may be large."""
    return Response(await asyncio.to_thread(answer.model_dump_json, exclude_unset=True), media_type="application/json")


def _check(sentences: Sequence[str]) -> None:
    try:
        checked_sentences(sentences)
    except InputError as error:
        raise ProblemError(422, f"{error}.") from None


def checked_span(start: float, end: float, length: float, most: float = MOST_SECONDS) -> tuple[float, float]:
    """The seconds of a film to work on.

    Raises:
        ProblemError: They are no span of the film, or longer than `most`, which is what a cut may be (422).
    """
    if end <= start:
        raise ProblemError(422, "end: must be after start.")
    if end - start > most:
        raise ProblemError(422, f"end: must be at most {most:.0f} s after start.")
    if start >= length:
        raise ProblemError(422, f"start: the film ends at {length:.3f} s.")
    start, end = round(start, 3), round(end, 3)
    if end <= start:
        raise ProblemError(422, "end: must be at least 0.001 s after start.")
    return start, end
