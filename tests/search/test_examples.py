"""Searching by pictures and by moments of the library, alone and with words."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image
from tests_search_helpers import Plain, drawn_film, planted, put

from gmmformer.cli import main
from gmmformer.demo.render import render_films
from gmmformer.demo.world import plan_films
from gmmformer.errors import InputError
from gmmformer.media.frames import frame_at
from gmmformer.search import Library, Spot, search_like
from gmmformer.search.examples import NoFrameEncoderError, _picture
from gmmformer.search.hits import clip_at
from gmmformer.search.windows import cut

tiny_encoders = pytest.importorskip("tiny_encoders")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """Noise, and two films that show the same thing for a while, one of which shows another thing too."""
    plain = Plain(dim=64)
    with Library.create(tmp_path / "library", plain, store="float32", engine="exact") as library:
        wanted, other = plain.embed_sentences(["wanted", "other"])
        both = planted("both.mp4", wanted, 32, [(4, 8, 0.9)], plain)
        seen = planted("both.mp4", other, 32, [(20, 26, 0.9)], plain)
        both.vectors[1] = seen.vectors[1]
        films = [drawn_film(seed, embedder=plain) for seed in range(30)]
        alike = [
            planted(f"{name}.mp4", query, 16, [(2, 12, 0.8)], plain) for name, query in (("a", wanted), ("b", other))
        ]
        put(library, [*films, both, *alike])
        yield library


def paths(library: Library, *spots: Spot, **wanted: object) -> list[str]:
    return [hit.film.path for hit in search_like(library, spots, 3, **wanted)]


def test_what_looks_like_a_moment_is_found_and_not_its_own_film(library: Library) -> None:
    assert paths(library, Spot("both.mp4", 5.0))[0] == "a.mp4"
    assert paths(library, Spot("both.mp4", 22.0))[0] == "b.mp4"
    assert "both.mp4" not in paths(library, Spot("both.mp4", 5.0))
    assert set(paths(library, Spot("both.mp4", 5.0), Spot("both.mp4", 22.0))[:2]) == {"a.mp4", "b.mp4"}
    for hit in search_like(library, [Spot("both.mp4", 5.0)], moments=2):
        assert (hit.strength, hit.word) == (None, None)
    all_of = [hit.film.path for hit in search_like(library, [Spot("both.mp4", 5.0)], 100)]
    assert len(all_of) == len(library) - 1
    assert paths(library, Spot("both.mp4", 5.0), skip=3) == all_of[3:6]


def test_the_clip_taken_is_the_one_over_the_second(library: Library) -> None:
    film = library.store.film("both.mp4")
    snapshot = library.store.snapshot()
    index = int(np.flatnonzero(snapshot.films == film.id)[0])
    vectors = snapshot.fused(snapshot.slots_of(np.array([index]))).numpy()
    begins = [window.first for window in cut(32, 16)]
    for second, window, clip in ((0.0, 0, 0), (4.1, 0, 2), (7.9, 0, 3), (31.9, len(begins) - 1, 7)):
        found = clip_at(library.store, snapshot, film.id, second)
        assert begins[window] + 2 * clip <= second <= begins[window] + 2 * clip + 2
        np.testing.assert_array_equal(found, vectors[window, clip])


def test_words_take_their_share(library: Library) -> None:
    library.calibrate()
    spot = Spot("both.mp4", 5.0)
    assert paths(library, spot, sentence="other", words=0.0) == paths(library, spot)
    asked = [hit.film.path for hit in library.search("other", 4) if hit.film.path != "both.mp4"]
    assert paths(library, spot, sentence="other", words=1.0) == asked[:3]
    assert set(paths(library, spot, sentence="other")[:2]) == {"a.mp4", "b.mp4"}


def test_bad_examples_are_told(library: Library, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    for examples, wanted, told in (
        ([], {}, "nothing to look alike"),
        ([Spot("both.mp4", 5.0)], {"words": 1.5}, "--words 1.5 must be"),
        ([Spot("both.mp4", 5.0)], {"words": float("nan")}, "--words nan must be"),
        ([Spot("gone.mp4", 5.0)], {}, "gone.mp4: there is no such film"),
        ([Spot(10_000, 5.0)], {}, "10000: there is no such film"),
        ([Spot("both.mp4", 33.0)], {}, r"both.mp4: has no second 33; it lasts 32.0 s"),
        ([Spot("both.mp4", float("nan"))], {}, "has no second nan"),
        ([Spot("both.mp4", -1.0)], {}, "has no second -1"),
    ):
        with pytest.raises(InputError, match=told):
            search_like(library, examples, sentence="other", **wanted)
    with pytest.raises(NoFrameEncoderError, match=r"cannot be searched by a picture here.*does not keep the model"):
        search_like(library, [text])


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    render_films(plan_films(4, seed=3), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def shown(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of them, made with a tiny CLIP."""
    torch.manual_seed(5)
    clip = tiny_encoders.tiny_clip(tmp_path_factory.mktemp("clip") / "tiny-clip")
    folder = tmp_path_factory.mktemp("libraries") / "library"
    assert main(["index", str(folder), str(films), "--model", f"zero-shot:{clip}", "--store", "float32"]) == 0
    return folder


