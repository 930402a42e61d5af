"""Several sentences at once: one thing and then another, all of some, none of others."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests_search_helpers import Plain, drawn_film, planted, put

from gmmformer.cli import main
from gmmformer.errors import InputError
from gmmformer.evaluation.moments import ScoreCurve, moment_at, moments_of
from gmmformer.search import Library, NewFilm, composing, search_composed
from gmmformer.search.composing import AGAINST, ordered
from gmmformer.search.hits import film_spans

BOAT, DOG, RAIN = "a boat", "a dog", "rain"


def in_order(scores: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> float:
    """The best sum of one film's scores for a clip each, one after the other: every way there is, one by one."""
    best = -np.inf
    for clips in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        if all(ends[one] <= starts[other] for one, other in itertools.pairwise(clips)):
            best = max(best, sum(scores[part, clip] for part, clip in enumerate(clips)))
    return best


@pytest.mark.parametrize("seed", range(60))
def test_the_score_in_order_is_that_of_the_best_of_all_ways(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    parts, films = int(drawn.integers(1, 4)), int(drawn.integers(1, 6))
    of = np.repeat(np.arange(films), drawn.integers(1, 8, films))
    starts = drawn.integers(0, 10, len(of))
    ends = starts + drawn.integers(1, 4, len(of))
    scores = np.round(drawn.normal(size=(parts, len(of))), 1 if seed % 2 else 6)  # some of them alike
    found = ordered(scores, of, starts, ends)
    for film in range(films):
        own = of == film
        assert found.scores[film] == pytest.approx(in_order(scores[:, own], starts[own], ends[own]), abs=1e-9)
        if np.isfinite(found.scores[film]):
            clips = found.clips[film]
            assert (of[clips] == film).all()
            assert (ends[clips[:-1]] <= starts[clips[1:]]).all()
            assert scores[np.arange(parts), clips].sum() == pytest.approx(found.scores[film], abs=1e-9)


@pytest.mark.parametrize("at_a_time", [1, 64])
def test_the_library_is_ranked_by_it(library: Library, monkeypatch: pytest.MonkeyPatch, at_a_time: int) -> None:
    monkeypatch.setattr(composing, "_FEWEST", at_a_time)
    then, also, without = [DOG, BOAT], [RAIN], ["snow", "ice"]
    snapshot = library.store.snapshot()
    queries = library.embed([*then, *also, *without])
    medians = snapshot.medians(queries)[:, None]
    expected = {}
    for index, (film, spans) in film_spans(library.store, snapshot, np.arange(len(library))).items():
        scores = np.stack([snapshot.clip_scores(query, snapshot.slots_of(np.array([index]))) for query in queries])
        scores = scores.reshape(len(queries), -1) - medians
        starts, ends = spans.reshape(-1, 2).T
        score = in_order(scores[:2], starts, ends - 1e-6)  # seconds: where one ends the next begins
        score += scores[2].max() - AGAINST * np.maximum(scores[3:].max(1), 0).sum()
        expected[film.path] = score
    best = sorted(expected, key=lambda path: -expected[path])
    for k, skip in ((1, 0), (5, 0), (40, 0), (3, 4)):
        hits = search_composed(library, then, k, also=also, without=without, skip=skip, fold=False)
        assert [hit.film.path for hit in hits] == best[skip : skip + k]
        assert [hit.score for hit in hits] == pytest.approx([expected[hit.film.path] for hit in hits], abs=1e-5)


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Library]:
    """Noise, and films of 32 s and more: a dog, then a boat; a boat, then a dog; a dog alone; a dog, then rain."""
    plain = Plain(dim=64)
    dog, boat, rain = plain.embed_sentences([DOG, BOAT, RAIN])

    def film(name: str, first: np.ndarray, second: np.ndarray | None, rows: int) -> NewFilm:
        made = planted(name, first, rows, [(2, 6, 0.9)], plain)
        if second is not None:
            made.vectors[-1] = planted(name, second, rows, [(24, 28, 0.8)], plain).vectors[-1]
        return made

    with Library.create(tmp_path / "shown", plain, store="float32", engine="exact") as library:
        noise = [drawn_film(seed, embedder=plain, rows=10 + seed) for seed in range(30)]
        named = [("dog_boat", dog, boat), ("boat_dog", boat, dog), ("dog", dog, None), ("dog_rain", dog, rain)]
        films = [film(f"{name}.mp4", *seen, 32 + 2 * place) for place, (name, *seen) in enumerate(named)]
        put(library, [*noise, *films])
        yield library


def names(library: Library, *then: str, k: int = 1, **wanted: object) -> list[str]:
    return [hit.film.path for hit in search_composed(library, then, k, **wanted)]


def test_what_comes_first_is_asked_for_first(shown: Library) -> None:
    assert names(shown, DOG, BOAT) == ["dog_boat.mp4"]
    assert names(shown, BOAT, DOG) == ["boat_dog.mp4"]
    assert names(shown, DOG, RAIN) == ["dog_rain.mp4"]
    assert set(names(shown, DOG, also=[BOAT], k=2)) == {"dog_boat.mp4", "boat_dog.mp4"}
    assert names(shown, RAIN, also=[DOG]) == ["dog_rain.mp4"]


