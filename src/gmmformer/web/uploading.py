"""The route that takes a film into a root: written beside its place, and put there when all of it has come."""

import asyncio
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from gmmformer.files import synced
from gmmformer.media.films import named_as_film
from gmmformer.web.files import ROOM, name_new
from gmmformer.web.guard import UPLOAD
from gmmformer.web.intake import IntakeOut
from gmmformer.web.problems import ProblemError, busy, documented
from gmmformer.web.routes import BINARY, Given
from gmmformer.web.schemas import MOST_ID

AT_ONCE = 2
"""Films that come in at a time; more are answered 429."""
IDLE_SECONDS = 60.0
"""In which something of a film must come, else it is given up."""
_PART = ".gmmformer-part"
_OLD = 24 * 3600.0
_LONGEST_NAME = 200
NONE = "This server takes no films from browsers: it was started without --uploads."

router = APIRouter(tags=["changing the library"])
Folder = Annotated[str, Query(max_length=4_000, description="Whole path of a folder in a root.")]
Name = Annotated[str, Query(max_length=_LONGEST_NAME, description="What the film's file is to be called.")]


@router.get(
    UPLOAD,
    status_code=204,
    response_class=Response,
    responses={**documented(404, 409, 413, 422, 507), 204: {"description": "It would be taken."}},
)
async def would_be_taken(
    services: Given,
    folder: Folder,
    name: Name,
    size: Annotated[int, Query(ge=0, le=MOST_ID, description="Bytes of the film.")],
) -> Response:
    """See whether a film would be taken, before its bytes are sent: browsers hear no refusal while they send."""
    services.roots.need()
    _check_size(size, name, services.upload_bytes)
    await asyncio.to_thread(lambda: _place(services.roots.checked(folder), name, size))
    return Response(status_code=204)


@router.post(
    UPLOAD,
    status_code=202,
    responses={**documented(404, 409, 411, 422, 429, 507)},
    openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": BINARY}}},
)
async def upload(request: Request, services: Given, folder: Folder, name: Name) -> IntakeOut:
    """Take a film's bytes into a folder, under a name that is free there, and the film into the library."""
    services.roots.need()
    given = request.headers.get("content-length", "")
    if not given.isdecimal() or len(given) > 18:
        raise ProblemError(411)
    length = _check_size(int(given), name, services.upload_bytes)
    place = await asyncio.to_thread(lambda: _place(services.roots.checked(folder), name, length))
    if services.uploading.locked():
        raise busy(429, seconds=30)
    async with services.uploading:
        part = place.with_name(f".{secrets.token_hex(8)}{_PART}")
        try:
            await _received(request, part, length)
            await asyncio.to_thread(_put, part, place)
        except OSError as error:
            raise ProblemError(507, f"{name}: cannot be written on the server ({error.strerror}).") from None
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
    try:
        return services.intake.wish("add", [str(place)])
    except ProblemError as error:
        told = f"{name}: is on the server now, but too much waits to be taken into the library; add it from its folder."
        raise ProblemError(error.status, told, error.headers) from None


def _check_size(size: int, name: str, most: int) -> int:
    if not most:
        raise ProblemError(403, NONE)
    if size > most:
        raise ProblemError(413, f"{name}: has {size / 1e9:,.2f} GB; this server takes {most / 1e9:,.2f} GB at most.")
    return size


def _place(folder: str, name: str, length: int) -> Path:
    """Where a film is to lie, if it can.

    Raises:
        ProblemError: It cannot (403, 404, 409, 422, 507).
    """
    place = Path(folder) / name
    if place.name != name or name.startswith(".") or not name.isprintable() or not named_as_film(name):
        raise ProblemError(422, f"name: {name!r} is no name of a film, such as evening.mp4.")
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise ProblemError(422, f"name: must be at most {_LONGEST_NAME} bytes long.")
    if not place.parent.is_dir():
        raise ProblemError(404, f"{folder}: there is no such folder.")
    if not os.access(folder, os.W_OK):
        raise ProblemError(403, f"{folder}: the server may not write there.")
    if os.path.lexists(place):
        raise ProblemError(409, f"{name}: there is a file of this name in the folder; give yours another one.")
    if shutil.disk_usage(folder).free < length + ROOM:
        raise ProblemError(507, f"{name}: the server's disk has no room for it.")
    for left in place.parent.glob(f".*{_PART}"):
        with suppress(OSError):  # of a server that was killed
            if left.stat().st_mtime < time.time() - _OLD:
                left.unlink()
    return place


async def _received(request: Request, part: Path, length: int) -> None:
    """Write the body to a new file."""
    with part.open("xb") as file:
        stream, come = request.stream(), 0
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    some = await anext(stream, None)
                if some is None:
                    break
                come += len(some)
                await asyncio.to_thread(file.write, some)
        except (ClientDisconnect, TimeoutError):
            raise ProblemError(
                408, "The film stopped coming; nothing of it was kept.", {"connection": "close"}
            ) from None
    if come != length:
        raise ProblemError(400, f"{come:,} bytes of {length:,} came; nothing of the film was kept.")


def _put(part: Path, place: Path) -> None:
    """Give a film its name, which nobody else has."""
    synced(part)
    try:
        name_new(part, place)
    except FileExistsError:
        raise ProblemError(409, f"{place.name}: a file of this name came into the folder meanwhile.") from None
