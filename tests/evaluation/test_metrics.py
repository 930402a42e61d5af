"""Metrics against the published system's and against tables by hand."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.evaluation import Metrics, chance, metrics_of, ranks

SCORES = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 999), st.sampled_from([2, 5, 1000]))
"""Queries, videos, a seed, and how many different scores there are: few of them tie."""


def drawn(queries: int, videos: int, seed: int, grid: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, grid, (queries, videos)) / grid, rng.integers(0, videos, queries)


def test_as_published(reference):
    published = np.load(reference / "metrics.npz")
    found = ranks(published["scores"], published["video_of_query"])
    metrics = metrics_of(found, published["scores"].shape[1])
    np.testing.assert_allclose(metrics.recall, published["recall_1_5_10_100"], rtol=0, atol=1e-5)
    assert (metrics.queries, metrics.videos) == (400, 150)


def test_by_hand():
    scores = np.array(
        [
            [0.9, 0.5, 0.1, 0.0],  # own 0: first
            [0.9, 0.5, 0.1, 0.0],  # own 2: third
            [0.5, 0.5, 0.1, 0.0],  # own 1, a tie: second
            [0.2, 0.2, 0.2, 0.2],  # own 3, all tie: last
        ]
    )
    found = ranks(scores, np.array([0, 2, 1, 3]))
    assert found.tolist() == [1, 3, 2, 4]
    metrics = metrics_of(found, 4)
    assert metrics.recall == (25.0, 100.0, 100.0, 100.0)
    assert metrics.sum_recall == 325.0
    assert metrics.median_rank == 2.5
    assert metrics.mean_reciprocal_rank == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 / 4) / 4)


def test_the_names_of_the_numbers():
    assert metrics_of(np.array([1, 7]), 20).as_dict() == {
        "R@1": 50.0,
        "R@5": 50.0,
        "R@10": 100.0,
        "R@100": 100.0,
        "SumR": 300.0,
        "MedR": 4.0,
        "MRR": pytest.approx(4 / 7),
        "queries": 2,
        "videos": 20,
    }


@given(SCORES, st.sampled_from([0.0, 0.2, 1.0]))
def test_a_rank_is_one_more_than_the_others_that_do_not_score_lower(size, broken):
    scores, own = drawn(*size)
    rng = np.random.default_rng(size[2])
    odd = rng.choice([np.nan, np.inf, -np.inf], scores.shape)
    scores = np.where(rng.random(scores.shape) < broken, odd, scores)
    found = ranks(scores, own)
    for query, video in enumerate(own):
        others = [other for other in range(scores.shape[1]) if other != video]
        assert found[query] == 1 + sum(not scores[query, other] < scores[query, video] for other in others)
        if np.isnan(scores[query, video]):
            assert found[query] == scores.shape[1]


def test_what_cannot_be_compared_counts_against_the_model():
    nan, inf = np.nan, np.inf
    scores = np.array(
        [
            [nan, 0.5, 0.1, 0.0],  # own 0, no number: last
            [nan, 0.5, 0.1, 0.0],  # own 1, best of the numbers: second
            [nan, nan, nan, nan],  # own 2: last
            [nan, 0.5, nan, 0.9],  # own 3: third
            [0.5, inf, 0.1, 0.0],  # own 0: second
            [inf, inf, 0.1, 0.0],  # own 0, a tie: second
            [-inf, 0.5, -inf, 0.1],  # own 0: last
        ]
    )
    assert ranks(scores, np.array([0, 1, 2, 3, 0, 0, 0])).tolist() == [4, 2, 4, 3, 2, 2, 4]


@settings(deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_nothing_changes_when_videos_or_queries_are_permuted(size, random):
    scores, own = drawn(*size)
    expected = metrics_of(ranks(scores, own), scores.shape[1])
    videos, queries = list(range(scores.shape[1])), list(range(len(scores)))
    random.shuffle(videos)
    random.shuffle(queries)
    place = np.argsort(videos)
    found = metrics_of(ranks(scores[queries][:, videos], place[own[queries]]), scores.shape[1])
    assert found.recall == expected.recall
    assert found.median_rank == expected.median_rank
    assert found.mean_reciprocal_rank == pytest.approx(expected.mean_reciprocal_rank)


@given(st.integers(1, 50), st.integers(1, 50))
def test_a_constant_model_ranks_last(queries, videos):
    found = ranks(np.full((queries, videos), 0.3), np.arange(queries) % videos)
    assert (found == videos).all()


def test_chance_is_what_random_scores_give():
    rng = np.random.default_rng(0)
    found = metrics_of(ranks(rng.random((20000, 40)), rng.integers(0, 40, 20000)), 40)
    expected = chance(40, 20000)
    np.testing.assert_allclose(found.recall, expected.recall, atol=1.5)
    assert found.median_rank == pytest.approx(expected.median_rank, abs=1)
    assert found.mean_reciprocal_rank == pytest.approx(expected.mean_reciprocal_rank, abs=0.01)
    assert isinstance(expected, Metrics)


def test_an_independent_library_measures_the_same():
    rng = np.random.default_rng(5)
    scores, own = rng.random((90, 300)), rng.integers(0, 300, 90)
    scores[np.arange(90), own] += rng.random(90) ** 2
    measures = [*(ir_measures.parse_measure(f"Success@{k}") for k in (1, 5, 10, 100)), ir_measures.RR]
    judged = [ir_measures.Qrel(str(query), str(video), 1) for query, video in enumerate(own)]
    run = [ir_measures.ScoredDoc(str(q), str(v), float(scores[q, v])) for q in range(90) for v in range(300)]
    theirs = ir_measures.calc_aggregate(measures, judged, run)
    found = metrics_of(ranks(scores, own), 300)
    np.testing.assert_allclose(found.recall, [100 * theirs[measure] for measure in measures[:4]], atol=1e-9)
    assert found.mean_reciprocal_rank == pytest.approx(theirs[ir_measures.RR])
