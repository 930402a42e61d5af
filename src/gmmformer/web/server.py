"""The process that serves: what it is told, what it counts, where it listens, how it begins and ends."""

import asyncio
import ipaddress
import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from uvicorn.protocols.http.h11_impl import H11Protocol

from gmmformer.errors import InputError
from gmmformer.media.films import printable

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
SHORTEST_TOKEN = 16
"""Characters: fewer can be guessed."""
CONNECTIONS = 1_024
"""At a time; while there are as many, whoever asks is answered 503."""
HEAD_BYTES = 160 << 10
"""Of a request's line and headers: room for a sentence of the greatest length in any script."""
IDLE_SECONDS = 15
"""That a connection is kept between two requests."""
SHUTDOWN_SECONDS = 10
"""That requests in progress are given when the server is told to end."""
_OTHER_FILES = 256
"""Files that are open beside connections and films."""
_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """How a library is served. The defaults are for one machine and the people who sit at it."""

    host: str = "127.0.0.1"
    """Address to bind to; any other than this machine's own needs a token."""
    port: int = 8000
    """0 takes a free one."""
    token: str | None = None
    """What a client must show, if anything."""
    allow_hosts: tuple[str, ...] = ()
    """Names by which the server may be called beside localhost and `host`, such as that of a reverse proxy."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of reverse proxies, whose word is taken for who asks, and whether by https."""
    roots: tuple[str | os.PathLike[str], ...] = ()
    """Folders that films may be taken from into the library; none: the library cannot be changed from the page."""
    uploads: float = 0.0
    """GiB that a film may have that a browser sends into one of `roots`; 0: none is taken."""
    mcp: bool = False
    """Whether assistants are answered at /mcp, by the Model Context Protocol."""
    clips: str | os.PathLike[str] | None = None
    """The folder that these may write clips to; none: they can cut none."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"--port {self.port} must be at least 0 and at most 65535")
        if self.token is not None and not (self.token and self.token.isascii() and self.token.isprintable()):
            raise InputError("--token must be one or more printable ASCII characters")
        if self.token is not None and self.token != self.token.strip():
            raise InputError("--token must not begin or end with a blank")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise InputError(
                f"--token (or GMMFORMER_TOKEN) has {len(self.token)} characters, which can be guessed; give at least "
                f"{SHORTEST_TOKEN}, such as those that this prints: "
                'python -c "import secrets; print(secrets.token_urlsafe())"'
            )
        _ = self.networks
        for root in self.roots:
            if not Path(root).is_dir():
                raise InputError(f"--roots {printable(root)}: there is no such folder; name folders that films lie in")
        if not 0 <= self.uploads <= 1_000_000:
            raise InputError(f"--uploads {self.uploads} must be GiB that a film may have, at least 0")
        if self.uploads and not self.roots:
            raise InputError(f"--uploads {self.uploads}: films are sent into one of --roots; name these folders too")
        if self.clips is not None and not self.mcp:
            raise InputError(
                "--clips: is for assistants, which are answered with --mcp alone; add that, or leave it out"
            )
        if self.token is None and not is_local(self.host):
            raise InputError(
                f"--host {self.host}: everybody who can reach this address could see the films; give a --token, or "
                "leave --host out to serve this machine alone"
            )

    @cached_property
    def _names(self) -> frozenset[str]:
        named = (name.partition(":")[0] if name.count(":") == 1 else name for name in self.allow_hosts)
        return frozenset(name.strip("[]").lower() for name in (*LOCAL_NAMES, self.host, *named))

    def goes_by(self, name: str) -> bool:
        """Whether a client may call the server so, in lower case and without port.

        Bound to all addresses it may be called by any of them: they are of no use for DNS rebinding, as any name is.
        """
        return name in self._names or (self.any_address and _address(name) is not None)

    @property
    def networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Where the proxies are; those of IPv4 also as a socket for both kinds names them."""
        found: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for proxy in self.proxies:
            try:
                network = ipaddress.ip_network(proxy)
            except ValueError as error:
                raise InputError(
                    f"--proxy {proxy}: give an address or a network, such as 127.0.0.1 or 10.0.0.0/8"
                ) from error
            found.append(network)
            if network.version == 4:
                found.append(ipaddress.ip_network(f"::ffff:{network.network_address}/{96 + network.prefixlen}"))
        return found

    @property
    def any_address(self) -> bool:
        """Whether it is bound to all addresses of the machine."""
        address = _address(self.host)
        return address is not None and address.is_unspecified


