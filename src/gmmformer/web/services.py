"""What the routes stand on, made once for a server."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gmmformer.cores import usable_cores
from gmmformer.search import Library
from gmmformer.web.batching import Batcher
from gmmformer.web.catalogue import Catalogue
from gmmformer.web.config import MOST_QUERIES, ServeConfig
from gmmformer.web.events import Events
from gmmformer.web.film_work import FilmWork
from gmmformer.web.metrics import Metrics
from gmmformer.web.tokens import Tokens


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that outlives a request."""

    config: ServeConfig
    library: Library
    metrics: Metrics
    tokens: Tokens
    batcher: Batcher
    work: FilmWork
    catalogue: Catalogue
    events: Events

    async def stop(self) -> None:
        """End what runs beside the requests."""
        await self.events.stop()
        await self.batcher.stop()
        self.work.stop()


def make_services(library: Library, config: ServeConfig, tokens: Tokens, metrics: Metrics) -> Services:
    """The services of a server of `library`; call within its event loop."""
    work = FilmWork(config, metrics)
    catalogue = Catalogue(library, work)
    threads, most = (1, MOST_QUERIES) if config.batching else (usable_cores(), 1)
    return Services(
        config=config,
        library=library,
        metrics=metrics,
        tokens=tokens,
        batcher=Batcher(
            library,
            most=most,
            threads=threads,
            waiting=config.waiting_queries,
            on_batch=metrics.batch_size.observe,
        ),
        work=work,
        catalogue=catalogue,
        events=Events(catalogue, config.streams),
    )


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Given = Annotated[Services, Depends(_services)]
"""The server's services, as a parameter of a route."""
