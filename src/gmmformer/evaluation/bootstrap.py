"""How sure metrics are: they are computed anew on videos drawn again, with all their queries, and on runs drawn again.

Queries of one video are not independent, so videos are what is drawn (a cluster bootstrap), with replacement, as many
as there are. Where a model was trained with several seeds, its runs are drawn too, one fewer than there are: a mean of
S of them spreads by s^2 / S then, as it should, where S of them would make it look surer than it is (Rao and Wu, 1988).
"""

from collections.abc import Iterable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gmmformer.evaluation.ranking import RECALL_AT, Metrics

RESAMPLES = 2_000
SEED = 9527
LEVEL = 0.95
COLUMNS = Metrics.NAMES[: len(RECALL_AT) + 3]
"""What is resampled: the recalls, SumR, MedR, MRR, in this order."""

_BLOCK_NUMBERS = 2**22


class Interval(NamedTuple):
    """From where to where a value lies, as far as 95 % of the draws tell."""

    low: float
    high: float

    @classmethod
    def of(
        cls,
        values: Float[np.ndarray, "resamples"],
        found: float | None = None,
        without_one: Float[np.ndarray, "videos"] | None = None,
    ) -> "Interval":
        """The middle 95 % of resampled values; with the value found and those without each video, the BCa interval.

        That one (Efron, 1987) moves both ends by the bias and the skewness of the draws, without which the interval of
        a rare thing, such as R@1 of a hard collection, holds the truth too seldom.
        """
        tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
        if found is not None and without_one is not None and np.ptp(values) and np.ptp(without_one):
            normal = NormalDist()
            below = float(np.mean(values < found) + np.mean(values == found) / 2)
            bias = normal.inv_cdf(min(max(below, 1 / (len(values) + 1)), len(values) / (len(values) + 1)))
            off = without_one.mean() - without_one
            skewed = float((off**3).sum() / (6 * (off**2).sum() ** 1.5))
            moved = [bias + normal.inv_cdf(tail) for tail in tails]
            tails = tuple(normal.cdf(bias + z / max(1 - skewed * z, 1e-3)) for z in moved)  # type: ignore[assignment]
        low, high = np.quantile(values, tails)
        return cls(float(low), float(high))


def intervals(
    ranks: Int[np.ndarray, "queries"],
    video_of_query: Int[np.ndarray, "queries"],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Interval]:
    """The interval of each metric of a ranking, by its name ("R@1", ..., "SumR", "MedR", "MRR").

    Args:
        ranks: The rank of each query's own video, 1 the best.
        video_of_query: Which video each query is of, by any whole number.
        resamples: How often videos are drawn.
        seed: The same seed gives the same intervals.
    """
    recall = 100.0 * (ranks[:, None] <= RECALL_AT)
    means = np.column_stack([recall, recall.sum(1), 1 / ranks])
    *recalls, reciprocal = mean_intervals(means, video_of_query, resamples=resamples, seed=seed)
    (values,) = resampled([ranks[None]], video_of_query, resamples=resamples, seed=seed)
    found = [*recalls, Interval.of(values[:, COLUMNS.index("MedR")]), reciprocal]
    return dict(zip(COLUMNS, found, strict=True))


def mean_intervals(
    values: Float[np.ndarray, "queries columns"],
    video_of_query: Int[np.ndarray, "queries"],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Interval]:
    """The interval of the mean of each column, videos drawn as `intervals` draws them."""
    _, video_of_query = np.unique(video_of_query, return_inverse=True)
    videos = int(video_of_query.max()) + 1
    sums = _sums(values.T, video_of_query, videos)
    rng = np.random.default_rng(seed)
    drawn = [some @ sums for _, some in _drawn_videos(videos, len(values), resamples, rng)]
    *means, queries = np.concatenate(drawn).T
    *whole, count = sums.sum(0)
    if videos == 1:
        return [Interval.of(mean / queries) for mean in means]
    return [
        Interval.of(mean / queries, total / count, (total - own) / (count - sums[:, -1]))
        for mean, total, own in zip(means, whole, sums.T[:-1], strict=True)
    ]


