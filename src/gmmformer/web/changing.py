"""Routes that change what the library holds: films in, from folders named at the start, and out, and back again."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints

from gmmformer.web.intake import IntakeOut
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.roots import FolderOut
from gmmformer.web.routes import Given
from gmmformer.web.schemas import MOST_ID, FilmId, Model, RemovedFilmOut

MOST_PLACES, MOST_CHANGED = 100, 1_000
"""Folders and films to be added at once; films to be taken out, or brought back, at once."""

router = APIRouter(tags=["changing the library"])
Place = Annotated[str, StringConstraints(min_length=1, max_length=4_000)]


class AddIn(Model):
    """Films to be taken in."""

    paths: list[Place] = Field(
        min_length=1, max_length=MOST_PLACES, description="Whole paths of folders and films below a root; at most 100."
    )


class CancelIn(Model):
    """A wish that is not to be done after all."""

    number: Annotated[int, Field(ge=1, le=MOST_ID)] = Field(description="Its number.")


class FilmsIn(Model):
    """Films of the library."""

    ids: list[FilmId] = Field(min_length=1, max_length=MOST_CHANGED, description="Their ids; at most 1,000.")


class RemovedOut(Model):
    """What was taken out."""

    ids: list[FilmId] = Field(description="The films that were there; by these ids they are brought back.")


class RemovedFilmsOut(Model):
    """What can be brought back."""

    total: int = Field(
        description="Films that can be brought back, for 30 days, and until the library is compacted after that."
    )
    films: list[RemovedFilmOut] = Field(description="The last ones first; at most 1,000.")


class BackOut(Model):
    """A film that is in the library again."""

    was: FilmId = Field(description="The id that it had.")
    id: FilmId = Field(description="The id that it has now.")


class BroughtBackOut(Model):
    """What was brought back."""

    films: list[BackOut] = Field(description="The films that could be, with their new ids.")


@router.get("/api/folders", responses=documented(404, 422))
async def folders(
    services: Given,
    path: Annotated[
        str | None, Query(max_length=4_000, description="Whole path of a folder in a root; left out: the roots.")
    ] = None,
) -> FolderOut:
    """What lies in a folder that films may be taken from."""
    known = await asyncio.to_thread(services.library.store.known) if path else {}
    return await asyncio.to_thread(services.roots.listed, path or None, known)


@router.get("/api/intake", responses=documented())
async def intake(services: Given) -> IntakeOut:
    """What is done to the library from here, waits to be done, and was done last."""
    services.roots.need()
    return services.intake.state()


@router.post("/api/intake", status_code=202, responses=documented(404, 415, 422, 429))
async def add(services: Given, wanted: AddIn) -> IntakeOut:
    """Take in films, and all films of folders, when those before are done; what is there, unchanged, costs nothing."""
    services.roots.need()
    places = await asyncio.to_thread(lambda: [services.roots.to_take_in(path) for path in wanted.paths])
    return services.intake.wish("add", places)


@router.post("/api/intake/again", status_code=202, responses=documented(429))
async def again(services: Given) -> IntakeOut:
    """Try again films that failed, and take in anew those whose files have changed, as far as they lie in the roots."""
    services.roots.need()
    return services.intake.wish("again")


@router.post("/api/intake/cancel", responses=documented(415, 422))
async def cancel(services: Given, wanted: CancelIn) -> IntakeOut:
    """Leave off; films that were taken in stay. Nothing happens to what is done."""
    services.roots.need()
    return services.intake.cancel(wanted.number)


@router.post("/api/remove", responses=documented(404, 409, 415, 422))
async def remove(services: Given, wanted: FilmsIn) -> RemovedOut:
    """Take films out of the library. Their files are not touched."""
    services.roots.need()
    ids = await asyncio.to_thread(services.intake.remove, wanted.ids)
    if not ids:
        raise ProblemError(404)
    return RemovedOut(ids=ids)


@router.get("/api/removed", responses=documented())
async def removed(services: Given) -> RemovedFilmsOut:
    """The films that can be brought back, for 30 days, and until `gmmformer library DIR compact` after that."""
    services.roots.need()
    films = await asyncio.to_thread(services.library.store.removed)
    return RemovedFilmsOut(total=len(films), films=services.catalogue.removed(films[:MOST_CHANGED]))


@router.post("/api/restore", responses=documented(404, 409, 415, 422))
async def restore(services: Given, wanted: FilmsIn) -> BroughtBackOut:
    """Bring films back that were taken out. They get new ids; their files are not read."""
    services.roots.need()
    now = await asyncio.to_thread(services.intake.bring_back, wanted.ids)
    if not now:
        raise ProblemError(404, "None of these films can be brought back: they are here, or the library was compacted.")
    return BroughtBackOut(films=[BackOut(was=was, id=film) for was, film in now.items()])
