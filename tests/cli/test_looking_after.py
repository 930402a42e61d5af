"""Which films of a library a person means."""

from pathlib import Path

import pytest

from gmmformer.cli.looking_after import _named
from gmmformer.errors import InputError

HERE = Path("library")
KNOWN = ["/f/cafe\u0301.mp4", "/f/cafe.mp4", "/f/Trip.MP4", "/f/a[b]c.mp4", "/f/abc.mp4", "/f/One.mp4", "/f/one.mp4"]


@pytest.mark.parametrize(
    ("asked", "films"),
    [
        ("/f/cafe\u0301.mp4", [0]),
        ("/f/caf\u00e9.mp4", [0]),
        ("/f/CAF\u00c9.mp4", [0]),
        ("*caf\u00e9*", [0]),
        ("*caf?.mp4", [0, 1]),
        ("/f/trip.mp4", [2]),
        ("/f/Trip.MP4", [2]),
        ("/f/a[b]c.mp4", [3]),
        ("/f/one.mp4", [6]),
        ("/f/[Oo]ne.mp4", [5, 6]),
    ],
)
def test_films_are_named_outright_by_glob_or_as_they_look(asked, films):
    assert _named(asked, KNOWN, HERE) == [KNOWN[index] for index in films]


def test_a_name_that_looks_like_two_is_refused():
    with pytest.raises(InputError, match=r"2 films look like it, '/f/One.mp4' and '/f/one.mp4'"):
        _named("/f/ONE.mp4", KNOWN, HERE)
    with pytest.raises(InputError, match="there is no such film in library"):
        _named("/f/two.mp4", KNOWN, HERE)
