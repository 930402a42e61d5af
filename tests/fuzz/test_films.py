"""Small films in five containers, as they are looked at, cut, extracted from and indexed."""

import json
from pathlib import Path

import pytest
from fuzz_hunt import Hunt
from fuzz_material import FILMS, Spoilt, spoilt, write
from fuzz_outcomes import Mother, Tree, attempt
from hypothesis import strategies as st

from gmmformer.demo.encoders import ShapeFrames

ENCODER = ("--video-encoder", ShapeFrames.name)
DECODE, CUTTING = "gmmformer.media.frames", "gmmformer.media.cutting"
LOOKS = (
    (f"{DECODE}:probe",),
    (f"{DECODE}:sampled_frames", '{"fps": 4, "size": 32}'),
    (f"{DECODE}:sampled_frames", '{"fps": null}'),
    (f"{DECODE}:frame_at", "1.3"),
    (f"{DECODE}:frame_at", "1000"),
    (f"{CUTTING}:cut_moment", "0.4", "1.5", '"clip.mp4"', "{}"),
    (f"{CUTTING}:cut_moment", "0.9", "1.7", '"clip.mp4"', '{"exact": false}'),
    (f"{CUTTING}:cut_moment", "0.3", "5", '"clip.mp4"', '{"exact": true}'),
    (f"{CUTTING}:browser_preview", "0.3", "1.1", '"clip.mp4"'),
)


@pytest.mark.parametrize("name", FILMS)
def test_films_in(hunt: Hunt, mother: Mother, films: Tree, name: str) -> None:
    """In a process that only this film can end."""

    def look(case: tuple[Spoilt, tuple[str, ...]], folder: Path):
        case[0].write(folder, {name: films[name]})
        function, *rest = case[1]
        arguments = ("call", function, json.dumps(name), *rest)
        return arguments, attempt(mother, folder, *arguments, makes=("clip.mp4",))[1]

    hunt(st.tuples(spoilt({name: films[name]}), st.sampled_from(LOOKS)), look, examples=3)


def test_many_films(hunt: Hunt, mother: Mother, films: Tree, library: Tree) -> None:
    """One spoilt film among whole ones costs no other."""
    commands = (
        ("extract", "films", "--out", "out", "--collection", "mine", "--decoders", "1", "--json", *ENCODER),
        ("index", "library", "films", "--decoders", "1", "--json"),
    )

    def take(case: tuple[Spoilt, tuple[str, ...]], folder: Path):
        case[0].write(folder / "films", {name: films[name] for name in ("film.mkv", case[0].name)})
        write(folder, {name: data for name, data in library.items() if name.startswith("library/")})
        return case[1], attempt(mother, folder, *case[1], changes=("library",), makes=("out",))[1]

    hunt(st.tuples(spoilt(films), st.sampled_from(commands)), take, examples=2)
