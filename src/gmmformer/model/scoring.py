"""How well a sentence matches a video: the one definition that training, evaluation and search share.

score(query, video) = 0.7 max_i cos(query, clip_i) + 0.3 cos(query, video). With unit vectors this is
max_i query . (0.7 clip_i + 0.3 video): one vector per clip ("fused"), one inner product, the maximum over a video's
clips. The clip that wins is the moment.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class VideoEmbeddings(NamedTuple):
    """What the network makes of videos; not normalised."""

    clips: Float[Tensor, "videos clips dim"]
    video: Float[Tensor, "videos dim"]


class BranchScores(NamedTuple):
    """Scores of every query against every video by one branch, as training wants them."""

    raw: Float[Tensor, "queries videos"]
    """Dot products; their maximum over the clips in the clip branch."""
    cosine: Float[Tensor, "queries videos"]
    """Cosines in [-1, 1]; their maximum over the clips in the clip branch."""


def clip_scores(queries: Float[Tensor, "queries dim"], clips: Float[Tensor, "videos clips dim"]) -> BranchScores:
    """Each query against the best matching clip of each video; the best is found for each form by itself.

    >>> clip_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [2.0, 0.0]]]))
    BranchScores(raw=tensor([[2.]]), cosine=tensor([[1.]]))
    """
    dots = (queries @ clips.flatten(0, 1).T).view(len(queries), *clips.shape[:2])  # queries, videos, clips
    cosines = dots * _inverse_norm(queries)[:, None, None] * _inverse_norm(clips)
    return BranchScores(dots.amax(-1), cosines.amax(-1))


def video_scores(queries: Float[Tensor, "queries dim"], videos: Float[Tensor, "videos dim"]) -> BranchScores:
    """Each query against the one vector of each video.

    >>> video_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    BranchScores(raw=tensor([[3.]]), cosine=tensor([[0.6000]]))
    """
    dots = queries @ videos.T
    return BranchScores(dots, dots * _inverse_norm(queries)[:, None] * _inverse_norm(videos))


def fuse(embeddings: VideoEmbeddings, clip_weight: float, frame_weight: float) -> Float[Tensor, "videos clips dim"]:
    """The vectors whose inner product with a unit query is the score of that clip in that video, in float32.

    >>> fuse(VideoEmbeddings(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[5.0, 0.0]])), 0.7, 0.3)
    tensor([[[0.3000, 0.7000]]])
    """
    clips = F.normalize(embeddings.clips.float(), dim=-1)
    return clip_weight * clips + frame_weight * F.normalize(embeddings.video.float(), dim=-1)[:, None]


def fused_clip_scores(
    queries: Float[Tensor, "queries dim"], fused: Float[Tensor, "videos clips dim"]
) -> Float[Tensor, "queries videos clips"]:
    """The score of every clip of every video; the queries have unit length."""
    return (queries @ fused.flatten(0, 1).T).view(len(queries), *fused.shape[:2])


def similarity(
    queries: Float[Tensor, "queries dim"], fused: Float[Tensor, "videos clips dim"]
) -> Float[Tensor, "queries videos"]:
    """The retrieval score of every query against every video, in [-1, 1].

    `queries` need not have unit length; `fused` comes from `fuse`.

    >>> similarity(torch.tensor([[0.0, 3.0]]), torch.tensor([[[0.3, 0.7], [1.0, 0.0]]]))
    tensor([[0.7000]])
    """
    return fused_clip_scores(F.normalize(queries.float(), dim=-1), fused).amax(-1)


def _inverse_norm(x: Float[Tensor, "... dim"]) -> Float[Tensor, "..."]:
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return norms.clamp_min(1e-12).reciprocal()
