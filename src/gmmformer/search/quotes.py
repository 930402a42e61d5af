"""Films found by what is said in them: passages that have the words, by the index, and where in these they stand.

No model is needed for it, and none is loaded.
"""

import json
import math
import sqlite3
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from gmmformer.media.films import path_text
from gmmformer.media.subtitles import Line
from gmmformer.search.database import damaged, rows_of
from gmmformer.search.lines import MOST_UNITS, Unit, lines_of, terms_in, units_in
from gmmformer.search.tables import SAID, WRITTEN

MOST_ROWS, FEWER_ROWS, LARGE = 4_000, 1_000, 400_000
"""Passages with a word that are looked at, and in a library of more passages than the last; a word that stands in more
is common."""
WORDS = frozenset({"said", "written"})
"""Sources that are lines."""
ORDER = 0.15
"""Share of a score that the order of the words has."""
SPREAD = 0.15
"""What each line beyond two over which the words are spread takes of a score."""
_REFINED = 24
"""Passages, at least, of which the text is read to tell the better ones."""


@dataclass(frozen=True, kw_only=True)
class Quote:
    """Lines of a film in which what was asked for is said."""

    film: int
    """Its id."""
    start: float
    """Seconds at which the first of the lines begins, and the last ends."""
    end: float
    score: float
    """How much of what was asked for is said there, rare words counting more, in (0, 1]; 1: all, in this order."""
    surprise: float
    """How unlikely it is that so much of it stands together anywhere by chance: the logarithm of one to the passages in
    which it would if words came independently of each other."""
    whole: bool
    """Whether all that was asked for, three words at least, is said as it was asked."""
    text: str
    """The lines, with line breaks between them."""
    marks: tuple[tuple[int, int], ...]
    """From where to where in the text what was asked for stands."""
    language: str
    """As the track says, such as "en"; empty where it does not."""
    track: str
    """Where the lines come from: a file's name, a stream of the film, speech, or the screen."""
    kind: str = SAID[0]
    """Of that track."""

    @property
    def source(self) -> Literal["said", "written"]:
        """Whether it is said, or written on the screen."""
        return "written" if self.kind == WRITTEN else "said"

    @property
    def exact(self) -> bool:
        """Whether somebody wrote it down; else a machine heard or read it, and may have erred."""
        return self.kind == SAID[0]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "source": self.source,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 6),
            "text": self.text,
            "marks": [list(mark) for mark in self.marks],
            "language": self.language,
            "track": path_text(self.track),
        }


