"""What a user types first."""

from pathlib import Path

import pytest
from tests_search_helpers import Plain, drawn_film, put, unit_queries

from gmmformer.errors import InputError
from gmmformer.search import Film, Hit, Library
from tiny_models import untrained
from type_checks import unchecked


@pytest.fixture
def lib(tmp_path: Path, plain: Plain, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.chdir(tmp_path)
    made = Library.create("lib", plain)
    put(made, [drawn_film(seed, name=str(tmp_path / "FILMS" / f"{seed}.mp4")) for seed in range(6)])
    put(made, [drawn_film(9, name="of-a-collection", rows=40)])
    return made


def test_one_sentence_gives_hits_and_several_a_list_each(lib: Library) -> None:
    dog, cat = lib.search("a dog", k=5), lib.search("a cat", k=5, moments=3)
    assert all(isinstance(hit, Hit) for hit in dog)
    assert len(dog) == 5
    both = lib.search(["a dog", "a cat"], k=5, moments=3)
    assert [hit.film for hit in both[1]] == [hit.film for hit in cat]
    assert both[0][0] == dog[0]
    assert lib.search(("a dog",), k=5) == [dog]
    assert lib.search([]) == []
    assert lib.search_vectors(lib.embed(["a dog"]), k=5) == [dog]


def test_a_library_is_a_collection_of_films(lib: Library, tmp_path: Path) -> None:
    assert len(lib) == 7
    assert [film.length for film in lib] == [12.0] * 6 + [40.0]
    assert "FILMS/3.mp4" in lib
    assert tmp_path / "FILMS" / "3.mp4" in lib
    assert "of-a-collection" in lib
    assert all(film in lib for film in lib)
    for wrong in ("FILMS/33.mp4", "3.mp4", "", 3, None, b"FILMS/3.mp4"):
        assert wrong not in lib
    assert lib.remove("FILMS/3.mp4") == 1
    assert lib.remove(["FILMS/3.mp4", "of-a-collection", tmp_path / "FILMS" / "1.mp4"]) == 2
    assert len(lib) == 4
    assert isinstance(next(iter(lib)), Film)
    empty = Library.create("empty", Plain())
    assert (len(empty), list(empty), bool(empty)) == (0, [], True)


def test_what_there_is_not_is_refused_at_once(lib: Library, plain: Plain) -> None:
    for make in (lambda: Library.open("lib", engine="faiss"), lambda: Library.create("new", plain, engine="faiss")):
        with pytest.raises(InputError, match="--engine faiss: there is no such engine; known: ann, auto, exact"):
            make()
    assert not Path("new").exists()
    with pytest.raises(TypeError, match="top_k"):
        lib.search("a dog", top_k=5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="top_k"):
        lib.search_vectors(unit_queries(1), top_k=5)  # type: ignore[call-arg]
    with unchecked(), pytest.raises(InputError, match="--store int9: did you mean 'int8'"):
        Library.create("other", plain, store="int9")  # type: ignore[arg-type]


def test_a_model_is_given_by_its_name(tmp_path: Path) -> None:
    untrained(tmp_path / "run", 1)
    for name in (str(tmp_path / "run"), tmp_path / "run"):
        made = Library.create(tmp_path / f"of-{type(name).__name__}", name)
        assert made.info().recipe is not None
        assert len(Library.open(made.folder)) == 0
    with pytest.raises(InputError, match="nowhere"):
        Library.create(tmp_path / "new", str(tmp_path / "nowhere"))
    assert not (tmp_path / "new").exists()
