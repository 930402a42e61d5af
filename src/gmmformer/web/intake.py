"""Films into the library and out of it while it is served: one wish after the other, each can be cancelled."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Literal, NamedTuple

from pydantic import Field

from gmmformer.config import DecodeLimits
from gmmformer.cores import usable_cores
from gmmformer.errors import InputError
from gmmformer.media.films import path_text
from gmmformer.search import IndexReport, Library, bring_back, index_films
from gmmformer.search.indexing import film_source
from gmmformer.web.problems import DETAILS, LOG, ProblemError, busy
from gmmformer.web.roots import Roots
from gmmformer.web.schemas import FailureOut, Model

MOST_WAITING = 16
"""Wishes that wait for the one that is at work; more are answered 429."""
PATIENCE = 2.0
"""Seconds that films taken out or brought back wait for another change."""
ENDING = 5.0
"""Seconds that a server that ends gives to what is at work; a library survives that it is broken off."""
_MOST_TOLD = 100
_FOREIGN = "a link leads out of the folders that this server may read"
_BUSY = "Films are being taken in; take films out or bring them back when that is done, or cancel it."

What = Literal["add", "again"]


class WishOut(Model):
    """What somebody wants to have done to the library."""

    number: int = Field(description="By which it is cancelled.")
    what: What = Field(description="add: take in films. again: try again those that failed, and see which changed.")
    places: list[str] = Field(description="Paths of the folders and films; none with again.")


class OutcomeOut(WishOut):
    """How that ended."""

    added: int = Field(description="Films that are new in the library.")
    replaced: int = Field(description="Films that had changed.")
    unchanged: int = Field(description="Films that were there already.")
    failed: int = Field(description="Films that could not be taken in; /api/library says why.")
    gone: int = Field(description="Films of the library whose files are not where they were.")
    odd: list[FailureOut] = Field(description="What is odd about films that were taken in, at most 100 of them.")
    left_out: list[FailureOut] = Field(description="Films that were not looked at, and why, at most 100 of them.")
    cancelled: bool = Field(description="Whether it was broken off; films done until then stay.")
    error: str | None = Field(description="Why it could not be done, in a sentence; null if it could.")


class IntakeOut(Model):
    """What is done, waits to be done, and was done last; what the event "intake" of /api/events says."""

    doing: WishOut | None = Field(description="What is at work; how far it is, `activity` tells.")
    stopping: bool = Field(description="Whether that was cancelled, and ends as soon as it can.")
    waiting: list[WishOut] = Field(description="What comes after it.")
    last: OutcomeOut | None = Field(description="How the last one ended; null before the first.")


class _Cancelled(Exception):  # noqa: N818 - nothing went wrong
    pass


class _Wish(NamedTuple):
    number: int
    what: What
    places: tuple[str, ...]

    def told(self) -> dict[str, Any]:
        return {"number": self.number, "what": self.what, "places": list(map(path_text, self.places))}


class Intake:
    """Does what people wish to be done to a library, in a thread of its own."""

    def __init__(self, library: Library, roots: Roots, changed: Callable[[], None]) -> None:
        """Nothing is wished yet; `changed` is called when the library was changed."""
        self._library, self._roots, self._changed = library, roots, changed
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._waiting = deque[_Wish]()
        self._doing: _Wish | None = None
        self._last: OutcomeOut | None = None
        self._stop, self._ended, self._number = threading.Event(), False, 0
        self._thread: threading.Thread | None = None

    def state(self) -> IntakeOut:
        """What is done, and waits to be."""
        with self._lock:
            return IntakeOut(
                doing=None if self._doing is None else WishOut(**self._doing.told()),
                stopping=self._doing is not None and self._stop.is_set(),
                waiting=[WishOut(**wish.told()) for wish in self._waiting],
                last=self._last,
            )

    def wish(self, what: What, places: Sequence[str] = ()) -> IntakeOut:
        """Take in what lies at some paths that were checked, or look again at what is known, when it is its turn.

        Raises:
            ProblemError: Too much waits (429), or the server ends (503).
        """
        with self._lock:
            if self._ended:
                raise busy(503)
            asked = what, tuple(places)
            if not any((wish.what, wish.places) == asked for wish in self._waiting):
                if len(self._waiting) >= MOST_WAITING:
                    raise busy(429, seconds=60)
                self._number += 1
                self._waiting.append(_Wish(self._number, *asked))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gmmformer-intake", daemon=True)
                self._thread.start()
        return self.state()

    def cancel(self, number: int) -> IntakeOut:
        """Let a wish be; films that were taken in stay. Nothing happens to one that is done."""
        with self._lock:
            self._waiting = deque(wish for wish in self._waiting if wish.number != number)
            if self._doing is not None and self._doing.number == number:
                self._stop.set()
        return self.state()

    def remove(self, ids: Sequence[int]) -> list[int]:
        """Take films out of the library, their files stay; the ids of those that were there.

        Raises:
            ProblemError: Somebody else writes to the library (409).
        """
        with self._own_turn():
            films = self._library.store.films(ids)
            self._library.remove([film.path for film in films])
        return [film.id for film in films]

    def bring_back(self, ids: Sequence[int]) -> dict[int, int]:
        """Take removed films in again; see `gmmformer.search.bring_back`.

        Raises:
            ProblemError: Somebody else writes to the library, or what is kept of them is damaged (409).
        """
        with self._own_turn(), self._library.writing() as into:
            return bring_back(into, ids)

    def stop(self) -> None:
        """End what is at work."""
        with self._lock:
            self._ended, thread = True, self._thread
            self._waiting.clear()
            self._stop.set()
        if thread is not None:
            thread.join(ENDING)

    @contextmanager
    def _own_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=PATIENCE):
            raise ProblemError(409, _BUSY)
        try:
            yield
        except InputError as error:
            raise ProblemError(409, f"The library cannot be changed: {error}.") from error
        finally:
            self._turn.release()
            self._changed()

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._ended or not self._waiting:
                    self._doing, self._thread = None, None
                    return
                self._doing = wish = self._waiting.popleft()
                self._stop.clear()
            outcome = self._done(wish)
            self._changed()
            with self._lock:
                self._last = outcome

    def _done(self, wish: _Wish) -> OutcomeOut:
        report, outside, error, cancelled = IndexReport(), list[str](), None, False
        had: set[str] = set()
        try:
            with self._turn:
                had = set(self._library.store.known())
                films, outside = self._films(wish)
                report = self._taken_in(films, retry=wish.what == "again")
                with suppress(InputError):  # the films are in; the next ones bring it about
                    self._library.calibrate_if_outgrown()
        except _Cancelled:
            cancelled = True
            with suppress(InputError):  # then how many is not known
                report.added.extend(set(self._library.store.known()) - had)
        except InputError as problem:
            error = f"{problem}."
        except Exception:
            LOG.exception("films could not be taken in")
            error = DETAILS[500]
        return OutcomeOut(
            **wish.told(),
            added=len(report.added),
            replaced=len(report.replaced),
            unchanged=len(report.unchanged),
            failed=len(report.failed),
            gone=len(report.vanished),
            odd=_first(report.warnings.items()),
            left_out=_first((path, _FOREIGN) for path in outside),
            cancelled=cancelled,
            error=error,
        )

    def _films(self, wish: _Wish) -> tuple[list[str], list[str]]:
        """The films that are to be looked at, and those that are not."""
        if wish.what == "add":
            return self._roots.films(wish.places)
        store = self._library.store
        paths = dict.fromkeys([*store.known(), *(failure.path for failure in store.failures())])
        there = [path for path in paths if os.path.isabs(path) and os.path.isfile(path)]  # noqa: PTH113, PTH117
        return [path for path in there if self._roots.holds(path)], []

    def _taken_in(self, films: Sequence[str], *, retry: bool) -> IndexReport:
        limits = DecodeLimits(decoders=max(1, usable_cores() - 1))  # the others answer meanwhile
        source = film_source(self._library.models, limits, None, on_frames=self._see_wanted)
        with self._library.writing() as into:
            return index_films(into, films, source, retry=retry, progress=self._see_wanted)

    def _see_wanted(self, *_: object) -> None:
        if self._stop.is_set():
            raise _Cancelled


def _first(told: Iterable[tuple[str, str]]) -> list[FailureOut]:
    return [FailureOut(film=path_text(path), reason=reason) for path, reason in islice(told, _MOST_TOLD)]
