"""Films that show the same thing are one hit; those that are only alike are not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests_search_helpers import Plain, clustered, drawn_film, put, ranked, rebuild, unit_queries

from gmmformer.cli.searching import print_hits
from gmmformer.search import Library, NewFilm
from gmmformer.search.engines import exact as finding
from gmmformer.search.windows import timing


def encoded_again(film: NewFilm, path: str, *, noise: float = 0.02, rows: int = 0) -> NewFilm:
    """The film as another encoder leaves it: nearly the same is seen, in a row more or less."""
    drawn = torch.Generator().manual_seed(len(path))
    fused = film.vectors + noise * torch.randn(film.vectors.shape, generator=drawn)
    length = film.rows + rows
    return replace(
        film, path=path, vectors=fused, rows=length, timing=timing(length, None, None, path), fingerprint=path
    )


@pytest.mark.parametrize("engine", ["exact", "ann"])
@pytest.mark.parametrize("rows", [12, 45], ids=["one window", "several"])
def test_copies_of_a_film_are_one_hit_and_k_films_are_found(
    tmp_path: Path, plain: Plain, rows: int, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FEW", 0)
    films = [drawn_film(seed, rows=rows) for seed in range(30)]
    again = [encoded_again(films[3], f"again-{'o' * copy}.mkv", rows=copy % 2) for copy in range(30)]
    query = (films[3].vectors[0, 2] / films[3].vectors[0, 2].norm()).numpy()[None]
    with Library.create(tmp_path / "library", plain, engine=engine) as library:
        put(library, films + again)
        if engine == "ann":
            rebuild(library)
        (every,) = library.search_vectors(query, 5)
        assert len({hit.film.fingerprint for hit in every} & {"3", *(film.path for film in again)}) == 5
        assert not any(hit.copies for hit in every)
        (hits,) = library.search_vectors(query, 5, moments=2, fold=True)
        best = hits[0]
        assert len({hit.film.path for hit in hits}) == 5
        assert {best.film.path, *(film.path for film in best.copies)} == {films[3].path, *(film.path for film in again)}
        assert best.to_dict()["copies"] == [film.path for film in best.copies]
        plainly = [path for path in ranked(library, query, 60)[0][0] if path not in best.to_dict()["copies"]]  # type: ignore[operator]
        assert list(dict.fromkeys(hit.film.path for hit in hits)) == plainly[:5]
        assert best.score == every[0].score
        (all_there_is,) = library.search_vectors(query, 100, fold=True)
        assert len(all_there_is) == 30


def test_films_that_are_only_alike_stay_apart(tmp_path: Path, plain: Plain) -> None:
    """One shares a stretch, one is longer, some are of one family; and all are much the same to some networks."""
    first, other = drawn_film(1), drawn_film(2)
    shares = torch.cat([first.vectors[:, :5], other.vectors[:, 5:]], dim=1)
    apart = [
        first,
        replace(other, path="shares.mp4", vectors=shares),
        encoded_again(first, "longer.mp4", noise=0.0, rows=3),
        *clustered(60, plain),
    ]
    much = 20 * F.normalize(torch.ones(plain.dim), dim=0)
    nearly_one = [
        replace(film, path=f"dim-{film.path}", vectors=0.97 * F.normalize(much + film.vectors, dim=-1))
        for film in (drawn_film(seed) for seed in range(40))
    ]
    for name, films in (("apart", apart), ("nearly one", nearly_one)):
        with Library.create(tmp_path / name, plain, store="float32") as library:
            put(library, films)
            (hits,) = library.search_vectors(unit_queries(1), 100, fold=True)
            assert len(hits) == len(films), [hit.copies for hit in hits if hit.copies]


def test_sentences_find_each_film_once_unless_all_are_wanted(
    tmp_path: Path, plain: Plain, capsys: pytest.CaptureFixture[str]
) -> None:
    film = drawn_film(1)
    with Library.create(tmp_path / "library", plain) as library:
        put(library, [film, drawn_film(2), encoded_again(film, "again.mkv"), replace(film, path="moved.mp4")])
        assert sorted(len(hit.copies) for hit in library.search("a door")) == [0, 2]
        assert [len(hits) for hits in library.search(["a door", "a cat"], fold=False)] == [4, 4]
        print_hits(library.search("a door"), 4, 0.1)
        assert sorted(line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()[:2])[0] == "+2 copies"


def test_films_that_are_nothing_but_one_film_are_one_hit(tmp_path: Path, plain: Plain) -> None:
    film = drawn_film(1)
    same = replace(film, vectors=film.vectors[:, :1].expand(-1, plain.clips, -1).contiguous())
    with Library.create(tmp_path / "library", plain) as library:
        put(library, [replace(same, path=f"{number}.mp4") for number in range(5)])
        (hit,) = library.search("a door")
        assert len(hit.copies) == 4