def is_local(host: str) -> bool:
    """Whether only this machine can reach that address.

    >>> [is_local(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def group_of(host: str) -> str:
    """Whom an address stands for, when clients are counted: whoever has one address of IPv6 has 2 ** 64 of them.

    >>> [group_of(host) for host in ("10.0.0.7", "::ffff:10.0.0.7", "2001:db8::1:2:3:4", "a unix socket")]
    ['10.0.0.7', '10.0.0.7', '2001:db8::/64', 'unknown']
    """
    address = _address(host)
    if address is None:
        return "unknown"
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that this text is, if it is one; those of IPv4 as such, however they are written."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class Counters:
    """What one server counts of itself, for Prometheus."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        ours: Any = {"registry": self.registry, "namespace": "gmmformer"}
        timed: Any = {"buckets": _BUCKETS, **ours}
        together: Any = {"buckets": (1, 2, 4, 8, 16, 32, 64), **ours}
        self.requests = Counter("requests", "Requests answered.", ["route", "method", "status"], **ours)
        self.request_seconds = Histogram(
            "request_seconds", "Seconds from a request's head to the end of its answer.", ["route"], **timed
        )
        self.in_progress = Gauge("requests_in_progress", "Requests in progress.", **ours)
        self.queries = Counter("queries", "Sentences searched for.", **ours)
        self.search_seconds = Histogram(
            "search_seconds", "Seconds that a search took, waiting for others included.", **timed
        )
        self.batch_size = Histogram("batch_size", "Sentences that were embedded and searched for together.", **together)
        self.film_work = Counter(
            "film_work", "Films looked at, cut or previewed in processes of their own.", ["kind", "outcome"], **ours
        )
        self.films = Gauge("library_films", "Films in the library.", **ours)
        self.film_seconds = Gauge("library_seconds", "Seconds of all films.", **ours)
        self.failures = Gauge("library_failures", "Films that could not be taken in.", **ours)


class _Protocol(H11Protocol):
    """HTTP by the one of uvicorn's two that bounds heads; who goes on to no HTTP hears that at most once."""

    def send_400_response(self, msg: str) -> None:
        """Say that this is no HTTP, unless an answer has begun, and hang up; the rest of an answer goes nowhere."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with suppress(h11.LocalProtocolError):  # an answer to HEAD has no room for the sentence
                super().send_400_response(msg)
        self.transport.close()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()


class Server(uvicorn.Server):
    """Ends event streams when it is told to end, so that only answers that come to an end are waited for."""

    def __init__(self, app: FastAPI, config: ServeConfig, ready: Callable[[], None] = lambda: None) -> None:
        """Serve `app`; `ready` is called when it can be asked, and told to end."""
        super().__init__(
            uvicorn.Config(
                app,
                host=config.host.strip("[]"),
                port=config.port,
                http=_Protocol,
                limit_concurrency=_room(CONNECTIONS),
                h11_max_incomplete_event_size=HEAD_BYTES,
                timeout_keep_alive=IDLE_SECONDS,
                ws="none",
                lifespan="on",
                proxy_headers=bool(config.proxies),
                forwarded_allow_ips=[str(one) for one in config.networks],
                log_level="error",  # what clients do wrong would fill the log
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
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
        """Take no more requests, end streams, give the rest a while; who takes nothing of an answer is cut off."""
        self._app.state.services.events.end()
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # each is closed in the loop's next turn


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


def bound_socket(config: ServeConfig) -> socket.socket:
    """A socket at the server's address.

    Raises:
        InputError: The address is taken, or is none of this machine's.
    """
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
