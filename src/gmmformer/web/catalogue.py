"""The library as the server shows it: counts, films, hits, which of them can be seen, and what changes in it."""

import asyncio
import math
import os
import posixpath
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from gmmformer.evaluation.moments import ScoreCurve
from gmmformer.media.films import path_text
from gmmformer.search import Film, Hit, Library, activity_in
from gmmformer.search.calibration import Word
from gmmformer.search.tables import SAID, WRITTEN
from gmmformer.search.words import SOURCES, Source, holds_lines
from gmmformer.web.choosing import chosen
from gmmformer.web.files import state_of
from gmmformer.web.film_work import FilmWork
from gmmformer.web.problems import DETAILS, LOG, ProblemError, busy
from gmmformer.web.schemas import (
    ActivityOut,
    CountsOut,
    FailureOut,
    FilmOut,
    FilmsOut,
    FilmsQuery,
    HitOut,
    LibraryOut,
    RemovedFilmOut,
    Strip,
)

FRESH = 1.0
"""Seconds after which it is looked whether counts and lists of a library are old."""
PATIENCE = 0.08
"""Seconds that an answer waits to learn what browsers make of its films; after that a film's ending decides."""
EVERY, QUIET = 1.0, 15.0
"""Seconds between two looks at the library while anybody listens, and between two signs that a stream still stands."""
STREAMS = 64
"""Event streams at a time; more are answered 503."""
_MOST_LISTED = 1_000
_STRIP_PIECES = 240
_PLAYED = frozenset({".mp4", ".m4v", ".webm"})
_WORDS: tuple[Word, ...] = ("strong", "possible", "weak")

T = TypeVar("T")


class Recent(Generic[T]):
    """Something of a library that takes a while to find out, found out again when the library has changed."""

    def __init__(self, find: Callable[[], T], generation: Callable[[], int]) -> None:
        """Both are called on a thread."""
        self._find, self._generation, self._lock = find, generation, asyncio.Lock()
        self._value: T | None = None
        self._of = -1  # generation
        self._since = self._changed = -math.inf

    async def get(self) -> T:
        """What it is, or was a moment ago."""
        async with self._lock:
            if self._value is None or self._since < max(time.monotonic() - FRESH, self._changed):
                began = time.monotonic()
                value, self._of = await asyncio.to_thread(self._look)
                self._value, self._since = value, began
            return self._value

    def forget(self) -> None:
        """Find it out when it is asked for next, even if that is being done now."""
        self._changed = time.monotonic()

    def _look(self) -> tuple[T, int]:
        generation = self._generation()
        if self._value is not None and self._of == generation and self._since >= self._changed:
            return self._value, generation
        return self._find(), generation


