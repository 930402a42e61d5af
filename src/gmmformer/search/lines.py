"""What is said in films, as the library's database keeps it: lines, and a full-text index of their terms.

Lines stand in passages of `OWN` lines, each with the first lines of the next one after them, so that words which are
said over several lines are found together. The index holds their terms as `terms_in` makes them of lines and of what is
asked alike; it keeps no text of its own.
"""

import math
import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gmmformer.files import plain, words_in
from gmmformer.media.films import printable
from gmmformer.media.subtitles import Line, Track
from gmmformer.search import naming
from gmmformer.search.database import damaged, has_lines, rows_of
from gmmformer.search.parts import checksum
from gmmformer.search.tables import KINDS, LONGEST

OWN, SHARED = 8, 2
"""Lines of a passage that no other has, and lines after them that are the next one's first."""
PAUSE = 30.0
"""Seconds without a line, after which another passage begins."""
MOST_UNITS = 32
"""Words of a sentence that are looked for, the first ones."""
SLIGHT = naming.SLIGHT | frozenset(
    words_in(
        "about am any been but can could d did do does don had have here him how i if just ll m no not oh out re s she "
        "so t than then these those too us ve what when where which will would yes das der die du ein eine er es ich "
        "ihr ist mit nicht sie und wir zu"
    )
)
"""Words that tell little: they count only in quotes, or where a sentence has no others."""
_PHRASE = re.compile(r'["“”„«]([^"“”„«»]*)["“”»]')
_ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
"""Letters of scripts that put no spaces between words (Hangul, which does, has endings instead): a term each."""
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
)
_TERM = re.compile(rf"[{_ALONE}][\u3099\u309a\uff9e\uff9f]?|(?:(?![{_ALONE}])[^\W_]|[{_MARKS}])+")
_ONE_ALONE = re.compile(f"[{_ALONE}]")


class Term(NamedTuple):
    """A word of a text, as it is compared."""

    term: str
    start: int
    """Where it stands in the text."""
    end: int
    alone: bool
    """Whether it is a letter of a script that puts no spaces between words."""


class Unit(NamedTuple):
    """What is looked for as one: a word, two letters of a script without spaces, or what stood in quotes."""

    terms: tuple[str, ...]
    quoted: bool


class Stamp(NamedTuple):
    """Of what was looked at for what is said and written in a film, kind by kind; none of them holds a slash."""

    subtitles: str = ""
    """Names, sizes and dates of the files beside it."""
    speech: str = ""
    text: str = ""
    """What listened to it, and what read it; empty where nothing did."""

    def __str__(self) -> str:
        return "/".join(self).rstrip("/")


class Said(NamedTuple):
    """What is said in a film, as a library takes it."""

    tracks: Sequence[Track] = ()
    stamp: str = ""
    """Of all that was looked at for it; another one tells that it changed."""
    problem: str = ""
    """Why something of it could not be taken, in a sentence; empty where all is well."""
    kinds: Sequence[str] = KINDS
    """Of tracks, which of these are in place of those that were."""


def terms_in(text: str) -> Iterator[Term]:
    """The words of a text without case and accents, in their order, and where they stand.

    >>> [term.term for term in terms_in("Die STRASSE, naïve 東京")]
    ['die', 'strasse', 'naive', '東', '京']
    """
    for found in _TERM.finditer(text):
        word = found[0]
        alone = _is_alone(word)
        if term := _folded(word, alone):
            yield Term(term, *found.span(), alone)


def _is_alone(word: str) -> bool:
    return not word.isascii() and _ONE_ALONE.match(word) is not None


@lru_cache(1 << 16)
def _folded(word: str, alone: bool) -> str:
    if alone:
        return unicodedata.normalize("NFKC", word).casefold()
    return plain(word).replace("\u0640", "")


def units_in(sentence: str) -> list[Unit]:
    """What a sentence asks for: what stands in quotes as a whole, and the words that tell something."""
    quoted = [tuple(term.term for term in terms_in(said)) for said in _PHRASE.findall(sentence)]
    units = {Unit(terms, True): None for terms in quoted if terms}
    rest = list(terms_in(_PHRASE.sub(" ", sentence)))
    telling = [term for term in rest if term.term not in SLIGHT] or ([] if units else rest)
    letters = [one.alone and other.alone and one.end == other.start for one, other in pairwise(telling)]
    for place, term in enumerate(telling):
        joined = place < len(letters) and letters[place]
        if joined:
            units[Unit((term.term, telling[place + 1].term), False)] = None
        elif not (place and letters[place - 1]):
            units[Unit((term.term,), False)] = None
    return list(units)


def quotes_words(sentence: str) -> bool:
    """Whether a part of a sentence stands in quotes: these very words are wanted."""
    return any(unit.quoted for unit in units_in(sentence))


def keep(connection: sqlite3.Connection, film: int, said: Said) -> None:
    """Write what is said in a film that is there, in place of what was; within a transaction."""
    forget(connection, [film], said.kinds)
    for track in said.tracks:
        lines = sorted(track.lines, key=lambda line: (line.start, line.end))
        pieces = list(_passages(lines))
        number = connection.execute(
            "INSERT INTO tracks (film, kind, name, language, first, passages, lines, checksum)"
            " VALUES (?, ?, ?, ?, 0, ?, ?, 0)",
            (film, track.kind, track.name, track.language, len(pieces), len(lines)),
        ).lastrowid
        first, check = 0, 0
        for own, some in pieces:
            text = "\n".join(line.text for line in some)
            times = np.array([(line.start, line.end) for line in some], dtype="<f8").tobytes()
            row = connection.execute(
                "INSERT INTO passages (track, own, times, text) VALUES (?, ?, ?, ?)", (number, own, times, text)
            ).lastrowid
            connection.execute("INSERT INTO said (rowid, words) VALUES (?, ?)", (row, _indexed(text)))
            first, check = first or int(row or 0), checksum((check, own, times, text))
        connection.execute("UPDATE tracks SET first = ?, checksum = ? WHERE id = ?", (first, check, number))
    connection.execute("INSERT OR REPLACE INTO heard VALUES (?, ?, ?)", (film, said.stamp, said.problem))


