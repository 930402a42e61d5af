import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmformer.evaluation.moments import ScoreCurve, moments_of, score_curve


def line(*scores: float) -> ScoreCurve:
    return ScoreCurve(np.arange(len(scores) + 1.0), np.array(scores, dtype=np.float32))


def test_a_moment_is_the_run_that_stays_close() -> None:
    curve = line(0.1, 0.1, 0.6, 0.9, 0.8, 0.4, 0.1, 0.1, 0.1)  # median 0.1: close is 0.5 and more
    (moment,) = moments_of(curve)
    assert (moment.start, moment.end, moment.peak) == (2, 5, 3.5)
    assert moment.score == pytest.approx(0.9)
    assert moments_of(curve, close=0)[0][:2] == (3, 4)
    assert moments_of(curve, close=1)[0][:2] == (0, 9)


def test_several_moments_stand_on_hills_of_their_own() -> None:
    curve = line(0.1, 0.9, 0.5, 0.2, 0.1, 0.1, 0.7, 0.1, 0.1, 0.1)
    first, second = moments_of(curve, 5)[:2]
    assert first[:2] == (1, 2 + 1)
    assert second[:2] == (6, 7)
    assert len(moments_of(curve, 5)) == 2


def test_a_flat_film_is_one_moment() -> None:
    assert [moment[:2] for moment in moments_of(line(0.3, 0.3, 0.3), 4)] == [(0, 3)]


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60), st.integers(1, 8), st.floats(0, 1))
def test_moments_are_apart_ordered_and_hold_the_best(scores: list[float], count: int, close: float) -> None:
    curve = line(*scores)
    found = moments_of(curve, count, close)
    assert 1 <= len(found) <= count
    assert found[0].score == pytest.approx(max(scores), abs=1e-6)
    assert all(one.score >= other.score for one, other in itertools.pairwise(found))
    spans = sorted((moment.start, moment.end) for moment in found)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))
    assert all(moment.start <= moment.peak <= moment.end and moment.start < moment.end for moment in found)


def test_where_windows_overlap_the_better_clip_counts() -> None:
    spans = np.array([[[0, 2], [2, 4], [4, 6]], [[4, 6], [6, 8], [8, 10]]], dtype=float)
    scores = np.array([[0.1, 0.2, 0.3], [0.5, 0.4, 0.0]], dtype=np.float32)
    curve = score_curve(spans, scores)
    np.testing.assert_array_equal(curve.edges, [0, 2, 4, 6, 8, 10])
    np.testing.assert_allclose(curve.scores, [0.1, 0.2, 0.5, 0.4, 0.0])


@given(st.integers(1, 5), st.integers(1, 6), st.randoms(use_true_random=False))
def test_a_score_curve_is_the_best_clip_over_each_second(windows: int, clips: int, random: object) -> None:
    drawn = np.random.default_rng(windows * 10 + clips)
    starts = np.sort(drawn.integers(0, 20, (windows, clips)), axis=1)
    spans = np.stack([starts, starts + drawn.integers(1, 5, (windows, clips))], axis=-1).astype(float)
    spans = np.concatenate([spans, np.tile([[[0.0, 25.0]]], (windows, 1, 1))], axis=1)
    scores = drawn.random((windows, clips + 1)).astype(np.float32)
    curve = score_curve(spans, scores)
    for begin, end, score in zip(curve.edges, curve.edges[1:], curve.scores, strict=False):
        over = (spans[..., 0] <= begin) & (spans[..., 1] >= end)
        assert score == scores[over].max()
