"""Which film a name means, and draws of splits that stay."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmmformer.errors import InputError
from gmmformer.media.annotations import Annotation
from gmmformer.media.text_data import draw_splits, match_films

NAMES = st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=60)


def _about(*videos: str) -> list[Annotation]:
    return [Annotation(video=video, sentence="x") for video in videos]


def test_names_with_and_without_suffix_and_folder() -> None:
    films = [Path(name) for name in ("f/a.mp4", "f/trip/b.mkv", "f/x_210.0_360.0.mp4", "f/spare.mov")]
    found = match_films(_about("a", "b.mkv", "trip/b", "f/trip/b.mkv", "x_210.0_360.0", "gone", "a"), films)
    assert found.films == {
        "a": films[0],
        "b.mkv": films[1],
        "trip/b": films[1],
        "f/trip/b.mkv": films[1],
        "x_210.0_360.0": films[2],
    }
    assert found.missing == ("gone",)


def test_the_fuller_name_wins() -> None:
    films = [Path("a.mp4"), Path("sub/a.mp4"), Path("b.mp4.mkv"), Path("b.mp4")]
    assert match_films(_about("a.mp4", "sub/a", "b.mp4"), films).films == {
        "a.mp4": films[0],
        "sub/a": films[1],
        "b.mp4": films[3],
    }


@pytest.mark.parametrize("video", ["a", "a.mp4"])
def test_two_films_of_one_name_are_refused(video: str) -> None:
    films = [Path("one/a.mp4"), Path("two/a.mp4")]
    with pytest.raises(InputError, match=r"2 films fit it \(one/a.mp4, two/a.mp4\)"):
        match_films(_about(video), films)
    assert match_films(_about("two/a"), films).films == {"two/a": films[1]}


def test_two_suffixes_of_one_name_are_refused() -> None:
    with pytest.raises(InputError, match="2 films fit it"):
        match_films(_about("a"), [Path("a.mp4"), Path("a.mkv")])


CAFE = ("caf\u00e9", "cafe\u0301")


@pytest.mark.parametrize(("there", "given"), [CAFE, CAFE[::-1]])
@pytest.mark.parametrize("folder", ["", "u\u0308ber/", "\u00fcber/"])
def test_accents_may_be_composed_on_one_side_only(there: str, given: str, folder: str) -> None:
    film, other = Path(f"films/{folder}{there}.wmv"), Path("films/cafe.wmv")
    for name in (given, f"{given}.wmv", f"{folder}{given}"):
        found = match_films(_about(name), [film, other])
        assert found.films == {name: film}
        assert found.missing == ()
        assert found.respelt == {}


@pytest.mark.parametrize(
    ("there", "given"),
    [
        ("a/Cafe\u0301.wmv", "caf\u00c9.WMV"),
        ("a/STRASSE.mp4", "straße"),
        ("a/trip.MP4", "Trip.mp4"),
        ("a/trip.mkv", "trip.mp4"),
        ("a/v1.5.mkv", "V1.5.mp4"),
        ("a/trip .mp4", "trip"),
        ("a/ my  trip.mp4", "my trip.mp4"),
        ("a/my\u00a0trip.mp4", "my trip"),
        ("a/tr\u200bip.mp4", "trip"),
        ("A b/trip.mp4", "a B/trip.avi"),
    ],
)
def test_other_case_spaces_and_suffix(there: str, given: str) -> None:
    found = match_films(_about(given), [Path(there), Path("a/other.mp4")])
    assert found.films == found.respelt == {given: Path(there)}


def test_a_film_that_is_meant_by_its_own_name_is_nobody_elses() -> None:
    found = match_films(_about("v_abc", "v_ABC", "clip.mp4", "clip.mkv"), [Path("v_abc.mp4"), Path("clip.mp4")])
    assert found.films == {"v_abc": Path("v_abc.mp4"), "clip.mp4": Path("clip.mp4")}
    assert found.missing == ("v_ABC", "clip.mkv")


def test_films_that_look_alike_are_shown_as_they_differ() -> None:
    with pytest.raises(InputError, match=r"2 films fit it \('f/caf\\xe9.wmv', 'f/cafe\\u0301.wmv'\)"):
        match_films(_about("CAFE\u0301.wmv"), [Path(f"f/{name}.wmv") for name in CAFE])
    assert len(match_films(_about(*CAFE), [Path(f"f/{name}.wmv") for name in CAFE]).films) == 2
    with pytest.raises(InputError, match=r"videos 'Caf\\xe9' and 'CAF\\xc9' of the annotations: both look like"):
        match_films(_about("Caf\u00e9", "CAF\u00c9"), [Path("cafe\u0301.wmv")])


def test_a_draw_is_the_same_everywhere() -> None:
    drawn = draw_splits([f"film{number}" for number in range(20)], seed=1)
    assert "".join(drawn[f"film{number}"][:2] for number in range(20)) == "tetrtrvatrtrtetrtrtrtrvatrtrtrtrtrtrtrtr"
    assert list(drawn) == [f"film{number}" for number in range(20)]


@given(NAMES, st.integers(0, 3))
def test_shares_are_exact_to_one_and_the_order_does_not_matter(names: list[str], seed: int) -> None:
    drawn = draw_splits(names, seed=seed)
    assert drawn == draw_splits(reversed(names), seed=seed)
    counts = Counter(drawn.values())
    assert sum(counts.values()) == len(names)
    for split, share in {"train": 0.8, "val": 0.1, "test": 0.1}.items():
        assert abs(counts[split] - share * len(names)) <= (1 if len(names) > 10 else 2)
        assert counts[split] or len(names) < 3


@given(NAMES, st.text(min_size=7, max_size=8))
def test_a_new_video_moves_at_most_one_other_across_each_cut(names: list[str], more: str) -> None:
    before, after = draw_splits(names, seed=0), draw_splits([*names, more], seed=0)
    assert sum(before[name] != after[name] for name in names) <= 2
