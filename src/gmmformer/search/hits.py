"""What a search finds, for Python, JSON and people alike."""

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from gmmformer.media.films import path_text
from gmmformer.search.moments import Timeline

Word = Literal["strong", "possible", "nothing here matches"]

STRONG, POSSIBLE = 0.7, 0.55
"""Shares of the strength that chance would give the best of as many windows, from which on a film gets a word."""

_SPREAD_OF_MAD = 1.4826
"""A normal distribution's standard deviation, in median absolute deviations."""
_LEAST_WINDOWS = 20
"""Fewer do not make a background."""
_LEAST_SPREAD = 1e-3


class Background(NamedTuple):
    """How a library's windows score for a query that most of them have nothing to do with."""

    median: float
    spread: float
    """Standard deviation: as scores spread for this query or, if that is more, as they do where films' own clips are
    asked for. A sentence that means nothing to the model scores all windows alike; that must not flatter the best."""
    windows: int
    """In the library."""

    def strength(self, score: float) -> float | None:
        """How many spreads a score is above the median; None where there are too few windows to say."""
        return (score - self.median) / self.spread if self.windows >= _LEAST_WINDOWS else None

    def word(self, score: float) -> Word | None:
        """What that strength means.

        The measure is the best of n draws from a normal distribution, n being the windows of the library. Scores have
        less of a tail than that: with a model trained on a simulated collection, and 750 videos, 95 of 100 of its
        sentences reach 0.57 of it, and 90 of 100 sentences of noise do not reach 0.55.
        """
        strength = self.strength(score)
        if strength is None:
            return None
        share = strength / NormalDist().inv_cdf(self.windows / (self.windows + 1))
        return "strong" if share >= STRONG else "possible" if share >= POSSIBLE else "nothing here matches"


def background_of(scores: Float[np.ndarray, "queries sample"], windows: int, typical: float) -> list[Background]:
    """The background of each query, from its scores for a sample of the windows and the spread that is `typical`."""
    if not scores.shape[1]:
        return [Background(0.0, 1.0, 0)] * len(scores)
    medians, spreads = medians_and_spreads(scores)
    return [
        Background(float(median), max(float(spread), typical, _LEAST_SPREAD), windows)
        for median, spread in zip(medians, spreads, strict=True)
    ]


def medians_and_spreads(
    values: Float[np.ndarray, "rows columns"],
) -> tuple[Float[np.ndarray, "rows"], Float[np.ndarray, "rows"]]:
    """Median and standard deviation of each row, the latter from the median absolute deviation."""
    medians = _medians(values)
    return medians, _SPREAD_OF_MAD * _medians(np.abs(values - medians[:, None]))


def _medians(values: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows"]:
    ascending = np.sort(values, axis=1)
    columns = values.shape[1]
    return np.asarray((ascending[:, (columns - 1) // 2] + ascending[:, columns // 2]) / 2)


def clock(seconds: float) -> str:
    """A time in a film for people, to the tenth of a second.

    >>> clock(83.25), clock(3725.0)
    ('1:23.2', '1:02:05.0')
    """
    tenths = int(10 * seconds)
    hours, minutes, rest = tenths // 36_000, tenths // 600 % 60, tenths % 600
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A moment of a film."""

    id: int
    """Of the film, in its library; another once the film is replaced."""
    film: str
    """Its path, or its name in the collection it comes from; bytes that are no UTF-8 as Python has them in paths."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    score: float
    """Retrieval score of the moment's best clip, in [-1, 1]."""
    strength: float | None
    """How many spreads of the library's background for this query the score is above its median: it says what the score
    alone does not, whether this is more than chance. None in a library too small to tell."""
    word: Word | None
    """The strength in words."""
    length: float
    """Seconds of the whole film."""
    clip_scores: Float[np.ndarray, "clips"] = field(compare=False, repr=False)
    """Score of each clip of the window that holds the moment's best clip."""
    clip_spans: Float[np.ndarray, "clips 2"] = field(compare=False, repr=False)
    """The seconds from which to which each of them goes."""
    timeline: Timeline = field(compare=False, repr=False)
    """The scores of all clips of the film, of all its windows, along its seconds."""

    def to_dict(self) -> dict[str, str | float | None]:
        """The hit as JSON has it: times in seconds, bytes of the path that are no UTF-8 as backslash escapes."""
        return {
            "film": path_text(self.film),
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "score": round(self.score, 6),
            "strength": None if self.strength is None else round(self.strength, 3),
            "word": self.word,
            "length": round(self.length, 3),
            "id": self.id,
        }