def test_what_is_not_to_be_seen_counts_against_a_film(shown: Library) -> None:
    assert set(names(shown, DOG, k=4)) == {"dog_boat.mp4", "boat_dog.mp4", "dog.mp4", "dog_rain.mp4"}
    assert names(shown, DOG, without=[BOAT, RAIN]) == ["dog.mp4"]
    assert names(shown, DOG, BOAT, without=[RAIN]) == ["dog_boat.mp4"]
    assert search_composed(shown, DOG, without=[BOAT])[0].parts[0].sentence == DOG


def test_each_part_is_shown_where_it_is(shown: Library) -> None:
    (hit,) = search_composed(shown, [DOG, BOAT], 1, also=[DOG])
    first, second, anywhere = hit.parts
    assert [part.sentence for part in hit.parts] == [DOG, BOAT, DOG]
    assert (first.start, first.end) == pytest.approx((2, 6), abs=2)
    assert (second.start, second.end) == pytest.approx((24, 28), abs=2)
    assert (hit.start, hit.end) == (first.start, second.end)
    assert (hit.strength, hit.word) == (None, None)
    assert anywhere == first
    assert hit.to_dict()["parts"][1] == {
        "sentence": BOAT,
        "start": round(second.start, 3),
        "end": round(second.end, 3),
        "score": round(second.score, 6),
    }


def test_parts_follow_each_other_also_where_their_moments_would_overlap(library: Library) -> None:
    hits = search_composed(library, [DOG, DOG, BOAT], 40, fold=False)
    assert len(hits) > 30
    for hit in hits:
        times = [time for part in hit.parts for time in (part.start, part.end)]
        assert times == sorted(times)
        assert all(part.start < part.end for part in hit.parts)


def test_films_too_short_for_so_many_parts_are_not_found(tmp_path: Path) -> None:
    with Library.create(tmp_path / "library", Plain(), store="float32") as library:
        put(library, [drawn_film(1, rows=2), drawn_film(2, rows=16)])
        assert names(library, DOG, BOAT, RAIN, k=5) == ["film-0002.mp4"]
        assert set(names(library, DOG, BOAT, k=5)) == {"film-0001.mp4", "film-0002.mp4"}
    with Library.create(tmp_path / "empty", Plain()) as library:
        assert search_composed(library, [DOG, BOAT]) == []


def test_only_some_films_are_asked_for(shown: Library) -> None:
    assert names(shown, DOG, BOAT, where="boat*") == ["boat_dog.mp4"]
    assert names(shown, DOG, BOAT, where="nowhere/*") == []
    assert all(hit.film.length >= 30 for hit in search_composed(shown, [DOG, BOAT], 40, min_length=30))


@pytest.mark.parametrize(
    ("then", "wanted", "told"),
    [
        ([], {}, "0 sentences to be seen together"),
        ([], {"also": [DOG]}, "1 sentences to be seen together"),
        ([DOG] * 17, {}, "17 sentences to be seen together: give 1 to 16"),
        ([DOG, " "], {}, "empty"),
        ([DOG], {"without": [""]}, "empty"),
        ([DOG, '"the very words"'], {}, "words in quotes are looked for in what is said"),
        ([DOG, BOAT], {"k": 0}, "--k 0 must be at least 1"),
        ([DOG, BOAT], {"skip": -1}, "--skip -1 must be at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(
    library: Library, then: list[str], wanted: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError, match=told.replace("--", "-?-?")):
        search_composed(library, then, **wanted)


def test_the_moment_around_a_second_is_the_best_one_where_the_best_is_asked_for() -> None:
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=12).astype(np.float32)
        curve = ScoreCurve(np.arange(13.0), scores)
        best = moments_of(curve)[0]
        assert moment_at(curve, best.peak) == best
        lowest = int(scores.argmin())
        assert moment_at(curve, lowest + 0.5)[:2] == (lowest, lowest + 1)


def test_the_command_line_shows_the_parts(
    shown: Library, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder = shown.models.embedder
    real = Library.open
    monkeypatch.setattr(Library, "open", lambda folder, **how: real(folder, embedder, engine=how["engine"]))
    folder = str(shown.folder)
    assert main(["search", folder, DOG, "--then", BOAT, "--without", RAIN, "-k", "1"]) == 0
    first, dog, boat, _ = capsys.readouterr().out.splitlines()
    assert first.endswith("dog_boat.mp4")
    assert (dog.split("  ")[-1], boat.split("  ")[-1]) == (DOG, BOAT)
    assert main(["search", folder, DOG, "--also", BOAT, "--also", RAIN, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [part["sentence"] for part in told["hits"][0]["parts"]] == [DOG, BOAT, RAIN]
    for words, why in (
        (["--then", BOAT], "go with a sentence"),
        (["--image", "x.png", "--then", BOAT], "go with a sentence"),
        ([DOG, "--then", BOAT, "--moments", "2"], "--moments does nothing with --then"),
        ([DOG, "--also", BOAT, "--in", "said"], "--in does nothing with --also"),
        (["--sentences", "x", "--then", BOAT], "--then does nothing with --sentences"),
        ([DOG, "--then", '"quoted"'], "words in quotes"),
    ):
        assert main(["search", folder, *words]) == 2
        assert why in capsys.readouterr().err
