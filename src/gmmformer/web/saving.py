"""The route to take several moments away as films of their own: one zip, sent while they are cut."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any
from zipfile import ZipFile, ZipInfo

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from gmmformer.media.cutting import moment_filename
from gmmformer.search import Film
from gmmformer.web.problems import DETAILS, ProblemError, documented
from gmmformer.web.routes import BINARY, Given, Services, checked_span
from gmmformer.web.schemas import CutsIn

_CHUNK = 1 << 18
_NOT_SAVED = "not saved.txt"
"""In the zip: which moments are not, and why."""

router = APIRouter(tags=["taking moments away"])


@router.post(
    "/api/cuts",
    response_class=StreamingResponse,
    responses={
        **documented(404, 415, 422),
        200: {
            "description": f"A zip of mp4 files, numbered in their order. Moments that cannot be cut are named in "
            f"“{_NOT_SAVED}”.",
            "content": {"application/zip": BINARY},
        },
    },
)
async def cuts(services: Given, picked: CutsIn) -> StreamingResponse:
    """Cut the moments that a person picked out of their films, all in one zip."""
    spans: list[tuple[Film, float, float]] = []
    for number, moment in enumerate(picked.moments):
        film = await services.catalogue.film(moment.id)
        try:
            spans.append((film, *checked_span(moment.start, moment.end, film.timing.length)))
        except ProblemError as error:
            raise ProblemError(422, f"moments.{number}.{error.detail}") from None
    headers = {"content-disposition": 'attachment; filename="moments.zip"'}
    return StreamingResponse(_zipped(services, spans), media_type="application/zip", headers=headers)


class _Outbox:
    """Where the zip is written to: what has not been sent yet."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, data: Any) -> int:
        self._chunks.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def taken(self) -> bytes:
        """What was written since."""
        data, self._chunks = b"".join(self._chunks), []
        return data


async def _zipped(services: Services, spans: Sequence[tuple[Film, float, float]]) -> AsyncIterator[bytes]:
    """The zip, piece by piece: one cut is on disk at a time."""
    out, troubles = _Outbox(), list[str]()
    now = time.localtime()[:6]
    with ZipFile(out, "w") as archive:  # type: ignore[call-overload]  # no seeking: sizes follow their files
        for number, (film, start, end) in enumerate(spans, start=1):
            name = f"{number:02d}_{moment_filename(film.path, start, end)}"
            try:
                opened = await services.work.cut(film, start, end, None)
            except ProblemError as error:
                troubles.append(f"{name}: {error.detail or DETAILS[error.status]}")
                continue
            with opened.file, archive.open(ZipInfo(name, now), "w", force_zip64=True) as entry:
                while chunk := await asyncio.to_thread(opened.file.read, _CHUNK):
                    entry.write(chunk)
                    yield out.taken()
        if troubles:
            archive.writestr(ZipInfo(_NOT_SAVED, now), "\n".join([*troubles, ""]))
    yield out.taken()
