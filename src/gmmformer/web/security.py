"""Who may ask, how much at a time, and what every answer says to the browser."""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gmmformer.web.config import ServeConfig
from gmmformer.web.files import BrokenOffError
from gmmformer.web.metrics import Metrics
from gmmformer.web.problems import LOG, ProblemError, busy, problem

COOKIE_SECONDS = 30 * 24 * 3600
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
OPEN = frozenset({"/", "/login", "/healthz", "/favicon.ico"})
"""What needs no token: the page, which holds nothing, and the way in."""
OPEN_BELOW = "/static/"
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(:\d{1,5})?")


class Tokens:
    """Compares what clients show with the server's token, in a time that says nothing about it."""

    def __init__(self, token: str | None) -> None:
        """Without a token everybody is let in."""
        self.needed = token is not None
        self._token = _digest(token or "")
        self._cookie = hmac.new(self._token, b"cookie", hashlib.sha256).hexdigest()
        self.cookie_name = f"gmmformer-{hmac.new(self._token, b'name', hashlib.sha256).hexdigest()[:8]}"
        """Another for every token: all servers of a machine share its cookies, whatever their ports."""

    def right(self, given: str) -> bool:
        """Whether that is the token."""
        return hmac.compare_digest(_digest(given), self._token)

    def cookie(self, secure: bool) -> str:
        """The header that makes a browser remember; what it holds is not the token."""
        attributes = f"Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Strict"
        return f"{self.cookie_name}={self._cookie}; {attributes}{'; Secure' if secure else ''}"

    def allow(self, headers: Headers) -> bool:
        """Whether a request shows the token, or a cookie that was given for it."""
        if not self.needed:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.right(given.strip()):
            return True
        given = cookie_parser(headers.get("cookie", "")).get(self.cookie_name, "")
        return hmac.compare_digest(_digest(given), _digest(self._cookie))


class Guard:
    """The outermost layer: checks who asks, bounds what comes in, and makes every answer a safe one."""

    def __init__(self, app: ASGIApp, *, config: ServeConfig, tokens: Tokens, metrics: Metrics) -> None:
        """Stand before `app`."""
        self._app, self._config, self._tokens, self._metrics = app, config, tokens, metrics
        self._names, self._in_progress = config.names, 0

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
            receive = await self._admitted(scope, receive)
            await self._app(scope, receive, answer)
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

    async def _admitted(self, scope: Scope, receive: Receive) -> Receive:
        """What the request's body is read from, after all checks.

        Raises:
            ProblemError: The request is refused.
        """
        headers = Headers(scope=scope)
        self._check_host(headers)
        if self._in_progress > self._config.requests:
            raise busy(503, seconds=2)
        path = scope["path"]
        is_open = path in OPEN or path.startswith(OPEN_BELOW)
        self._check_origin(scope, headers, is_open)
        if not is_open and not self._tokens.allow(headers):
            raise ProblemError(401, headers={"www-authenticate": 'Bearer realm="gmmformer"'})
        return await self._body(headers, receive)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._known(hosts[0]):
            raise ProblemError(421)

    def _known(self, host: str) -> bool:
        """Whether a Host header names this server. Any name would do for DNS rebinding, an address would not."""
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].strip("[]").lower()
        return name in self._names or (self._config.any_address and _is_address(name))

    def _check_origin(self, scope: Scope, headers: Headers, is_open: bool) -> None:
        """Refuse what a page of another site makes the browser send; links are fine."""
        origin = headers.get("origin")
        if origin is not None and (origin == "null" or not self._known(urlsplit(origin).netloc)):
            raise ProblemError(403)
        follows = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        harmless = scope["method"] in ("GET", "HEAD") and (is_open or follows)
        if headers.get("sec-fetch-site") == "cross-site" and not harmless:
            raise ProblemError(403)

    async def _body(self, headers: Headers, receive: Receive) -> Receive:
        """The whole body, read before anything is done with it, so that a slow or endless one holds nothing up."""
        most = self._config.body_bytes
        length = headers.get("content-length")
        if length is None and "transfer-encoding" not in headers:
            return receive
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


def route_of(scope: Mapping[str, Any]) -> str:
    """The pattern of the route that a request took, for logs and counters: it names no film and no sentence."""
    if scope["path"].startswith(OPEN_BELOW):
        return OPEN_BELOW
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


def _method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH") else "other"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
