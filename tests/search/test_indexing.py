"""Films into a library: only what is new or changed."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests_search_helpers import Plain, clustered, index_split, put, rebuild

from gmmformer.data import Collection, simulate
from gmmformer.errors import InputError
from gmmformer.media.decoding import FilmEnd
from gmmformer.media.featurise import FilmFeatures
from gmmformer.search import (
    FilmSource,
    IndexReport,
    Library,
    ModelEmbedder,
    Unchanged,
    choose_encoders,
    index_films,
    unchanged,
)
from tiny_models import untrained


class Source:
    """Reads "films" that are text files with a seed in them, last first, and remembers which."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, paths: Iterable[Path]) -> Iterator[FilmFeatures | FilmEnd]:
        for path in sorted(paths, reverse=True):
            self.read.append(path.name)
            text = path.read_text()
            if text.isdigit():
                rows = np.random.default_rng(int(text)).normal(size=(20, 4)).astype(np.float32)
                yield FilmFeatures(path, rows, np.arange(20.0), 20.0, "odd" if text == "3" else None)
            else:
                yield FilmEnd(path=path, reason="no film")


def take_in(library: Library, paths: Sequence[str | Path], source: FilmSource, **options: Any) -> IndexReport:
    with library.writing() as into:
        return index_films(into, paths, source, **options)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    (folder / "deep").mkdir(parents=True)
    for name, text in {"a.mp4": "1", "b.mkv": "2", "deep/c.mp4": "3", "broken.mp4": "no", "notes.txt": "4"}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def empty(tmp_path: Path, plain: Plain) -> Library:
    return Library.create(tmp_path / "library", plain)


def test_films_are_taken_in_once(films: Path, empty: Library) -> None:
    source = Source()
    report = take_in(empty, [films], source)
    assert report.warnings == {str(films / "deep" / "c.mp4"): "odd"}
    assert sorted(Path(path).name for path in report.added) == ["a.mp4", "b.mkv", "c.mp4"]
    assert report.failed == {str(films / "broken.mp4"): "no film"}
    assert [failure.path for failure in empty.store.failures()] == [str(films / "broken.mp4")]
    source.read.clear()
    again = take_in(empty, [films], source)
    assert source.read == []
    assert len(again.unchanged) == 3
    assert list(again.failed) == [str(films / "broken.mp4")]
    take_in(empty, [films], source, retry=True)
    assert source.read == ["broken.mp4"]


def test_changed_films_replace_themselves(films: Path, empty: Library) -> None:
    source = Source()
    take_in(empty, [films], source)
    source.read.clear()
    (films / "a.mp4").write_text("17")
    os.utime(films / "b.mkv", (1, 1))
    (films / "broken.mp4").write_text("5")
    report = take_in(empty, [films], source)
    assert sorted(source.read) == ["a.mp4", "broken.mp4"]
    assert report.replaced == [str(films / "a.mp4")]
    assert report.added == [str(films / "broken.mp4")]
    assert sorted(report.unchanged) == [str(films / "b.mkv"), str(films / "deep" / "c.mp4")]
    assert empty.store.failures() == []
    assert len(empty.store.films()) == 4
    kept = empty.store.features_of(str(films / "a.mp4"))
    assert kept is not None
    wanted = np.random.default_rng(17).normal(size=(20, 4)).astype(np.float16)
    np.testing.assert_allclose(kept[0], wanted, atol=1e-3)


def test_vanished_films_are_reported_and_removed_when_asked(films: Path, empty: Library, tmp_path: Path) -> None:
    source = Source()
    elsewhere = tmp_path / "elsewhere.mp4"
    elsewhere.write_text("9")
    take_in(empty, [films, elsewhere], source)
    (films / "a.mp4").unlink()
    report = take_in(empty, [films / "deep"], source)
    assert report.vanished == [str(films / "a.mp4")]
    assert len(empty.store.films()) == 4
    report = take_in(empty, [films], source, prune=True)
    assert report.vanished == [str(films / "a.mp4")]
    assert sorted(Path(film.path).name for film in empty.store.films()) == ["b.mkv", "c.mp4", "elsewhere.mp4"]


def test_nothing_to_do_is_seen_without_a_model(films: Path, empty: Library, tmp_path: Path) -> None:
    source, folder = Source(), empty.folder
    assert unchanged(folder, [films]) is None
    take_in(empty, [films], source)
    found = unchanged(folder, [films])
    assert found == Unchanged(take_in(empty, [films], source), 3, 60.0)
    assert unchanged(folder, [films], retry=True) is None
    assert unchanged(folder, [films], prune=True) is not None
    os.utime(films / "b.mkv", (1, 1))
    assert unchanged(folder, [films]) is None
    take_in(empty, [films], source)
    (films / "a.mp4").rename(tmp_path / "a.mp4")
    assert unchanged(folder, [films], prune=True) is None
    found = unchanged(folder, [films])
    assert found is not None
    assert found.report.vanished == [str(films / "a.mp4")]
    with pytest.raises(InputError, match="nowhere"):
        unchanged(folder, [films / "nowhere"])


