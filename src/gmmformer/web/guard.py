"""Who may ask, how much at a time, and what every answer says to the browser."""

import asyncio
import hashlib
import hmac
import math
import re
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gmmformer.web.files import BrokenOffError
from gmmformer.web.problems import LOG, ProblemError, busy, problem
from gmmformer.web.server import Counters, ServeConfig, group_of, is_local

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
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
OPEN_BELOW, UPLOAD = "/static/", "/api/upload"
"""Below the first nothing needs one; the other is the one route that reads its body itself, since a film is large."""
REQUESTS = 256
"""In progress at a time that were let in, event streams and downloads among them; more are answered 503."""
BODY_BYTES, LOGIN_BYTES = 1_000_000, 8_192
"""Of a body, and of the one that is taken from those who have shown no token; more is answered 413."""
BODY_SECONDS = 15.0
"""In which a body must have come."""
_HOST = r"(\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(?::[0-9]{1,5})?"
_ORIGIN = rf"[A-Za-z][A-Za-z0-9+.-]*://{_HOST}"
CHALLENGE = {"www-authenticate": 'Bearer realm="gmmformer"'}
SESSION_SECONDS = 30 * 24 * 3600
_MOST_SESSIONS = _MOST_ADDRESSES = 10_000
FREE_LOGINS, FREE_HEADERS = 5, 30
"""Wrong tokens of one address that cost nothing; from then on it waits, twice as long each time."""
LONGEST_WAIT = 60.0
"""Seconds."""
FORGOTTEN_AFTER = 900.0
"""Seconds without a wrong token after which an address is as good as new."""
GUESSES_A_MINUTE = 120
"""Of all addresses together."""


