from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gmmformer.media.decoding.timeline import Ticks, Timeline, end_of_film

MILLISECOND = Fraction(1, 1000)


def placed(times, usual=40):
    timeline = Timeline(MILLISECOND, usual)
    return [timeline.place(time) for time in times]


def test_times_count_from_the_first_frame():
    assert placed([10000, 10040, 10080]) == [0, 40, 80]
    assert placed([-80, -40, 0]) == [0, 40, 80]


def test_frames_without_a_time_follow_the_one_before():
    assert placed([None, None, 500, 540]) == [0, 40, 80, 120]
    assert placed([100, None, 180]) == [0, 40, 80]


def test_a_small_step_back_waits_and_a_large_one_goes_on():
    assert placed([0, 40, 120, 80, 160]) == [0, 40, 120, 120, 160]
    assert placed([90000, 90040, 0, 40, 80]) == [0, 40, 80, 120, 160]


def test_an_hour_may_pass_and_more_is_an_error():
    assert placed([0, 3_600_000]) == [0, 3_600_000]
    assert placed([0, 95_000_000, 95_000_040]) == [0, 40, 80]
    assert placed([0, 95_000_000, 80, 120]) == [0, 40, 80, 120]


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=1))
def test_the_clock_starts_at_zero_and_never_runs_back(times):
    result = placed(times)
    assert result[0] == 0
    assert all(one <= other <= one + 3_600_000 for one, other in pairwise(result))


def test_a_tick_takes_a_time_that_was_rounded_up():
    ticks = Ticks(rate=Fraction(3))
    assert [ticks.threshold(tick, MILLISECOND) for tick in range(4)] == [0, 333, 667, 1000]
    assert ticks.threshold(1, Fraction(1, 30)) == 10
    assert Ticks(rate=Fraction(1), end=Fraction(2)).threshold(2, MILLISECOND) is None


def test_the_end_of_a_film_forgives_rounding():
    assert end_of_film(9967, 34) == 10000
    assert end_of_film(9, 1) == Fraction(19, 2)
