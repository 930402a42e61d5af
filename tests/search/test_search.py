"""What a search finds, and how it says it."""

import json
import math
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from tests_search_helpers import (
    Plain,
    Words,
    clustered,
    compacted,
    drawn_film,
    planted,
    put,
    ranked,
    rebuild,
    unit_queries,
)

from gmmformer.errors import InputError
from gmmformer.search import DualEmbedder, Library, MixedEmbedder, ModelEmbedder, verify
from gmmformer.search.engines import exact as finding
from gmmformer.search.vectors import DTYPES, Dtype


def straight(library: Library, query: np.ndarray) -> list[tuple[str, float]]:
    """Films and scores by a plain product in float64, best first."""
    snapshot = library.store.snapshot()
    scores = snapshot.fused(np.arange(len(snapshot.windows))).double() @ torch.from_numpy(query).double()
    best = np.maximum.reduceat(scores.amax(-1).numpy(), snapshot.starts)
    names = [film.path for film in library.store.films()]
    return sorted(zip(names, best.tolist(), strict=True), key=lambda pair: -pair[1])


@pytest.mark.parametrize("dtype", ["float32", "bf16", "int8"])
def test_the_best_films_come_first_with_exact_scores(tmp_path: Path, plain: Plain, dtype: str) -> None:
    with Library.create(tmp_path / "library", plain, store=dtype) as library:
        put(library, [drawn_film(seed, rows=8 + seed % 45) for seed in range(60)])
        library.remove([f"film-{seed:04d}.mp4" for seed in range(0, 60, 7)])
        queries = unit_queries(7)
        for query, hits in zip(queries, library.search_vectors(queries, 12), strict=True):
            wanted = straight(library, query)[:12]
            assert [hit.film.path for hit in hits] == [film for film, _ in wanted]
            np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in wanted], atol=1e-6)
            (alone,) = library.search_vectors(query[None], 12)
            assert [hit.to_dict() for hit in alone] == [hit.to_dict() for hit in hits]


