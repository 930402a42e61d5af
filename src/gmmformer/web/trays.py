"""Trays of people, kept beside the library they are about: for whoever is let in, by the name that a person gives."""

import asyncio
import hashlib
import json
import threading
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, StringConstraints

from gmmformer.errors import InputError
from gmmformer.files import folded, read_json, write_text
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.routes import Given, Services
from gmmformer.web.schemas import MOST_ID, MOST_PICKED, Model

FOLDER = "trays"
"""In the library's."""
MOST_TRAYS, MOST_PEOPLE = 100, 1_000
NONE = "This server keeps no trays: it wants no token, or its library cannot be written to."

router = APIRouter(tags=["trays"])
_writing = threading.Lock()
Name = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]
Revision = Annotated[int, Field(ge=0, le=MOST_ID)]


class TrayIO(Model):
    """A tray."""

    key: Annotated[str, StringConstraints(max_length=100)] = Field(description="What it goes by, whatever its name is.")
    name: Annotated[str, StringConstraints(max_length=60)] = Field(description="What a person calls it.")
    items: list[dict[str, Any]] = Field(max_length=MOST_PICKED, description="Its moments, as the page keeps them.")


class TraysOut(Model):
    """A person's trays."""

    revision: Revision = Field(description="Grows with each change; 0: nothing was ever kept.")
    trays: list[TrayIO] = Field(description="In their order.")


class TraysIn(TraysOut):
    """A person's trays, to be kept."""

    name: Name = Field(description="Whose they are.")
    revision: Revision = Field(description="The one that they were made from.")
    trays: list[TrayIO] = Field(max_length=MOST_TRAYS, description="In their order; at most 100.")


@router.get("/api/trays", responses=documented(409, 422))
async def trays(services: Given, name: Annotated[Name, Query(description="Whose.")]) -> TraysOut:
    """The trays that are kept for a person."""
    return await asyncio.to_thread(_kept, _place(services, name))


@router.post("/api/trays", responses=documented(409, 415, 422))
async def keep(services: Given, wanted: TraysIn) -> TraysOut:
    """Keep a person's trays; 409 if others were kept since, which are to be joined with these first."""
    return await asyncio.to_thread(_keep, _place(services, wanted.name), wanted)


def _place(services: Services, name: str) -> Path:
    if not services.keeps_trays:
        raise ProblemError(403, NONE)
    called = hashlib.sha256(folded(name).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return services.library.folder / FOLDER / f"{called}.json"


def _kept(path: Path) -> TraysOut:
    try:
        return TraysOut.model_validate(read_json(path)) if path.exists() else TraysOut(revision=0, trays=[])
    except (InputError, ValueError) as error:
        raise ProblemError(409, "What is kept of these trays is damaged; ask whoever runs the server.") from error


def _keep(path: Path, wanted: TraysIn) -> TraysOut:
    with _writing:
        if wanted.revision != _kept(path).revision:
            raise ProblemError(409, "These trays were changed elsewhere meanwhile; take what is kept first.")
        kept = TraysOut(revision=wanted.revision + 1, trays=wanted.trays)
        try:
            path.parent.mkdir(exist_ok=True)
            if not path.exists() and len([*path.parent.iterdir()]) >= MOST_PEOPLE:
                raise ProblemError(409, f"Trays of {MOST_PEOPLE:,} people are kept already.")
            write_text(path, json.dumps(kept.model_dump()))
        except OSError as error:
            raise ProblemError(409, f"The trays cannot be kept on the server ({error.strerror}).") from None
    return kept
