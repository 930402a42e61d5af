"""Which scores are strong: held against what sentences about nothing in a library reach there."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tests_search_helpers import Plain, drawn_film, planted, put

from gmmformer.cli.looking_after import _calibrate
from gmmformer.cli.looking_after import library as look_after
from gmmformer.cores import silent
from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.search.calibration import Calibration, Trial, calibration_of, general_sentences, outgrown, word_of
from gmmformer.search.settings import Recipe

KNOWN = [("there.mp4", "query 7")] * 10


@pytest.fixture
def library(tmp_path: Path) -> Library:
    plain = Plain(dim=64)
    with Library.create(tmp_path / "library", plain, engine="exact") as library:
        asked = plain.embed_sentences(["query 7"])[0]
        films = [drawn_film(seed, embedder=plain) for seed in range(60)]
        put(library, [*films, planted("there.mp4", asked, 16, [(4, 10, 0.9)], plain)])
        yield library


def test_strength_is_the_share_of_sentences_that_stand_out_less() -> None:
    calibration = Calibration([0.1, 0.2, 0.2, 0.4], 100, None)
    assert [calibration.strength(margin) for margin in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)] == [0, 0, 0.25, 0.75, 0.75, 1]
    assert [word_of(strength) for strength in (0, 0.79, 0.8, 0.94, 0.95, 1)] == [
        "weak", "weak", "possible", "possible", "strong", "strong",
    ]  # fmt: skip


def test_what_is_there_is_strong_and_what_is_not_is_not(library: Library) -> None:
    assert library.search("query 7", 1)[0].word is None
    found = library.calibrate(known=KNOWN)
    assert len(found.margins) == 300
    assert found == calibration_of(library.folder)
    assert found.trial == Trial(KNOWN, 10, 10)
    best = library.search("query 7", 3)
    assert best[0].film.path == "there.mp4"
    assert best[0].word == "strong"
    assert best[0].strength == 1.0
    assert best[1].word != "strong"
    absent = [library.search(f"query {other}", 1)[0].word for other in range(100, 200)]
    assert absent.count("strong") <= 15
    assert absent.count("weak") >= 60


@pytest.mark.parametrize(
    ("strong", "right", "words"), [(10, 7, True), (10, 6, False), (9, 9, False), (100, 70, True), (100, 69, False)]
)
@pytest.mark.parametrize("measured", [False, True])
def test_words_are_shown_where_strong_was_seen_to_be_right(
    strong: int, right: int, words: bool, measured: bool
) -> None:
    calibration = Calibration([0.1], 100, None, measured, Trial([], strong, right))
    assert calibration.words is words
    assert calibration.word(0.95) == ("strong" if words else None)
    assert calibration._replace(trial=None).words is measured


def test_no_word_is_shown_for_a_model_that_nobody_tried(library: Library) -> None:
    assert not library.calibrate().words
    assert not library.info().words
    (hit,) = library.search("query 7", 1)
    assert (hit.strength, hit.word) == (1.0, None)
    wrong = [("0.mp4", "query 7")] * 20
    assert library.calibrate(known=[(library.store.films()[0].path, sentence) for _, sentence in wrong]).trial[1:] == (
        20,
        0,
    )
    assert not library.info().words


def test_small_was_tried_by_us(library: Library) -> None:
    for recipe, words in (
        (Recipe(dual_encoder="small"), True),
        (Recipe(dual_encoder="openai/clip-vit-base-patch32"), False),
        (Recipe(trained=True, dual_encoder="small", mix=0.5), False),
    ):
        library.store.settings = dataclasses.replace(library.settings, recipe=recipe)
        assert library.calibrate().words is words


def test_films_that_are_known_are_tried_again_while_they_are_there(library: Library) -> None:
    library.calibrate(known=[*KNOWN, ("gone.mp4", "query 3")])
    assert library.calibrate().trial == Trial(KNOWN, 10, 10)
    library.remove(["there.mp4"])
    assert library.calibrate().trial is None
    assert library.search("query 7", 1)[0].word is None


def test_each_margin_is_the_best_score_less_the_median_of_the_windows(library: Library) -> None:
    sentences = [f"query {number}" for number in range(20)]
    found = library.calibrate(sentences)
    snapshot = library.store.snapshot()
    queries = library.embed(sentences)
    scores = np.stack([snapshot.clip_scores(query, np.arange(len(snapshot.windows))).max(1) for query in queries])
    assert len(snapshot.windows) <= 256  # the sample is all of them
    assert found.margins == pytest.approx(np.sort(scores.max(1) - np.median(scores, axis=1)), abs=1e-5)


def test_the_user_s_sentences_are_kept_and_used_again(library: Library) -> None:
    library.calibrate(["query 1", "query 2"])
    assert library.calibrate().sentences == ["query 1", "query 2"]
    assert calibration_of(library.folder).sentences == ["query 1", "query 2"]


def test_it_is_done_again_when_the_library_has_grown_by_a_tenth(library: Library) -> None:
    assert outgrown(library.store)
    library.calibrate()
    assert not outgrown(library.store)
    plain = library.models.embedder
    put(library, [drawn_film(seed, embedder=plain) for seed in range(100, 105)])
    assert not outgrown(library.store)
    put(library, [drawn_film(seed, embedder=plain) for seed in range(200, 210)])
    assert outgrown(library.store)


WHOLE = '{"margins": [1], "windows": 3, "sentences": null, "measured": true, "trial": null}'


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (WHOLE, ""),
        (WHOLE, "[]"),
        (WHOLE, "{}"),
        ("[1]", "[]"),
        ("[1]", '[1, "x"]'),
        ("[1]", "[NaN]"),
        ("3", "-1"),
        ('"sentences": null', '"sentences": [4]'),
        (', "measured": true, "trial": null', ""),
        ('"trial": null', '"trial": {}'),
        ('"trial": null', '"trial": [[], 10, 10]'),
        ('"trial": null', '"trial": {"known": [[1, "a"]], "strong": 10, "right": 10}'),
        ('"trial": null', '"trial": {"known": [["a"]], "strong": 10, "right": 10}'),
        ('"trial": null', '"trial": {"known": [], "strong": "10", "right": 10}'),
    ],
)
def test_a_damaged_one_is_none(library: Library, part: str, instead: str) -> None:
    file = library.folder / "calibration.json"
    file.write_text(WHOLE)
    assert calibration_of(library.folder) == Calibration([1.0], 3, None, True)
    assert library.search("query 7", 1)[0].word is not None
    file.write_text(WHOLE.replace(part, instead))
    assert calibration_of(library.folder) is None
    assert library.search("query 7", 1)[0].word is None
    assert len(library.calibrate().margins) == 300


def test_a_small_library_is_not_calibrated(tmp_path: Path) -> None:
    with Library.create(tmp_path / "small", Plain(dim=64)) as library:
        put(library, [drawn_film(seed, embedder=library.models.embedder) for seed in range(5)])
        assert not outgrown(library.store)
        with pytest.raises(InputError, match="windows, too few"):
            library.calibrate()


def test_the_general_sentences_are_300_and_each_is_there_once() -> None:
    sentences = general_sentences()
    assert len(sentences) == len(set(sentences)) == 300
    assert all(sentence.endswith(".") and sentence.isascii() for sentence in sentences)
    assert json.loads(json.dumps(sentences)) == sentences


def test_the_command_tells_whether_strong_is_right(library: Library, tmp_path: Path) -> None:
    file = tmp_path / "known.csv"
    rows = ["video,sentence,split", *["there,query 7,test"] * 12, "there,query 3,train", "nowhere,query 4,test"]
    file.write_text("\n".join(rows))
    (told,), lines, code = _calibrate(library, (), silent, file)
    assert told == {"sentences": 300, "windows": 61, "words": True, "known": 12, "strong": 12, "right": 12}
    assert code == 0
    assert "12 find a strong one, 12 the right one" in list(lines)[-1]

    file.write_text("video,sentence\nthere.mp4,query 8\n")
    (told,), lines, _ = _calibrate(library, (), silent, file)
    assert not told["words"]
    assert "no words are shown: strong has to be right in 70 % of at least 10 cases" in list(lines)
    for text in ("video,sentence\nnowhere,query 7\n", "video,sentence,split\nthere,query 7,train\n"):
        file.write_text(text)
        with pytest.raises(InputError, match=r"known.csv: no sentence in it .* is about a film of this library"):
            _calibrate(library, (), silent, file)
    with pytest.raises(InputError, match="--known x: goes with calibrate"):
        look_after(library.folder, "list", known=Path("x"))
