"""HTTP/1.1 for clients that are slow on purpose: uvicorn's, with limits on how long a head or an answer may take."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gmmformer.web.config import ServeConfig
from gmmformer.web.security import raw_problem


class PatientProtocol(H11Protocol):
    """Closes connections whose request does not come, or whose answer is not taken, within the config's times."""

    def __init__(self, *args: Any, bounds: ServeConfig, **kwargs: Any) -> None:
        """As uvicorn makes it, with bounds."""
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._coming: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        if len(self.connections) > self._bounds.connections:
            transport.abort()
            return
        self._coming = self.loop.call_later(self._bounds.read_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request came."""
        if self._coming is None and self.conn.their_state is h11.IDLE:
            self._coming = self.loop.call_later(self._bounds.read_seconds, self.transport.abort)
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            _stopped(self._coming)
            self._coming = None

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        _stopped(self._stalled)
        self._stalled = self.loop.call_later(self._bounds.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It has taken it."""
        _stopped(self._stalled)
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        _stopped(self._coming, self._stalled)
        super().connection_lost(exc)

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


def protocol_for(config: ServeConfig) -> Any:
    """The protocol class as uvicorn takes it, with the bounds of `config`."""
    return partial(PatientProtocol, bounds=config)


def _stopped(*timers: asyncio.TimerHandle | None) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()
