"""Routes beside the interface: the page, the way in and out, health, counters."""

from pathlib import Path

from fastapi import APIRouter, Request
from prometheus_client import generate_latest
from starlette.responses import FileResponse, Response

from gmmformer.web.guard import client_of
from gmmformer.web.problems import documented
from gmmformer.web.routes import Given
from gmmformer.web.schemas import Health, LoginIn

STATIC = Path(__file__).parent / "static"

router = APIRouter(tags=["server"])
_HTML = {"cache-control": "no-cache"}


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return FileResponse(STATIC / "index.html", media_type="text/html; charset=utf-8", headers=_HTML)


@router.post(
    "/login",
    status_code=204,
    response_class=Response,
    responses={
        **documented(415, 422, 429),
        204: {"description": "The cookie is set, or no token is needed."},
        401: {**documented(401)[401], "description": "This is not the token."},
        429: {**documented(429)[429], "description": "There were too many wrong tokens; Retry-After says how long."},
    },
)
async def login(request: Request, services: Given, given: LoginIn) -> Response:
    """Leave a cookie for the token, so that the browser is let in from then on."""
    if not services.tokens.needed:
        return Response(status_code=204)
    services.tokens.check(given.token, client_of(request.scope))
    cookie = services.tokens.open_session(secure=request.scope["scheme"] == "https")
    return Response(status_code=204, headers={"set-cookie": cookie})


@router.post(
    "/logout",
    status_code=204,
    response_class=Response,
    responses={**documented(), 204: {"description": "The session is over, if there was one, and its cookie gone."}},
)
async def logout(request: Request, services: Given) -> Response:
    """End the session of the browser's cookie: the cookie is worth nothing from then on, wherever it is kept."""
    cookie = services.tokens.end_session(request.headers, secure=request.scope["scheme"] == "https")
    return Response(status_code=204, headers={"set-cookie": cookie, "clear-site-data": '"cache"'})


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
    services.counters.films.set(counts.films)
    services.counters.film_seconds.set(counts.seconds)
    services.counters.failures.set(counts.failed)
    text = generate_latest(services.counters.registry)
    return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """Where browsers look for an icon of their own accord."""
    return Response(status_code=303, headers={"location": "static/favicon.svg"})
