"""Time codes and frames: a table worked out by hand, and what must hold for all of them."""

import random
from fractions import Fraction

import opentimelineio as otio
import pytest

from gmmformer.web.placing import Counting, common_counting, counting_of, nearest_rate

FILM, PAL, VIDEO, FAST, SLOW = (Fraction(text) for text in ("24", "25", "30000/1001", "60000/1001", "12"))

TABLE = [
    # rate, time code of the first frame, its number; seconds into the film; the frame there, its time code
    (FILM, "10:00:00:00", 864_000, 1.5, 36, "10:00:01:12"),
    (FILM, "10:00:00:00", 864_000, 3_600.0, 86_400, "11:00:00:00"),
    (PAL, "10:00:00:00", 900_000, 0.04, 1, "10:00:00:01"),
    (PAL, "10:00:00:00", 900_000, 62.0, 1_550, "10:01:02:00"),
    (PAL, "10:00:00:24", 900_024, 0.04, 1, "10:00:01:00"),
    # Non-drop: 1,800 frames are 60.06 s and a minute of names.
    (VIDEO, "10:00:00:00", 1_080_000, 60.06, 1_800, "10:01:00:00"),
    (VIDEO, "10:00:00:00", 1_080_000, 3_603.6, 108_000, "11:00:00:00"),
    # Drop: names 00 and 01 are left out in each minute but the tenth; an hour has 107,892 frames.
    (VIDEO, "10:00:00;00", 1_078_920, 59.99, 1_798, "10:00:59;28"),
    (VIDEO, "10:00:00;00", 1_078_920, 60.06, 1_800, "10:01:00;02"),
    (VIDEO, "10:00:00;00", 1_078_920, 600.6, 18_000, "10:10:00;18"),
    (VIDEO, "10:00:00;00", 1_078_920, 599.9994, 17_982, "10:10:00;00"),
    (VIDEO, "10:00:00;00", 1_078_920, 3_599.9964, 107_892, "11:00:00;00"),
    (VIDEO, "10:09:59;29", 1_096_901, 0.03337, 1, "10:10:00;00"),
    (VIDEO, "10:00:59;29", 1_080_719, 0.03337, 1, "10:01:00;02"),
    # 59.94: four names are left out; an hour has 215,784 frames.
    (FAST, "10:00:00:00", 2_160_000, 60.06, 3_600, "10:01:00:00"),
    (FAST, "10:00:00;00", 2_157_840, 60.06, 3_600, "10:01:00;04"),
    (FAST, "10:00:00;00", 2_157_840, 600.6, 36_000, "10:10:00;36"),
    (SLOW, "10:00:00:00", 432_000, 2.5, 30, "10:00:02:06"),
    (SLOW, "10:00:00:11", 432_011, 0.0834, 1, "10:00:01:00"),
]


@pytest.mark.parametrize(("rate", "first", "number", "second", "frame", "label"), TABLE)
def test_the_table(rate: Fraction, first: str, number: int, second: float, frame: int, label: str) -> None:
    counting, code = counting_of(rate, first, PAL)
    assert code is not None
    assert counting.frame(code) == number
    assert counting.label(number) == first
    assert counting.span(second, second + 1)[0] == frame
    assert counting.label(number + frame) == label


@pytest.mark.parametrize(
    ("rate", "drop"), [(FILM, False), (PAL, False), (VIDEO, False), (VIDEO, True), (FAST, False), (FAST, True)]
)
def test_labels_are_those_of_opentimelineio(rate: Fraction, drop: bool) -> None:
    counting = Counting(rate, drop)
    generator = random.Random(5)
    for frame in [*range(17_900, 18_100), *(generator.randrange(24 * 60 * 60 * 20) for _ in range(500))]:
        time = otio.opentime.RationalTime(frame, float(rate))
        said = otio.opentime.to_timecode(time, float(rate), drop_frame=drop)
        assert counting.label(frame) == said
        _, code = counting_of(rate, said, PAL)
        assert code is not None
        assert counting.frame(code) == frame


def test_a_day_later_it_begins_anew() -> None:
    assert Counting(PAL).label(24 * 3_600 * 25 + 3) == "00:00:00:03"
    assert Counting(VIDEO, drop=True).label(24 * 107_892) == "00:00:00;00"


@pytest.mark.parametrize(
    "code", [None, "", "tomorrow", "10:00:00", "24:00:00:00", "10:60:00:00", "10:00:61:00", "-1:00:00:00", "9" * 999]
)
def test_what_is_no_time_code_is_none(code: str | None) -> None:
    assert counting_of(PAL, code, PAL) == (Counting(PAL), None)


def test_only_rates_that_leave_names_out_do_so() -> None:
    for rate, drop in ((FILM, False), (PAL, False), (VIDEO, True), (FAST, True), (Fraction(24_000, 1_001), False)):
        assert counting_of(rate, "10:00:00;00", PAL)[0].drop == drop


def test_the_name_of_a_frame_that_no_second_has_is_the_last() -> None:
    counting, code = counting_of(FILM, "10:00:00:29", PAL)
    assert code is not None
    assert counting.label(counting.frame(code)) == "10:00:00:23"


def test_a_time_code_at_another_rate_names_the_same_moment() -> None:
    _, code = counting_of(SLOW, "10:00:00:06", PAL)
    assert code is not None
    assert Counting(FILM).label(Counting(FILM).frame(code)) == "10:00:00:12"


@pytest.mark.parametrize(
    ("measured", "rate"),
    [
        ("2997/100", "30000/1001"),
        ("24000/1001", "24000/1001"),
        ("2997/125", "24000/1001"),
        ("29917/1000", "30000/1001"),
        ("120000/1001", "120000/1001"),
        ("12", "12"),
        ("750000/71393", "11"),
        ("1/8", "1"),
    ],
)
def test_rates_are_those_that_programs_count_in(measured: str, rate: str) -> None:
    assert nearest_rate(Fraction(measured)) == Fraction(rate)


def test_a_timeline_has_the_rate_of_most_films_and_counts_as_they_do() -> None:
    def film(rate: Fraction, code: str | None) -> object:
        return counting_of(rate, code, PAL)

    def common(*films: object) -> Counting:
        return common_counting(films)  # type: ignore[arg-type]

    assert common() == Counting(PAL)
    assert common(film(SLOW, None), film(VIDEO, None), film(VIDEO, None)) == Counting(VIDEO)
    assert common(film(SLOW, None)) == Counting(FILM)
    assert common(film(VIDEO, "01:00:00;00"), film(VIDEO, None), film(VIDEO, None)) == Counting(VIDEO, drop=True)
    assert common(film(VIDEO, "01:00:00:00"), film(VIDEO, "01:00:00:00"), film(VIDEO, "01:00:00;00")) == Counting(VIDEO)
    assert common(film(FAST, "01:00:00;00"), film(PAL, None), film(PAL, None)) == Counting(PAL)
