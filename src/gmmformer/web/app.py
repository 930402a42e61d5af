"""The application: guard, routes and what they stand on put together, and served; the page, the way in and out."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import generate_latest
from pydantic import Field, StringConstraints
from starlette.datastructures import Headers
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

import gmmformer
from gmmformer.errors import InputError, of_extra
from gmmformer.search import Library
from gmmformer.search.database import writable
from gmmformer.web import changing, composing, examples, problems, routes, saving, taking, transcripts, trays, uploading
from gmmformer.web import page as pages
from gmmformer.web.batching import Batcher
from gmmformer.web.catalogue import Catalogue, Events
from gmmformer.web.files import UNKNOWN_TYPE, clips_folder, state_of, tag_of, unchanged
from gmmformer.web.film_work import FilmWork
from gmmformer.web.guard import Guard, Tokens, client_of
from gmmformer.web.intake import Intake
from gmmformer.web.problems import LOG, ProblemError, documented
from gmmformer.web.roots import Roots
from gmmformer.web.routes import Given, Services
from gmmformer.web.schemas import Model, Problem
from gmmformer.web.server import Counters, ServeConfig, Server, address, bound_socket

_DESCRIPTION = (
    "Finds the moments of films that a sentence describes. Times are seconds, counted from a film's first frame. "
    "Errors are problem details (RFC 9457). Where the server was started with a token, each request shows it as "
    "Authorization: Bearer TOKEN, or by the cookie that /login sets."
)
_IDLE = 0.5
_BROTLI = re.compile(r"\bbr\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")


def create_app(library: Library, config: ServeConfig | None = None) -> FastAPI:
    """A server of `library` as an ASGI application; whoever runs it closes the library afterwards.

    Args:
        library: Open; with its model, or able to load it.
        config: Token and names.
    """
    config = config or ServeConfig()
    tokens, counters = Tokens(config.token), Counters()
    assistants = of_extra("gmmformer.web.assistants", "--mcp", "mcp") if config.mcp else None
    clips = clips_folder(config.clips) if assistants and config.clips is not None else None

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        work = FilmWork(counters)
        catalogue, roots = Catalogue(library, work), Roots(config.roots)
        intake = Intake(library, roots, catalogue.forget)
        services = app.state.services = Services(
            library=library,
            counters=counters,
            tokens=tokens,
            batcher=Batcher(library, counters.batch_size.observe),
            work=work,
            catalogue=catalogue,
            events=Events(catalogue, (lambda: intake.state().model_dump_json()) if roots else None),
            roots=roots,
            intake=intake,
            upload_bytes=int(config.uploads * 2**30) if roots else 0,
            keeps_trays=tokens.needed and writable(library.folder),
            uploading=asyncio.Semaphore(uploading.AT_ONCE),
        )
        services.batcher.start()
        looking = asyncio.create_task(_look_at_films(services))
        try:
            async with (
                assistants.over_http(library, work, clips) if assistants else nullcontext() as app.state.assistant
            ):
                yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            await services.events.stop()
            await asyncio.to_thread(intake.stop)
            await services.batcher.stop()
            work.stop()

    app = FastAPI(
        title="gmmformer: films searched by sentence",
        version=gmmformer.__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=living,
    )
    problems.install(app)
    for some in (
        routes.searching,
        composing.router,
        examples.router,
        routes.showing,
        transcripts.router,
        taking.router,
        saving.router,
        changing.router,
        uploading.router,
        trays.router,
        router,
    ):
        app.include_router(some)
    if assistants:
        app.router.routes.append(Route("/mcp", _Mcp(), methods=["POST"], include_in_schema=False))
    app.mount("/static", _Static(directory=pages.STATIC, check_dir=False), name="static")
    films = (*DEFAULT_EXCLUDED_CONTENT_TYPES, UNKNOWN_TYPE)
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=6, exclude_content_types=films)
    app.add_middleware(Guard, config=config, tokens=tokens, counters=counters)
    app.openapi()["components"]["schemas"]["Problem"] = Problem.model_json_schema()  # of routes' errors, not answers
    return app


def serve(library: Library, config: ServeConfig, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve `library` until SIGTERM or Ctrl-C; requests in progress are finished.

    Args:
        library: Open; with its model, or able to load it.
        config: Address, token and names.
        ready: Called with the server's address when it can be asked.

    Raises:
        InputError: The address is taken or is none of this machine's, the library cannot be searched, or not be changed
            though it is to be.
    """
    if config.roots and not writable(library.folder):
        raise InputError(
            f"--roots: films cannot be added to {library.folder}, which cannot be written to; leave it out"
        )
    bound = bound_socket(config)
    try:
        library.search("warm up", k=1)
        tell = partial(ready, address(config, bound)) if ready is not None else lambda: None
        Server(create_app(library, config), config, tell).run(sockets=[bound])
    finally:
        bound.close()


async def _look_at_films(services: Services) -> None:
    """Find out what browsers make of each film, while nothing else is asked, so that answers need not wait for it."""
    unlooked = services.catalogue.unlooked
    try:
        await routes.library(services)  # whoever comes first need not wait
        while True:
            unlooked.clear()
            for film in await services.catalogue.films():
                while not services.work.idle:
                    await asyncio.sleep(_IDLE)
                gone = await asyncio.to_thread(state_of, film)
                if gone is not None or services.work.known(film):
                    continue
                with suppress(ProblemError):  # others are looked at now; this one is when it is asked for
                    await services.work.plays(film)
            await unlooked.wait()
    except Exception:
        LOG.exception("the films could not be looked at")


class _Mcp:
    """What assistants ask, one request at a time: none of them keeps a stream open."""

    path = "/mcp"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self
        await scope["app"].state.assistant(scope, receive, send)


class _Static(StaticFiles):
    """The page's files: those named by what they hold are kept by browsers for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        file = pages.page().files.get(path)
        if file is None or scope["method"] not in ("GET", "HEAD"):
            return await super().get_response(path, scope)
        return _sent(file, Headers(scope=scope), pages.FOREVER)


def _sent(file: pages.Sent, asked: Headers, headers: dict[str, str]) -> Response:
    """A file of the page, compressed if whoever asks can read that."""
    takes = _BROTLI.search(asked.get("accept-encoding", "")) is not None
    headers = {**headers, "vary": "Accept-Encoding", **({"content-encoding": "br"} if takes else {})}
    return Response(file.packed if takes else file.content, media_type=file.kind, headers=headers)


router = APIRouter(tags=["server"])


class LoginIn(Model):
    """The token, to be kept in a cookie."""

    token: Annotated[str, StringConstraints(max_length=1_000)] = Field(description="What the server was started with.")


class Health(Model):
    """That the server is there."""

    status: Literal["ok"] = Field(description="Always ok.")


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page."""
    html = pages.page().html
    headers = {"cache-control": "no-cache", "etag": tag_of(html.content)}
    if unchanged(request.headers, headers["etag"]):
        return Response(status_code=304, headers=headers)
    return _sent(html, request.headers, headers)


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
