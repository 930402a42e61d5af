"""The training objectives: NCE, triplets with hard negatives, query-diverse and matching loss (papers: learning
objectives).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gmmformer.config import TrainConfig
from gmmformer.model.scoring import BranchScores, ClipsAndFrames, VideoEmbeddings, branch_scores, video_scores


class Losses(NamedTuple):
    """The terms of the objective, before their factors, and their weighted sum."""

    clip_nce: Float[Tensor, ""]
    clip_triplet: Float[Tensor, ""]
    video_nce: Float[Tensor, ""]
    video_triplet: Float[Tensor, ""]
    diversity: Float[Tensor, ""]
    total: Float[Tensor, ""]


class LossesV2(NamedTuple):
    """The same of GMMFormer v2."""

    clip_nce: Float[Tensor, ""]
    clip_triplet: Float[Tensor, ""]
    frame_nce: Float[Tensor, ""]
    frame_triplet: Float[Tensor, ""]
    diversity: Float[Tensor, ""]
    matching: Float[Tensor, ""]
    total: Float[Tensor, ""]


def objective(
    queries: Float[Tensor, "queries encodings dim"],
    videos: VideoEmbeddings,
    labels: Int[Tensor, "queries"],
    config: TrainConfig,
    *,
    hard: bool,
    generator: torch.Generator,
) -> Losses:
    """The loss of a batch: total = f0 clip NCE + clip triplet + f1 video NCE + video triplet + f2 query-diverse.

    Args:
        queries: All the sentences of the batch's videos, encoded once, or twice with dropout anew: the terms that are
            about sentences among themselves, or to clips, take the last encoding.
        videos: The embeddings of the batch's videos.
        labels: The video of each query, on the CPU.
        config: Margins, factors and pool sizes.
        hard: Whether the triplets take the hardest negatives rather than random ones.
        generator: Draws the negatives; a CPU generator, so that every device draws the same.
    """
    scored, again = queries[:, 0], queries[:, -1]
    branches = branch_scores(scored, videos.clips), video_scores(scored, videos.video)
    terms, contrasted = _contrasts(*branches, labels, config, hard, generator)
    diversity = query_diverse(again, labels.to(queries.device), config.diversity_delta, config.diversity_alpha)
    return Losses(*terms, diversity, contrasted + config.diversity_weight * diversity)


def objective_v2(
    queries: Float[Tensor, "queries encodings dim"],
    videos: ClipsAndFrames,
    labels: Int[Tensor, "queries"],
    config: TrainConfig,
    *,
    hard: bool,
    generator: torch.Generator,
) -> LossesV2:
    """The loss of a batch: f0 clip NCE + clip triplet + f1 frame NCE + frame triplet + f2 query-diverse + f3 matching.

    The arguments are those of `objective`.
    """
    scored, again, there = queries[:, 0], queries[:, -1], labels.to(queries.device)
    branches = branch_scores(scored, videos.clips), branch_scores(scored, videos.frames)
    terms, contrasted = _contrasts(*branches, labels, config, hard, generator)
    diversity = pairs_diverse(again, there, config.diversity_delta, config.diversity_alpha)
    matched = matching(again, videos.clips, there)
    total = contrasted + config.diversity_weight * diversity + config.matching_weight * matched
    return LossesV2(*terms, diversity, matched, total)


def _contrasts(
    clip: BranchScores,
    video: BranchScores,
    labels: Int[Tensor, "queries"],
    config: TrainConfig,
    hard: bool,
    generator: torch.Generator,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """NCE and triplet of the clips, then of the video or its frames, and the four's weighted sum."""
    own = labels[:, None] == torch.arange(clip.raw.shape[1])  # queries, videos
    negatives, own_there = (own, config, hard, generator), own.to(clip.raw.device)
    clip_nce, video_nce = nce(clip.raw, own_there), nce(video.raw, own_there)
    clip_triplet, video_triplet = triplet(clip.cosine, *negatives), triplet(video.cosine, *negatives)
    total = config.clip_nce_weight * clip_nce + clip_triplet + config.video_nce_weight * video_nce + video_triplet
    return (clip_nce, clip_triplet, video_nce, video_triplet), total


def nce(scores: Float[Tensor, "queries videos"], own: Bool[Tensor, "queries videos"]) -> Float[Tensor, ""]:
    """Both ways of the contrastive loss on raw scores; `own` marks each query's video.

    mean_n [lse_b s(n, b) - s(n, own)] + mean_b [lse_n s(n, b) - lse_{own n} s(n, b)].

    >>> nce(torch.zeros(2, 2), torch.eye(2, dtype=torch.bool)).item() / 2  # ln 2, twice
    0.693...
    """
    of_own = scores.masked_fill(~own, float("-inf"))
    to_video = scores.logsumexp(1) - of_own.logsumexp(1)
    to_query = scores.logsumexp(0) - of_own.logsumexp(0)
    return to_video.mean() + to_query.mean()


