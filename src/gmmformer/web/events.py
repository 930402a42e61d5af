"""Server-sent events: what the library holds and what is being done to it, told when it changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from gmmformer.web.catalogue import Catalogue
from gmmformer.web.problems import LOG, busy

EVERY = 1.0
"""Seconds between two looks at the library, while anybody listens."""
QUIET = 15.0
"""Seconds after which a comment shows that the connection still stands."""


class Events:
    """Looks at the library for all who listen."""

    def __init__(self, catalogue: Catalogue, most: int) -> None:
        """At most `most` may listen at a time."""
        self._catalogue, self._most, self._listeners = catalogue, most, 0
        self._state: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    def end(self) -> None:
        """End all streams, so that the server can."""
        self._ended.set()
        self._changed.set()

    async def stop(self) -> None:
        """Look no more."""
        self.end()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    def admit(self) -> None:
        """Refuse one who would be one too many.

        Raises:
            ProblemError: It is (503).
        """
        if self._listeners >= self._most:
            raise busy(503, seconds=5)

    async def stream(self) -> AsyncIterator[str]:
        """The events as text: all at first, then each that changes."""
        self._listeners += 1
        try:
            if self._watcher is None or self._watcher.done():
                await self._look()
                self._watcher = asyncio.create_task(self._watch())
            yield "retry: 2000\n\n"
            told: dict[str, str] = {}
            while True:
                state, changed = dict(self._state), self._changed
                for event, data in state.items():
                    if told.get(event) != data:
                        yield f"event: {event}\ndata: {data}\n\n"
                told = state
                if self._ended.is_set():
                    return
                try:
                    await asyncio.wait_for(changed.wait(), QUIET)
                except TimeoutError:
                    yield ": still here\n\n"
        finally:
            self._listeners -= 1

    async def _watch(self) -> None:
        while self._listeners and not self._ended.is_set():
            await asyncio.sleep(EVERY)
            try:
                await self._look()
            except Exception:
                LOG.exception("the library could not be looked at")

    async def _look(self) -> None:
        activity = await self._catalogue.activity()
        counts = await self._catalogue.counts()
        state = {"library": _data(counts.model_dump()), "activity": _data(activity and activity.model_dump())}
        if state != self._state:
            self._state = state
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()


def _data(value: Any) -> str:
    return json.dumps(value)
