"""Films are found by name too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests_search_helpers import Plain, Words, compacted, drawn_film, put, unit_queries

from gmmformer.cli.searching import print_hits
from gmmformer.data import Collection
from gmmformer.model import load_model
from gmmformer.search import Library, ModelEmbedder, unknown_words
from gmmformer.search import fusing as fusing_page

PATHS = [
    "films/Trip to Rome 2019.mp4",
    "films/rome/beach_2019.mkv",
    "films/Café/naïve_TRIP-rome.mov",
    "films/romeo.mp4",
]


@pytest.fixture
def named(tmp_path: Path, plain: Plain) -> Library:
    """Forty films with names that say nothing, and four with names."""
    made = Library.create(tmp_path / "named", plain)
    films = [drawn_film(seed, name=f"films/{seed:04d}.mp4") for seed in range(40)]
    put(made, films[:20] + [drawn_film(100 + at, name=path) for at, path in enumerate(PATHS)] + films[20:])
    return made


def names_in(library: Library, sentence: str, k: int = 10) -> list[str]:
    return [hit.film.path for hit in library.search(sentence, k) if hit.named]


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("my trip to Rome, 2019", {PATHS[0]}),
        ("ROME 2019", {PATHS[0], PATHS[1]}),
        ("rome", {PATHS[0], PATHS[1], PATHS[2]}),
        ("a nai\u0308ve cafe", {PATHS[2]}),
        ("rome by night", set()),
        ("mp4", set()),
        ("films", set()),  # all are, so it tells none from another
        ("the films of romeo", {PATHS[3]}),
        ("to", {PATHS[0]}),
        ("?!", set()),
    ],
)
def test_films_whose_path_has_all_words_come_first(named: Library, sentence: str, found: set[str]) -> None:
    hits = named.search(sentence, 10)
    assert len(hits) == 10
    assert len({hit.film.path for hit in hits}) == 10
    first = hits[: len(found)]
    assert {hit.film.path for hit in first} == found == set(names_in(named, sentence))
    others = [hit.film.path for hit in hits[len(found) :]]
    plainly = [hit.film.path for hit in named.search_vectors(named.embed([sentence]), 50)[0]]
    assert others == [path for path in plainly if path not in found][: len(others)]
    scores = {hit.film.path: hit.score for hit in named.search_vectors(named.embed([sentence]), 50)[0]}
    for hit in first:
        assert hit.score == scores[hit.film.path]
        assert hit.to_dict()["named"] is True
    assert not any("named" in hit.to_dict() for hit in hits[len(found) :])


def test_names_take_half_of_the_places_at_most_and_heed_the_filters(named: Library) -> None:
    assert [hit.named for hit in named.search("rome", 1)] == [True]
    assert [hit.named for hit in named.search("rome", 3)][:2] == [True, True]
    assert len(named.search("rome", 3)) == 3
    (only,) = named.search("rome", 5, where="*.mkv")
    assert (only.film.path, only.named) == (PATHS[1], True)
    together = named.search(["rome 2019", "romeo"], 4)
    assert [[hit.film.path for hit in hits if hit.named] for hits in together] == [
        names_in(named, "rome 2019", 4),
        [PATHS[3]],
    ]


@pytest.mark.parametrize("fold", [False, True])
def test_pages_of_films_hold_each_once_names_first(named: Library, fold: bool) -> None:
    pages = [named.search("rome", 4, skip=skip, fold=fold) for skip in range(0, 60, 4)]
    paged = [hit.film.path for hits in pages for hit in hits]
    assert paged[:4] == [hit.film.path for hit in named.search("rome", 4, fold=fold)]
    assert sorted(paged) == sorted({hit.film.path for hit in named.search("rome", 60, fold=fold)})
    assert [hit.named for hit in pages[0]] == [True, True, False, False]
    assert [len(hits) for hits in pages] == sorted((len(hits) for hits in pages), reverse=True)


def test_names_are_those_of_now(named: Library) -> None:
    assert names_in(named, "romeo") == [PATHS[3]]
    put(named, [drawn_film(7, name="films/juliet and romeo.mp4")])
    named.remove(PATHS[3])
    assert names_in(named, "romeo") == ["films/juliet and romeo.mp4"]
    compacted(named)
    assert names_in(named, "romeo") == ["films/juliet and romeo.mp4"]
    with Library.open(named.folder, Plain()) as other:
        assert names_in(other, "romeo") == ["films/juliet and romeo.mp4"]


def test_many_films_of_a_name_are_marked_where_they_stand(named: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusing_page, "FEW", 2)
    hits = named.search("rome", 44)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.film.path for hit in hits if hit.named} == set(PATHS[:3])


def test_a_copy_lends_its_name(tmp_path: Path, plain: Plain, capsys: pytest.CaptureFixture[str]) -> None:
    film = drawn_film(30, name="a.mp4")
    with Library.create(tmp_path / "library", plain) as library:
        put(library, [film, *(drawn_film(seed) for seed in range(9)), replace(film, path="rome.mp4")])
        hits = library.search("rome", 3)
        assert [(hit.film.path, [one.path for one in hit.copies]) for hit in hits if hit.named] == [
            ("rome.mp4", ["a.mp4"])
        ]
        print_hits(hits, 11, 0.1)
        assert "1  name  " in capsys.readouterr().out


def test_vectors_alone_name_nothing(named: Library) -> None:
    queries = unit_queries(2)
    assert not any(hit.named for hits in named.search_vectors(queries, 44) for hit in hits)
    told = named.search_vectors(queries, 44, sentences=["rome", "nothing"])
    assert [sum(hit.named for hit in hits) for hits in told] == [3, 0]
    np.testing.assert_array_equal(*([sorted(hit.film.path for hit in hits) for hits in told]))


def test_a_trained_model_names_words_that_it_was_not_trained_on(
    tiny_model: ModelEmbedder, tiny_collection: Collection, tmp_path: Path
) -> None:
    model = tiny_model.model
    assert unknown_words(tiny_model, "anything") == []  # an old model does not say
    captions = replace(tiny_collection.captions("train"), sentences=("A dog jumps; the Caf\u00e9", "two dogs, 2019"))
    assert captions.vocabulary == ("2019", "a", "cafe", "dog", "dogs", "jumps", "the", "two")
    model.vocabulary = captions.vocabulary
    try:
        model.save_pretrained(tmp_path / "model")
    finally:
        model.vocabulary = ()
    known = ModelEmbedder(load_model(tmp_path / "model"), Words())
    assert unknown_words(known, "the cafe of a dog that jumped, 2019") == ["of", "that"]
    assert unknown_words(known, "zebra zebra Tw \U0001f436 \u72ac") == ["zebra", "\u72ac"]
    assert known.fingerprint == tiny_model.fingerprint
