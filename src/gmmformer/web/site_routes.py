"""Routes beside the interface: the page, the way in, health, counters, the description for people."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from gmmformer.web.metrics import CONTENT_TYPE
from gmmformer.web.problems import ProblemError, documented
from gmmformer.web.reference import STYLE, reference_page
from gmmformer.web.schemas import Health, LoginIn
from gmmformer.web.services import Given

STATIC = Path(__file__).parent / "static"

router = APIRouter(tags=["server"])
_HTML = {"cache-control": "no-cache"}


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page(
    request: Request, services: Given, token: Annotated[str | None, Query(max_length=1_000)] = None
) -> Response:
    """The page; /?token=T once leaves a cookie, so that a link can be handed out."""
    if token is None:
        return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8", headers=_HTML)
    headers = {"location": "/"}
    if services.tokens.needed and services.tokens.right(token):
        headers["set-cookie"] = services.tokens.cookie(request.url.scheme == "https")
    return Response(status_code=303, headers=headers)


@router.post(
    "/login",
    status_code=204,
    response_class=Response,
    responses={
        **documented(415, 422),
        204: {"description": "The cookie is set, or no token is needed."},
        401: {**documented(401)[401], "description": "This is not the token."},
    },
)
async def login(request: Request, services: Given, given: LoginIn) -> Response:
    """Leave the token in a cookie, so that the browser shows it from then on."""
    if not services.tokens.needed:
        return Response(status_code=204)
    if not services.tokens.right(given.token):
        raise ProblemError(401, "This is not the token that the server was started with.")
    return Response(status_code=204, headers={"set-cookie": services.tokens.cookie(request.url.scheme == "https")})


@router.get("/healthz", responses=documented())
async def health() -> Health:
    """Whether the server is there. Needs no token."""
    return Health(status="ok")


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **documented(),
        200: {"description": "Counters, in Prometheus' text format.", "content": {"text/plain": {}}},
    },
)
async def metrics(services: Given) -> Response:
    """Counters for Prometheus."""
    counts = await services.catalogue.counts()
    services.metrics.films.set(counts.films)
    services.metrics.film_seconds.set(counts.seconds)
    services.metrics.failures.set(counts.failed)
    return Response(services.metrics.text(), headers={"content-type": CONTENT_TYPE})


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The description of the interface, as a page."""
    return Response(reference_page(request.app.openapi()), media_type="text/html; charset=utf-8", headers=_HTML)


@router.get("/docs/style.css", include_in_schema=False)
async def docs_style() -> Response:
    """How that page looks."""
    return Response(STYLE, media_type="text/css; charset=utf-8", headers=_HTML)


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """Where browsers look for an icon of their own accord."""
    return Response(status_code=303, headers={"location": "/static/favicon.svg"})
