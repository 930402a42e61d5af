"""Errors as problem details (RFC 9457): a status and one sentence, no paths, no traces."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from gmmformer.web.schemas import Problem

LOG = logging.getLogger("gmmformer.web")
MEDIA_TYPE = "application/problem+json"
_MOST_DETAIL = 500

DETAILS = {
    400: "The request makes no sense.",
    401: "A token is needed: send it as a bearer token, or log in.",
    403: "Another site must not ask for this.",
    404: "There is nothing here by that name or id.",
    405: "This method is not allowed here.",
    408: "The request took too long to arrive.",
    409: "The film's file has changed since it was indexed, or cannot be read; index it again.",
    410: "The film's file is not where it was when it was indexed.",
    411: "The length of the body must be said before it is sent.",
    413: "The request's body is too large.",
    415: "The body must be JSON, and say so.",
    416: "The film does not have these bytes.",
    421: "The server does not go by this name.",
    422: "A parameter is not what it should be; the sentence says which.",
    429: "The server is busy with other films; try again in a moment.",
    500: "Something went wrong in the server; its log says what.",
    503: "The server is busy; try again in a moment.",
    507: "The server's disk has no room for it.",
}


class ProblemError(Exception):
    """Ends a request with a problem."""

    def __init__(self, status: int, detail: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def busy(status: int = 429, seconds: int = 1) -> ProblemError:
    """The problem of a server that has too much to do."""
    return ProblemError(status, headers={"retry-after": str(seconds)})


def problem(status: int, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says what went wrong."""
    body = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=plain(detail or DETAILS.get(status, HTTPStatus(status).phrase)),
    )
    return Response(
        json.dumps(body.model_dump()),
        status,
        {**(headers or {}), "cache-control": "no-store"},
        media_type=MEDIA_TYPE,
    )


def plain(text: str) -> str:
    """Text that can be sent and shown, and is not too long."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MOST_DETAIL else f"{text[: _MOST_DETAIL - 1]}…"


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the description of a route says about its errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    always = {400, 401, 403, 405, 408, 413, 421, 500, 503}
    return {
        **{status: {"description": DETAILS[status], "content": content} for status in sorted({*always, *statuses})},
        "default": {"description": "Any other error.", "content": content},
    }


def install(app: FastAPI) -> None:
    """Make all errors of `app` problems."""

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(422, told_invalid(error.errors()))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, headers=error.headers)

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return problem(error.status, error.detail, error.headers)

    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(ProblemError, ours)


def told_invalid(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first errors of pydantic's in a sentence."""
    return "; ".join(_sentence(one) for one in errors[:3])


def _sentence(error: Mapping[str, Any]) -> str:
    """One error of pydantic's in words, without what was sent."""
    place = [str(part) for part in error["loc"] if part not in ("query", "path", "body")]
    where = ".".join(part[:40] for part in place) or "the body"
    return f"{where}: {error['msg']}"
