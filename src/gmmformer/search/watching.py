"""When something changed among films on disk, and has come to rest."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gmmformer.errors import MissingExtraError

QUIET_SECONDS = 2.0
"""Without a change, before what changed counts as written to its end."""
LONGEST_WAIT = 60.0
"""Seconds after which it counts so even if there is no rest, so that one endless recording does not hold up others."""


def settled_changes(paths: Sequence[str | os.PathLike[str]], stop: threading.Event | None = None) -> Iterator[None]:
    """Yield whenever files below `paths` changed and have come to rest; end when `stop` is set.

    The first time comes by itself after a quiet moment, so that nothing that changed before the watch began is missed.

    Raises:
        MissingExtraError: watchfiles is not installed.
    """
    try:
        from watchfiles import watch
    except ImportError as error:
        raise MissingExtraError("watching folders", "search") from error
    changes = watch(
        *map(Path, paths),
        stop_event=stop,
        rust_timeout=int(1000 * QUIET_SECONDS),
        yield_on_timeout=True,
        raise_interrupt=True,
        watch_filter=None,
    )
    return _settled(changes)


def _settled(changes: Iterator[object]) -> Iterator[None]:
    since: float | None = time.monotonic()
    for seen in changes:
        now = time.monotonic()
        if seen:
            since = since or now
        if since is not None and (not seen or now - since >= LONGEST_WAIT):
            since = None
            yield
