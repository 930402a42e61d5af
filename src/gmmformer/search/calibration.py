"""What a score means in a library: how far its film stands out, held against what sentences about nothing there do.

That a film stands out says that it is the right one only if the model is any good. So a hit gets a word where that was
tried: by us for `small`, on films that people described (docs/search.md), else with sentences whose films are known.
"""

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from gmmformer.errors import InputError
from gmmformer.files import read_json, write_text
from gmmformer.media.encoders import SMALL
from gmmformer.search.engines import Engine
from gmmformer.search.store import Store

Word = Literal["strong", "possible", "weak"]

STRONG, POSSIBLE = 0.95, 0.80
"""Strengths from which on a film gets that word. On real films (docs/search.md) the strong ones were right in eight to
nine of ten cases, the possible ones in two of three."""
LEAST_RIGHT, LEAST_STRONG = 0.7, 10
"""Share of the strong ones that are right, and how many strong ones there are, where words are worth showing."""
LEAST_WINDOWS = 20
"""Fewer windows are no background that anything could stand out from."""
_GROWN = 1.1
_FILE, _MOST_BYTES, _MOST_SENTENCES = "calibration.json", 2**24, 10_000


class Trial(NamedTuple):
    """How often strong was right, where the film that a sentence is about is known."""

    known: list[tuple[str, str]]
    """The film's path, and the sentence."""
    strong: int
    """Sentences whose first film was a strong one."""
    right: int
    """Those of them whose first film was theirs, or a copy of it."""


class Calibration(NamedTuple):
    """How far the best film stands out for each of some sentences, which the library need not show anything of."""

    margins: list[float]
    """Ascending: the score of the best film less the median of the library's windows."""
    windows: int
    """That the library had."""
    sentences: list[str] | None
    """The user's own; None where they are the general ones."""
    measured: bool = False
    """Whether the model is one whose words we measured."""
    trial: Trial | None = None
    """With sentences that the user gave."""

    @property
    def words(self) -> bool:
        """Whether a strength may be told in words: that they mean something was seen. A trial here goes first."""
        if self.trial is None:
            return self.measured
        return self.trial.strong >= LEAST_STRONG and self.trial.right >= LEAST_RIGHT * self.trial.strong

    def strength(self, margin: float) -> float:
        """Which share of the sentences have a best film that stands out less."""
        return bisect_left(self.margins, margin) / len(self.margins)

    def is_strong(self, margin: float) -> bool:
        """Whether a film stands out so far that it would be called strong, if words were shown."""
        return word_of(self.strength(margin)) == "strong"

    def word(self, strength: float) -> Word | None:
        """A strength in words; None where these mean nothing."""
        return word_of(strength) if self.words else None


def word_of(strength: float) -> Word:
    """A strength in words.

    >>> [word_of(strength) for strength in (0.5, 0.8, 0.96)]
    ['weak', 'possible', 'strong']
    """
    return "strong" if strength >= STRONG else "possible" if strength >= POSSIBLE else "weak"


def general_sentences() -> list[str]:
    """300 sentences of all kinds, as people describe films; about nothing in particular."""
    return (files("gmmformer.search") / "general_sentences.txt").read_text(encoding="utf-8").splitlines()


def calibrate(
    store: Store,
    engine: Engine,
    embed: Callable[[Sequence[str]], Float[np.ndarray, "queries dim"]],
    first: Callable[[Float[np.ndarray, "queries dim"]], Sequence[Sequence[Any]]],
    sentences: Sequence[str] | None = None,
    known: Sequence[tuple[str, str]] | None = None,
) -> Calibration:
    """Search for sentences about nothing in particular, and keep with the library how far their best films stand out.

    Args:
        store: Of the library.
        engine: What finds films there.
        embed: Makes unit vectors of sentences.
        first: The first hit for each query, in a list.
        sentences: See `Library.calibrate`, as for `known` and the errors.
        known: Films and what they show.
    """
    snapshot, before = store.snapshot(), calibration_of(store.folder)
    windows = len(snapshot.windows)
    if windows < LEAST_WINDOWS:
        raise InputError(
            f"{store.folder}: has {windows} windows, too few for anything to stand out from; it can be calibrated "
            f"when it has {LEAST_WINDOWS}"
        )
    own = list(sentences) if sentences else before.sentences if before else None
    tried = list(known) if known else before.trial.known if before and before.trial else []
    for given in (own or (), tried):
        if len(given) > _MOST_SENTENCES:
            raise InputError(f"{len(given):,} sentences to calibrate with are too many; {_MOST_SENTENCES:,} do")
    queries = embed(own or general_sentences())
    scores = np.array([found.scores[0] for found in engine.search(snapshot, queries, 1, None)])
    margins = [round(margin, 6) for margin in np.sort(scores - snapshot.medians(queries)).tolist()]
    recipe = store.settings.recipe
    measured = recipe is not None and not recipe.trained and recipe.dual_encoder == SMALL
    found = Calibration(margins, windows, own, measured)
    films = {path: store.film(path) for path, _ in tried}
    tried = [(film.path, sentence) for path, sentence in tried if (film := films[path]) is not None]
    if tried:
        queries = embed([sentence for _, sentence in tried])
        hits = zip(tried, first(queries), snapshot.medians(queries).tolist(), strict=True)
        strong = [
            path in [film.path for film in (hit.film, *hit.copies)]
            for (path, _), (hit,), median in hits
            if found.is_strong(hit.score - median)
        ]
        found = found._replace(trial=Trial(tried, len(strong), sum(strong)))
    write_text(store.folder / _FILE, json.dumps(found._asdict() | {"trial": found.trial and found.trial._asdict()}))
    return found


def outgrown(store: Store) -> bool:
    """Whether a library has become another since it was calibrated: where more compete, the best stands out further."""
    windows, before = len(store.snapshot().windows), calibration_of(store.folder)
    if windows < LEAST_WINDOWS:
        return False
    return before is None or not before.windows / _GROWN <= windows <= before.windows * _GROWN


def calibration_of(folder: Path) -> Calibration | None:
    """That of a library; None where it has none that can be used."""
    try:
        written = (folder / _FILE).stat()
    except OSError:
        return None
    return _read(folder / _FILE, written.st_mtime_ns, written.st_size)


@lru_cache(16)
def _read(path: Path, _written: int, _bytes: int) -> Calibration | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        told = read_json(path, _MOST_BYTES)
        margins, windows, sentences = sorted(map(float, told["margins"])), told["windows"], told["sentences"]
        own = sentences is None or (type(sentences) is list and all(type(one) is str for one in sentences))
        if own and 0 < len(margins) <= _MOST_SENTENCES and type(windows) is int and windows > 0:
            return Calibration(margins, windows, sentences, told["measured"] is True, _trial(told["trial"]))
    return None


def _trial(told: Any) -> Trial | None:
    if told is None:
        return None
    known, strong, right = told["known"], told["strong"], told["right"]
    if not (type(strong) is type(right) is int and all(type(one) is str for pair in known for one in pair)):
        raise ValueError("its trial is damaged")
    return Trial([(path, sentence) for path, sentence in known], strong, right)
