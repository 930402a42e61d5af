"""The one score: cosines by hand, and the fused form against the plain one."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.model import VideoEmbeddings, fuse, products, similarity
from gmmformer.model.scoring import branch_scores, video_scores


def embeddings(queries: int, videos: int, clips: int, seed: int) -> tuple[torch.Tensor, VideoEmbeddings]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, 6, generator=generator) * 10.0 ** torch.randint(
            -2, 3, (*shape, 1), generator=generator
        )

    return draw(queries), VideoEmbeddings(draw(videos, clips), draw(videos))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 4), st.integers(1, 5), st.integers(0, 999), st.floats(0, 1))
def test_fused_is_plain(queries, videos, clips, seed, clip_weight):
    sentences, them = embeddings(queries, videos, clips, seed)
    fused = fuse(them, clip_weight, 1 - clip_weight)
    scores = similarity(sentences, fused)
    assert scores.shape == (queries, videos)
    plain = (
        clip_weight * branch_scores(sentences, them.clips).cosine
        + (1 - clip_weight) * video_scores(sentences, them.video).cosine
    )
    torch.testing.assert_close(scores, plain, rtol=0, atol=1e-6)
    assert (scores.abs() <= 1 + 1e-6).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(0, 999))
def test_scores_are_cosines_and_dot_products(queries, videos, clips, seed):
    sentences, them = embeddings(queries, videos, clips, seed)
    clip, video = branch_scores(sentences, them.clips), video_scores(sentences, them.video)
    q, c, v = (part.double().numpy() for part in (sentences, *them))
    for n in range(queries):
        for b in range(videos):
            np.testing.assert_allclose(clip.raw[n, b], max(q[n] @ x for x in c[b]), rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(clip.cosine[n, b], max(cosine(q[n], x) for x in c[b]), atol=1e-5)
            np.testing.assert_allclose(video.raw[n, b], q[n] @ v[b], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(video.cosine[n, b], cosine(q[n], v[b]), atol=1e-5)


def test_raw_and_cosine_may_take_different_clips():
    scores = branch_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.5, 0.0], [3.0, 4.0]]]))
    assert scores.raw.item() == 3
    assert scores.cosine.item() == 1


def test_the_winning_clip_is_the_moment():
    clips = torch.nn.functional.normalize(torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    fused = fuse(VideoEmbeddings(clips, clips.mean(1)), 0.7, 0.3)
    scores = products(clips[1, 3][None], fused)
    assert scores.shape == (1, 3, 5)
    assert scores[0, 1].argmax() == 3


def test_a_vector_of_noughts_scores_nought():
    none = VideoEmbeddings(torch.zeros(1, 2, 3), torch.zeros(1, 3))
    assert similarity(torch.ones(1, 3), fuse(none, 0.7, 0.3)).item() == 0
    assert similarity(torch.zeros(1, 3), torch.ones(1, 2, 3)).item() == 0
    assert branch_scores(torch.ones(1, 3), none.clips).cosine.item() == 0


def test_half_precision_embeddings_are_scored_in_float32():
    sentences, them = embeddings(2, 3, 4, 0)
    fused = fuse(VideoEmbeddings(them.clips.bfloat16(), them.video.bfloat16()), 0.7, 0.3)
    assert fused.dtype == torch.float32
    assert similarity(sentences.bfloat16(), fused).dtype == torch.float32
