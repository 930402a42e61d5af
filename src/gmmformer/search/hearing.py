"""What is said in films into a library: subtitles beside them and within them, anew where these have changed,
speech, and text on the screen.
"""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypedDict

from gmmformer.config import DecodeLimits
from gmmformer.cores import Progress, silent
from gmmformer.media.speech import Speech
from gmmformer.media.subtitles import Subtitles, Track, beside, stamp_of_files
from gmmformer.media.written import Written
from gmmformer.search.changes import IndexReport, heard_in
from gmmformer.search.database import add_lines, has_lines, rows_of
from gmmformer.search.lines import Said, Stamp, keep
from gmmformer.search.writer import Writer

_COMMIT_SECONDS, _COMMIT_LINES = 2.0, 20_000
_FAILED = "!"
"""Stands after what listened or read where it got nothing, and said why."""


class Taking(TypedDict, total=False):
    """How films are taken in; see `index_films`."""

    prune: bool
    said: bool | Speech
    written: Written | None
    progress: Progress


class Added(Taking, total=False):
    """How they are taken in, and decoded; see `Library.add`."""

    limits: DecodeLimits
    ray: str | None


class Hearing:
    """Looks for what is said in films while they are taken in; made by `hearing`."""

    def __init__(self, into: Writer, films: Iterable[str], add: bool, report: IndexReport) -> None:
        """Use `hearing`."""
        self._into, self._report, self.subtitles = into, report, Subtitles()
        with into.store.reading() as connection:
            there = has_lines(connection)
            self._stamps = heard_in(connection, into.folder)
        self.wanted = add or there
        """Whether the library is to hold what is said."""
        self._files = beside(films) if self.wanted else {}
        if add and not there:
            with into.transaction() as connection:
                add_lines(connection)

    def of(self, path: str, length: float, within: bool) -> Said | None:
        """What subtitles say in a film, by its path, of so many seconds; None where the library is not to hold that.

        `within` says whether there may be text in the film's own file.
        """
        if not self.wanted:
            return None
        files = self._files.get(path, [])
        return self._told(path, *self.subtitles.of(path, files, length, within), Stamp(stamp_of_files(files)))

    def again(self, films: Iterable[str], progress: Progress = silent) -> None:
        """Take in what subtitles say in films that are there and unchanged, where that is not known or has changed."""
        if not self.wanted:
            return
        stamps = {path: stamp_of_files(self._files.get(path, [])) for path in films}
        todo = [
            path for path, stamp in stamps.items() if path not in self._stamps or self._stamps[path].subtitles != stamp
        ]
        found, lines, since = dict[int, Said](), 0, time.monotonic()
        for done, path in enumerate(todo):
            progress("subtitles", done, len(todo))
            film = self._into.store.film(path)
            said = None if film is None else self.of(path, film.length, True)
            if film is None or said is None:
                continue
            stamp = self._stamps.get(path, Stamp())._replace(subtitles=stamps[path])
            found[film.id] = said._replace(stamp=str(stamp), kinds=("subtitles",))
            lines += sum(len(track.lines) for track in said.tracks)
            if lines > _COMMIT_LINES or time.monotonic() - since > _COMMIT_SECONDS:
                self._note(found)
                found, lines, since = {}, 0, time.monotonic()
        self._note(found)
        if todo:
            progress("subtitles", len(todo), len(todo))

    def take(
        self, source: Speech | Written, films: Iterable[str], progress: Progress = silent, *, retry: bool = False
    ) -> None:
        """Take in what is heard or read in films that are there, unless that was done with the same means before.

        Films with subtitles are left out unless the source is for films everywhere; with `retry` films that nothing
        could be taken of are tried again. What was found in a film is on the disk before the next one is begun.
        `progress` counts seconds of film.
        """
        done_with = {source.identity} if retry else {source.identity, source.identity + _FAILED}
        with self._into.store.reading() as connection:
            folder, known = self._into.folder, {film.path: film for film in self._into.store.films()}
            stamps = heard_in(connection, folder)
            subtitled = dict(rows_of(connection, folder, "tracks", "film, kind", "WHERE kind = 'subtitles'"))
        todo = [
            known[path]
            for path in films
            if path in known
            and getattr(stamps.get(path, Stamp()), source.kind) not in done_with
            and (source.everywhere or known[path].id not in subtitled)
        ]
        done, total = 0.0, math.ceil(sum(film.length for film in todo))

        def shown(seconds: float) -> None:
            progress(source.kind, min(int(done + seconds), total - 1), total)

        for film in todo:
            tracks, problems = source.of(film.path, film.length, shown)
            identity = source.identity + (_FAILED if problems and not tracks else "")
            stamp = stamps.get(film.path, Stamp())._replace(**{source.kind: identity})
            self._note({film.id: self._told(film.path, tracks, problems, stamp)._replace(kinds=(source.kind,))})
            done += film.length
        if todo:
            progress(source.kind, total, total)

    def _told(self, path: str, tracks: list[Track], problems: list[str], stamp: Stamp) -> Said:
        """What is said in a film, for the library; told in the report too."""
        if problems:
            told = [self._report.warnings[path]] if path in self._report.warnings else []
            self._report.warnings[path] = "; ".join(told + problems)
        if tracks:
            lines = sum(len(track.lines) for track in tracks)
            self._report.said[path] = self._report.said.get(path, 0) + lines
        return Said(tracks, str(stamp), "; ".join(problems))

    def _note(self, found: dict[int, Said]) -> None:
        """Keep what is said in films, by id, in place of what was."""
        if found:
            with self._into.transaction() as connection:
                for film, said in found.items():
                    keep(connection, film, said)


@contextmanager
def hearing(into: Writer, films: Iterable[str], add: bool, report: IndexReport) -> Iterator[Hearing]:
    """What looks for what is said, as long as the block lasts; with `add` in a library too that held none of it."""
    found = Hearing(into, films, add, report)
    try:
        yield found
    finally:
        found.subtitles.close()
