"""Searching by words alone: what is said in films, and their names. No model is needed for it, and none is loaded."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from gmmformer.errors import InputError, suggest
from gmmformer.media.films import path_text, printable
from gmmformer.search.changes import ids_matching
from gmmformer.search.database import explained, has_lines, open_database, rows_of, writable
from gmmformer.search.lines import quotes_words
from gmmformer.search.naming import Names
from gmmformer.search.quotes import WORDS, Lines, Quote
from gmmformer.search.tables import KINDS

Source = Literal["picture", "said", "written", "name"]
"""What a search looks in: how films look, what is said and written in them, the words of their paths."""
Reading = Callable[[], AbstractContextManager[sqlite3.Connection]]
"""Gives the database of a library for as long as a block lasts."""
MOST_HITS = 10_000
SOURCES: tuple[Source, ...] = get_args(Source)


class NamedFilm(NamedTuple):
    """A film as it is known without its timing."""

    id: int
    path: str
    length: float
    """Seconds."""


@dataclass(frozen=True, kw_only=True)
class TextHit:
    """A moment that was found by words alone; one of a film that is found by name alone is all of it."""

    film: NamedFilm
    start: float
    end: float
    score: float
    """That of its quote; 1 without one."""
    named: bool
    quotes: tuple[Quote, ...]
    """What is said there."""
    word: None = None
    copies: tuple[()] = ()
    parts: tuple[()] = ()

    @property
    def sources(self) -> frozenset[Source]:
        """What it was found in."""
        named: frozenset[Source] = frozenset({"name"} if self.named else ())
        return named | {quote.source for quote in self.quotes}

    def to_dict(self) -> dict[str, Any]:
        """As `Hit.to_dict`."""
        return {
            "film": path_text(self.film.path),
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 6),
            "strength": None,
            "word": None,
            "length": round(self.film.length, 3),
            "id": self.film.id,
            **({"named": True} if self.named else {}),
            "why": why(self.named, False, self.quotes),
        }


def clock(seconds: float) -> str:
    """A time in a film for people, to the tenth of a second.

    >>> clock(83.25), clock(3725.0)
    ('1:23.2', '1:02:05.0')
    """
    tenths = int(10 * seconds)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"


def marked(quote: Quote, most: int = 120) -> str:
    """What is said, on one line of so many letters, the words that were asked for between asterisks."""
    parts, at = list[str](), 0
    for start, end in quote.marks:
        parts += [quote.text[at:start], f"*{quote.text[start:end]}*"]
        at = end
    text = "".join([*parts, quote.text[at:]]).replace("\n", " / ")
    first = max(0, min(text.find("*") - most // 3, len(text) - most))
    return ("..." if first else "") + text[first : first + most] + ("..." if first + most < len(text) else "")


def why(named: bool, seen: bool, quotes: Sequence[Quote]) -> list[dict[str, Any]]:
    """Why a moment was found, as JSON has it."""
    told = [{"source": source} for source, there in (("name", named), ("picture", seen)) if there]
    return told + [quote.to_dict() for quote in quotes]


def checked_sources(within: Sequence[str] | None) -> frozenset[Source] | None:
    """What is to be looked in, each once; None for whatever there is.

    Raises:
        InputError: There is none, or one that is not known.
    """
    if within is None:
        return None
    names = [part.strip() for given in ([within] if isinstance(within, str) else within) for part in given.split(",")]
    for name in names:
        if name not in SOURCES:
            raise InputError(f"--in {name}: cannot be looked in; {suggest(name, SOURCES)}")
    if not names:
        raise InputError(f"--in: names nothing; give some of {', '.join(SOURCES)}")
    return frozenset(source for source in SOURCES if source in names)


def check_counts(k: int, moments: int, skip: int) -> None:
    """See to it that so much can be asked for.

    Raises:
        InputError: It is too little or too much.
    """
    for name, value, least in (("k", k, 1), ("moments", moments, 1), ("skip", skip, 0)):
        if not least <= value <= MOST_HITS:
            raise InputError(f"--{name} {value} must be at least {least} and at most {MOST_HITS:,}")


@contextmanager
def reading(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of a library that is not open; `Store.reading` gives that of one that is.

    Raises:
        InputError: There is no library.
    """
    with closing(open_database(folder, write=writable(folder))) as connection, explained(folder):
        yield connection


