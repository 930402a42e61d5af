"""Which scores are strong: held against what sentences about nothing in a library reach there."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests_search_helpers import Plain, drawn_film, planted, put

from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.search.calibration import Calibration, calibration_of, general_sentences, outgrown, word_of


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
    found = library.calibrate()
    assert len(found.margins) == 300
    assert found == calibration_of(library.folder)
    best = library.search("query 7", 3)
    assert best[0].film.path == "there.mp4"
    assert best[0].word == "strong"
    assert best[0].strength == 1.0
    assert best[1].word != "strong"
    absent = [library.search(f"query {other}", 1)[0].word for other in range(100, 200)]
    assert absent.count("strong") <= 15
    assert absent.count("weak") >= 60


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


@pytest.mark.parametrize(
    "told",
    [
        "",
        "[]",
        "{}",
        '{"margins": [], "windows": 3, "sentences": null}',
        '{"margins": [1, "x"], "windows": 3, "sentences": null}',
        '{"margins": [1], "windows": -1, "sentences": null}',
        '{"margins": [1], "windows": 3, "sentences": [4]}',
        '{"margins": [NaN], "windows": 3, "sentences": null}',
    ],
)
def test_a_damaged_one_is_none(library: Library, told: str) -> None:
    library.calibrate()
    (library.folder / "calibration.json").write_text(told)
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
