"""What a ranking is worth (R@K, SumR, MedR, MRR), and ranks and best videos without the whole score matrix."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gmmformer.model import VectorGroup, best_of, products

RECALL_AT = (1, 5, 10, 100)
TIE = 2.0**-22
"""Scores nearer than this are one score: a few steps of float32 at 1, so that equal videos tie in whatever block."""

_BLOCK_BYTES = 2**25


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

    NAMES: ClassVar = (*(f"R@{k}" for k in RECALL_AT), "SumR", "MedR", "MRR", "queries", "videos")
    """What `as_dict` gives."""

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> "Metrics":
        """The metrics that `as_dict` gave.

        >>> Metrics.from_dict(chance(200, 1000).as_dict()) == chance(200, 1000)
        True
        """
        *recall, _, median_rank, mean_reciprocal_rank, queries, videos = (saved[name] for name in cls.NAMES)
        return cls(
            recall=tuple(recall),
            median_rank=median_rank,
            mean_reciprocal_rank=mean_reciprocal_rank,
            queries=queries,
            videos=videos,
        )

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


class TopVideos(NamedTuple):
    """The best videos of each query, best first."""

    videos: Int[Tensor, "queries k"]
    scores: Float[Tensor, "queries k"]
    clips: Int[Tensor, "queries k"]
    """The winning clip of each: the moment."""


def own_scores(
    queries: Float[Tensor, "queries dim"],
    stored: Float[Tensor, "videos vectors dim"],
    video_of_query: Int[Tensor, "queries"],
    groups: Sequence[VectorGroup],
) -> Float[Tensor, "queries"]:
    """The score of each unit query against its own video."""
    return own_and_clip_scores(queries, stored, video_of_query, groups)[0]


def own_and_clip_scores(
    queries: Float[Tensor, "queries dim"],
    stored: Float[Tensor, "videos vectors dim"],
    video_of_query: Int[Tensor, "queries"],
    groups: Sequence[VectorGroup],
) -> tuple[Float[Tensor, "queries"], Float[Tensor, "queries clips"]]:
    """The same, and how each clip of its own video scores for each query: where the moment is."""
    step, clips = max(1, _BLOCK_BYTES // (4 * stored[0].numel())), groups[0].vectors
    scores, of_clips = [], []
    for some, own in zip(torch.split(queries, step), torch.split(video_of_query, step), strict=True):
        vectors = stored[own.to(stored.device)].to(queries.device, torch.float32)
        found = torch.einsum("qd,qvd->qv", some, vectors)
        scores.append(best_of(found, groups)[0])
        of_clips.append(found[:, :clips].clone())
    return torch.cat(scores), torch.cat(of_clips)


def rank_videos(
    queries: Float[Tensor, "queries dim"],
    stored: Float[Tensor, "videos vectors dim"],
    video_of_query: Int[Tensor, "queries"],
    groups: Sequence[VectorGroup],
    *,
    right: Int[Tensor, "pairs 2"] | None = None,
) -> Int[Tensor, "queries"]:
    """The rank of each unit query's own video, 1 the best: 1 and the other videos that do not score lower.

    So ties count against the model, and so does whatever cannot be compared: NaN for the own video is the last rank.
    `stored` may lie elsewhere than the queries (in a mapped file, say): it passes by once, block by block.

    Where queries have several right videos, `right` holds every pair of a query and a video that is right for it, at
    least one of each query; the rank is that of the best right one, 1 and the wrong videos that do not score lower.
    """
    if right is None:
        right = torch.stack([torch.arange(len(queries)), video_of_query.cpu()], 1)
    asked, videos = right.to(queries.device).T
    best = torch.full((len(queries),), float("-inf"), device=queries.device)
    least = best.scatter_reduce(0, asked, own_scores(queries[asked], stored, videos, groups), "amax") - TIE
    better = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for first, scores, _, rows in _blocks(queries, stored, groups):
        high = ~(scores < least[rows, None])
        better[rows] += high.sum(1)
        inside = (asked >= rows.start) & (asked < rows.stop) & (videos >= first) & (videos < first + scores.shape[1])
        query, video = asked[inside], videos[inside]
        better.index_add_(0, query, high[query - rows.start, video - first].long(), alpha=-1)
    return better + 1


def top_videos(
    queries: Float[Tensor, "queries dim"],
    stored: Float[Tensor, "videos vectors dim"],
    k: int,
    groups: Sequence[VectorGroup],
) -> TopVideos:
    """The k best videos of each unit query (all of them if there are fewer), with their winning clips.

    Videos whose score is NaN come last.
    """
    k = min(k, len(stored))
    shape = (len(queries), k)
    best = TopVideos(
        torch.full(shape, -1, dtype=torch.int64, device=queries.device),  # no video yet
        torch.full(shape, float("-inf"), device=queries.device),
        torch.zeros(shape, dtype=torch.int64, device=queries.device),
    )
    for first, scores, clips, rows in _blocks(queries, stored, groups):
        videos = torch.arange(first, first + scores.shape[1], device=scores.device).expand_as(clips)
        both = TopVideos(
            *(torch.cat([old[rows], new], 1) for old, new in zip(best, (videos, scores, clips), strict=True))
        )
        lowest = torch.finfo(both.scores.dtype).min
        comparable = both.scores.nan_to_num(lowest, float("inf"), lowest).masked_fill(both.videos < 0, float("-inf"))
        order = comparable.sort(dim=1, descending=True, stable=True).indices[:, :k]
        for kept, found in zip(best, both, strict=True):
            kept[rows] = found.gather(1, order)
    return best


def _blocks(
    queries: Float[Tensor, "queries dim"], stored: Float[Tensor, "videos vectors dim"], groups: Sequence[VectorGroup]
) -> Iterator[tuple[int, Float[Tensor, "some videos"], Int[Tensor, "some videos"], slice]]:
    """Blocks of scores: the block's first video, the scores, the winning clips, the queries as a slice."""
    some = min(512, max(1, len(queries)))
    step = max(1, _BLOCK_BYTES // (4 * some * stored.shape[1]))
    for first in range(0, len(stored), step):
        block = stored[first : first + step].to(queries.device, torch.float32)
        for start in range(0, len(queries), some):
            rows = slice(start, min(start + some, len(queries)))
            scores, winning = best_of(products(queries[rows], block), groups)
            yield first, scores, winning, rows
