"""Routes that search by example: by a picture that is sent, and by a moment of the library."""

import time
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from gmmformer.errors import InputError
from gmmformer.search import Hit, Library, Spot, search_like
from gmmformer.search.embedding import checked_sentences
from gmmformer.search.examples import FORMATS, Example, NoFrameEncoderError, NotAPictureError
from gmmformer.web import schemas as wire
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.routes import BINARY, Given, Services, sent, told

router = APIRouter(tags=["search"])
_TYPES = [f"image/{name.lower()}" for name in FORMATS]


class Alike(wire.Listed):
    """What is asked beside an example."""

    q: str = Field("", max_length=wire.MOST_SENTENCE, description="A sentence: what is to be seen too.")
    words: float = Field(0.5, ge=0, le=1, allow_inf_nan=False, description="Its share.")


class AlikeMoment(Alike):
    """A moment of the library, and what is asked beside it."""

    film: wire.FilmId
    second: wire.Second = Field(description="Second of the film that others are to look like.")


@router.get("/api/like", response_model=wire.SearchOut, responses=documented(404, 422))
async def like_moment(services: Given, asked: Annotated[AlikeMoment, Query()]) -> Response:
    """The moments of other films that look most like a moment of the library, and match a sentence."""
    film = await services.catalogue.film(asked.film)
    if asked.second > film.timing.length:
        raise ProblemError(422, f"second: the film ends at {film.timing.length:.3f} s.")
    return await _found(services, Spot(film.id, asked.second), asked)


@router.post(
    "/api/like",
    response_model=wire.SearchOut,
    responses=documented(415, 422),
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(_TYPES, BINARY)}},
)
async def like_picture(request: Request, services: Given, asked: Annotated[Alike, Query()]) -> Response:
    """The moments that look most like a JPEG, PNG or WebP of at most 1 MB, and match a sentence."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _TYPES:
        raise ProblemError(415, "The body must be a JPEG, PNG or WebP, and say so.")
    return await _found(services, await request.body(), asked)


async def _found(services: Services, example: Example, asked: Alike) -> Response:
    began, sentence = time.perf_counter(), asked.q.strip()
    try:
        checked_sentences([sentence] if sentence else [])
    except InputError as error:
        raise ProblemError(422, f"{error}.") from None
    which = asked.model_dump(include={"k", "skip", "moments", "min_length", "fold", "words"})
    hits = await services.batcher.do(
        partial(_hits, services.library, example, sentence=sentence or None, where=asked.where or None, **which)
    )
    if isinstance(hits, ProblemError):
        raise hits
    return await sent((await told(services, [sentence], [hits], asked.strips, began))[0])


def _hits(library: Library, example: Example, **asked: object) -> list[Hit] | ProblemError:
    """What is found, or what is wrong with the example."""
    try:
        return search_like(library, [example], **asked)  # type: ignore[arg-type]
    except NotAPictureError as error:
        return ProblemError(422, f"{error}.")
    except NoFrameEncoderError:
        return ProblemError(422, "This library's model cannot look at pictures here; search by words, or by a moment.")
