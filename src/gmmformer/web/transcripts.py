"""The route that tells what is said in a film, line by line."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from gmmformer.media.films import path_text
from gmmformer.search import Library
from gmmformer.search.lines import KeptTrack, tracks_of, transcript
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.routes import Given, Id
from gmmformer.web.schemas import LONGEST, Model

MOST_LINES = 2_000
"""Of one answer; if more begin at its last second, they come too, up to as many again."""

router = APIRouter(tags=["films"])


class TrackOut(Model):
    """Lines of a film that belong together."""

    name: str = Field(description="Where they come from: a file, a stream of the film, speech, the screen.")
    kind: str = Field(description="subtitles, speech that was listened to, or text on the screen.")
    language: str = Field(description="Such as en; empty where it is not told.")
    lines: int = Field(description="How many there are.")


def track_out(track: KeptTrack) -> TrackOut:
    """A track as it is told."""
    return TrackOut(name=path_text(track.name), kind=track.kind, language=track.language, lines=track.lines)


class LineOut(Model):
    """Something that is said."""

    start: float = Field(description="Second at which it begins.")
    end: float = Field(description="Second at which it ends.")
    text: str = Field(description="On one line.")


class TranscriptOut(Model):
    """What is said in a film."""

    tracks: list[TrackOut] = Field(description="All there are; empty where nothing is known to be said.")
    track: int = Field(description="Place of the one whose lines these are.")
    lines: list[LineOut] = Field(description=f"In order, at most {MOST_LINES:,}.")
    more_from: float | None = Field(description="Second at which the next ones begin; null where these are the last.")


@router.get("/api/films/{id}/lines", responses=documented(404, 422))
async def lines(
    services: Given,
    id: Id,  # noqa: A002
    track: Annotated[int, Query(ge=0, le=10_000, description="Place of the track, the first one is 0.")] = 0,
    start: Annotated[float, Query(ge=0, le=LONGEST, allow_inf_nan=False, description="Second to tell from.")] = 0.0,
) -> TranscriptOut:
    """The lines that begin at a second of a film or later, as one of its tracks has them."""
    film = await services.catalogue.film(id)
    return await asyncio.to_thread(_told, services.library, film.id, track, start)


def _told(library: Library, film: int, chosen: int, start: float) -> TranscriptOut:
    store, said, more = library.store, list[LineOut](), None
    with store.reading() as connection:
        tracks = tracks_of(connection, store.folder, film)
        if chosen >= max(1, len(tracks)):
            raise ProblemError(422, f"track: the film has {len(tracks)}, so none in place {chosen}.")
        for line in transcript(connection, store.folder, tracks[chosen], start) if tracks else ():
            if line.start < start:  # it has been told by whoever goes on from there
                continue
            if len(said) >= MOST_LINES and line.start > said[-1].start:
                more = line.start
                break
            if len(said) < 2 * MOST_LINES:
                said.append(LineOut(start=line.start, end=line.end, text=line.text))
    return TranscriptOut(tracks=[track_out(one) for one in tracks], track=chosen, lines=said, more_from=more)