def test_a_still_of_a_film_finds_it_at_its_second(films: Path, shown: Path, tmp_path: Path) -> None:
    with Library.open(shown) as library:
        for film in sorted(films.glob("*.mp4")):
            still = tmp_path / f"{film.stem}.png"
            second = 4.5
            matplotlib.image.imsave(still, frame_at(film, second, size=None).image)
            (best,) = search_like(library, [still], 1)
            assert best.film.path == str(film)
            assert best.start <= second <= best.end
            assert best.score > 0.99


def test_pictures_that_are_hostile_are_told(shown: Path, tmp_path: Path) -> None:
    huge, cut_off = tmp_path / "huge.png", tmp_path / "cut.jpg"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    body = struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    huge.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    matplotlib.image.imsave(cut_off, np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    cut_off.write_bytes(cut_off.read_bytes()[:900])
    with Library.open(shown) as library:
        for path in (huge, cut_off, tmp_path):
            with pytest.raises(InputError, match=rf"{path}: is no picture that can be read \("):
                search_like(library, [path])


def test_pictures_lie_upright_and_grey_ones_are_taken(shown: Path, tmp_path: Path) -> None:
    turned, grey = tmp_path / "turned.jpg", tmp_path / "grey.png"
    drawn = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 90), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    drawn.convert("RGB").save(turned, exif=exif)
    drawn.save(grey)
    assert _picture(turned, 64).shape == (90, 40, 3)
    assert _picture(turned, 20).shape == (45, 20, 3)
    np.testing.assert_array_equal(_picture(grey, 64), np.repeat(np.asarray(drawn)[..., None], 3, axis=2))


def test_the_command_takes_pictures_moments_and_words(
    films: Path, shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    film = sorted(films.glob("*.mp4"))[2]
    still = tmp_path / "still.png"
    matplotlib.image.imsave(still, frame_at(film, 2.5, size=None).image)

    def run(*arguments: object) -> dict[str, object]:
        capsys.readouterr()
        assert main(["search", str(shown), *map(str, arguments), "--json"]) == 0
        told: dict[str, object] = json.loads(capsys.readouterr().out)
        return told

    told = run("--image", still, "-k", 2)
    assert (told["query"], told["like"]) == (None, [str(still)])
    assert told["hits"][0]["film"] == str(film)
    told = run("a red star", "--image", still, "--image", still, "--words", 0.0, "-k", 2)
    assert (told["query"], told["like"]) == ("a red star", [str(still)] * 2)
    assert told["hits"][0]["film"] == str(film)
    told = run("--like", f"{film}@2.5", "-k", 9)
    assert len(told["hits"]) == 3
    assert str(film) not in [hit["film"] for hit in told["hits"]]
    assert main(["search", str(shown), "--image", str(still), "--contact-sheet", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").exists()
    capsys.readouterr()

    for arguments, part in (
        (["--like", "film.mp4"], "FILM@SECOND"),
        (["--like", "@4"], "FILM@SECOND"),
        (["--like", "film.mp4@x"], "FILM@SECOND"),
        (["--like", "gone.mp4@4"], "gone.mp4: there is no such film"),
        (["--image", tmp_path / "gone.png"], "gone.png: is no picture that can be read (No such file"),
        (["--image", shown / "library.sqlite"], "library.sqlite: is no picture that can be read (of no known kind)"),
        (["--sentences", tmp_path / "lines", "--image", still], "give one sentence"),
        (["a red star", "--words", 0.3], "--words 0.3: goes with"),
        (["--image", still, "--words", 0.3], "--words 0.3: goes with"),
        ([], "give one sentence"),
    ):
        refused(["search", shown, *arguments], part)
