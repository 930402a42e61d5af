from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.image
import numpy as np
import pytest

import gmmformer.demo.run as demo
from gmmformer.cli import main
from gmmformer.data import Collection, check_collection
from gmmformer.demo.world import dialogue, plan_films, sign
from gmmformer.errors import MissingExtraError
from gmmformer.evaluation import evaluate
from gmmformer.media.report import read_film_records
from gmmformer.model import load_model
from gmmformer.search import Library

FILMS, EPOCHS = 8, 2


class Ran(NamedTuple):
    out: Path
    end: demo.DemoEnd
    said: list[str]
    epochs: list[int]
    told: dict[str, list[tuple[int, int]]]


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "TRAINING", {**demo.TRAINING, "epochs": EPOCHS})
        patch.setattr(demo, "NETWORK", {**demo.NETWORK, "hidden": 16})
        yield patch


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch) -> Ran:
    out = tmp_path_factory.mktemp("demo") / "out"
    said, epochs, told = [], [], {}
    end = demo.run_demo(
        out,
        films=FILMS,
        progress=lambda what, done, total: told.setdefault(what, []).append((done, total)),
        say=said.append,
        report=lambda epoch: epochs.append(epoch.epoch),
    )
    return Ran(out, end, said, epochs, told)


def test_the_folders_are_as_promised(ran: Ran) -> None:
    assert len(list((ran.out / "films").glob("film_*.mp4"))) == FILMS
    assert check_collection(ran.out / "data", "demo").problems == ()
    collection = Collection.open(ran.out / "data", "demo")
    assert len(collection.frames.video_ids) == FILMS
    records = read_film_records(collection.frames.folder)
    assert [record.film for record in records] == sorted((ran.out / "films").glob("*.mp4"))
    for record in records:
        assert 20 <= record.duration <= 90
        assert record.rows == pytest.approx(record.duration, abs=1)
    assert ran.end.model == ran.out / "run/best"
    assert load_model(ran.end.model).config.hidden == 16
    assert ran.end.curves == ran.out / "run/curves.png"
    assert matplotlib.image.imread(ran.end.curves).ndim == 3


def test_it_says_where_it_is(ran: Ran) -> None:
    assert [line[:3] for line in ran.said if line[1] == "/"] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert any(f"decoded {FILMS} films, 0 were there already, 0 failed" in line for line in ran.said)
    assert ran.epochs == list(range(EPOCHS))
    assert ran.told["films rendered"][-1] == (FILMS, FILMS)
    assert ran.told["films decoded"][-1] == (FILMS, FILMS)


def test_the_numbers_are_those_of_the_test_films(ran: Ran) -> None:
    captions = Collection.open(ran.out / "data", "demo").captions("test")
    assert (ran.end.metrics.videos, ran.end.metrics.queries) == (len(captions.video_ids), len(captions.caption_ids))
    assert ran.end.chance.recall[0] == pytest.approx(100 / len(captions.video_ids))
    assert all(0 <= value <= 100 for value in ran.end.metrics.recall)


def test_the_contact_sheet_has_a_row_for_each_sentence_and_frames_right_films_green(ran: Ran) -> None:
    captions = Collection.open(ran.out / "data", "demo").captions("test")
    rows, columns = min(8, len(captions.caption_ids)), min(3, len(captions.video_ids))
    image = matplotlib.image.imread(ran.end.contact_sheet)
    assert image.shape[:2] == (round(110 * (0.5 + 2 * rows)), round(110 * (2.6 + 2.3 * columns)))
    green = np.abs(image[..., :3] - np.array([0x2E, 0x9E, 0x5B]) / 255).max(axis=-1) < 0.02
    across = green.sum(axis=1)
    # With at most three test films each sentence's own is among its three: a frame, top and bottom, in every row.
    assert len(captions.video_ids) <= 3
    edges = np.flatnonzero(np.diff((across > 100).astype(int)) == 1)
    assert len(edges) == 2 * rows


def test_the_library_holds_the_test_films_and_ranks_them_as_evaluate_does(ran: Ran) -> None:
    collection = Collection.open(ran.out / "data", "demo")
    captions = collection.captions("test")
    film_of = {record.video: record.film for record in read_film_records(collection.frames.folder)}
    found = evaluate(load_model(ran.end.model), collection, "test")
    with Library.open(ran.end.library) as library:
        assert {film.path for film in library.store.films()} == {str(film_of[video]) for video in captions.video_ids}
        for sentence, scores in zip(captions.sentences, found.top.scores, strict=True):
            hits = library.search(sentence, k=len(captions.video_ids))
            assert [hit.score for hit in hits] == pytest.approx(scores.tolist(), abs=5e-3)  # int8
        for sentence, hits, seconds in ran.end.searches:
            assert sentence in captions.sentences
            assert hits == library.search(sentence, k=3)
            assert seconds > 0
    assert len(ran.end.searches) == min(3, -(-len(captions.sentences) // 11))


def test_the_films_speak(ran: Ran) -> None:
    plans = {plan.name: plan for plan in plan_films(FILMS, 9527)}
    with Library.open(ran.end.library) as library:
        film = library.store.films()[0]
        start, end, line = dialogue(plans[Path(film.path).stem])[1]
        (hit,) = library.search(f'"{line}"')
        assert (hit.film.path, hit.start, hit.end) == (film.path, pytest.approx(start), pytest.approx(end))
        assert hit.quotes[0].text == line


def test_the_command_shows_the_table_and_where_to_look(
    ran: Ran, capsys: pytest.CaptureFixture[str], monkeypatch_module: pytest.MonkeyPatch
) -> None:
    """Done again in the same folder nothing is rendered or decoded; it trains anew."""
    films = {path: path.stat().st_mtime_ns for path in (ran.out / "films").iterdir()}
    assert main(["demo", str(ran.out), "--films", str(FILMS)]) == 0
    said = capsys.readouterr().out
    assert f"decoded 0 films, {FILMS} were there already" in said
    for words in (
        "R@1",
        "R@5",
        "SumR",
        "chance",
        "times chance",
        str(ran.end.contact_sheet),
        str(ran.end.curves),
        "-k 3",
    ):
        assert words in said
    assert said.count("\nepoch ") == EPOCHS
    assert {path: path.stat().st_mtime_ns for path in (ran.out / "films").iterdir()} == films


def test_what_is_written_in_the_films_is_found(ran: Ran) -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    plans = {plan.name: plan for plan in plan_films(FILMS, 9527)}
    with Library.open(ran.end.library) as library:
        films = {film.path: sign(plans[Path(film.path).stem]) for film in library.store.films()}
        found = {path: library.search(text, within=["written"]) for path, (_, _, text) in films.items()}
        right = [path for path, hits in found.items() if hits and hits[0].film.path == path]
        assert len(right) >= len(films) - 1, "letters this small may be misread, not in most films"
        for path in right:
            start, end, _ = films[path]
            assert found[path][0].start <= end
            assert found[path][0].end >= start
    assert any("was read in" in line for line in ran.said)


def test_a_demo_without_what_reads_says_what_to_install(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("reading text on the screen", "text")

    said = list[str]()
    monkeypatch.setattr(demo, "Written", missing)
    with Library.open(ran.end.library) as library:
        demo._read(library, [], lambda *told: None, said.append)
    assert said == ["     reading text on the screen needs the extra 'text': pip install 'gmmformer[text]'"]