class Tokens:
    """Compares what clients show with the server's token, in a time that says nothing about it, and not too often."""

    def __init__(self, token: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a token everybody is let in."""
        self.needed = token is not None
        self._token = _digest(token or "")
        self.cookie_name = f"gmmformer-{hmac.new(self._token, b'name', hashlib.sha256).hexdigest()[:8]}"
        """Another for every token: all servers of a machine share its cookies, whatever their ports."""
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._clock = clock
        self._logins = _Guesses(clock, FREE_LOGINS)
        self._headers = _Guesses(clock, FREE_HEADERS)  # apart: a program with an old token shuts nobody out at the page

    def check(self, given: str, host: str) -> None:
        """Look at a token that somebody at this address logs in with.

        Raises:
            ProblemError: It is not the server's (401), or there were too many such lately (429).
        """
        self._look(self._logins, given, host, always=False)

    def check_request(self, headers: Headers, host: str) -> None:
        """Let a request pass that shows the token, or the cookie of a session.

        Raises:
            ProblemError: It shows neither (401), or there were too many wrong tokens (429).
        """
        if not self.needed or self._session_of(headers) is not None:
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not given.strip():
            raise ProblemError(401, headers=CHALLENGE)
        self._look(self._headers, given.strip(), host, always=self._headers.is_known(group_of(host)))

    def _look(self, guesses: "_Guesses", given: str, host: str, *, always: bool) -> None:
        """Compare a token, unless too many were wrong; `always` is for who is not to be shut out by such guesses."""
        address = group_of(host)
        wait = guesses.wait(address, own=is_local(host))
        if (always or not wait) and hmac.compare_digest(_digest(given), self._token):
            guesses.right(address)
            return
        if wait:
            seconds = math.ceil(wait)
            told = f"There were too many wrong tokens; try again in {seconds} s."
            raise ProblemError(429, told, {"retry-after": str(seconds)})
        LOG.warning("wrong token from %s: number %d of late", address, guesses.wrong(address))
        raise ProblemError(401, "This is not the token that the server was started with.", CHALLENGE)

    def open_session(self, *, secure: bool) -> str:
        """The header that leaves a cookie with a browser, which lets it in until it logs out or the server ends."""
        key = secrets.token_urlsafe(32)
        self._sessions[_digest(key)] = self._clock() + SESSION_SECONDS
        while len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return self._cookie(key, SESSION_SECONDS, secure)

    def end_session(self, headers: Headers, *, secure: bool) -> str:
        """End the session that a request shows, if any; the header that takes its cookie away."""
        session = self._session_of(headers)
        if session is not None:
            del self._sessions[session]
        return self._cookie("", 0, secure)

    def _session_of(self, headers: Headers) -> bytes | None:
        given = cookie_parser(headers.get("cookie", "")).get(self.cookie_name, "")
        session = _digest(given)
        return session if self._sessions.get(session, -math.inf) > self._clock() else None

    def _cookie(self, value: str, seconds: int, secure: bool) -> str:
        attributes = f"Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
        return f"{self.cookie_name}={value}; {attributes}{'; Secure' if secure else ''}"


class _Guesses:
    """Wrong tokens: how many came from each address lately, and from all together."""

    def __init__(self, clock: Callable[[], float], free: int) -> None:
        self._clock, self._free = clock, free
        self._of: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._all: deque[float] = deque(maxlen=GUESSES_A_MINUTE)

    def wait(self, address: str, *, own: bool) -> float:
        """Seconds until a token from this address is looked at; to this machine's `own` those of others are nothing."""
        now = self._clock()
        wait = self._of.get(address, (0, now))[1] - now
        if len(self._all) == GUESSES_A_MINUTE and not own:
            wait = max(wait, self._all[0] + 60.0 - now)
        return max(0.0, wait)

    def wrong(self, address: str) -> int:
        """Count a wrong one; how many that makes for this address."""
        now = self._clock()
        count, until = self._of.pop(address, (0, now))
        count = count + 1 if now - until < FORGOTTEN_AFTER else 1
        pause = min(LONGEST_WAIT, 2.0 ** min(count - self._free, 10)) if count >= self._free else 0.0
        _remember(self._of, address, (count, now + pause))
        self._all.append(now)
        return count

    def right(self, address: str) -> None:
        """Forgive an address that shows the right one."""
        self._of.pop(address, None)
        self._known.pop(address, None)
        _remember(self._known, address, None)

    def is_known(self, address: str) -> bool:
        """Whether it ever showed the right one."""
        return address in self._known


def _remember(kept: OrderedDict[str, Any], address: str, value: Any) -> None:
    kept[address] = value
    while len(kept) > _MOST_ADDRESSES:
        kept.popitem(last=False)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


class Guard:
    """The outermost layer: checks who asks, bounds what comes in, and makes every answer a safe one."""

    def __init__(self, app: ASGIApp, *, config: ServeConfig, tokens: Tokens, counters: Counters) -> None:
        """Stand before `app`."""
        self._app, self._config, self._tokens, self._counters = app, config, tokens, counters
        self._let_in = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Safe(send, "no-cache" if scope["path"].startswith(OPEN_BELOW) else "no-store")
        began = time.perf_counter()
        self._counters.in_progress.inc()
        try:
            await self._answer(scope, receive, answer)
        except BrokenOffError as error:
            LOG.warning("%s", error)
        except ProblemError as error:
            await problem(error.status, error.detail, error.headers)(scope, receive, answer)
        except Exception:
            LOG.exception("%s failed", route_of(scope))
            if answer.status:
                raise
            await problem(500)(scope, receive, answer)
        finally:
            self._counters.in_progress.dec()
            route = route_of(scope)
            self._counters.requests.labels(route, _method(scope), answer.status or 499).inc()
            if route != "/api/events":
                self._counters.request_seconds.labels(route).observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer after all checks: what has shown no token is refused before its body is read, and holds no place.

        Raises:
            ProblemError: The request is refused.
        """
        headers, path, host = Headers(scope=scope), scope["path"], client_of(scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._known(re.fullmatch(_HOST, hosts[0])):
            raise ProblemError(421)
        is_open = path in OPEN or path.startswith(OPEN_BELOW)
        self._check_origin(scope, headers, is_open)
        link = without_token(scope)
        if link is not None:
            await self._follow(*link, host, scope)(scope, receive, send)
        elif is_open:  # small files, sent whole: what starlette says to a malformed range is no problem of ours
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"range"]
            most = LOGIN_BYTES if path == "/login" else 0
            await self._app(scope, await self._body(scope, headers, receive, most), send)
        else:
            self._tokens.check_request(headers, host)
            if (path, scope["method"]) != (UPLOAD, "POST"):
                receive = await self._body(scope, headers, receive, BODY_BYTES)
            if self._let_in >= REQUESTS:
                raise busy(503, seconds=2)
            self._let_in += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._let_in -= 1

    def _known(self, match: re.Match[str] | None) -> bool:
        """Whether a Host header names this server."""
        return match is not None and self._config.goes_by(match[1].strip("[]").lower())

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
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for some in Request(scope, receive).stream():
                    body += some
                    if len(body) > most:
                        raise ProblemError(413, headers={"connection": "close"})
        except ClientDisconnect:
            raise ProblemError(400) from None
        except TimeoutError:
            raise ProblemError(408, headers={"connection": "close"}) from None
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

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
