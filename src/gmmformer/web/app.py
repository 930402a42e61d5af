"""The application: routes, guard and services put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.staticfiles import StaticFiles

import gmmformer
from gmmformer.search import Library
from gmmformer.web import film_routes, problems, search_routes, site_routes, take_routes
from gmmformer.web.config import ServeConfig
from gmmformer.web.files import state_of
from gmmformer.web.metrics import Metrics
from gmmformer.web.problems import LOG, ProblemError
from gmmformer.web.schemas import Problem
from gmmformer.web.security import Guard
from gmmformer.web.services import Services, make_services
from gmmformer.web.tokens import Tokens

_DESCRIPTION = (
    "Finds the moments of films that a sentence describes. Times are seconds, counted from a film's first frame. "
    "Errors are problem details (RFC 9457). Where the server was started with a token, each request shows it as "
    "Authorization: Bearer TOKEN, or by the cookie that /login sets."
)
_IDLE = 0.5


def create_app(library: Library, config: ServeConfig | None = None) -> FastAPI:
    """A server of `library` as an ASGI application; whoever runs it closes the library afterwards.

    Args:
        library: Open; with its model, or able to load it.
        config: Token, names and bounds.
    """
    config = config or ServeConfig()
    tokens, metrics = Tokens(config.token), Metrics()

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        services = app.state.services = make_services(library, config, tokens, metrics)
        services.batcher.start()
        looking = asyncio.create_task(_look_at_films(services))
        try:
            yield
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            await services.stop()

    app = FastAPI(
        title="gmmformer",
        version=gmmformer.__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=living,
    )
    problems.install(app)
    for routes in (search_routes, film_routes, take_routes, site_routes):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=site_routes.STATIC, check_dir=False), name="static")
    app.add_middleware(Guard, config=config, tokens=tokens, metrics=metrics)
    app.openapi = lambda: _description(app)  # type: ignore[method-assign]
    return app


def _description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title="gmmformer: films searched by sentence",
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        made["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        app.openapi_schema = made
    return app.openapi_schema


async def _look_at_films(services: Services) -> None:
    """Find out what browsers make of each film, while nothing else is asked, so that answers need not wait for it."""
    try:
        for film in await asyncio.to_thread(services.library.films):
            while not services.work.idle:
                await asyncio.sleep(_IDLE)
            gone = await asyncio.to_thread(state_of, film)
            if gone is not None or services.work.known_plays(film)[0]:
                continue
            with suppress(ProblemError):  # others are looked at now; this one is when it is asked for
                await services.work.plays(film)
    except Exception:
        LOG.exception("the films could not be looked at")
