"""The terminal and the system around a command: what it needs of them, the one sentence where it lacks it, progress."""

import errno
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import TextIOBase, TextIOWrapper
from typing import TYPE_CHECKING, Any, TextIO

from gmmformer.errors import InputError, MissingExtraError, one_line
from gmmformer.media.films import printable

if TYPE_CHECKING:
    from gmmformer.media.report import ExtractStatus
    from gmmformer.training import EpochEnd

LEAST_HANDLES = 64
"""Files that a process must be able to hold open: torch, a database, a library's parts, pipes to decoders."""
LEAST_COLUMNS = 40
"""Width of a terminal below which help cannot be laid out."""
BAD_INPUT, CLOSED_PIPE, INTERRUPTED = 2, 1, 130
_OUTPUT = "the output"
_EXTRA_OF = {"av": "films", "PIL": "films", "transformers": "films", "faiss": "search", "ray": "ray", "fastapi": "web"}
"""Packages that are loaded with our own modules, by the extra that brings them."""
_NO_MEMORY = (
    "can't allocate memory",
    "unable to allocate",
    "cannot allocate memory",
    "out of memory",
    "can't start new thread",
)
_NO_MEMORY_TO_LOAD = ("failed to map segment", "returned null without setting an exception", *_NO_MEMORY)


def prepare() -> None:
    """See that the three streams, the working folder and the handles for files are there.

    What cannot be printed in the terminal's encoding is escaped from here on.

    Raises:
        InputError: One of them is missing.
    """
    _fill_closed_streams()
    if sys.stdout is None:
        raise InputError("the standard output is closed; open it, or send it to a file or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if shutil.get_terminal_size().columns < LEAST_COLUMNS:
        os.environ["COLUMNS"] = str(LEAST_COLUMNS)
    try:
        os.getcwd()  # noqa: PTH109 - asked for its error
    except OSError as error:
        raise InputError(
            f"the working folder cannot be found ({error.strerror}); change to one that is there"
        ) from error
    _raise_handles()


def _fill_closed_streams() -> None:
    """Put the null device in the place of closed streams, lest files opened later take their numbers."""
    with suppress(OSError):
        while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(handle, True)
        os.close(handle)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for as long as the process is


def _raise_handles() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= LEAST_HANDLES:
        return
    if hard != resource.RLIM_INFINITY and hard < LEAST_HANDLES:
        raise InputError(
            f"only {hard} files may be open at a time here, and {LEAST_HANDLES} are needed; raise the limit (ulimit -n)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (LEAST_HANDLES, hard))


class Output(TextIOBase):
    """The standard output, whose errors say that they are its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._named():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self._stream.encoding

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = _OUTPUT
            raise


def told(error: BaseException) -> int | None:
    """Say in one sentence what kept a command from its end; the exit code, or None for what is a fault of ours."""
    if isinstance(error, OSError) and error.filename == _OUTPUT:
        with suppress(OSError):  # what is left of it, and is written when Python ends, goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return CLOSED_PIPE
    sentence = _sentence(error)
    if sentence is None:
        return None
    with suppress(OSError, ValueError):
        print(f"gmmformer: {printable(sentence)}", file=sys.stderr, flush=True)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else BAD_INPUT


def _sentence(error: BaseException) -> str | None:
    match error:
        case InputError() | MissingExtraError():
            return str(error)
        case KeyboardInterrupt():
            return "interrupted"
        case MemoryError():
            return _memory(error)
        case RecursionError():
            return "something in the input is nested too deep to be read; look for endless brackets in it"
        case UnicodeError():
            return f"text that is not in the encoding expected ({one_line(error)}); write it in UTF-8"
        case OSError():
            return _of_the_system(error)
        case ModuleNotFoundError() if (extra := _EXTRA_OF.get(str(error.name).partition(".")[0])) is not None:
            return str(MissingExtraError("this command", extra))
        case ImportError() if os.strerror(errno.EMFILE) in str(error):
            return _of_the_system(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        case ImportError() | SystemError() if any(words in str(error).lower() for words in _NO_MEMORY_TO_LOAD):
            return _memory(error)
        case RuntimeError() if any(words in str(error).lower() for words in _NO_MEMORY):
            return _memory(error)
        case _:
            return None


def _memory(error: BaseException) -> str:
    return f"there is not enough memory ({one_line(error)}); free some, or give it less at a time"


def _of_the_system(error: OSError) -> str:
    remedies = {
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
        errno.ENFILE: "close other programs, which hold too many files open",
        errno.ENOSPC: "free some space and run the same command again",
        errno.EDQUOT: "free some space and run the same command again",
        errno.EACCES: "mend its permissions",
        errno.EPERM: "mend its permissions",
        errno.EROFS: "choose a place that can be written to",
        errno.ENOMEM: "free some memory",
        errno.EIO: "check the disk",
    }
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    why = one_line(error) if error.strerror is None else error.strerror
    return f"{where}{why}; {remedies.get(error.errno or 0, 'check that it is there and as it should be')}"


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr for each kind of work that is reported: what, how much is done, how much there is."""
    from tqdm import tqdm

    bars: dict[str, tqdm[Any]] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit_scale=True, leave=False)
        bars[what].update(done - bars[what].n)
        if done >= total:
            bars.pop(what).close()

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()


@contextmanager
def film_bar() -> Iterator[Callable[["ExtractStatus"], None]]:
    """A progress bar on stderr of the films that are decoded."""
    from tqdm import tqdm

    started = time.perf_counter()
    with tqdm(desc="films", unit="film", leave=False) as bar:

        def show(status: "ExtractStatus") -> None:
            bar.total = status.films
            rate = status.frames / (time.perf_counter() - started)
            bar.set_postfix_str(f"{rate:,.0f} frames/s, {status.failed} failed", refresh=False)
            bar.update(status.done - bar.n)

        yield show


def report_epoch(end: "EpochEnd", *, to: TextIO | None = None) -> None:
    """The line of an epoch, above the progress bar, on stdout or `to`."""
    from tqdm import tqdm

    recall = "  ".join(f"{value:5.2f}" for value in end.metrics.recall)
    tqdm.write(
        f"epoch {end.epoch + 1:3d}  loss {end.losses['total']:.4f}  R@1/5/10/100 {recall}  "
        f"SumR {end.metrics.sum_recall:6.2f}{' *' if end.best else '  '}  {end.videos_per_second:,.0f} videos/s",
        file=to or sys.stdout,
    )


def telling(json: bool) -> dict[str, Any]:
    """What `run_demo` is to tell people with: on stderr where stdout is for a machine."""
    to = sys.stderr if json else sys.stdout
    return {"say": partial(print, file=to), "report": partial(report_epoch, to=to)}
