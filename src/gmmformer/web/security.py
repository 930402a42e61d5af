"""Who may ask, how much at a time, and what every answer says to the browser."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote_plus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gmmformer.web.config import ServeConfig, is_address
from gmmformer.web.files import BrokenOffError
from gmmformer.web.metrics import Metrics
from gmmformer.web.problems import LOG, ProblemError, busy, problem
from gmmformer.web.tokens import Tokens

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
OPEN = frozenset({"/", "/login", "/logout", "/healthz", "/favicon.ico"})
"""What needs no token: the page, which holds nothing, the way in and the way out."""
OPEN_BELOW = "/static/"
LOGIN_BYTES = 8_192
"""Of the one body that is taken from those who have shown no token."""
_HOST = r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(?::[0-9]{1,5})?"
_ORIGIN = rf"[A-Za-z][A-Za-z0-9+.-]*://{_HOST}"


class Guard:
    """The outermost layer: checks who asks, bounds what comes in, and makes every answer a safe one."""

    def __init__(self, app: ASGIApp, *, config: ServeConfig, tokens: Tokens, metrics: Metrics) -> None:
        """Stand before `app`."""
        self._app, self._config, self._tokens, self._metrics = app, config, tokens, metrics
        self._names, self._in_progress = config.names, 0
        self._places: dict[object, Any] = {}
        """Requests that were let in and are worked on, each with its connection, if the server has told it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Safe(send, "no-cache" if scope["path"].startswith(OPEN_BELOW) else "no-store")
        began = time.perf_counter()
        self._in_progress += 1
        self._metrics.in_progress.set(self._in_progress)
        try:
            await self._answer(scope, receive, answer)
        except BrokenOffError:
            LOG.warning("a film changed while it was sent")
        except ProblemError as error:
            await problem(error.status, error.detail, error.headers)(scope, receive, answer)
        except Exception:
            LOG.exception("%s failed", route_of(scope))
            if answer.status:
                raise
            await problem(500)(scope, receive, answer)
        finally:
            self._in_progress -= 1
            self._metrics.in_progress.set(self._in_progress)
            route = route_of(scope)
            self._metrics.requests.labels(route, _method(scope), answer.status or 499).inc()
            if route != "/api/events":
                self._metrics.request_seconds.labels(route).observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer after all checks: what has shown no token is refused before its body is read, and holds no place.

        Raises:
            ProblemError: The request is refused.
        """
        headers, path, host = Headers(scope=scope), scope["path"], client_of(scope)
        self._check_host(headers)
        is_open = path in OPEN or path.startswith(OPEN_BELOW)
        self._check_origin(scope, headers, is_open)
        link = without_token(scope)
        if link is not None:
            await self._follow(*link, host, scope)(scope, receive, send)
        elif is_open:  # small files, sent whole: what starlette says to a malformed range is no problem of ours
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"range"]
            most = min(LOGIN_BYTES, self._config.body_bytes) if path == "/login" else 0
            await self._app(scope, await self._body(scope, headers, receive, most), send)
        else:
            self._tokens.check_request(headers, host)
            receive = await self._body(scope, headers, receive, self._config.body_bytes)
            with self._place(scope):
                await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._known(re.fullmatch(_HOST, hosts[0])):
            raise ProblemError(421)

    def _known(self, match: re.Match[str] | None) -> bool:
        """Whether a Host header names this server. Any name would do for DNS rebinding, an address would not."""
        if match is None:
            return False
        name = match[1].strip("[]").lower()
        return name in self._names or (self._config.any_address and is_address(name))

    def _check_origin(self, scope: Scope, headers: Headers, is_open: bool) -> None:
        """Refuse what a page of another site makes the browser send; links are fine."""
        if not all(self._known(re.fullmatch(_ORIGIN, origin)) for origin in headers.getlist("origin")):
            raise ProblemError(403)
        follows = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        harmless = scope["method"] in ("GET", "HEAD") and (is_open or follows)
        if headers.get("sec-fetch-site") == "cross-site" and not harmless:
            raise ProblemError(403)

    def _follow(self, token: str, address: str, host: str, scope: Scope) -> Response:
        """Lead a link that holds a token to where it goes without, and let the browser in if it is the right one."""
        headers = {"location": address}
        if self._tokens.needed:
            try:
                self._tokens.check(token, host)
            except ProblemError:  # the page asks for the token, and says what is wrong
                pass
            else:
                headers["set-cookie"] = self._tokens.open_session(secure=scope["scheme"] == "https")
        return Response(status_code=303, headers=headers)

    @contextmanager
    def _place(self, scope: Scope) -> Iterator[None]:
        """One of the places for requests that are worked on.

        When all are taken, whoever has stopped reading for longest makes room.

        Raises:
            ProblemError: All are taken by such as do read (503).
        """
        if len(self._places) >= self._config.requests:
            stalled = [key for key, one in self._places.items() if one is not None and one.stalled_since is not None]
            if not stalled:
                raise busy(503, seconds=2)
            self._places.pop(min(stalled, key=lambda key: self._places[key].stalled_since)).drop()
        key, connection = object(), scope.get("state", {}).get("connection")
        self._places[key] = connection
        if connection is not None:
            connection.take_place()
        try:
            yield
        finally:
            self._places.pop(key, None)
            if connection is not None:
                connection.leave_place()

    async def _body(self, scope: Scope, headers: Headers, receive: Receive, most: int) -> Receive:
        """The whole body, read before anything is done with it, so that a slow or endless one holds nothing up."""
        length = headers.get("content-length")
        if "transfer-encoding" not in headers and (length is None or length.strip("0") == ""):
            return receive
        if scope["method"] != "POST" or most == 0:
            raise ProblemError(413, "This takes no body.", {"connection": "close"})
        if length is not None and (not length.isdecimal() or len(length) > 18 or int(length) > most):
            raise ProblemError(413, headers={"connection": "close"})
        body = bytearray()
        more = True
        try:
            async with asyncio.timeout(self._config.read_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ProblemError(400)
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise ProblemError(413, headers={"connection": "close"})
        except TimeoutError:
            raise ProblemError(408, headers={"connection": "close"}) from None
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return again


class _Safe:
    """Sends an answer with the headers that every answer has, and remembers its status."""

    def __init__(self, send: Send, keep: str) -> None:
        """`keep` is how long a browser may keep what does not say so itself."""
        self._send, self._keep, self.status = send, keep, 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", self._keep)
        await self._send(message)


def raw_problem(status: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of a problem, for a request so broken that it never reaches the application."""
    answer = problem(status, headers={"connection": "close"})
    safe = [(name.encode("ascii"), value.encode("ascii")) for name, value in HEADERS.items()]
    return [*answer.raw_headers, *safe], bytes(answer.body)


def client_of(scope: Scope) -> str:
    """Who asks, as far as the server knows."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def without_token(scope: Scope) -> tuple[str, str] | None:
    """The token that an address holds as ?token=, and where it leads without, relative to itself; None if it has none.

    >>> without_token({"method": "GET", "raw_path": b"/", "query_string": b"q=a+star&token=x%2By&k=3"})
    ('x+y', './?q=a+star&k=3')
    """
    parts = scope["query_string"].decode("latin-1").split("&")
    tokens = [part for part in parts if unquote_plus(part.partition("=")[0]) == "token"]
    if not tokens or scope["method"] not in ("GET", "HEAD"):
        return None
    rest = "&".join(part for part in parts if part not in tokens)
    last = scope.get("raw_path", b"/").decode("latin-1").rpartition("/")[2]
    return unquote_plus(tokens[0].partition("=")[2]), f"./{last}{'?' if rest else ''}{rest}"


def route_of(scope: Mapping[str, Any]) -> str:
    """The pattern of the route that a request took, for logs and counters: it names no film and no sentence."""
    if scope["path"].startswith(OPEN_BELOW):
        return OPEN_BELOW
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH") else "other"
