"""The index of inverted lists: nearly the same films, exactly the same scores."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests_search_helpers import Plain, clustered, compacted, put, ranked, rebuild, unit_queries, update

from gmmformer.errors import InputError, MissingExtraError
from gmmformer.search import Library, NewFilm, verify
from gmmformer.search.engines import ann
from gmmformer.search.engines import exact as finding
from gmmformer.search.windows import Window, timing

pytest.importorskip("faiss")


@pytest.fixture
def searched(tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Six hundred films with an index, which is used although they are few."""
    monkeypatch.setattr(finding, "FEW", 0)
    library = Library.create(tmp_path / "library", plain, store="float32", engine="ann")
    put(library, clustered(600, plain))
    rebuild(library)
    return library


def agreement(library: Library, queries: np.ndarray, k: int = 10, **options: str) -> float:
    """The share of the k best films that the index finds; scores of what it finds must be exact."""
    with Library.open(library.folder, engine="exact") as exact:
        everything = [
            {hit.film.path: hit.score for hit in hits} for hits in exact.search_vectors(queries, 1000, **options)
        ]
    alone = [library.search_vectors(query[None], k, **options)[0] for query in queries[:3]]
    assert [[hit.film.path for hit in hits] for hits in alone] == [
        [hit.film.path for hit in hits] for hits in library.search_vectors(queries[:3], k, **options)
    ]
    shares = []
    for hits, scores in zip(library.search_vectors(queries, k, **options), everything, strict=True):
        assert len({hit.film.path for hit in hits}) == len(hits) == min(k, len(scores))
        np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.film.path] for hit in hits], atol=1e-6)
        shares.append(len({hit.film.path for hit in hits} & set(list(scores)[:k])) / max(1, min(k, len(scores))))
    return float(np.mean(shares))


def test_the_index_finds_what_is_best(searched: Library) -> None:
    assert agreement(searched, unit_queries(20)) >= 0.95
    assert agreement(searched, unit_queries(3), k=600) == 1.0


