"""Routes that find: moments for sentences, scores along a film."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.responses import Response

from gmmformer.errors import InputError
from gmmformer.search.embedding import checked_sentences
from gmmformer.web.batching import SearchOptions
from gmmformer.web.catalogue import best_word, rounded
from gmmformer.web.config import MOST_ANSWERED, MOST_GLOB, MOST_HITS, MOST_MOMENTS, MOST_SENTENCE
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.schemas import LONGEST, MOST_ID, ClipsOut, SearchesOut, SearchIn, SearchOut
from gmmformer.web.services import Given, Services

router = APIRouter(tags=["search"])

Asked = Annotated[str, Query(min_length=1, max_length=MOST_SENTENCE, description="A sentence: what is to be seen.")]


@router.get("/api/search", response_model=SearchOut, responses=documented(422))
async def search(
    services: Given,
    q: Asked,
    k: Annotated[int, Query(ge=1, le=MOST_HITS, description="Films to find.")] = 12,
    moments: Annotated[int, Query(ge=1, le=MOST_MOMENTS, description="Most moments of each film.")] = 1,
    where: Annotated[
        str | None,
        Query(
            max_length=MOST_GLOB,
            description="Only films whose path fits this glob: * any letters, slashes too, ? one, [ab] one of these.",
        ),
    ] = None,
    min_length: Annotated[
        float | None,
        Query(ge=0, le=LONGEST, allow_inf_nan=False, description="Only films of at least so many seconds."),
    ] = None,
    strips: Annotated[bool, Query(description="Whether to send the scores along each film.")] = True,
) -> Response:
    """The moments that match a sentence best."""
    found = await _search(services, [q], SearchOptions(k, moments, where or None, min_length), strips)
    return await _sent(found[0])


@router.post("/api/search", response_model=SearchesOut, responses=documented(415, 422))
async def search_several(services: Given, asked: SearchIn) -> Response:
    """The moments that match each of several sentences best, found together.

    Sentences times k times moments may be 6,400 at most.
    """
    if len(asked.queries) * asked.k * asked.moments > MOST_ANSWERED:
        raise ProblemError(422, f"queries times k times moments must be at most {MOST_ANSWERED:,}.")
    options = SearchOptions(asked.k, asked.moments, asked.where or None, asked.min_length)
    return await _sent(SearchesOut(results=await _search(services, asked.queries, options, asked.strips)))


@router.get("/api/films/{id}/clips", response_model=ClipsOut, responses=documented(404, 422))
async def clips(
    services: Given,
    id: Annotated[int, Path(ge=1, le=MOST_ID, description="The film's id in the library.")],  # noqa: A002
    q: Asked,
) -> Response:
    """How well each stretch of a film matches a sentence."""
    await services.catalogue.film(id)
    _check([q])
    answer = (await services.batcher.ask([q], None))[0]
    line = await asyncio.to_thread(services.library.timeline_of, answer.vector, id)
    if line is None:
        raise ProblemError(404)
    return await _sent(ClipsOut(id=id, query=q, edges=rounded(line.edges, 3), scores=rounded(line.scores, 6)))


async def _search(
    services: Services, sentences: Sequence[str], options: SearchOptions, strips: bool
) -> list[SearchOut]:
    began = time.perf_counter()
    _check(sentences)
    answers = await services.batcher.ask(sentences, options)
    hits = await services.catalogue.hits([answer.hits or [] for answer in answers], strips)
    counts = await services.catalogue.counts()
    taken = time.perf_counter() - began
    services.metrics.queries.inc(len(sentences))
    services.metrics.search_seconds.observe(taken)
    return [
        SearchOut(query=sentence, hits=some, seconds=round(taken, 6), word=best_word(some), films=counts.films)
        for sentence, some in zip(sentences, hits, strict=True)
    ]


async def _sent(answer: BaseModel) -> Response:
    """An answer as JSON, made on a thread, since it may be large."""
    return Response(await asyncio.to_thread(answer.model_dump_json), media_type="application/json")


def _check(sentences: Sequence[str]) -> None:
    try:
        checked_sentences(sentences)
    except InputError as error:
        raise ProblemError(422, f"{error}.") from None
