"""Serving a library until the process is told to end."""

import resource
import signal
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.web.app import create_app
from gmmformer.web.config import ServeConfig
from gmmformer.web.protocol import protocol_for

_OTHER_FILES = 256
"""Files that are open beside connections and films."""


class Server(uvicorn.Server):
    """Ends event streams when it is told to end, so that only answers that come to an end are waited for."""

    def __init__(self, app: FastAPI, config: ServeConfig, ready: Callable[[], None] = lambda: None) -> None:
        """Serve `app`; `ready` is called when it can be asked, and told to end."""
        super().__init__(
            uvicorn.Config(
                app,
                host=config.host.strip("[]"),
                port=config.port,
                http=protocol_for(config, _room(config.connections)),
                ws="none",
                lifespan="on",
                proxy_headers=bool(config.proxies),
                forwarded_allow_ips=[str(one) for one in config.networks],
                log_level="error",  # what clients do wrong would fill the log
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=config.shutdown_seconds,
            )
        )
        self._app, self._ready = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal, at once on a second Ctrl-C; unlike uvicorn's own, do not die of it when all is done."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, end streams, give the rest a while."""
        self._app.state.services.events.end()
        await super().shutdown(sockets)


def serve(library: Library, config: ServeConfig, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve `library` until SIGTERM or Ctrl-C; requests in progress are finished.

    Args:
        library: Open; with its model, or able to load it.
        config: Address, token and bounds.
        ready: Called with the server's address when it can be asked.

    Raises:
        InputError: The address is taken or is none of this machine's, or the library's model cannot be loaded.
    """
    bound = _bound(config)
    try:
        library.search("warm up", k=1)
        tell = partial(ready, address(config, bound)) if ready is not None else lambda: None
        Server(create_app(library, config), config, tell).run(sockets=[bound])
    finally:
        bound.close()


def address(config: ServeConfig, bound: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host = "127.0.0.1" if config.any_address else config.host.strip("[]")
    port = bound.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _room(connections: int) -> int:
    """How many connections of these the files that a process may have open allow, each with a film; more if it may."""
    wanted = 2 * connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(soft, min(wanted, hard if hard != resource.RLIM_INFINITY else wanted))
    if soft != resource.RLIM_INFINITY and allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if soft == resource.RLIM_INFINITY or allowed >= wanted:
        return connections
    return max(1, (allowed - _OTHER_FILES) // 2)


def _bound(config: ServeConfig) -> socket.socket:
    host = config.host.strip("[]")
    try:
        family, kind, number, _, place = socket.getaddrinfo(
            host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, number)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(place)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise InputError(
            f"--host {config.host} --port {config.port}: cannot be used ({error.strerror or error}); choose another"
        ) from error
    return bound
