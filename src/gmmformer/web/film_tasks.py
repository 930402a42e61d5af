"""What is done with film files, in processes of their own: films may be broken so that they hang or crash a decoder."""

import os
import resource
import signal
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from gmmformer.errors import InputError


class Done(NamedTuple):
    """How a task ended: plain values, so that any of them can cross from one process to another."""

    value: Any = None
    refused: str | None = None
    """Why the film cannot be used, without its path."""
    trace: str | None = None
    """Where an error came from that nobody foresaw, for the log."""


def start(memory_limit: int) -> None:
    """Make a process fit for tasks: Ctrl-C is for the server to handle, memory is bounded, no core is dumped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))
    os.nice(5)


def thumbnail(path: str, second: float, height: int) -> Done:
    """A JPEG of the frame on screen at a second."""
    from gmmformer.media import cutting

    return ended(lambda: cutting.thumbnail(path, second, height))


def plays(path: str) -> Done:
    """None if browsers play the film, else why not."""
    from gmmformer.media import cutting

    return ended(lambda: cutting.browser_plays(path))


def frame_rate(path: str) -> Done:
    """Frames per second of a film; None if nobody knows."""
    from gmmformer.media.frames import probe

    return ended(lambda: probe(path).average_rate)


def preview(path: str, start: float, end: float, out: str) -> Done:
    """Write what any browser plays, of those seconds."""
    from gmmformer.media import cutting

    return ended(lambda: _written(cutting.browser_preview(path, start, end, out)))


def cut(path: str, start: float, end: float, out: str, exact: bool | None) -> Done:
    """Cut those seconds out."""
    from gmmformer.media import cutting

    return ended(lambda: _written(cutting.cut_moment(path, start, end, out, exact=exact)))


def _written(cut: object) -> None:
    """The file is the value; the other side reads it."""


def ended(task: Callable[[], Any]) -> Done:
    """What a task gives, or why it gives nothing."""
    try:
        return Done(task())
    except InputError as error:
        return Done(refused=getattr(error, "reason", None) or "its seconds, or the server's disk, do not allow it")
    except MemoryError:
        return Done(refused="it needs more memory than a film may take")
    except Exception:  # films bring libraries to errors of all kinds, and not all of those can be pickled
        return Done(refused="its decoder failed", trace=traceback.format_exc())