def forget(connection: sqlite3.Connection, films: Iterable[int], kinds: Sequence[str] = KINDS) -> None:
    """Remove what is said in films by tracks of some kinds; within a transaction."""
    which = f"WHERE film = ? AND kind IN ({', '.join('?' * len(kinds))})"
    for film in films:
        for first, count in connection.execute(
            f"SELECT first, passages FROM tracks {which}", (film, *kinds)
        ).fetchall():
            rows = connection.execute("SELECT id, text FROM passages WHERE id >= ? AND id < ?", (first, first + count))
            for row, text in rows.fetchall():
                connection.execute(
                    "INSERT INTO said (said, rowid, words) VALUES ('delete', ?, ?)", (row, _indexed(text))
                )
            connection.execute("DELETE FROM passages WHERE id >= ? AND id < ?", (first, first + count))
        connection.execute(f"DELETE FROM tracks {which}", (film, *kinds))
        connection.execute("DELETE FROM heard WHERE film = ?", (film,))


def hand_over(connection: sqlite3.Connection, film: int, heir: int) -> None:
    """What is said in a film is said in another one now, which is the same brought back; within a transaction."""
    columns = "kind, name, language, first, passages, lines, checksum"
    told = connection.execute(f"SELECT {columns} FROM tracks WHERE film = ? ORDER BY id", (film,)).fetchall()
    connection.execute("DELETE FROM tracks WHERE film = ?", (film,))
    for row in told:
        now = connection.execute(f"INSERT INTO tracks (film, {columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (heir, *row))
        first, passages = row[3], row[4]
        values = (now.lastrowid, first, first + passages)
        connection.execute("UPDATE passages SET track = ? WHERE id >= ? AND id < ?", values)
    connection.execute("UPDATE OR REPLACE heard SET film = ? WHERE film = ?", (heir, film))


def _indexed(text: str) -> str:
    return " ".join([term.term for term in terms_in(text)])


def _passages(lines: Sequence[Line]) -> Iterator[tuple[int, Sequence[Line]]]:
    """Lines as they are kept together, and how many of them no other passage has; none goes over a long pause."""
    place = 0
    while place < len(lines):
        stop = place + 1
        while stop < min(len(lines), place + OWN + SHARED) and lines[stop].start - lines[stop - 1].end < PAUSE:
            stop += 1
        own = min(OWN, stop - place)
        yield own, lines[place:stop]
        place += own


def lines_of(folder: Path, row: int, times: bytes, text: str) -> list[Line]:
    """The lines of a passage."""
    texts, when = text.split("\n"), np.frombuffer(times, dtype="<f8")
    if len(when) != 2 * len(texts) or not (np.isfinite(when).all() and (when >= 0).all() and (when <= LONGEST).all()):
        raise damaged(folder, f"the times of the lines of passage {row} cannot be")
    return [Line(float(start), float(end), said) for (start, end), said in zip(when.reshape(-1, 2), texts, strict=True)]


class KeptTrack(NamedTuple):
    """A track of a film that the library has."""

    name: str
    """Where its lines come from: a file, a stream of the film, speech."""
    kind: str
    language: str
    """Such as en; empty where it is not told."""
    lines: int
    first: int
    """Passage; `passages` follow each other."""
    passages: int


def tracks_of(connection: sqlite3.Connection, folder: Path, film: int) -> list[KeptTrack]:
    """The tracks of a film, by its id, in the order in which they came; none where a library was made before."""
    columns = "name, kind, language, lines, first, passages"
    if not has_lines(connection):
        return []
    return [
        KeptTrack(*row) for row in rows_of(connection, folder, "tracks", columns, "WHERE film = ? ORDER BY id", (film,))
    ]


def transcript(
    connection: sqlite3.Connection, folder: Path, track: KeptTrack, start: float = 0.0, end: float = math.inf
) -> Iterator[Line]:
    """What is said in a track between two seconds of its film, in order, for as long as somebody asks."""
    among, values = "WHERE id >= ? AND id < ? ORDER BY id", (track.first, track.first + track.passages)
    for row, own, times, text in rows_of(connection, folder, "passages", "id, own, times, text", among, values):
        for line in lines_of(folder, row, times, text)[:own]:
            if line.start >= end:
                return
            if line.end > start or line.start >= start:
                yield line


def damaged_lines(connection: sqlite3.Connection, folder: Path) -> Iterator[str]:
    """A sentence for each film whose lines are not what was written."""
    which = "WHERE film IN (SELECT id FROM films WHERE removed IS NULL)"
    for film, first, passages, check in rows_of(connection, folder, "tracks", "film, first, passages, checksum", which):
        columns, among = "own, times, text", "WHERE id >= ? AND id < ? ORDER BY id"
        found, rows = 0, list(rows_of(connection, folder, "passages", columns, among, (first, first + passages)))
        for row in rows:
            found = checksum((found, *row))
        if found != check or len(rows) != passages:
            path = connection.execute("SELECT path FROM films WHERE id = ?", (film,)).fetchone()[0]
            yield f"{printable(os.fsdecode(path))}: what is kept of what is said in it is damaged; index it again"
    indexed = connection.execute("SELECT count(*) FROM said_docsize").fetchone()[0]
    if indexed != connection.execute("SELECT count(*) FROM passages").fetchone()[0]:
        yield "the index of what is said is not that of the lines that are kept; restore it from a backup"