def triplet(
    scores: Float[Tensor, "queries videos"],
    own: Bool[Tensor, "queries videos"],
    config: TrainConfig,
    hard: bool,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Both ways of the triplet loss on cosines; `own` (on the CPU) marks each query's video. 0 for a single video.

    A query's negative is one of the other videos at random, or of the `hard_pool_size` best scoring of them; a video's
    negative is a sentence of another video at random, or the best scoring one.

    >>> scores, own = torch.tensor([[0.9, 0.5], [0.7, 0.6]]), torch.eye(2, dtype=torch.bool)
    >>> triplet(scores, own, TrainConfig(margin=0.2), True, torch.Generator())  # (0 + 0.3) / 2 + (0 + 0.1) / 2
    tensor(0.2000)
    """
    if own.shape[1] < 2:
        return scores.sum() * 0
    there = own.to(scores.device)
    of_others = scores.masked_fill(there, float("-inf"))
    positive = (scores * there).sum(1)  # queries
    if hard:
        pool = of_others.topk(min(config.hard_pool_size, own.shape[1] - 1), dim=1).values
        drawn = torch.randint(pool.shape[1], (len(own), 1), generator=generator)
        video_negative = pool.gather(1, drawn.to(scores.device)).squeeze(1)
        query_negative = of_others.amax(0)
    else:
        video_negative = scores.gather(1, _draw(~own, generator).to(scores.device)).squeeze(1)
        query_negative = scores.T.gather(1, _draw(~own.T, generator).to(scores.device)).squeeze(1)
    positive_mean = (scores * there).sum(0) / there.sum(0)  # videos
    to_video = F.relu(config.margin + video_negative - positive)
    to_query = F.relu(config.margin + query_negative - positive_mean)
    return to_video.mean() + to_query.mean()


def query_diverse(
    queries: Float[Tensor, "queries dim"], labels: Int[Tensor, "queries"], delta: float, alpha: float
) -> Float[Tensor, ""]:
    """Pushes the sentences of one video apart (query-diverse loss).

    mean_n log(1 + sum_k exp(alpha (cos(n, k) + delta))) over the other sentences k of n's video.

    >>> query_diverse(torch.eye(2), torch.tensor([0, 0]), 0.0, 32.0)  # ln 2
    tensor(0.6931)
    >>> query_diverse(torch.eye(2), torch.tensor([0, 1]), 0.0, 32.0)
    tensor(0.)
    """
    unit = F.normalize(queries, dim=-1)
    same = labels[:, None] == labels
    same.fill_diagonal_(False)
    exponents = (alpha * (unit @ unit.T + delta)).masked_fill(~same, float("-inf"))
    return F.softplus(_logsumexp(exponents)).mean()


def pairs_diverse(
    queries: Float[Tensor, "queries dim"], labels: Int[Tensor, "queries"], delta: float, alpha: float
) -> Float[Tensor, ""]:
    """Pushes the sentences of one video apart, pair by pair, near ones more (query-diverse loss of GMMFormer v2).

    1 / N sum (1 + cos(n, k)) log(1 + exp(alpha (cos(n, k) + delta))) over all ordered pairs n, k of one video's; the
    published power of the first factor is 1 throughout.

    >>> pairs_diverse(torch.eye(2), torch.tensor([0, 0]), 0.0, 32.0)  # ln 2
    tensor(0.6931)
    """
    unit = F.normalize(queries, dim=-1)
    same = labels[:, None] == labels
    same.fill_diagonal_(False)
    cosines = unit @ unit.T
    return ((1 + cosines) * F.softplus(alpha * (cosines + delta)) * same).sum() / len(queries)


def matching(
    queries: Float[Tensor, "queries dim"], clips: Float[Tensor, "videos clips dim"], labels: Int[Tensor, "queries"]
) -> Float[Tensor, ""]:
    """Draws the sentences of one video to clips of it, each to another (matching loss of GMMFormer v2).

    1 - the mean cosine of all sentences with the clips that they are matched to: within a video one to one, so that
    the sum of its cosines is largest. Videos with one sentence are left out, and what is more sentences than clips;
    without any pair it is 0.

    >>> matching(torch.eye(2), torch.eye(2)[None], torch.tensor([0, 0]))
    tensor(0.)
    >>> matching(torch.eye(2), torch.eye(2)[None, :1], torch.tensor([0, 0]))  # one of them has the one clip
    tensor(0.)
    """
    from scipy.optimize import linear_sum_assignment  # what does not train need not wait for it

    cosines = torch.einsum("qd,qcd->qc", F.normalize(queries, dim=-1), F.normalize(clips, dim=-1)[labels])
    costs, order = -cosines.detach().double().cpu().numpy(), labels.cpu().argsort(stable=True)
    sentences, matched = [], []
    for some in torch.split(order, labels.cpu().bincount().tolist()):
        if len(some) > 1:
            rows, columns = linear_sum_assignment(costs[some.numpy()])
            sentences.append(some[torch.from_numpy(rows)])
            matched.append(torch.from_numpy(columns))
    if not sentences:
        return cosines.sum() * 0
    picked = cosines[torch.cat(sentences).to(cosines.device), torch.cat(matched).to(cosines.device)]
    return 1 - picked.mean()


def _logsumexp(x: Float[Tensor, "queries others"]) -> Float[Tensor, "queries"]:
    """Row-wise logsumexp, over the last axis whose gradient is 0, not NaN, where a row is -inf throughout."""
    empty = x.isneginf().all(-1)
    return x.masked_fill(empty[:, None], -1e30).logsumexp(-1)


def _draw(allowed: Bool[Tensor, "rows columns"], generator: torch.Generator) -> Int[Tensor, "rows 1"]:
    """One allowed column of each row, each as likely as the other."""
    return torch.multinomial(allowed.float(), 1, generator=generator)