def resampled(
    systems: Sequence[Int[np.ndarray, "_runs queries"]],
    video_of_query: Int[np.ndarray, "queries"],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    medians: bool = True,
) -> list[Float[np.ndarray, "resamples columns"]]:
    """The metrics of one system or several on the same draws of videos, so that differences of rows are paired.

    Args:
        systems: For each, the ranks of the same queries in each of its runs; a system's metrics are the mean of its
            runs'.
        video_of_query: Which video each query is of, by any whole number.
        resamples: How often videos, and runs, are drawn.
        seed: What is drawn depends on it, and on the number of videos and runs, alone.
        medians: Whether MedR, which takes most of the time, is wanted; else it is 0.
    """
    rng = np.random.default_rng(seed)
    runs_rng = np.random.default_rng([seed, 1])
    _, video_of_query = np.unique(video_of_query, return_inverse=True)
    videos = int(video_of_query.max()) + 1
    weights = [_drawn_runs(len(runs), resamples, runs_rng) for runs in systems]
    sums = [
        np.stack([_sums([*(ranks <= k for k in RECALL_AT), 1 / ranks], video_of_query, videos) for ranks in runs])
        for runs in systems
    ]
    orders = [np.argsort(runs, axis=1, kind="stable") for runs in systems]
    parts: list[list[Float[np.ndarray, "some columns"]]] = [[] for _ in systems]
    for first, drawn in _drawn_videos(videos, len(video_of_query), resamples, rng):
        rows = slice(first, first + len(drawn))
        for system, runs in enumerate(systems):
            values = np.empty((len(runs), len(drawn), len(COLUMNS)))
            for number, ranks in enumerate(runs):
                *linear, queries = (drawn @ sums[system][number]).T
                recall, reciprocal = 100 * np.array(linear[:-1]) / queries, linear[-1] / queries
                order = orders[system][number]
                median = _medians(ranks[order], drawn[:, video_of_query[order]]) if medians else 0 * reciprocal
                values[number] = np.column_stack([*recall, recall.sum(0), median, reciprocal])
            parts[system].append(np.einsum("bs,sbm->bm", weights[system][rows], values))
    return [np.concatenate(part) for part in parts]


def _drawn_videos(
    videos: int, queries: int, resamples: int, rng: np.random.Generator
) -> Iterator[tuple[int, Float[np.ndarray, "some videos"]]]:
    """How often each video was drawn, in blocks of resamples: the first one's number, the counts."""
    step = max(1, _BLOCK_NUMBERS // max(videos, queries))
    for first in range(0, resamples, step):
        some = min(step, resamples - first)
        drawn = rng.integers(0, videos, (some, videos)) + videos * np.arange(some)[:, None]
        yield first, np.bincount(drawn.ravel(), minlength=some * videos).reshape(some, videos).astype(np.float32)


def _drawn_runs(runs: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "resamples runs"]:
    """The share of each run in each resample."""
    drawn = rng.integers(0, runs, (resamples, max(1, runs - 1)))
    return np.asarray((drawn[:, :, None] == np.arange(runs)).mean(1))


def _sums(
    columns: Iterable[np.ndarray], video_of_query: Int[np.ndarray, "queries"], videos: int
) -> Float[np.ndarray, "videos sums"]:
    """Of each video's queries the sum of each column, and how many there are."""
    columns = [*columns, np.ones(len(video_of_query))]
    return np.stack([np.bincount(video_of_query, column, minlength=videos) for column in columns], axis=1)


def _medians(
    ascending: Int[np.ndarray, "queries"], times: Float[np.ndarray, "resamples queries"]
) -> Float[np.ndarray, "resamples"]:
    """The median of ranks, each of which is there so many times."""
    upto = np.cumsum(times, axis=1, dtype=np.float32)  # exact: whole numbers far below 2^24
    last = upto[:, -1:] - 1
    lower = (upto <= np.floor(last / 2)).sum(1)
    upper = (upto <= np.ceil(last / 2)).sum(1)
    return np.asarray((ascending[lower] + ascending[upper]) / 2)
