from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmformer.media.timeline import Clock, Ticks, Timeline, end_of_film

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


def test_a_day_may_pass_and_more_is_an_error():
    assert placed([0, 7_200_000, 93_600_000]) == [0, 7_200_000, 93_600_000]
    assert placed([0, 95_000_000, 95_000_040]) == [0, 40, 80]
    assert placed([0, 95_000_000, 80, 120]) == [0, 40, 80, 120]


@given(st.lists(st.none() | st.integers(-(2**62), 2**62), min_size=1))
def test_the_clock_starts_at_zero_and_never_runs_back(times):
    result = placed(times)
    assert result[0] == 0
    assert all(one <= other <= one + 86_400_000 for one, other in pairwise(result))


def mended(times, *, jumps, changes=()):
    """Times of showing and decoding of packets with these, and what the clock found."""
    clock = Clock(MILLISECOND, 40, jumps=jumps, changes=changes)
    packets = [SimpleNamespace(pts=pts, dts=dts) for pts, dts in times]
    for packet in packets:
        clock.mend(packet)
    return [(packet.pts, packet.dts) for packet in packets], clock.changes


REORDERED = [(80, 0), (360, 100), (180, 200), (260, 300)]


@pytest.mark.parametrize("first", [0, 5_000, 7_200_000, 2**33 // 90 - 100])
@pytest.mark.parametrize("second", [0, 7_200_000, 14_400_000, 2**33 // 90 - 100])
def test_a_clock_that_is_set_anew_goes_on_one_frame_after_the_latest_picture(first, second):
    pieces = [[(pts + base, dts + base) for pts, dts in REORDERED] for base in (first, second)]
    times, changes = mended(pieces[0] + pieces[1], jumps=True)
    assert times[:4] == pieces[0]
    assert times[4:] == [(first + 400 + pts - 80, first + 400 + dts - 80) for pts, dts in REORDERED]
    assert changes == [(first + 400 - second - 80) * MILLISECOND]


def test_only_a_clock_that_may_jump_takes_a_gap_for_a_jump():
    gap = [(0, 0), (7_200_000, 7_200_000)]
    assert mended(gap, jumps=False) == (gap, [])
    assert mended(gap, jumps=True)[0] == [(0, 0), (40, 40)]
    pause = [(0, 0), (9_900, 9_900)]
    assert mended(pause, jumps=True) == (pause, [])
    assert mended([(0, 0), (90_000_000, 90_000_000)], jumps=False)[0] == [(0, 0), (40, 40)]
    assert mended([(5000, 5000), (0, 0)], jumps=False)[0] == [(5000, 5000), (5040, 5040)]


def test_packets_without_times_stay_without():
    times, _ = mended([(None, 0), (None, 40), (None, 9_000_000), (9_000_080, None), (None, None)], jumps=True)
    assert times == [(None, 0), (None, 40), (None, 80), (160, None), (None, None)]


def test_another_streams_clock_changes_by_as_much():
    sound = [(base + time, base + time) for base in (100, 8_000_000) for time in (0, 21, 42)]
    times, _ = mended(sound, jumps=True, changes=[Fraction(-7_999_000, 1000)])
    assert times[3:] == [(1000, 1000), (1021, 1021), (1042, 1042)]


def test_a_tick_takes_a_time_that_was_rounded_up():
    ticks = Ticks(rate=Fraction(3))
    assert [ticks.threshold(tick, MILLISECOND) for tick in range(4)] == [0, 333, 667, 1000]
    assert ticks.threshold(1, Fraction(1, 30)) == 10
    assert Ticks(rate=Fraction(1), end=Fraction(2)).threshold(2, MILLISECOND) is None


def test_the_end_of_a_film_forgives_rounding():
    assert end_of_film(9967, 34) == 10000
    assert end_of_film(9, 1) == Fraction(19, 2)
