"""Films that were taken out and come back: as they were, found by every engine, until the library is compacted."""

import time

import numpy as np
import pytest
from tests_search_helpers import compacted, drawn_film, put, unit_queries

from gmmformer.errors import InputError
from gmmformer.search import Library, bring_back, compact, verify

GONE = ["film-0007.mp4", "film-0031.mp4"]


def back(library: Library, ids: list[int]) -> dict[int, int]:
    with library.writing() as into:
        return bring_back(into, ids)


def found(library: Library, k: int = 40) -> list[list[tuple[str, float, float, float]]]:
    hits = library.search_vectors(unit_queries(5), k)
    return [sorted((hit.film.path, hit.start, hit.end, round(hit.score, 6)) for hit in some) for some in hits]


def test_films_come_back_as_they_were(library: Library) -> None:
    before, kept = found(library), library.store.features_of(GONE[0])
    timings = {film.path: film.timing for film in library}
    library.remove(GONE)
    assert [film.path for film in library.store.removed()] == GONE
    assert not {path for some in found(library) for path, *_ in some} & {*GONE}
    now = back(library, [film.id for film in library.store.removed()])
    assert sorted(now) == [8, 32]
    assert min(now.values()) > 40
    assert library.store.removed() == []
    assert found(library) == before
    again = library.store.features_of(GONE[0])
    assert kept is not None
    assert again is not None
    np.testing.assert_array_equal(again[0], kept[0])
    assert {film.path: film.timing for film in library} == timings
    assert verify(library.store) == []
    compacted(library)
    assert verify(library.store) == []
    assert found(library) == before


def test_who_looked_before_sees_them_too(library: Library) -> None:
    with Library.open(library.folder, library.models.embedder) as other:
        before = found(other)
        library.remove(GONE)
        back(library, [film.id for film in library.store.removed()])
        assert found(other) == before  # it never saw that they were gone
        library.remove(GONE)
        assert found(other) != before


def test_only_the_newest_of_a_free_path_comes_back(library: Library) -> None:
    put(library, [drawn_film(100, rows=30, name=GONE[0])])  # replaced, which is no removal
    assert library.store.removed() == []
    newer = found(library)
    library.remove(GONE[:1])
    (film,) = library.store.removed()
    assert film.id == 41
    assert back(library, [8, 1, 999]) == {}  # the older one, one that is there, one that never was
    back(library, [41])
    assert found(library) == newer
    library.remove(GONE[:1])
    put(library, [drawn_film(7, rows=15, name=GONE[0])])
    assert library.store.removed() == []
    assert back(library, [film.id]) == {}


def test_for_thirty_days_compacting_does_not_end_it(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()

    def compact_on(day: float) -> tuple[int, int]:
        monkeypatch.setattr("time.time", lambda: now + day * 24 * 3600)
        with library.writing() as into:
            done = compact(into)
        return done.films, done.kept

    before, features = found(library), library.store.features_of(GONE[1])
    library.remove(GONE[:1])
    put(library, [drawn_film(100, rows=30, name=GONE[0])])  # the old one cannot be brought back any more
    put(library, [drawn_film(7, rows=15, name=GONE[0])])
    assert compact_on(20) == (2, 0)
    library.remove(GONE[1:])
    assert compact_on(49) == (0, 1)
    assert verify(library.store) == []
    (film,) = library.store.removed()
    back(library, [film.id])
    assert [[hit for hit in some if hit[0] != GONE[0]] for some in found(library)] == [
        [hit for hit in some if hit[0] != GONE[0]] for some in before
    ]
    again = library.store.features_of(GONE[1])
    assert features is not None
    assert again is not None
    np.testing.assert_array_equal(again[0], features[0])
    library.remove(GONE[1:])
    monkeypatch.setattr("time.time", lambda: now + 60 * 24 * 3600)
    library.remove(["film-0003.mp4"])
    assert compact_on(78) == (1, 2)  # as the film was before it came back, nobody can have it
    assert compact_on(80) == (1, 1)
    assert [film.path for film in library.store.removed()] == ["film-0003.mp4"]
    (library.folder / "removed.json").write_text("[[1, 2], 3")
    assert compact_on(500) == (0, 1)  # nobody knows since when


def test_compacting_ends_it(library: Library) -> None:
    library.remove(GONE)
    ids = [film.id for film in library.store.removed()]
    compacted(library)
    assert library.store.removed() == []
    assert back(library, ids) == {}


def test_what_is_damaged_does_not_come_back(library: Library) -> None:
    library.remove(GONE)
    ids = [film.id for film in library.store.removed()]
    path = next(library.folder.glob("part-*-vectors.bin"))
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(InputError, match=r"film-0007\.mp4: what was kept of it is damaged; index it again"):
        back(library, ids)
    assert [film.path for film in library.store.removed()] == GONE