class Lines:
    """Finds what is said in a library's films. Keeps which passages are whose, and reads only what is new of that;
    whoever uses it from several threads holds a lock.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self._folder, self._last = folder, 0
        self._firsts, self._films = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self._written = np.empty(0, dtype=np.bool_)
        """The first passage of each track, ascending, the film that it is of, and whether it is text on the screen."""
        self._ours: tuple[list[int], list[bool]] | None = None
        self._asked = self._films, 0, frozenset[str]()
        """Which films and sources were asked for last, and whether the tracks, of which it was the last, are theirs."""

    def find(
        self,
        connection: sqlite3.Connection,
        sentence: str,
        films: Int[np.ndarray, "films"],
        most: int,
        moments: int = 1,
        within: Set[str] = WORDS,
    ) -> list[list[Quote]]:
        """Where what is asked for is said or written: some quotes for each film, best film first.

        Args:
            connection: To the library's database, within a transaction.
            sentence: What stands in quotes in it must be said as it stands there.
            films: Ids of those that may be found.
            most: Films.
            moments: Most quotes of each.
            within: "said", "written", or both.

        Raises:
            InputError: What the database says cannot be.
        """
        units = units_in(sentence)[:MOST_UNITS]
        self._read(connection)
        if not units or not len(self._firsts):
            return []
        looked = _Looked(connection, self._of(films, frozenset(within) & WORDS), units)
        rows, scores = looked.passages(most)
        if not len(rows):
            return []
        own = self._films[np.searchsorted(self._firsts, rows, side="right") - 1]
        order = np.lexsort((rows, -scores, own))
        firsts = np.flatnonzero(np.diff(own[order], prepend=-1))
        sizes = np.diff(firsts, append=len(order))
        best = scores[order][firsts]
        often = np.add.reduceat((scores[order] >= np.repeat(best, sizes) - 1e-9).astype(np.int64), firsts)
        ranked = np.lexsort((firsts, -often, -best))[: max(most, _REFINED)]
        chosen = {
            int(own[order[firsts[film]]]): rows[order[firsts[film] : firsts[film] + min(sizes[film], moments)]].tolist()
            for film in ranked
        }
        told = self._quotes(connection, chosen, looked, sentence)
        found = [(-some[0].score, -int(often[film]), some) for film, some in zip(ranked, told, strict=True) if some]
        return [some for *_, some in sorted(found, key=lambda one: one[:2])][:most]

    def _read(self, connection: sqlite3.Connection) -> None:
        which = "WHERE id > ? AND passages > 0 ORDER BY id"
        new = list(rows_of(connection, self._folder, "tracks", "id, film, first, kind", which, (self._last,)))
        if new:
            self._last = new[-1][0]
            films = np.concatenate([self._films, np.array([film for _, film, *_ in new])])
            firsts = np.concatenate([self._firsts, np.array([first for *_, first, _ in new])])
            written = np.concatenate([self._written, np.array([kind == WRITTEN for *_, kind in new])])
            order = np.argsort(firsts, kind="stable")
            last = np.append(np.diff(firsts[order]) > 0, True)  # what was brought back is another film's now
            self._films, self._firsts, self._written = films[order][last], firsts[order][last], written[order][last]

    def _of(self, films: Int[np.ndarray, "films"], within: frozenset[str]) -> Callable[[int], bool] | None:
        """Whether a passage is one of these films', and of these sources; None where all are."""
        if films is not self._asked[0] or (self._last, within) != self._asked[1:]:
            theirs = np.isin(self._films, films)
            if within != WORDS:
                theirs &= self._written == ("written" in within)
            self._ours = None if theirs.all() else (self._firsts.tolist(), theirs.tolist())
            self._asked = films, self._last, within
        if self._ours is None:
            return None
        firsts, ours = self._ours
        return lambda row: ours[bisect_right(firsts, row) - 1]

    def _quotes(
        self, connection: sqlite3.Connection, chosen: dict[int, list[int]], looked: "_Looked", sentence: str
    ) -> list[list[Quote]]:
        """The quotes in some passages of each film, the best first."""
        listed = json.dumps([row for some in chosen.values() for row in some])
        which = "WHERE id IN (SELECT value FROM json_each(?))"
        columns = "id, track, own, times, text"
        passages = {row[0]: row[1:] for row in rows_of(connection, self._folder, "passages", columns, which, (listed,))}
        listed = json.dumps(list({track for track, *_ in passages.values()}))
        columns = "id, language, name, kind"
        tracks = {row[0]: row[1:] for row in rows_of(connection, self._folder, "tracks", columns, which, (listed,))}
        lost = [
            row for some in chosen.values() for row in some if row not in passages or passages[row][0] not in tracks
        ]
        if lost:
            raise damaged(self._folder, f"passage {lost[0]} of what is said is not there")
        follows = set(pairwise(term.term for term in terms_in(sentence)))
        told = []
        for film, some in chosen.items():
            quotes = dict[tuple[float, float, str], Quote]()
            for row in some:
                track, _, times, text = passages[row]
                lines = lines_of(self._folder, row, times, text)
                quote = _quote(lines, film, tracks[track], looked, follows)
                if quote is not None:
                    quotes.setdefault((quote.start, quote.end, quote.text), quote)
            told.append(sorted(quotes.values(), key=lambda quote: -quote.score))
        return told


