"""The route for several sentences at once: one thing and after it another, all of some, none of others."""

import time
from functools import partial

from fastapi import APIRouter
from pydantic import Field

from gmmformer.errors import InputError
from gmmformer.search.composing import MOST_PARTS, checked_parts, search_composed
from gmmformer.web import schemas as wire
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.routes import Given
from gmmformer.web.schemas import HitOut, Model, Second, Sentence

router = APIRouter(tags=["search"])
_MORE = MOST_PARTS - 1


class PartOut(Model):
    """The moment of one of the sentences."""

    sentence: str = Field(description="The sentence.")
    start: float = Field(description="Second at which it begins.")
    end: float = Field(description="Second at which it ends.")
    score: float = Field(description="Retrieval score of the clip that it was found for, in [-1, 1].")


class ComposedHitOut(HitOut):
    """A film that shows what was asked for; its strip is that of the first sentence."""

    start: float = Field(description="Second at which the first of the sentences in order begins.")
    end: float = Field(description="Second at which the last of them ends.")
    score: float = Field(description="The sum of what each sentence scores above the library's median.")
    parts: list[PartOut] = Field(description="The moments: of q, of each of then, of each of also.")


class ComposedOut(Model):
    """What was found for several sentences together."""

    hits: list[ComposedHitOut] = Field(description="Best film first.")
    seconds: float = Field(description="Seconds that the server took.")
    films: int = Field(description="Films in the library.")


class ComposedIn(Model):
    """Several sentences, about one film."""

    q: Sentence
    then: list[Sentence] = Field([], max_length=_MORE, description="What is to be seen after it, in this order.")
    also: list[Sentence] = Field([], max_length=_MORE, description="What is to be seen too, at any time.")
    without: list[Sentence] = Field([], max_length=_MORE, description="What is not to be seen in the film.")
    k: int = Field(12, ge=1, le=wire.MOST_HITS, description="Films to find.")
    skip: int = Field(0, ge=0, le=wire.MOST_SKIPPED, description="Films to pass over, best first.")
    where: str | None = Field(None, max_length=wire.MOST_GLOB, description="Only films whose path fits this glob.")
    min_length: Second | None = Field(None, description="Only films of at least so many seconds.")
    fold: bool = Field(True, description="Whether films that show the same thing are one hit, that of the best.")
    strips: bool = Field(False, description="Whether to send the scores along each film.")


@router.post("/api/compose", responses=documented(415, 422))
async def compose(services: Given, asked: ComposedIn) -> ComposedOut:
    """The films that show one thing and after it another, some things at any time, others not; 16 sentences at most."""
    began, then = time.perf_counter(), [asked.q, *asked.then]
    try:
        checked_parts(then, asked.also, asked.without)
    except InputError as error:
        raise ProblemError(422, f"{error}.") from None
    among = asked.model_dump(include={"also", "without", "k", "skip", "min_length", "fold"})
    found = await services.batcher.do(
        partial(search_composed, services.library, then, where=asked.where or None, **among)
    )
    (told,) = await services.catalogue.hits([found], asked.strips)
    hits = [
        ComposedHitOut(**one.model_dump(), parts=[PartOut(**part) for part in hit.to_dict()["parts"]])
        for one, hit in zip(told, found, strict=True)
    ]
    films = (await services.catalogue.counts()).films
    return ComposedOut(hits=hits, seconds=round(time.perf_counter() - began, 6), films=films)
