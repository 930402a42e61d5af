"""Ranks and best videos in blocks, against the whole score matrix."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmmformer.evaluation import rank_videos, ranking, ranks, top_videos
from gmmformer.evaluation.ranking import own_scores
from gmmformer.model import VectorGroup, similarity

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 999))
"""Queries, videos, clips of a video, a seed."""


@pytest.fixture(params=[1, 200, 2**25], ids=["one video a block", "a few", "all in one"])
def block_bytes(request, monkeypatch) -> Iterator[int]:
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", request.param)
    return request.param


def drawn(queries: int, videos: int, clips: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit queries along an axis and vectors of a coarse grid, so that many scores are exactly equal."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.randint(0, 3, (queries,), generator=generator)
    fused = torch.randint(-2, 3, (videos, clips, 3), generator=generator) / 4
    return F.one_hot(axes, 3).float(), fused, torch.randint(0, videos, (queries,), generator=generator)


def groups_of(vectors: torch.Tensor) -> tuple[VectorGroup, ...]:
    """Of a network such as GMMFormer: all vectors of a video are clips, and the best one is its score."""
    return (VectorGroup(vectors.shape[1], 1.0),)


given_sizes = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given_sizes
@given(SIZES)
def test_ranks_are_those_of_the_whole_matrix(block_bytes, size):
    queries, fused, own = drawn(*size)
    whole = similarity(queries, fused)
    assert rank_videos(queries, fused, own, groups_of(fused)).tolist() == ranks(whole.numpy(), own.numpy()).tolist()
    torch.testing.assert_close(own_scores(queries, fused, own, groups_of(fused)), whole[torch.arange(len(own)), own])


@given_sizes
@given(SIZES, st.integers(1, 4))
def test_the_best_of_each_group_counts(block_bytes, size, frames):
    queries, clips, own = drawn(*size)
    _, others, _ = drawn(size[0], size[1], frames, size[3] + 1)
    both = torch.cat([clips, others], dim=1)
    groups = (VectorGroup(clips.shape[1], 0.75), VectorGroup(frames, 0.25))
    whole = 0.75 * similarity(queries, clips) + 0.25 * similarity(queries, others)
    assert torch.equal(similarity(queries, both, groups), whole)
    assert rank_videos(queries, both, own, groups).tolist() == ranks(whole.numpy(), own.numpy()).tolist()
    torch.testing.assert_close(own_scores(queries, both, own, groups), whole[torch.arange(len(own)), own])
    found = top_videos(queries, both, 3, groups)
    assert found.scores.tolist() == whole.sort(dim=1, descending=True).values[:, :3].tolist()
    of_clips = torch.einsum("qd,qkcd->qkc", queries, clips[found.videos])
    assert torch.equal(of_clips.gather(2, found.clips[..., None])[..., 0], of_clips.amax(-1))


@given_sizes
@given(SIZES, st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from([torch.nan, torch.inf, -torch.inf]))
def test_what_is_not_finite_never_makes_a_hit(block_bytes, size, share, odd):
    queries, fused, own = drawn(*size)
    generator = torch.Generator().manual_seed(size[3])
    broken = torch.rand(len(fused), generator=generator) < share
    fused[broken, 0, 0] = odd
    if size[3] % 2:
        queries[0, 1] = odd
    whole = (queries @ fused.flatten(0, 1).T).view(len(queries), *fused.shape[:2]).amax(-1)
    found = rank_videos(queries, fused, own, groups_of(fused))
    assert found.tolist() == ranks(whole.numpy(), own.numpy()).tolist()
    assert (found[whole[torch.arange(len(own)), own].isnan()] == len(fused)).all()


@given_sizes
@given(SIZES, st.integers(1, 12))
def test_videos_without_a_score_come_last_and_once(block_bytes, size, k):
    queries, fused, _ = drawn(*size)
    fused[:: 1 + size[3] % 3] = torch.nan
    found = top_videos(queries, fused, k, groups_of(fused))
    scores = found.scores.nan_to_num(-100.0)
    assert (scores.diff(dim=1) <= 0).all()
    for videos in found.videos.tolist():
        assert len(set(videos)) == len(videos)
        assert set(videos) <= set(range(len(fused)))
    there = (~fused.isnan().any(-1).any(-1)).sum()
    assert (found.scores.isfinite().sum(1) == min(k, len(fused), there)).all()


@given_sizes
@given(SIZES, st.integers(1, 12))
def test_top_videos_are_those_of_a_sort(block_bytes, size, k):
    queries, fused, _ = drawn(*size)
    whole = similarity(queries, fused)
    expected = whole.sort(dim=1, descending=True, stable=True)
    found = top_videos(queries, fused, k, groups_of(fused))
    assert found.videos.shape == (len(queries), min(k, len(fused)))
    assert found.videos.tolist() == expected.indices[:, :k].tolist()
    torch.testing.assert_close(found.scores, expected.values[:, :k])
    for query in range(len(queries)):
        for video, score, clip in zip(*(column[query] for column in found), strict=True):
            assert (fused[video, clip] @ queries[query]).item() == pytest.approx(score.item())


@given_sizes
@given(SIZES, st.randoms(use_true_random=False))
def test_the_order_of_the_videos_does_not_matter(size, random):
    queries, fused, own = drawn(*size)
    order = list(range(len(fused)))
    random.shuffle(order)
    place = torch.tensor(order).argsort()
    assert (
        rank_videos(queries, fused[order], place[own], groups_of(fused)).tolist()
        == rank_videos(queries, fused, own, groups_of(fused)).tolist()
    )


def test_a_constant_model_ranks_last(block_bytes):
    vectors = F.normalize(torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    queries = F.normalize(torch.randn(1, 64, generator=torch.Generator().manual_seed(1)), dim=-1)
    found = rank_videos(queries.expand(30, -1), vectors.expand(37, -1, -1), torch.arange(30), groups_of(vectors))
    assert (found == 37).all()


@pytest.mark.parametrize("videos", [37, 1001])
def test_equal_videos_tie_wherever_they_lie_in_a_block(block_bytes, videos):
    # matrix products of other shapes may round otherwise in the last digit
    generator = torch.Generator().manual_seed(2)
    fused = 0.99 * F.normalize(torch.randn(1, 32, 384, generator=generator), dim=-1).repeat(videos, 1, 1)
    queries = F.normalize(torch.randn(7, 384, generator=generator), dim=-1)
    assert (rank_videos(queries, fused, torch.arange(7) * 5, groups_of(fused)) == videos).all()


def test_more_queries_than_a_block_of_them(monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 3000)
    queries, fused, own = drawn(1200, 40, 2, 5)
    whole = similarity(queries, fused)
    assert rank_videos(queries, fused, own, groups_of(fused)).tolist() == ranks(whole.numpy(), own.numpy()).tolist()
    assert (
        top_videos(queries, fused, 5, groups_of(fused)).scores.tolist()
        == whole.sort(dim=1, descending=True).values[:, :5].tolist()
    )


def test_from_a_mapped_file_in_half_precision(tmp_path):
    queries, fused, own = drawn(5, 8, 3, 1)
    mapped = np.memmap(tmp_path / "fused", dtype=np.float16, mode="w+", shape=fused.shape)
    mapped[:] = fused.numpy()
    found = rank_videos(queries, torch.from_numpy(mapped), own, groups_of(fused))
    assert found.tolist() == rank_videos(queries, fused, own, groups_of(fused)).tolist()
    assert top_videos(queries, torch.from_numpy(mapped), 3, groups_of(fused)).scores.dtype == torch.float32


def test_the_score_matrix_is_never_whole(monkeypatch):
    largest = 0
    original = ranking.products

    def watched(queries: torch.Tensor, fused: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        scores = original(queries, fused)
        largest = max(largest, 4 * scores.numel())
        return scores

    monkeypatch.setattr(ranking, "products", watched)
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 2**16)
    queries, fused, own = drawn(600, 400, 4, 3)
    rank_videos(queries, fused, own, groups_of(fused))
    assert 0 < largest <= 2**16
