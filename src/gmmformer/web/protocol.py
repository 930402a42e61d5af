"""HTTP/1.1 for clients that mean no good: uvicorn's, with limits on what a connection may cost before it shows a token.

uvicorn has none that would do: past `limit_concurrency` it answers everybody 503, so that whoever fills it keeps the
others out, `timeout_keep_alive` ends with the first byte of the next request, and no middleware is called before a
whole head has come. What can be bounded after that, bodies above all, is bounded by `security.Guard`.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gmmformer.web.config import ServeConfig, group_of, is_local
from gmmformer.web.security import raw_problem

HEAD_BYTES = 160 << 10
"""Of a request's line and headers: room for a sentence of the greatest length in any script."""
HEAD_LINES = 128
"""Of a request's head: to read 60,000 short ones takes the better part of a second."""


class PatientProtocol(H11Protocol):
    """Closes connections whose request does not come, or whose answer is not taken, within the config's times."""

    def __init__(self, *args: Any, crowd: "Crowd", bounds: ServeConfig, **kwargs: Any) -> None:
        """As uvicorn makes it, one of a crowd, with bounds."""
        super().__init__(*args, **kwargs)
        self.conn = _ShortHeads(h11.SERVER, HEAD_BYTES)
        self.app_state = {**self.app_state, "connection": self}  # where the guard finds it
        self.group = ""
        """Who is connected, as `group_of` has it."""
        self.many = False
        """Whether there may be any number of them: this machine's own, and proxies."""
        self.stalled_since: float | None = None
        """Loop time since when the client takes nothing of its answer."""
        self._crowd, self._bounds, self._has_place = crowd, bounds, False
        self._due: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        self.group, self.many = group_of(host), is_local(host) or self._bounds.trusts(host)
        self._watch()
        self._crowd.enter(self)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request came."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """A request is answered; what still comes of its body is dropped."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self.stalled_since = self.loop.time()
        seconds = self._bounds.stall_seconds if self._has_place else self._bounds.read_seconds
        self._stalled = self.loop.call_later(seconds, self.drop)

    def resume_writing(self) -> None:
        """It has taken it."""
        self._go_on()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._go_on()
        if self._due is not None:
            self._due.cancel()
        self._crowd.leave(self)
        super().connection_lost(exc)

    def take_place(self) -> None:
        """A request that was let in is worked on: the connection makes no room for others."""
        self._has_place = True
        self._crowd.settle(self)

    def leave_place(self) -> None:
        """It is done."""
        self._has_place = False
        self._crowd.unsettle(self)

    def drop(self) -> None:
        """Close it at once, whatever was still to be sent."""
        self._crowd.leave(self)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        headers, body = raw_problem(400)
        events = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        with suppress(h11.LocalProtocolError):  # an answer is on its way already
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """While no request is answered, the next one, or the rest of a body, must come; nor may a close take longer."""
        if self.cycle is not None and not self.cycle.response_complete:
            if self._due is not None:
                self._due.cancel()
            self._due = None
        elif self._due is None:
            self._due = self.loop.call_later(self._bounds.read_seconds, self.drop)

    def _go_on(self) -> None:
        self.stalled_since = None
        if self._stalled is not None:
            self._stalled.cancel()


class Crowd:
    """All who are connected. When there are too many, those without a place make room for who comes.

    It is the address with most of them that does, and of its connections the one that waits longest: so neither one
    address nor many can keep the others out.
    """

    def __init__(self, *, most: int, each: int) -> None:
        """At most `most` connections, and `each` from one address."""
        self._most, self._each = most, each
        self._all: dict[str, set[PatientProtocol]] = {}
        self._waiting: dict[str, dict[PatientProtocol, None]] = {}
        self._count = 0

    def enter(self, one: PatientProtocol) -> None:
        """A client has come; if it is one too many, it or another goes."""
        ours = self._all.setdefault(one.group, set())
        ours.add(one)
        self._count += 1
        self.unsettle(one)
        if len(ours) > self._each and not one.many:
            next(iter(self._waiting[one.group])).drop()
        elif self._count > self._most:
            most = max(self._waiting, key=lambda group: len(self._waiting[group]))
            next(iter(self._waiting[most])).drop()

    def leave(self, one: PatientProtocol) -> None:
        """It is gone, or will be in a moment."""
        ours = self._all.get(one.group, set())
        if one in ours:
            ours.remove(one)
            self._count -= 1
            self.settle(one)
            if not ours:
                del self._all[one.group]

    def settle(self, one: PatientProtocol) -> None:
        """It need not make room any more."""
        waiting = self._waiting.get(one.group, {})
        waiting.pop(one, None)
        if not waiting:
            self._waiting.pop(one.group, None)

    def unsettle(self, one: PatientProtocol) -> None:
        """It has to make room when others come."""
        if one in self._all.get(one.group, ()):
            self._waiting.setdefault(one.group, {})[one] = None


class _ShortHeads(h11.Connection):
    """Refuses heads of many lines before it reads them."""

    def next_event(self) -> Any:
        """What the client did next."""
        if self.their_state is h11.IDLE:
            head = self.trailing_data[0].partition(b"\n\r\n")[0].partition(b"\n\n")[0]
            if head.count(b"\n") > HEAD_LINES:
                raise h11.RemoteProtocolError("too many headers")
        return super().next_event()


def protocol_for(config: ServeConfig, connections: int) -> Any:
    """The protocol class as uvicorn takes it, with the bounds of `config`, for so many connections at most."""
    crowd = Crowd(most=connections, each=config.connections_each)
    return partial(PatientProtocol, crowd=crowd, bounds=config)
