"""Ranks and best videos without the whole score matrix: blocks of queries against blocks of videos."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gmmformer.model import fused_clip_scores

TIE = 2.0**-22
"""Scores nearer than this are one score: a few steps of float32 at 1, so that equal videos tie in whatever block."""

_BLOCK_BYTES = 2**25


class TopVideos(NamedTuple):
    """The best videos of each query, best first."""

    videos: Int[Tensor, "queries k"]
    scores: Float[Tensor, "queries k"]
    clips: Int[Tensor, "queries k"]
    """The winning clip of each: the moment."""


def own_scores(
    queries: Float[Tensor, "queries dim"],
    fused: Float[Tensor, "videos clips dim"],
    video_of_query: Int[Tensor, "queries"],
) -> Float[Tensor, "queries"]:
    """The score of each unit query against its own video."""
    step = max(1, _BLOCK_BYTES // (4 * fused[0].numel()))
    parts = [
        torch.einsum("qd,qcd->qc", some, fused[own.to(fused.device)].to(queries.device, torch.float32)).amax(-1)
        for some, own in zip(torch.split(queries, step), torch.split(video_of_query, step), strict=True)
    ]
    return torch.cat(parts)


def rank_videos(
    queries: Float[Tensor, "queries dim"],
    fused: Float[Tensor, "videos clips dim"],
    video_of_query: Int[Tensor, "queries"],
) -> Int[Tensor, "queries"]:
    """The rank of each unit query's own video, 1 the best: 1 and the other videos that do not score lower.

    So ties count against the model, and so does whatever cannot be compared: NaN for the own video is the last rank.
    `fused` may lie elsewhere than the queries (in a mapped file, say): it passes by once, block by block.
    """
    least = own_scores(queries, fused, video_of_query) - TIE
    own = video_of_query.to(queries.device)
    better = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
    for first, scores, _, rows in _blocks(queries, fused):
        others = own[rows, None] != torch.arange(first, first + scores.shape[1], device=scores.device)
        better[rows] += (~(scores < least[rows, None]) & others).sum(1)
    return better + 1


def top_videos(queries: Float[Tensor, "queries dim"], fused: Float[Tensor, "videos clips dim"], k: int) -> TopVideos:
    """The k best videos of each unit query (all of them if there are fewer), with their winning clips.

    Videos whose score is NaN come last.
    """
    k = min(k, len(fused))
    shape = (len(queries), k)
    best = TopVideos(
        torch.full(shape, -1, dtype=torch.int64, device=queries.device),  # no video yet
        torch.full(shape, float("-inf"), device=queries.device),
        torch.zeros(shape, dtype=torch.int64, device=queries.device),
    )
    for first, scores, clips, rows in _blocks(queries, fused):
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
    queries: Float[Tensor, "queries dim"], fused: Float[Tensor, "videos clips dim"]
) -> Iterator[tuple[int, Float[Tensor, "some videos"], Int[Tensor, "some videos"], slice]]:
    """Blocks of scores: the block's first video, the scores, the winning clips, the queries as a slice."""
    clips = fused.shape[1]
    some = min(512, max(1, len(queries)))
    step = max(1, _BLOCK_BYTES // (4 * some * clips))
    for first in range(0, len(fused), step):
        block = fused[first : first + step].to(queries.device, torch.float32)
        for start in range(0, len(queries), some):
            rows = slice(start, min(start + some, len(queries)))
            scores, winning = fused_clip_scores(queries[rows], block).max(-1)
            yield first, scores, winning, rows