@pytest.mark.parametrize("engine", ["exact", "ann"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_score_is_the_same_number_however_it_is_asked_for(
    tmp_path: Path, dtype: Dtype, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: alone or among others, with few threads or many, by whichever engine, of a film or a moment."""
    if engine == "ann":
        pytest.importorskip("faiss")
    monkeypatch.setattr(finding, "FEW", 0)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("the threads of the whole process were set"))
    wide, queries = Plain(dim=384), unit_queries(9, 384)
    with Library.create(tmp_path / "library", wide, store=dtype, engine="exact") as library:
        put(library, clustered(150, wide))
        rebuild(library) if engine == "ann" else None
        exact = [dict(zip(*ranked(library, query[None], 150)[0], strict=True)) for query in queries]
    with Library.open(library.folder, engine=engine) as library:
        alone = [ranked(library, query[None], 10)[0] for query in queries]
        for _, scores in alone:
            assert scores == sorted(scores, reverse=True)
        assert [[told[film] for film in films] for told, (films, _) in zip(exact, alone, strict=True)] == [
            scores for _, scores in alone
        ]
        for threads in (1, 3):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            assert ranked(library, queries, 10) == alone
            hits = library.search_vectors(queries, 10)
            assert [([hit.film.path for hit in some], [hit.score for hit in some]) for some in hits] == alone
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda query: ranked(library, query[None], 10)[0], queries)) == alone


def test_hits_say_where_and_how_sure(library: Library) -> None:
    library.calibrate()
    (hits,) = library.search_vectors(unit_queries(1), 5)
    for hit in hits:
        assert 0 <= hit.start < hit.end <= hit.film.length
        assert hit.clip_scores.shape == (8,)
        assert hit.clip_spans.shape == (8, 2)
        assert hit.clip_scores.max() == pytest.approx(hit.score, abs=1e-6)
        best = hit.clip_spans[hit.clip_scores.argmax()]
        assert hit.start <= best[0] < best[1] <= hit.end
        told = json.loads(json.dumps(hit.to_dict()))
        assert list(told) == ["film", "start", "end", "score", "strength", "word", "length", "id"]
        assert told["strength"] == pytest.approx(hit.strength, abs=1e-3)
    assert [hit.strength for hit in hits] == sorted((hit.strength for hit in hits), reverse=True)


def test_a_short_event_of_a_two_hour_film_is_found(tmp_path: Path) -> None:
    plain = Plain(window_rows=128, clips=32)
    query = unit_queries(1)
    with Library.create(tmp_path / "long", plain) as library:
        put(library, [planted("long.mp4", query[0], 7200, [(4321, 4326, 0.9)], plain)])
        put(library, [drawn_film(seed, embedder=plain, rows=100) for seed in range(5)])
        hit = library.search_vectors(query, 1)[0][0]
        assert hit.film.path == "long.mp4"
        assert hit.start < 4326
        assert hit.end > 4321
        assert hit.end - hit.start <= 16
        assert hit.film.length == 7200
        assert hit.clip_spans[0, 0] <= hit.start
        assert hit.clip_spans[-1, 1] >= hit.end


def test_several_moments_of_a_film_best_first(tmp_path: Path) -> None:
    plain = Plain(window_rows=64, clips=32)
    query = unit_queries(1)
    events = [(20, 30, 0.6), (140, 150, 0.9), (222, 230, 0.7)]
    with Library.create(tmp_path / "several", plain) as library:
        put(library, [planted("film.mp4", query[0], 256, events, plain)])
        one = library.search_vectors(query, 3)[0]
        several = library.search_vectors(query, 3, moments=3)[0]
        assert [hit.film.path for hit in one] == ["film.mp4"]
        assert several[0] == one[0]
        assert [(hit.start, hit.end) for hit in several] == [(140, 150), (222, 230), (20, 30)]


def test_where_and_min_length_narrow_the_films(library: Library) -> None:
    query = unit_queries(1)
    everything = [hit.film.path for hit in library.search_vectors(query, 100)[0]]
    assert len(everything) == 40
    some = [hit.film.path for hit in library.search_vectors(query, 100, where="*-000[0-4].mp4")[0]]
    assert some == [film for film in everything if film[:9] == "film-0000"[:8] + film[8] and film[8] in "01234"][:5]
    long = library.search_vectors(query, 100, min_length=40.0)[0]
    assert {hit.film.path for hit in long} == {film.path for film in library.store.films() if film.timing.length >= 40}
    assert [hit.film.path for hit in long] == [film for film in everything if film in {hit.film.path for hit in long}]
    assert library.search_vectors(query, 5, where="none")[0] == []
    (both,) = library.search_vectors(query, 100, where="film-003*", min_length=44)
    assert {hit.film.path for hit in both} == {"film-0036.mp4", "film-0037.mp4", "film-0038.mp4", "film-0039.mp4"}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"k": 0}, "--k 0"),
        ({"k": 10**6}, "--k 1000000"),
        ({"moments": 0}, "--moments 0"),
        ({"moments": -3}, "--moments"),
    ],
)
def test_numbers_out_of_range_are_refused(library: Library, options: dict[str, int], what: str) -> None:
    with pytest.raises(InputError, match=what):
        library.search_vectors(unit_queries(1), **options)  # type: ignore[arg-type]


def test_vectors_that_are_no_queries_are_refused(library: Library) -> None:
    with pytest.raises(InputError, match="shape"):
        library.search_vectors(unit_queries(1, 16))
    for bad in (2 * unit_queries(1), np.full((1, 32), np.nan)):
        with pytest.raises(InputError, match="no unit vectors"):
            library.search_vectors(bad)


@pytest.mark.parametrize(
    "sentence", ["a door opens", "x" * 100_000, "😀🚪", "a\0door", "\udcff bytes", "'; DROP TABLE films;--"]
)
def test_any_sentence_is_searched(library: Library, sentence: str) -> None:
    assert len(library.search(sentence, 3)) == 3
    together = library.search([sentence, "other"], 3)[0]
    assert [hit.to_dict() for hit in together] == [hit.to_dict() for hit in library.search(sentence, 3)]


@pytest.mark.parametrize("sentence", ["", "  \n", "\0\0"])
def test_an_empty_sentence_is_refused(library: Library, sentence: str) -> None:
    with pytest.raises(InputError, match="the sentence is empty"):
        library.search(sentence)
    with pytest.raises(InputError, match="sentence 2 is empty"):
        library.search(["fine", sentence])


def test_without_its_model_a_library_can_be_looked_after_but_not_searched(library: Library) -> None:
    with Library.open(library.folder) as other:
        assert len(other.store.films()) == 40
        assert other.remove(["film-0000.mp4"]) == 1
        with pytest.raises(InputError, match="does not keep the model"):
            other.search("a door")


def test_an_empty_library_finds_nothing(tmp_path: Path, plain: Plain) -> None:
    with Library.create(tmp_path / "empty", plain) as library:
        assert library.search("a door") == []
        assert library.search([]) == []
        assert verify(library.store) == []
        assert compacted(library).films == 0
        assert library.info().films == 0


def test_a_film_longer_than_a_window_is_cut_and_a_short_one_is_not(tmp_path: Path, tiny_model: ModelEmbedder) -> None:
    drawn = np.random.default_rng(0)
    short, long = (drawn.normal(size=(rows, tiny_model.feature_dim)).astype(np.float32) for rows in (30, 100))
    with Library.create(tmp_path / "library", tiny_model, store="float32") as library:
        library.add_film("short", short)
        library.add_film("long", long, seconds=np.arange(100) * 0.5)
        snapshot = library.store.snapshot()
        assert snapshot.counts.tolist() == [1, 4]
        torch.testing.assert_close(snapshot.fused(np.array([0])), tiny_model.embed_windows([short]))
        torch.testing.assert_close(snapshot.fused(np.array([2]))[0], tiny_model.embed_windows([long[24:56]])[0])
        hits = library.search("a red door", 2)
        assert {hit.film.path for hit in hits} == {"short", "long"}
        assert max(hit.end for hit in hits if hit.film.path == "long") <= 49.75
        kept = library.store.features_of("long")
        assert kept is not None
        np.testing.assert_array_equal(kept[0], long.astype(np.float16))
        np.testing.assert_allclose(kept[1].row_edges(100)[[0, 1, -1]], [0, 0.25, 49.75])
        hurt = long.copy()
        hurt[7, 1] = np.nan
        for bad, why in (
            (long[:, :3], "its features have shape (100, 3)"),
            (long[:0], "its features have shape (0,"),
            (hurt, "its features hold NaN or infinity"),
        ):
            with pytest.raises(InputError, match=re.escape(f"'bad': {why}")):
                library.add_film("bad", bad)


def test_many_threads_search_as_one_does(library: Library) -> None:
    queries = unit_queries(8)
    alone = [library.search_vectors(query[None], 5)[0] for query in queries]
    found: dict[int, list[object]] = {}

    def search(index: int) -> None:
        found[index] = [library.search_vectors(queries[index][None], 5)[0] for _ in range(10)]

    threads = [threading.Thread(target=search, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[index] == [alone[index]] * 10 for index in range(8))


def test_a_dual_encoder_scores_by_cosine_of_pooled_frames(tmp_path: Path) -> None:
    text = Words()
    dual = DualEmbedder(text, identity="letters-1", clips=4, window_rows=16)
    rows = np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32)
    with Library.create(tmp_path / "dual", dual, store="float32") as library:
        library.add_film("film", rows)
        (hit,) = library.search("door", 1)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        clips = unit.reshape(4, 2, 12).mean(1)
        clips[-1] = unit[6]  # the last edge is the last row
        sentence = text.encode(["door"])[0][-1]
        cosines = clips @ sentence / np.linalg.norm(clips, axis=1) / np.linalg.norm(sentence)
        np.testing.assert_allclose(hit.clip_scores, cosines, atol=1e-4)


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_a_mix_scores_the_weighted_mean(tmp_path: Path, tiny_model: ModelEmbedder, mix: float) -> None:
    dual = DualEmbedder(Words(), identity="letters-1", clips=tiny_model.clips, window_rows=tiny_model.window_rows)
    columns = (slice(0, 16), slice(4, 16))
    both = MixedEmbedder(tiny_model, dual, mix, columns=columns)
    rows = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    with Library.create(tmp_path / "mixed", both, store="float32") as library:
        library.add_film("film", rows)
        (hit,) = library.search("a door", 1)
    parts = [
        part.embed_windows([rows[:, own]])[0].numpy() @ part.embed_sentences(["a door"])[0]
        for part, own in zip((tiny_model, dual), columns, strict=True)
    ]
    np.testing.assert_allclose(hit.clip_scores, (1 - mix) * parts[0] + mix * parts[1], atol=1e-5)
    assert math.isclose(hit.score, max((1 - mix) * parts[0] + mix * parts[1]), abs_tol=1e-5)


def test_what_cannot_be_mixed_is_refused(tiny_model: ModelEmbedder) -> None:
    dual = DualEmbedder(Words(), identity="letters-1", clips=tiny_model.clips, window_rows=tiny_model.window_rows)
    with pytest.raises(InputError, match="look at the same features"):
        MixedEmbedder(tiny_model, dual, 0.5)
    with pytest.raises(InputError, match="--mix 2"):
        MixedEmbedder(dual, dual, 2)
    with pytest.raises(InputError, match="cut films alike"):
        MixedEmbedder(DualEmbedder(Words(), identity="x", clips=3), dual, 0.5)