class Catalogue:
    """What the routes ask about films."""

    def __init__(self, library: Library, work: FilmWork) -> None:
        """Show `library`."""
        self.library, self._work = library, work
        store = library.store
        self._info = Recent(library.info, store.generation)
        self._films = Recent(store.films, store.generation)
        self._failures = Recent(store.failures, store.generation)
        self._folders = Recent(self._all_folders, store.generation)
        self._sources = Recent(self._looked_in, store.generation)
        self._learning: set[asyncio.Task[None]] = set()
        self.unlooked = asyncio.Event()
        """Set when somebody asks for what is only known of films that were looked at."""

    def forget(self) -> None:
        """The library was changed from here: nothing may be old."""
        for recent in (self._info, self._films, self._failures, self._folders, self._sources):
            recent.forget()

    def removed(self, films: Sequence[Film]) -> list[RemovedFilmOut]:
        """Films that were taken out."""
        return [RemovedFilmOut(**names(film.id, path_text(film.path), film.length)) for film in films]

    async def films(self) -> list[Film]:
        """All of them, by id."""
        return await self._films.get()

    async def film(self, identity: int) -> Film:
        """The film of an id.

        Raises:
            ProblemError: There is none (404).
        """
        film = await asyncio.to_thread(self.library.store.film, identity)
        if film is None:
            raise ProblemError(404)
        return film

    async def counts(self) -> CountsOut:
        """How much there is."""
        info = await self._info.get()
        return CountsOut(films=info.films, seconds=round(info.seconds, 3), failed=info.failures)

    async def activity(self) -> ActivityOut | None:
        """What is being done to the library."""
        activity = await asyncio.to_thread(activity_in, self.library.folder)
        return None if activity is None else ActivityOut(**activity._asdict())

    async def whole(self, **able: Any) -> LibraryOut:
        """What the library holds, and what can be done here, as `LibraryOut` has it."""
        info = await self._info.get()
        failures = await self._failures.get()
        return LibraryOut(
            films=info.films,
            seconds=round(info.seconds, 3),
            failures=[FailureOut(film=path_text(one.path), reason=one.reason) for one in failures[:_MOST_LISTED]],
            folders=await self._folders.get(),
            sources=await self._sources.get(),
            model=info.model,
            engine=info.engine,
            bytes=info.bytes,
            activity=await self.activity(),
            **able,
        )

    async def page(self, asked: FilmsQuery) -> FilmsOut:
        """Some of the films, in some order."""
        films = await asyncio.to_thread(chosen, await self.films(), asked)
        films, unlooked = await self._of_size(films, asked)
        some = films[asked.offset : asked.offset + asked.limit]
        return FilmsOut(total=len(films), films=await self.cards(some), unlooked=unlooked)

    async def _of_size(self, films: list[Film], asked: FilmsQuery) -> tuple[list[Film], int]:
        """Films of the wanted number of lines, and how many were not looked at yet: they are, from now on."""
        if not asked.min_lines and asked.max_lines is None:
            return films, 0
        least, most = asked.min_lines, math.inf if asked.max_lines is None else asked.max_lines
        looks = [self._work.known(film) for film in films]
        unknown = [film for film, look in zip(films, looks, strict=True) if look is None]
        unknown = await asyncio.to_thread(lambda: [film for film in unknown if state_of(film) is None])
        if unknown:
            self.unlooked.set()
        told = ((film, look.lines) for film, look in zip(films, looks, strict=True) if look is not None)
        return [film for film, lines in told if lines is not None and least <= lines <= most], len(unknown)

    async def cards(self, films: Sequence[Film]) -> list[FilmOut]:
        """Films with what can be done with them."""
        seen = await self._seen(films)
        lines = {film.id: look.lines if (look := self._work.known(film)) else None for film in films}
        named = [(film.id, names(film.id, path_text(film.path), film.timing.length)) for film in films]
        return [FilmOut(**names, **seen[film], lines=lines[film]) for film, names in named]

    async def hits(self, hits: Sequence[Sequence[Hit]], strips: bool) -> list[list[HitOut]]:
        """Hits with what can be done with their films."""
        identities = {hit.film.id for some in hits for hit in some}
        films = await asyncio.to_thread(self.library.store.films, identities)
        seen = await self._seen(films)
        gone = {"available": False, "playable": False, "reason": "it was taken out of the library just now"}

        def told(some: Sequence[Hit]) -> list[HitOut]:
            first = {id(hit) for hit in {hit.film.id: hit for hit in reversed(some)}.values()}
            return [_hit(hit, seen.get(hit.film.id, gone), strips and id(hit) in first) for hit in some]

        return await asyncio.to_thread(lambda: [told(some) for some in hits])

    async def _seen(self, films: Sequence[Film]) -> dict[int, dict[str, Any]]:
        """`Playing` of each film, by id."""
        states = await asyncio.to_thread(lambda: {film.id: state_of(film) for film in films})
        there = [film for film in films if states[film.id] is None]
        unknown = [film for film in there if self._work.known(film) is None]
        if unknown:
            tasks = [asyncio.create_task(self._learn(film)) for film in unknown]
            self._learning.update(tasks)
            for task in tasks:
                task.add_done_callback(self._learning.discard)
            await asyncio.wait(tasks, timeout=PATIENCE)
        seen: dict[int, dict[str, Any]] = {}
        for film in films:
            state = states[film.id]
            reason = self._reason(film) if state is None else DETAILS[state]
            seen[film.id] = {"available": state is None, "playable": reason is None, "reason": reason}
        return seen

    async def _learn(self, film: Film) -> None:
        try:
            await self._work.plays(film)
        except ProblemError:
            return  # too much is being looked at; another time

    def _reason(self, film: Film) -> str | None:
        if (look := self._work.known(film)) is not None:
            return look.reason
        ending = os.path.splitext(film.path)[1].lower()  # noqa: PTH122 - may hold any bytes
        return None if ending in _PLAYED else f"{ending.removeprefix('.') or 'unknown'} file"

    def _looked_in(self) -> list[Source]:
        with self.library.store.reading() as connection:
            kinds: dict[Source, Sequence[str]] = {"said": SAID, "written": (WRITTEN,)}
            return [one for one in SOURCES if one not in kinds or holds_lines(connection, kinds[one])]

    def _all_folders(self) -> list[str]:
        return sorted({posixpath.dirname(path_text(path)) for path in self.library.store.known()} - {""})[:_MOST_LISTED]


class Events:
    """Looks at the library for all who listen."""

    def __init__(self, catalogue: Catalogue, intake: Callable[[], str] | None = None) -> None:
        """Nobody listens yet; `intake` tells what is done to the library from here, in JSON, if anything can be."""
        self._catalogue, self._intake, self._listeners = catalogue, intake, 0
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
        if self._listeners >= STREAMS:
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
        state = {"library": counts.model_dump_json(), "activity": activity.model_dump_json() if activity else "null"}
        if self._intake is not None:
            state["intake"] = self._intake()
        if state != self._state:
            self._state = state
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()


def best_word(hits: Iterable[HitOut]) -> Word | None:
    """The best of what the hits are called."""
    words = {hit.word for hit in hits}
    return next((word for word in _WORDS if word in words), None)


def strip_of(curve: ScoreCurve, most: int = _STRIP_PIECES) -> Strip:
    """A score curve in at most `most` pieces, each with the best score of what it joins."""
    pieces = len(curve.scores)
    starts = np.unique(np.linspace(0, pieces, min(most, pieces), endpoint=False).astype(int))
    return Strip(
        edges=rounded(curve.edges[[*starts, pieces]], 3), scores=rounded(np.maximum.reduceat(curve.scores, starts), 4)
    )


def rounded(values: np.ndarray, digits: int) -> list[float]:
    """Some numbers as they are sent."""
    short: list[float] = np.round(np.asarray(values, dtype=np.float64), digits).tolist()
    return short


def _hit(hit: Hit, seen: dict[str, Any], strips: bool) -> HitOut:
    told: dict[str, Any] = hit.to_dict()
    called = names(hit.film.id, told["film"], hit.film.length)
    return HitOut(
        **called,
        **seen,
        **{name: told[name] for name in ("start", "end", "score", "strength", "word")},
        named=hit.named,
        copies=told.get("copies", []),
        strip=strip_of(hit.curve) if strips and len(hit.curve.scores) else None,
        **({"why": told["why"]} if "why" in told else {}),
    )


def names(identity: int, film: str, length: float) -> dict[str, Any]:
    """A film as `Names` has it."""
    return {
        "id": identity,
        "film": film,
        "name": posixpath.basename(film) or film,
        "folder": posixpath.dirname(film),
        "length": round(length, 3),
    }
