"""The server's token: who shows it, who guesses, and the sessions that it opens."""

import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from gmmformer.web.config import group_of, is_local
from gmmformer.web.problems import LOG, ProblemError

CHALLENGE = {"www-authenticate": 'Bearer realm="gmmformer"'}
SESSION_SECONDS = 30 * 24 * 3600
_MOST_SESSIONS = 10_000
FREE_LOGINS, FREE_HEADERS = 5, 30
"""Wrong tokens of one address that cost nothing; from then on it waits, twice as long each time."""
LONGEST_WAIT = 60.0
"""Seconds."""
FORGOTTEN_AFTER = 900.0
"""Seconds without a wrong token after which an address is as good as new."""
GUESSES_A_MINUTE = 120
"""Of all addresses together."""
_MOST_ADDRESSES = 10_000
_MOST_COUNTED = 1_000
_MINUTE = 60.0


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
            wait = max(wait, self._all[0] + _MINUTE - now)
        return max(0.0, wait)

    def wrong(self, address: str) -> int:
        """Count a wrong one; how many that makes for this address."""
        now = self._clock()
        count, until = self._of.pop(address, (0, now))
        count = count + 1 if now - until < FORGOTTEN_AFTER else 1
        pause = min(LONGEST_WAIT, 2.0 ** (count - self._free)) if count >= self._free else 0.0
        _remember(self._of, address, (min(count, _MOST_COUNTED), now + pause))
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
