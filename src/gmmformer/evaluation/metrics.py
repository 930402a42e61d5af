"""What a ranking is worth: pure functions of scores and ranks (R@K, SumR, MedR, MRR)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

RECALL_AT = (1, 5, 10, 100)


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How well a collection's sentences find their videos."""

    recall: tuple[float, float, float, float]
    """R@1, R@5, R@10, R@100: share of sentences whose video ranks that high, in percent."""
    median_rank: float
    """MedR; 1 is best."""
    mean_reciprocal_rank: float
    """MRR, in (0, 1]."""
    queries: int
    videos: int

    @property
    def sum_recall(self) -> float:
        """SumR, the sum of the four recalls; at most 400."""
        return sum(self.recall)

    def as_dict(self) -> dict[str, float | int]:
        """The field's names for the numbers."""
        return {
            **{f"R@{k}": value for k, value in zip(RECALL_AT, self.recall, strict=True)},
            "SumR": self.sum_recall,
            "MedR": self.median_rank,
            "MRR": self.mean_reciprocal_rank,
            "queries": self.queries,
            "videos": self.videos,
        }


def ranks(
    scores: Float[np.ndarray, "queries videos"], video_of_query: Int[np.ndarray, "queries"]
) -> Int[np.ndarray, "queries"]:
    """The rank of each query's own video, 1 the best: 1 and the other videos that do not score lower.

    So a tie counts against the model, and so does whatever cannot be compared: NaN for the own video is the last rank.

    >>> ranks(np.array([[0.5, 0.9, 0.5], [0.1, 0.7, 0.2], [0.1, np.nan, 0.2]]), np.array([0, 1, 1]))
    array([3, 1, 3])
    """
    own = np.take_along_axis(scores, video_of_query[:, None], axis=1)
    return np.asarray((~(scores < own)).sum(axis=1))  # the own video, which is not lower than itself, is the 1


def metrics_of(ranks: Int[np.ndarray, "queries"], videos: int) -> Metrics:
    """The metrics of the ranks (1 the best) of each query's own video among `videos`.

    >>> metrics_of(np.array([1, 2, 40, 400]), 500).recall
    (25.0, 50.0, 50.0, 75.0)
    """
    return Metrics(
        recall=tuple(100 * int((ranks <= k).sum()) / len(ranks) for k in RECALL_AT),  # type: ignore[arg-type]
        median_rank=float(np.median(ranks)),
        mean_reciprocal_rank=float(np.mean(1 / ranks)),
        queries=len(ranks),
        videos=videos,
    )


def chance(videos: int, queries: int) -> Metrics:
    """The metrics to expect of random scores over `videos`.

    >>> chance(200, 1000).sum_recall
    58.0
    """
    uniform = np.arange(1, videos + 1)
    return Metrics(
        recall=tuple(100 * min(k, videos) / videos for k in RECALL_AT),  # type: ignore[arg-type]
        median_rank=float(np.median(uniform)),
        mean_reciprocal_rank=float(np.mean(1 / uniform)),
        queries=queries,
        videos=videos,
    )