def test_the_documented_recall_needs_the_whole_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Films of families, whose clips differ as much as they do: an index is not sure which of them is best."""
    monkeypatch.setattr(finding, "FEW", 0)
    crowded, films, queries = Plain(dim=48, clips=32), 1500, 100
    generator = torch.Generator().manual_seed(7)

    def noise(*shape: int) -> torch.Tensor:
        return 0.3 * F.normalize(torch.randn(*shape, crowded.dim, generator=generator), dim=-1)

    families = F.normalize(torch.randn(10, crowded.dim, generator=generator), dim=-1)
    own = families[torch.randint(10, (films,), generator=generator)] + noise(films)
    clips = 0.9 * F.normalize(own[:, None] + noise(films, crowded.clips), dim=-1)
    asked = F.normalize(families[torch.arange(queries) % 10] + noise(queries), dim=-1).numpy()
    with Library.create(tmp_path / "crowded", crowded, engine="ann", keep_features=False) as library:
        put(
            library,
            [
                NewFilm(
                    path=str(at), windows=[Window(0, 8)], vectors=one[None], rows=8, timing=timing(8, None, None, "")
                )
                for at, one in enumerate(clips)
            ],
        )
        rebuild(library)
        with Library.open(library.folder, engine="exact") as exact:
            best = [set(found) for found, _ in ranked(exact, asked, 10)]

        def recall() -> float:
            found = [set(films) for films, _ in ranked(library, asked, 10)]
            return float(np.mean([len(some & good) / 10 for some, good in zip(found, best, strict=True)]))

        assert recall() >= 0.99
        for name, less in (("KEPT_AT_LEAST", 10 - 10 * finding.KEPT), ("PER_FILM", 12)):
            with monkeypatch.context() as patch:
                patch.setattr(finding, name, less)
                patch.setattr(finding, "FIRST", 1)
                assert recall() < 0.97, f"the list would do with {name} = {less}, so this shows nothing"


def test_films_that_come_later_are_found_without_a_rebuild(
    searched: Library, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = unit_queries(10)
    put(searched, clustered(50, plain, seed=1))
    assert agreement(searched, queries) >= 0.95
    assert any(hit.film.path.startswith("1-") for hits in searched.search_vectors(queries, 20) for hit in hits)
    monkeypatch.setattr(ann, "EXTEND", 0)
    update(searched)
    derived = ann.index_of(searched.store)
    assert derived is not None
    assert derived.covers == searched.store.snapshot().windows[-1] > derived.trained
    assert agreement(searched, queries) >= 0.95
    assert len(list(searched.folder.glob("ann-*.faiss"))) == 1
    assert verify(searched.store) == []


def test_removed_films_are_not_found_and_compaction_changes_nothing(searched: Library) -> None:
    queries = unit_queries(5)
    gone = {hit.film.path for hits in searched.search_vectors(queries, 10) for hit in hits}
    searched.remove(sorted(gone))
    found = searched.search_vectors(queries, 10)
    assert not gone & {hit.film.path for hits in found for hit in hits}
    assert agreement(searched, queries) >= 0.95
    compacted(searched)
    assert [[hit.film.path for hit in hits] for hits in searched.search_vectors(queries, 10)] == [
        [hit.film.path for hit in hits] for hits in found
    ]


def test_a_narrow_question_is_answered_in_full(searched: Library) -> None:
    assert agreement(searched, unit_queries(3), where="0-1?") == 1.0
    assert agreement(searched, unit_queries(3), where="*7") >= 0.95


def test_a_film_that_fills_the_list_does_not_hide_the_others(
    tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FEW", 0)
    query = unit_queries(1)
    noise = torch.randn(400, plain.clips, plain.dim, generator=torch.Generator().manual_seed(0))
    near = 0.9 * F.normalize(torch.from_numpy(query[0]) + 0.02 * noise, dim=-1)
    long = NewFilm(
        path="fills the list",
        windows=[Window(8 * index, 8) for index in range(400)],
        vectors=near,
        rows=3200,
        timing=timing(3200, None, None, "film"),
    )
    with Library.create(tmp_path / "filled", plain, engine="ann", store="float32") as library:
        put(library, [long, *clustered(60, plain)])
        rebuild(library)
        assert library.search_vectors(query, 10)[0][0].film.path == "fills the list"
        assert agreement(library, query) >= 0.9


def test_the_directions_of_an_index_hold_most_of_the_vectors() -> None:
    generator = np.random.default_rng(0)
    few = generator.standard_normal((500, 20)) @ generator.standard_normal((20, 96)) + 3.0
    for sample in (few.astype(np.float32), np.zeros((5, 96), dtype=np.float32)):
        directions = ann.directions_of(sample)
        np.testing.assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-5)
        assert len(directions) <= 24 or not sample.any()
        assert ((sample @ directions.T) ** 2).sum() >= ann.KEPT * (sample**2).sum()
    noise = generator.standard_normal((900, 300)).astype(np.float32)
    assert len(ann.directions_of(noise)) == ann.MOST_DIRECTIONS
    assert len(ann.directions_of(noise[:, :5])) == 5


def test_without_an_index_or_with_a_broken_one_it_says_so(tmp_path: Path, plain: Plain) -> None:
    with Library.create(tmp_path / "none", plain, engine="ann") as library:
        with pytest.raises(InputError, match="nothing to index"):
            rebuild(library)
        put(library, clustered(30, plain))
        with pytest.raises(InputError, match=r"has no index .* rebuild"):
            library.search_vectors(unit_queries(1))
        rebuild(library)
        (path,) = library.folder.glob("ann-*.faiss")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert "is damaged; make it again" in verify(library.store)[0]
        path.write_bytes(data[:100])
        with Library.open(library.folder, engine="ann") as other, pytest.raises(InputError, match="missing or damaged"):
            other.search_vectors(unit_queries(1))
        rebuild(library)
        assert verify(library.store) == []


def test_an_index_of_another_version_counts_as_none_and_is_replaced(searched: Library) -> None:
    made = ann.index_of(searched.store)
    assert made is not None
    (searched.folder / made.file).rename(searched.folder / "ann-000007.faiss")
    with searched.writing() as writer:
        writer.derive(ann.NAME, made._replace(file="ann-000007.faiss"))
    with (
        Library.open(searched.folder, engine="ann") as other,
        pytest.raises(InputError, match=r"has no index .* rebuild"),
    ):
        other.search_vectors(unit_queries(1))
    rebuild(searched)
    assert [path.name for path in searched.folder.glob("ann-*")] == [made.file]
    assert verify(searched.store) == []
    assert agreement(searched, unit_queries(3)) >= 0.95


def test_without_faiss_auto_looks_at_every_window_and_info_needs_no_index(
    searched: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gmmformer.search.engines.ann.EXACT_UP_TO", 100)
    queries = unit_queries(3)
    with Library.open(searched.folder) as auto, monkeypatch.context() as patch:
        patch.setattr(ann.OwnFiles, "_read", lambda _: pytest.fail("a name needs no index"))
        assert auto.info().engine == "ann"
    monkeypatch.setitem(sys.modules, "faiss", None)
    with Library.open(searched.folder) as auto, Library.open(searched.folder, engine="exact") as exact:
        assert auto.info().engine == "exact"
        assert ranked(auto, queries, 5) == ranked(exact, queries, 5)
        monkeypatch.setattr("gmmformer.search.engines.ann.EXTEND", 0)
        put(auto, clustered(5, Plain(), seed=2))
        update(auto)  # films that are not in the index are looked at one by one
    with Library.open(searched.folder, engine="ann") as named, pytest.raises(MissingExtraError, match="search"):
        ranked(named, queries, 5)


def test_auto_takes_the_index_only_for_large_libraries(searched: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with Library.open(searched.folder) as auto:
        assert auto.info().engine == "exact"
        monkeypatch.setattr("gmmformer.search.engines.ann.EXACT_UP_TO", 100)
        assert auto.info().engine == "ann"
    with pytest.raises(InputError, match="--engine nearest: there is no such engine; known: ann, auto, exact, or give"):
        Library.open(searched.folder, engine="nearest")
