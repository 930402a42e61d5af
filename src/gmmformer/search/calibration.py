"""What a score means in a library: how far its film stands out, held against what sentences about nothing there do."""

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from gmmformer.errors import InputError
from gmmformer.files import read_json, write_text
from gmmformer.search.engines import Engine
from gmmformer.search.store import Store

Word = Literal["strong", "possible", "weak"]

STRONG, POSSIBLE = 0.95, 0.80
"""Strengths from which on a film gets that word. On real films (docs/search.md) the strong ones were right in eight to
nine of ten cases, the possible ones in two of three."""
LEAST_WINDOWS = 20
"""Fewer windows are no background that anything could stand out from."""
_GROWN = 1.1
_FILE, _MOST_BYTES, _MOST_SENTENCES = "calibration.json", 2**24, 10_000


class Calibration(NamedTuple):
    """How far the best film stands out for each of some sentences, which the library need not show anything of."""

    margins: list[float]
    """Ascending: the score of the best film less the median of the library's windows."""
    windows: int
    """That the library had."""
    sentences: list[str] | None
    """The user's own; None where they are the general ones."""

    def strength(self, margin: float) -> float:
        """Which share of the sentences have a best film that stands out less."""
        return bisect_left(self.margins, margin) / len(self.margins)


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
    sentences: Sequence[str] | None = None,
) -> Calibration:
    """Search for sentences about nothing in particular, and keep with the library how far their best films stand out.

    Args:
        store: Of the library.
        engine: What finds films there.
        embed: Makes unit vectors of sentences.
        sentences: See `Library.calibrate`, and for the errors.
    """
    snapshot, before = store.snapshot(), calibration_of(store.folder)
    windows = len(snapshot.windows)
    if windows < LEAST_WINDOWS:
        raise InputError(
            f"{store.folder}: has {windows} windows, too few for anything to stand out from; it can be calibrated "
            f"when it has {LEAST_WINDOWS}"
        )
    own = list(sentences) if sentences else before.sentences if before else None
    if own is not None and len(own) > _MOST_SENTENCES:
        raise InputError(f"{len(own):,} sentences to calibrate with are too many; {_MOST_SENTENCES:,} do")
    queries = embed(own or general_sentences())
    best = np.array([found.scores[0] for found in engine.search(snapshot, queries, 1, None)])
    margins = [round(margin, 6) for margin in np.sort(best - snapshot.medians(queries)).tolist()]
    told = {"margins": margins, "windows": windows, "sentences": own}
    write_text(store.folder / _FILE, json.dumps(told))
    return Calibration(margins, windows, own)


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
            return Calibration(margins, windows, sentences)
    return None
