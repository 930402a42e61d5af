"""How well a sentence matches a video: the one definition that training, evaluation and search share.

score(query, video) = 0.7 max_i cos(query, clip_i) + 0.3 cos(query, video). With unit vectors this is
max_i query . (0.7 clip_i + 0.3 video): one vector per clip ("fused"), one inner product, the maximum over a video's
clips. The clip that wins is the moment.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


class VideoEmbeddings(NamedTuple):
    """What the network makes of videos; not normalised."""

    clips: Float[Tensor, "videos clips dim"]
    video: Float[Tensor, "videos dim"]


class ClipsAndFrames(NamedTuple):
    """What GMMFormer v2 makes of videos; not normalised."""

    clips: Float[Tensor, "videos clips dim"]
    frames: Float[Tensor, "videos positions dim"]
    """Of as many frames as the network looks at most; noughts behind a video's end."""


class VectorGroup(NamedTuple):
    """Vectors of a video, next to each other, of which the best one counts: a score is the weighted sum of these."""

    vectors: int
    weight: float


class Start(NamedTuple):
    """A linear map from frames to sentences, both levelled (less the mean of their numbers, then of unit length).

    The score to begin with is the cosine of `sentence - sentence mean` and `(frame - frame mean) weight`.
    """

    frame: Float[Tensor, "wide"]
    """The mean of the frames."""
    sentence: Float[Tensor, "dim"]
    """The mean of the sentences."""
    weight: Float[Tensor, "wide dim"]
    basis: Float[Tensor, "dim dim"]
    """Principal directions of the sentences, as columns, the first first: a narrow network keeps the first ones."""
    sentence_spread: float
    """How far sentences lie from their mean: the root of the mean square."""
    frame_spread: float
    """The same of the mapped frames."""


class BranchScores(NamedTuple):
    """Scores of every query against every video by one branch, as training wants them."""

    raw: Float[Tensor, "queries videos"]
    """Dot products; where a branch has several vectors of a video, their maximum."""
    cosine: Float[Tensor, "queries videos"]
    """Cosines in [-1, 1], likewise."""


def branch_scores(queries: Float[Tensor, "queries dim"], vectors: Float[Tensor, "videos vectors dim"]) -> BranchScores:
    """Each query against the best matching clip, or frame, of each video; the best is found for each form by itself.

    >>> branch_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [2.0, 0.0]]]))
    BranchScores(raw=tensor([[2.]]), cosine=tensor([[1.]]))
    """
    dots = products(queries, vectors)
    cosines = dots * _inverse_norm(queries)[:, None, None] * _inverse_norm(vectors)
    return BranchScores(dots.amax(-1), cosines.amax(-1))


def video_scores(queries: Float[Tensor, "queries dim"], videos: Float[Tensor, "videos dim"]) -> BranchScores:
    """Each query against the one vector of each video.

    >>> video_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    BranchScores(raw=tensor([[3.]]), cosine=tensor([[0.6000]]))
    """
    return branch_scores(queries, videos[:, None])


def fuse(embeddings: VideoEmbeddings, clip_weight: float, frame_weight: float) -> Float[Tensor, "videos clips dim"]:
    """The vectors whose inner product with a unit query is the score of that clip in that video, in float32.

    >>> fuse(VideoEmbeddings(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[5.0, 0.0]])), 0.7, 0.3)
    tensor([[[0.3000, 0.7000]]])
    """
    clips = F.normalize(embeddings.clips.float(), dim=-1)
    return clip_weight * clips + frame_weight * F.normalize(embeddings.video.float(), dim=-1)[:, None]


def best_of(
    products: Float[Tensor, "*shape vectors"], groups: Sequence[VectorGroup]
) -> tuple[Float[Tensor, "*shape"], Int[Tensor, "*shape"]]:
    """The score that inner products with all vectors of a video come to, and which vector of the first group won.

    >>> best_of(torch.tensor([[0.2, 0.4, 0.9, 0.5]]), (VectorGroup(2, 0.5), VectorGroup(2, 1.0)))
    (tensor([1.1000]), tensor([1]))
    """
    first, *others = torch.split(products, [group.vectors for group in groups], dim=-1)
    scores, winning = first.max(-1)
    if others or groups[0].weight != 1:
        weighted = zip(groups[1:], others, strict=True)
        scores = groups[0].weight * scores + sum(group.weight * part.amax(-1) for group, part in weighted)
    return scores, winning


def products(
    queries: Float[Tensor, "queries dim"], stored: Float[Tensor, "videos vectors dim"]
) -> Float[Tensor, "queries videos vectors"]:
    """The inner product of every query with every vector of every video."""
    return (queries @ stored.flatten(0, 1).T).view(len(queries), *stored.shape[:2])


def similarity(
    queries: Float[Tensor, "queries dim"],
    stored: Float[Tensor, "videos vectors dim"],
    groups: Sequence[VectorGroup] | None = None,
) -> Float[Tensor, "queries videos"]:
    """The retrieval score of every query against every video, in [-1, 1].

    Args:
        queries: Of any length, as `encode_query` gives them, say.
        stored: The videos' vectors, as `encode_video` gives them.
        groups: The network's; without them all vectors of a video are one group, as GMMFormer's are.

    >>> similarity(torch.tensor([[0.0, 3.0]]), torch.tensor([[[0.3, 0.7], [1.0, 0.0]]]))
    tensor([[0.7000]])
    """
    groups = groups or (VectorGroup(stored.shape[1], 1.0),)
    return best_of(products(F.normalize(queries.float(), dim=-1), stored), groups)[0]


def _inverse_norm(x: Float[Tensor, "... dim"]) -> Float[Tensor, "..."]:
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norms.clamp_min(1e-12).reciprocal()