class _Looked:
    """Which passages have which units of a sentence, as far as that can be told in a bounded time."""

    def __init__(
        self, connection: sqlite3.Connection, wanted: Callable[[int], bool] | None, units: Sequence[Unit]
    ) -> None:
        self.units, self._connection = units, connection
        self._which = "" if wanted is None else " AND wanted(rowid)"
        if wanted is not None:
            connection.create_function("wanted", 1, wanted)
        self.all = connection.execute("SELECT coalesce(max(id), 0) FROM passages").fetchone()[0]
        self._most = MOST_ROWS if self.all < LARGE else FEWER_ROWS
        self._rows = [self._having(_match(unit)) for unit in units]
        self.weights = [math.log1p(self.all / max(0.5, self._count(rows))) for rows in self._rows]
        """How much each unit tells: the logarithm of how rare it is."""

    def passages(self, most: int) -> tuple[Int[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
        """Passages that have some of the units, all that are quoted, and the weight of those."""
        quoted = [place for place, unit in enumerate(self.units) if unit.quoted]
        loose = [place for place in range(len(self.units)) if place not in quoted]
        pairs = list[np.ndarray]()  # row * MOST_UNITS + place of the unit

        def note(rows: Int[np.ndarray, "rows"], places: Iterable[int]) -> None:
            pairs.extend(rows * MOST_UNITS + place for place in places)

        if quoted:
            among = " AND ".join(_match(self.units[place]) for place in quoted)
            rows = self._rows[quoted[0]] if len(quoted) == 1 else self._having(among)
            note(rows, quoted)
            for place in loose if len(rows) else ():
                note(self._having(f"{among} AND {_match(self.units[place])}"), [place])
        else:
            rare = [place for place in loose if 0 < len(self._rows[place]) < self._most]
            common = [place for place in loose if len(self._rows[place]) >= self._most]
            for place in rare:
                note(self._rows[place], [place])
            among = " OR ".join(_match(self.units[place]) for place in rare)
            for place in common if rare else ():
                note(self._having(f"({among}) AND {_match(self.units[place])}"), [place])
            common.sort(key=lambda place: -self.weights[place])
            while common and sum(map(len, pairs)) < most:
                rows = self._rows[common[0]]
                if len(common) > 1:
                    rows = self._having(" AND ".join(_match(self.units[place]) for place in common))
                note(rows, common)
                common.pop()
        if not sum(map(len, pairs)):
            return np.empty(0, dtype=np.int64), np.empty(0)
        both = np.unique(np.concatenate(pairs))
        rows, which = np.unique(both // MOST_UNITS, return_inverse=True)
        return rows, np.bincount(which, np.array(self.weights)[both % MOST_UNITS])

    def _having(self, match: str) -> Int[np.ndarray, "rows"]:
        """Passages that fit a question of the index, so many at most, the first ones."""
        found = self._connection.execute(
            f"SELECT rowid FROM said WHERE said MATCH ?{self._which} LIMIT {self._most}", (match,)
        )
        return np.fromiter(chain.from_iterable(found), dtype=np.int64)

    def _count(self, rows: Int[np.ndarray, "rows"]) -> float:
        """How many passages have a unit; of a common one as many as there were at the rate of the first ones."""
        return len(rows) if len(rows) < self._most else len(rows) * self.all / float(rows[-1])


def _match(unit: Unit) -> str:
    """A unit as a question of the index."""
    return '"' + " ".join(unit.terms).replace('"', '""') + '"'


def _quote(
    lines: Sequence[Line], film: int, track: tuple[str, str, str], looked: _Looked, follows: Set[tuple[str, str]]
) -> Quote | None:
    """The fewest lines of a passage in which most of what is looked for stands; None where nothing does."""
    language, name, kind = track
    terms = [(place, term) for place, line in enumerate(lines) for term in terms_in(line.text)]
    places = defaultdict[str, list[int]](list)
    for at, (_, term) in enumerate(terms):
        places[term.term].append(at)
    found = [  # unit, first and last term
        (which, at, at + len(unit.terms) - 1)
        for which, unit in enumerate(looked.units)
        for at in places.get(unit.terms[0], ())
        if tuple(term.term for _, term in terms[at : at + len(unit.terms)]) == unit.terms
    ]
    if not found:
        return None
    spans = [(which, terms[first][0], terms[last][0]) for which, first, last in found]
    weights, best = looked.weights, (-math.inf, 0, 0)
    for first in {line for _, line, _ in spans}:
        for last in {line for *_, line in spans if line >= first}:
            there = {which for which, begins, ends in spans if first <= begins and ends <= last}
            value = sum(weights[which] for which in there) - 0.01 * (last - first)
            best = max(best, (value, -first, last))
    first, last = -best[1], best[2]
    inside = [one for one, (_, begins, ends) in zip(found, spans, strict=True) if first <= begins and ends <= last]
    there = {which for which, *_ in inside}
    share = sum(weights[which] for which in there) / sum(weights)
    theirs = set(pairwise(term.term for line, term in terms if first <= line <= last))
    if follows:
        share *= 1 - ORDER * (1 - len(follows & theirs) / len(follows))
    share /= 1 + SPREAD * max(0, last - first - 1)
    some = lines[first : last + 1]
    starts = list(accumulate((len(line.text) + 1 for line in some), initial=0))
    marks = [
        (starts[terms[begins][0] - first] + terms[begins][1].start, starts[terms[ends][0] - first] + terms[ends][1].end)
        for _, begins, ends in inside
    ]
    return Quote(
        film=film,
        start=some[0].start,
        end=max(line.end for line in some),
        score=share,
        surprise=sum(weights[which] for which in there) - math.log(max(1, looked.all)),
        whole=len(there) == len(weights) and len(follows) > 1 and follows <= theirs,
        text="\n".join(line.text for line in some),
        marks=_joined(marks),
        language=language,
        track=name,
        kind=kind,
    )


def _joined(marks: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Marks in order, those that overlap as one."""
    joined = list[tuple[int, int]]()
    for start, end in sorted(marks):
        if joined and start < joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return tuple(joined)