def in_words_alone(read: Reading, sentence: str, within: Set[str] | None) -> bool:
    """Whether a search looks in words alone, so that no model is wanted: as it says, or as its quotes do."""
    if within is not None:
        return "picture" not in within
    if not quotes_words(sentence):
        return False
    with read() as connection:
        return holds_lines(connection)


def lacks_lines(read: Reading) -> bool:
    """Whether a library was made before what is said in films was kept; see `no_lines`."""
    with read() as connection:
        return not has_lines(connection)


def holds_lines(connection: sqlite3.Connection, kinds: Sequence[str] = KINDS) -> bool:
    """Whether a library holds lines of tracks of some kinds."""
    held = f"SELECT 1 FROM tracks WHERE kind IN ({', '.join('?' * len(kinds))}) LIMIT 1"
    return has_lines(connection) and connection.execute(held, kinds).fetchone() is not None


def search_words(folder: Path, sentence: str, k: int = 10, **wanted: Any) -> list[TextHit]:
    """The moments of the k films that are named so, or in which it is said, of the library in a folder; see `look`.

    Raises:
        InputError: There is no library, or one that was made before what is said was kept.
    """
    with reading(folder) as connection:
        connection.execute("BEGIN")
        return look(connection, folder, 0, Names(folder), Lines(folder), sentence, k, **wanted)


def look(
    connection: sqlite3.Connection,
    folder: Path,
    layout: int,
    names: Names,
    lines: Lines,
    sentence: str,
    k: int,
    within: Set[str] | None = None,
    *,
    skip: int = 0,
    moments: int = 1,
    where: str | None = None,
    min_length: float | None = None,
) -> list[TextHit]:
    """The moments of the k films that are named so, or in which it is said; best film first, named ones before others.

    Args:
        connection: To the library's database, within a transaction.
        folder: The library's.
        layout: Of the library, as its snapshot has it.
        names: What is kept of its films' names.
        lines: And of their lines.
        sentence: What is looked for; what stands in quotes must be there as it stands.
        k: Films.
        within: "said", "written", "name", or some of these; None is all of them.
        skip: Films that are passed over first.
        moments: Most moments of each.
        where: As for `Library.search_vectors`.
        min_length: As for `Library.search_vectors`.

    Raises:
        InputError: What is said was not kept when the library was made, and is to be looked in alone.
    """
    check_counts(k, moments, skip)
    within = within or {"name", *WORDS}
    if "name" not in within and not has_lines(connection):
        raise InputError(no_lines(folder, "said" if "said" in within else "written"))
    films = ids_matching(connection, where, min_length)
    found, named = dict[int, list[Quote]](), list[int]()
    if "name" in within and len(films):
        named = films[names.matching(connection, layout, films, sentence)].tolist()
    if WORDS & within and has_lines(connection):
        told = lines.find(connection, sentence, films, skip + k, moments, within)
        found = {some[0].film: some for some in told}
    named = sorted(named, key=lambda film: film not in found)
    first = named[: skip + (k + 1) // 2] if found else named
    chosen = list(dict.fromkeys([*first, *found]))[skip : skip + k]
    which = f"WHERE id IN ({', '.join(map(str, chosen))})"
    known = {
        film: NamedFilm(film, os.fsdecode(path), length)
        for film, path, length in rows_of(connection, folder, "films", "id, path, length", which)
    }
    hits = list[TextHit]()
    for film in chosen:
        quotes = found.get(film, [])
        if not quotes:
            hits.append(
                TextHit(film=known[film], start=0.0, end=known[film].length, score=1.0, named=film in named, quotes=())
            )
        hits += [
            TextHit(
                film=known[film],
                start=quote.start,
                end=quote.end,
                score=quote.score,
                named=film in named,
                quotes=(quote,),
            )
            for quote in quotes
        ]
    return hits


def no_lines(folder: Path, what: str = "said") -> str:
    """How what is said, or written, comes into a library that was made before that was kept."""
    return (
        f"{printable(folder)}: was made before what is {what} in films was kept; add it with "
        f"`gmmformer index {printable(folder)} FILMS --add {what}`"
    )
