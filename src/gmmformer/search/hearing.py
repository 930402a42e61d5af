"""What is said in films into a library: subtitles beside them and within them, anew where these have changed."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gmmformer.cores import Progress, silent
from gmmformer.media.subtitles import Subtitles, beside, stamp_of_files
from gmmformer.search.changes import IndexReport, heard_in
from gmmformer.search.database import add_lines, has_lines
from gmmformer.search.lines import Said, keep
from gmmformer.search.writer import Writer

_COMMIT_SECONDS, _COMMIT_LINES = 2.0, 20_000


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
        """What is said in a film, by its path, of so many seconds; None where the library is not to hold that.

        `within` says whether there may be text in the film's own file.
        """
        if not self.wanted:
            return None
        files = self._files.get(path, [])
        tracks, problems = self.subtitles.of(path, files, length, within)
        if problems:
            told = [self._report.warnings[path]] if path in self._report.warnings else []
            self._report.warnings[path] = "; ".join(told + problems)
        if tracks:
            self._report.said[path] = sum(len(track.lines) for track in tracks)
        return Said(tracks, stamp_of_files(files), "; ".join(problems))

    def again(self, films: Iterable[str], progress: Progress = silent) -> None:
        """Take in what is said in films that are there and unchanged, where that was not looked for, or has changed."""
        if not self.wanted:
            return
        stamps = {path: stamp_of_files(self._files.get(path, [])) for path in films}
        todo = [path for path, stamp in stamps.items() if self._stamps.get(path) != stamp]
        found, lines, since = dict[int, Said](), 0, time.monotonic()
        for done, path in enumerate(todo):
            progress("subtitles", done, len(todo))
            film = self._into.store.film(path)
            said = None if film is None else self.of(path, film.length, True)
            if film is None or said is None:
                continue
            found[film.id] = said
            lines += sum(len(track.lines) for track in said.tracks)
            if lines > _COMMIT_LINES or time.monotonic() - since > _COMMIT_SECONDS:
                self._note(found)
                found, lines, since = {}, 0, time.monotonic()
        self._note(found)
        if todo:
            progress("subtitles", len(todo), len(todo))

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