def test_films_that_the_index_lacks_are_something_to_do(
    films: Path, empty: Library, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    put(empty, clustered(100, plain))
    rebuild(empty)
    take_in(empty, [films], Source())
    assert unchanged(empty.folder, [films]) is not None
    monkeypatch.setattr("gmmformer.search.changes.EXTEND", 2)
    assert unchanged(empty.folder, [films]) is None


def test_relative_and_absolute_names_are_one_film(films: Path, empty: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    monkeypatch.chdir(films)
    take_in(empty, ["a.mp4", "./a.mp4", films / "a.mp4"], source)
    assert source.read == ["a.mp4"]
    assert [film.path for film in empty.store.films()] == [str(films / "a.mp4")]


def test_progress_counts_films_that_are_kept(films: Path, empty: Library, plain: Plain) -> None:
    seen = []

    def progress(what: str, done: int, total: int) -> None:
        if what == "indexing":
            with Library.open(empty.folder, plain) as other:
                seen.append((done, total, len(other.store.films()) + len(other.store.failures())))

    take_in(empty, [films], Source(), progress=progress)
    assert seen[-1] == (4, 4, 4)
    assert all(done <= kept for done, _, kept in seen)


def test_a_collection_is_taken_in_once_and_again_where_it_changed(
    tiny_collection: Collection, tiny_model: ModelEmbedder, tmp_path: Path, plain: Plain
) -> None:
    with Library.create(tmp_path / "collection", tiny_model) as library:
        assert index_split(library, tiny_collection, "train") == 24
        assert index_split(library, tiny_collection, "train", workers=2) == 0
        assert index_split(library, tiny_collection, "test") == 8
        name = tiny_collection.captions("test").video_ids[3]
        library.add_film(name, np.ones((5, tiny_collection.frames.dim), dtype=np.float32))
        assert index_split(library, tiny_collection, "test") == 1
        kept = library.store.features_of(name)
        assert kept is not None
        np.testing.assert_allclose(kept[0], tiny_collection.frames.features_of(name), rtol=1e-3, atol=1e-4)
        assert {film.path for film in library.store.films()} >= set(tiny_collection.captions("train").video_ids)
    with Library.create(tmp_path / "cut", tiny_model) as cut_up:
        index_split(cut_up, tiny_collection, "train", cut_long=True)
        longest = max(len(tiny_collection.frames.features_of(film.path)) for film in cut_up.store.films())
        assert longest > tiny_model.window_rows
        assert cut_up.info().windows > cut_up.info().films == 24
    with (
        Library.create(tmp_path / "plain", plain) as other,
        pytest.raises(InputError, match="takes 4-dimensional ones"),
    ):
        index_split(other, tiny_collection, "train")


def nan_in(collection: Path) -> None:
    (features,) = (collection / "FeatureData").glob("*/feature.bin")
    features.write_bytes(b"\0\0\xc0\x7f" * (features.stat().st_size // 4))


SPOILT: dict[str, Callable[[Path], object]] = {
    "no such folder": lambda data: shutil.rmtree(data / "tiny"),
    "tinytest.caption.txt": lambda data: (data / "tiny/TextData/tinytest.caption.txt").write_text("no number of it\n"),
    "holds NaN": lambda data: nan_in(data / "tiny"),
    "8 dims": lambda data: (
        shutil.rmtree(data / "tiny"),
        simulate(data, name="tiny", videos=(4, 2, 2), feature_dim=8, query_dim=12),
    ),
}


@pytest.fixture
def tiny_model_folder(tiny_model: ModelEmbedder, tmp_path: Path) -> Path:
    tiny_model.model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("there", ["nothing", "a folder"])
@pytest.mark.parametrize("part", [*SPOILT, "is damaged"])
def test_what_is_refused_leaves_no_empty_library(
    part: str,
    there: str,
    tiny_collection: Collection,
    tiny_model_folder: Path,
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    """Nor the folders above it, but those that were there, with what is hidden in them."""
    hidden = tmp_path / "new/library/.hidden"
    if there == "a folder":
        hidden.parent.mkdir(parents=True)
        hidden.write_text("mine")
    data = Path(shutil.copytree(tiny_collection.root, tmp_path / "data"))
    source: list[object] = ["--data", data, "--collection", "tiny"]
    if part == "is damaged":
        (tmp_path / "other").mkdir()
        (tmp_path / "other/library.sqlite").write_bytes(b"no database")
        source = ["--features-of", tmp_path / "other"]
        tiny_model_folder = untrained(tmp_path / "films", seed=6)
    else:
        SPOILT[part](data)
    said = refused(["index", hidden.parent, *source, "--model", tiny_model_folder], part)
    assert part != "holds NaN" or f"video {tiny_collection.captions('test').video_ids[0]!r}: row 0" in said
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("new/**/*"))
    assert left == (["new/library", "new/library/.hidden"] if there == "a folder" else [])
    assert (tmp_path / "new").exists() == (there == "a folder")


def test_a_library_that_was_there_stays_when_an_index_is_refused(
    tiny_collection: Collection, tiny_model_folder: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    Library.create(tmp_path / "library", choose_encoders(str(tiny_model_folder), films=False)).close()
    before = {path.name for path in (tmp_path / "library").iterdir()}
    data = Path(shutil.copytree(tiny_collection.root, tmp_path / "data"))
    nan_in(data / "tiny")
    refused(["index", tmp_path / "library", "--data", data, "--collection", "tiny"], "holds NaN")
    assert {path.name for path in (tmp_path / "library").iterdir()} >= before
