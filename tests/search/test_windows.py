import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmformer.errors import InputError
from gmmformer.model import segment_edges
from gmmformer.search.windows import Window, clip_spans, cut, timing


def test_a_film_that_fits_is_one_window() -> None:
    assert cut(1, 128) == [Window(0, 1)]
    assert cut(128, 128) == [Window(0, 128)]


def test_windows_overlap_by_a_quarter() -> None:
    assert cut(320, 128) == [Window(0, 128), Window(96, 128), Window(192, 128)]
    assert cut(321, 128) == [Window(0, 128), Window(96, 128), Window(192, 128), Window(193, 128)]
    assert cut(256, 128, overlap=0) == [Window(0, 128), Window(128, 128)]


@given(st.integers(1, 3000), st.integers(1, 200), st.floats(0, 0.99))
def test_windows_cover_the_film_and_overlap_as_asked(rows: int, longest: int, overlap: float) -> None:
    windows = cut(rows, longest, overlap)
    assert windows[0].first == 0
    assert windows[-1].first + windows[-1].rows == rows
    assert all(window.rows == min(rows, longest) for window in windows)
    for one, other in itertools.pairwise(windows):
        assert one.first < other.first
        assert one.first + one.rows - other.first >= min(round(longest * overlap), longest - 1)


def test_row_edges_lie_halfway_between_rows() -> None:
    when = timing(4, np.array([0.0, 1.0, 2.0, 3.0]), 3.8, "x")
    np.testing.assert_allclose(when.row_edges(4), [0, 0.5, 1.5, 2.5, 3.8])
    assert when.seconds is None
    uneven = timing(3, np.array([1.0, 2.0, 5.0]), None, "x")
    np.testing.assert_allclose(uneven.row_edges(3), [0, 1.5, 3.5, 6.0])


def test_without_times_a_row_is_a_second() -> None:
    np.testing.assert_allclose(timing(3, None, None, "x").row_edges(3), [0, 1, 2, 3])


@pytest.mark.parametrize("seconds", [[0.0, np.nan], [1.0, 0.5], [-1.0, 2.0], [0.0]])
def test_impossible_seconds_are_refused(seconds: list[float]) -> None:
    with pytest.raises(InputError, match=r"film\.mp4.*seconds"):
        timing(2, np.array(seconds), None, "film.mp4")


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 50))
def test_clips_follow_each_other_and_cover_their_window(rows: int, clips: int, first: int) -> None:
    edges = np.arange(first + rows + 10) * 2.0
    spans = clip_spans(edges, Window(first, rows), clips)
    assert spans[0, 0] == 2 * first
    assert spans[-1, 1] == 2 * (first + rows)
    assert (spans[:, 1] > spans[:, 0]).all()
    assert (np.diff(spans[:, 0]) >= 0).all()
    same = np.diff(spans[:, 0]) == 0
    assert (spans[1:][same] == spans[:-1][same]).all()
    assert (spans[1:, 0][~same] == spans[:-1, 1][~same]).all()
    np.testing.assert_array_equal(spans[:, 0], 2.0 * (first + segment_edges(rows, clips)[:-1]))


def test_rows_taken_at_one_second_still_have_a_span() -> None:
    when = timing(3, np.array([2.0, 2.0, 2.0]), 2.0, "x")
    assert (np.diff(when.row_edges(3)) > 0).all()
