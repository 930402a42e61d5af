"""index, search and library on the command line, on real films with the built-in encoders and a tiny CLIP."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from gmmformer.cli import main
from gmmformer.config import ModelConfig
from gmmformer.data import Collection, FrameFeatures
from gmmformer.demo.encoders import ShapeFrames
from gmmformer.demo.render import render_films
from gmmformer.demo.world import plan_films
from gmmformer.errors import InputError
from gmmformer.evaluation import evaluate
from gmmformer.media.encoders import dual_encoder
from gmmformer.media.frames import probe
from gmmformer.model import GMMFormer, load_model, segment_edges
from gmmformer.search import DualEmbedder, IndexReport, Library, activity_in, choose_encoders, index_library, verify
from tiny_models import untrained

tiny_encoders = pytest.importorskip("tiny_encoders")

SENTENCE = "a large red star slides to the left"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films, one of them in a deeper folder with an odd name, and one that is none."""
    folder = tmp_path_factory.mktemp("films")
    plans = plan_films(4, seed=3)
    render_films(plans, folder, workers=1)
    paths = sorted(folder.glob("*.mp4"))
    (folder / "deep").mkdir()
    paths[3].rename(os.fsdecode(os.fsencode(folder / "deep") + b"/it's \n \xff <b>.mp4"))
    (folder / "broken.mp4").write_bytes(b"no film at all")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model for the built-in encoders."""
    return untrained(tmp_path_factory.mktemp("models") / "model", seed=4)


@pytest.fixture(scope="module")
def made(films: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the films, made on the command line; never changed."""
    folder = tmp_path_factory.mktemp("libraries") / "library"
    assert main(["index", str(folder), str(films), "--model", str(model)]) == 0
    return folder


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(made, tmp_path / "library"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    return tiny_encoders.tiny_clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must succeed; what it printed."""

    def go(*arguments: object, code: int = 0) -> str:
        assert main([str(argument) for argument in arguments]) == code
        return capsys.readouterr().out

    return go


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with exit code 2 and one line; that line. `out`: it may have printed before."""

    def go(*arguments: object, out: bool = False) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        printed, err = capsys.readouterr()
        line = err.rpartition("\r")[2].strip()
        assert out or printed == ""
        assert line.startswith("gmmformer: ")
        assert "\n" not in line
        return line

    return go


def test_again_does_nothing_and_names_what_failed(films: Path, mine: Path, run: Callable[..., str]) -> None:
    told = json.loads(run("index", mine, films, "--json"))
    assert told["unchanged"] == 4
    assert told["added"] == told["replaced"] == told["vanished"] == []
    assert list(told["failed"]) == [str(films / "broken.mp4")]
    assert "broken.mp4: " in run("index", mine, films)


def test_doing_nothing_does_not_wait_for_torch(films: Path, mine: Path, run: Callable[..., str]) -> None:
    code = """
import sys
from gmmformer.cli import main
code = main()
assert "torch" not in sys.modules
sys.exit(code)
"""
    command = ["index", str(mine), str(films)]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == run(*command)
    assert "4 unchanged, 1 failed" in done.stdout
    assert run(*command, "--store", "int8") == done.stdout  # this one asks for something, so the library is opened


def test_search_says_the_same_to_people_and_programs(made: Path, films: Path, run: Callable[..., str]) -> None:
    told = json.loads(run("search", made, SENTENCE, "-k", "4", "--json"))
    assert told["query"] == SENTENCE
    with Library.open(made) as library:
        hits = library.search(SENTENCE, k=4)
    assert told["hits"] == [hit.to_dict() for hit in hits]
    assert len(hits) == 4
    lines = run("search", made, SENTENCE, "-k", "4").splitlines()
    assert len(lines) == 5  # a film a line, whatever its name, and the count
    for rank, (hit, line) in enumerate(zip(hits, lines, strict=False), start=1):
        assert line.startswith(str(rank))
        assert f"{hit.score:.3f}" in line
    assert run("search", made, SENTENCE, "-k", "4", "--all").splitlines()[:-1] == lines[:-1]  # none shows the same
    odd = next(line for line in lines if "deep" in line)
    assert r"it's \n \udcff <b>.mp4" in odd


def test_a_library_is_whole_by_itself(made: Path, model: Path, tmp_path: Path, run: Callable[..., str]) -> None:
    elsewhere = shutil.copytree(made, tmp_path / "elsewhere")
    with Library.open(elsewhere) as library, Library.open(made, choose_encoders(model)) as other:
        assert library.search(SENTENCE) == other.search(SENTENCE)


def test_films_are_embedded_as_the_extracted_collection_is(
    films: Path, made: Path, model: Path, tmp_path: Path, run: Callable[..., str]
) -> None:
    """The features that a library keeps, and the vectors made of them, are those of `extract`."""
    run("extract", films, "--out", tmp_path, "--collection", "own", "--video-encoder", ShapeFrames.name, code=0)
    with Library.open(made) as library:
        by_path = {film.path: film for film in library.store.films()}
        records = (tmp_path / "own/FeatureData/ShapeFrames/films.jsonl").read_text(encoding="utf-8").splitlines()
        frames = FrameFeatures.open(tmp_path / "own/FeatureData/ShapeFrames")
        assert len(records) == 4
        for record in map(json.loads, records):
            if record["film"] in by_path:
                kept = library.store.features_of(record["film"])
                assert kept is not None
                np.testing.assert_allclose(kept[0], frames.features_of(record["video"]), rtol=1e-3, atol=1e-3)


def test_batch_gives_a_line_for_each_sentence(
    made: Path, tmp_path: Path, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = [SENTENCE, "a blue circle waits", "🦊 and \0 and ünï"]
    (tmp_path / "queries.txt").write_text("\n".join(sentences) + "\n\n", encoding="utf-8")
    lines = [json.loads(line) for line in run("search", made, "--sentences", tmp_path / "queries.txt").splitlines()]
    assert [line["query"] for line in lines] == sentences
    for line in lines:
        alone = json.loads(run("search", made, line["query"], "--json"))["hits"]
        assert [hit["film"] for hit in line["hits"]] == [hit["film"] for hit in alone]
        assert [hit["score"] for hit in line["hits"]] == pytest.approx([hit["score"] for hit in alone], abs=1e-5)
    monkeypatch.setattr("sys.stdin", (tmp_path / "queries.txt").open(encoding="utf-8"))
    assert run("search", made, "--sentences", "-").count("\n") == 3


def test_filters_and_moments(made: Path, films: Path, run: Callable[..., str]) -> None:
    def found(*options: str) -> list[dict[str, object]]:
        return json.loads(run("search", made, SENTENCE, "--json", *options))["hits"]

    lengths = {hit["film"]: hit["length"] for hit in found()}
    assert len(lengths) == 4
    middle = sorted(lengths.values())[2]
    assert {hit["film"] for hit in found("--min-length", str(middle))} == {
        film for film, length in lengths.items() if length >= middle
    }
    assert [Path(str(hit["film"])).parent.name for hit in found("--where", "*/deep/*")] == ["deep"]
    assert found("--where", "'; DROP TABLE films; --") == []
    assert len(found()) == 4
    assert len(found("--moments", "3")) > 4


def test_contact_sheet_and_clips(made: Path, tmp_path: Path, run: Callable[..., str]) -> None:
    sheet, clips = tmp_path / "sheet.png", tmp_path / "clips"
    run("search", made, SENTENCE, "-k", "3", "--contact-sheet", sheet, "--cut", clips, "--exact-cut", "True")
    assert matplotlib.image.imread(sheet).std() > 0.1
    hits = json.loads(run("search", made, SENTENCE, "-k", "3", "--json"))["hits"]
    cut = sorted(clips.glob("*.mp4"))
    assert len(cut) == 3
    for clip, hit in zip(cut, hits, strict=True):
        assert probe(clip).duration == pytest.approx(hit["end"] - hit["start"], abs=0.25)


def test_a_film_that_is_gone_costs_only_its_picture_and_its_clip(
    films: Path, model: Path, tmp_path: Path, run: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "films"
    copied.mkdir()
    paths = sorted(films.glob("film*.mp4"))[:2]
    for path in paths:
        shutil.copy(path, copied)
    run("index", tmp_path / "library", copied, "--model", model)
    (copied / paths[0].name).unlink()
    sheet, clips = tmp_path / "sheet.png", tmp_path / "clips"
    assert (
        main(["search", str(tmp_path / "library"), SENTENCE, "--contact-sheet", str(sheet), "--cut", str(clips)]) == 0
    )
    assert paths[0].name in capsys.readouterr().err
    assert len(list(clips.glob("*.mp4"))) == 1
    assert sheet.exists()
    told = json.loads(run("index", tmp_path / "library", copied, "--json"))
    assert told["vanished"] == [str(copied / paths[0].name)]
    assert "gone, but still in the library" in run("index", tmp_path / "library", copied)
    assert json.loads(run("index", tmp_path / "library", copied, "--prune", "--json"))["pruned"]
    assert json.loads(run("library", tmp_path / "library", "info", "--json"))["films"] == 1


def test_looking_after(mine: Path, films: Path, run: Callable[..., str], refused: Callable[..., str]) -> None:
    info = json.loads(run("library", mine, "--json"))
    assert (info["films"], info["failures"], info["dtype"], info["engine"]) == (4, 1, "int8", "exact")
    assert info["recipe"]["video_encoder"] == ShapeFrames.name
    assert "4, " in run("library", mine)
    listed = [json.loads(line) for line in run("library", mine, "list", "--json").splitlines()]
    assert len(listed) == len(run("library", mine, "list").splitlines()) == 4
    assert "broken.mp4" in run("library", mine, "failures")
    assert json.loads(run("library", mine, "failures", "--json"))["film"] == str(films / "broken.mp4")
    assert "all is well: 4 films" in run("library", mine, "verify")
    odd = next(one["film"] for one in listed if "deep" in one["film"])
    assert json.loads(run("library", mine, "remove", odd, "--json")) == {"removed": 1}
    assert run("library", mine, "remove", "*film*0.mp4") == "1 films removed\n"
    assert "there is no such film" in refused("library", mine, "remove", "nowhere.mp4")
    assert "remove takes films" in refused("library", mine, "remove")
    assert "remove takes films" in refused("library", mine, "list", "film.mp4")
    assert json.loads(run("library", mine, "compact", "--json"))["kept"] == 2
    assert json.loads(run("library", mine, "compact", "--purge", "--json"))["films"] == 2
    assert "--purge: goes with compact" in refused("library", mine, "verify", "--purge")
    assert len(run("library", mine, "list").splitlines()) == 2
    run("library", mine, "rebuild")
    ann = json.loads(run("search", mine, SENTENCE, "--engine", "ann", "--json"))["hits"]
    assert ann == json.loads(run("search", mine, SENTENCE, "--engine", "exact", "--json"))["hits"]
    part = next(mine.glob("part-*vectors*"), None) or next(mine.glob("*vectors*.bin"))
    flipped = bytearray(part.read_bytes())
    flipped[100] ^= 4
    part.write_bytes(flipped)
    damage = json.loads(run("library", mine, "verify", "--json", code=1))["damage"]
    assert len(damage) >= 1


def test_bad_input(
    made: Path,
    mine: Path,
    films: Path,
    model: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    run: Callable[..., str],
) -> None:
    new = tmp_path / "new"
    (tmp_path / "file").write_text("I am a file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("I was here first")
    other = tmp_path / "other"
    torch.manual_seed(9)
    GMMFormer(load_model(model).config).save_pretrained(other)
    unknown = tmp_path / "unknown"
    config = {**vars(load_model(model).config), "video_encoder": None, "text_encoder": None}
    GMMFormer(ModelConfig(**config)).save_pretrained(unknown)
    for arguments, part in (
        (["index", new, "--model", model], "nothing to index"),
        (["index", new, films, "--data", tmp_path, "--model", model], "FILMS and --data to index"),
        (["index", tmp_path / "file", films, "--model", model], "is a file"),
        (["index", tmp_path / "full", films, "--model", model], "letter.txt"),
        (["index", made, films, "--model", other], "belongs to the model"),
        (["index", made, films, "--store", "bf16"], "was made with int8"),
        (["index", new, films, "--model", unknown], "--video-encoder"),
        (
            ["index", new, films, "--model", model, "--video-encoder", "dino"],
            "was trained with gmmformer.demo",
        ),
        (["index", new, films, "--model", "zero-shot:"], "zero-shot:NAME"),
        (["index", new, films, "--model", model, "--with", "clip"], "zero-shot:NAME"),
        (
            ["index", new, films, "--model", f"zero-shot:{ShapeFrames.name}"],
            "is no DualEncoder; it lacks frames, text",
        ),
        (["index", new, films, "--model", model, "--overlap", "1"], "--overlap 1"),
        (["index", mine, films / "no-such-film.mp4"], "no-such-film.mp4"),
        (["index", mine, "--data", tmp_path], "--collection is missing"),
        (["search", tmp_path / "nowhere", "a dog"], "nowhere"),
        (["search", tmp_path / "file", "a dog"], "file"),
        (["search", made, ""], "sentence is empty"),
        (["search", made, "\0\n\t"], "sentence is empty"),
        (["search", made], "--sentences FILE"),
        (["search", made, "a dog", "-k", "0"], "--k 0"),
        (["search", made, "a dog", "--engine", "fast"], "--engine fast"),
        (["search", made, "a dog", "--engine", "ann"], "rebuild"),
        (["search", made, "--sentences", tmp_path / "nowhere.txt"], "nowhere.txt"),
        (["search", made, "a dog", "--where", "nothing", "--contact-sheet", tmp_path / "a.png"], "nothing was found"),
        (["search", made, "a dog", "--cut", tmp_path / "file"], "cannot be made"),
    ):
        assert part in refused(*arguments, out="--cut" in arguments or "--contact-sheet" in arguments), arguments
    assert not new.exists()
    run("search", made, "word " * 20_000, "--json")
    run("search", made, "🦊" * 50, "--json")


def test_zero_shot_is_the_dual_encoder_itself(
    films: Path, clip: Path, tmp_path: Path, run: Callable[..., str], refused: Callable[..., str]
) -> None:
    library = tmp_path / "library"
    told = run("index", library, films, "--model", f"zero-shot:{clip}", "--store", "float32", "--json")
    assert len(json.loads(told)["added"]) == 4
    pair = dual_encoder(str(clip))
    query = pair.text.encode(["a red square moves to the left"])[0][0]
    with Library.open(library) as opened:
        hits = opened.search("a red square moves to the left", k=4)
        for hit in hits:
            kept = opened.store.features_of(hit.film.path)
            assert kept is not None
            rows = kept[0].astype(np.float64)
            edges = segment_edges(len(rows), 32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            best = max(
                float(query @ mean / np.linalg.norm(mean))
                for begin, end in itertools.pairwise(edges)
                for mean in [rows[begin : max(end, begin + 1)].mean(axis=0)]
            )
            assert hit.score == pytest.approx(best, abs=1e-3)
    weights = clip / "model.safetensors"
    saved = weights.read_bytes()
    try:
        weights.write_bytes(saved[:-4] + b"\0\0\0\1")
        assert "put that version back" in refused("search", library, "a red square")
    finally:
        weights.write_bytes(saved)


def test_evaluate_measures_zero_shot_and_mixes(
    films: Path, clip: Path, tmp_path: Path, run: Callable[..., str], refused: Callable[..., str]
) -> None:
    """R@K of a library of the same films, and of `evaluate`, are one number, whatever the model."""
    plans = plan_films(4, seed=3)
    captions = tmp_path / "captions.jsonl"
    paths = {path.stem: path for path in films.glob("film*.mp4")}
    lines = [
        {"video": path.name, "sentence": f"{words} {path.stem[-1]}", "split": "test"}
        for path in paths.values()
        for words in ("a red square moves", "two blue circles wait")
    ]
    captions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert len(plans) == 4
    extract = ["extract", *paths.values(), "--out", tmp_path, "--collection", "own", "--captions", captions]
    run(*extract, "--video-encoder", clip, "--text-encoder", clip)
    model = f"zero-shot:{clip}"
    asked = ["--data", tmp_path, "--collection", "own", "--split", "test", "--json"]
    told = json.loads(run("evaluate", model, *asked))
    assert (told["queries"], told["videos"]) == (6, 3)
    collection = Collection.open(tmp_path, "own")
    trained = tmp_path / "trained"
    torch.manual_seed(1)
    config = ModelConfig(
        feature_dim=collection.frames.dim,
        query_dim=collection.text.dim,
        hidden=32,
        heads=2,
        video_encoder=str(clip),
        text_encoder=str(clip),
    )
    GMMFormer(config).save_pretrained(trained)
    run("index", tmp_path / "mixed", *paths.values(), "--model", trained, "--with", model, "--mix", "0.25")
    run("evaluate", trained, "--with", model, "--mix", "0.25", *asked, "--ranks", tmp_path / "ranks.jsonl")
    ranks = [json.loads(line) for line in (tmp_path / "ranks.jsonl").read_text(encoding="utf-8").splitlines()]
    alone = evaluate(load_model(trained), collection, "test")
    dual = DualEmbedder(dual_encoder(str(clip)).text, identity="")
    captions_of = collection.captions("test")
    with Library.open(tmp_path / "mixed") as library:
        for query, (sentence, record) in enumerate(zip(captions_of.sentences, ranks, strict=True)):
            hits = library.search(sentence, k=3)
            assert [hit.score for hit in hits] == pytest.approx([one["score"] for one in record["top"]], abs=5e-3)
            best = record["top"][0]["video"]
            rows = collection.frames.features_of(best)
            other = float((dual.embed_windows([rows])[0].numpy() @ dual.embed_sentences([sentence])[0]).max())
            own = float(alone.top.scores[query][list(alone.top.videos[query]).index(captions_of.video_ids.index(best))])
            assert 0.75 * own + 0.25 * other >= record["top"][0]["score"] - 1e-4  # both at their best clip: a bound
    assert "--window" in refused("evaluate", model, *asked, "--window", "batch")


def test_another_model_takes_the_kept_features(
    made: Path,
    model: Path,
    films: Path,
    clip: Path,
    tmp_path: Path,
    run: Callable[..., str],
    refused: Callable[..., str],
) -> None:
    other = tmp_path / "other"
    torch.manual_seed(9)
    GMMFormer(load_model(model).config).save_pretrained(other)
    told = json.loads(run("index", tmp_path / "kept", "--features-of", made, "--model", other, "--json"))
    assert (told["added"], told["films"]) == (4, 4)
    assert json.loads(run("index", tmp_path / "kept", "--features-of", made, "--json"))["added"] == 0
    run("index", tmp_path / "decoded", films, "--model", other)
    with Library.open(tmp_path / "kept") as kept, Library.open(tmp_path / "decoded") as decoded:
        for one, two in zip(kept.search(SENTENCE), decoded.search(SENTENCE), strict=True):
            assert one.film.path == two.film.path
            assert (one.start, one.end) == pytest.approx((two.start, two.end), abs=1e-6)
            assert one.score == pytest.approx(two.score, abs=5e-3)
        assert {film.stamp for film in kept} == {film.stamp for film in decoded}
    zero_shot = ["index", tmp_path / "zero", "--features-of", made, "--model", f"zero-shot:{clip}"]
    assert "keeps features of shape-frames-v" in refused(*zero_shot)
    with (
        Library.open(made) as source,
        Library.create(tmp_path / "none", choose_encoders(model), keep_features=False) as into,
    ):
        with into.writing() as writer:
            index_library(source.store, writer)
        with (
            Library.create(tmp_path / "nothing", choose_encoders(model)) as empty,
            empty.writing() as writer,
            pytest.raises(InputError, match="keeps no features"),
        ):
            index_library(into.store, writer)


def test_watching_takes_in_what_appears(films: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    folder, stop = tmp_path / "films", threading.Event()
    folder.mkdir()
    first, second = sorted(films.glob("film*.mp4"))[:2]
    shutil.copy(first, folder)
    with Library.create(tmp_path / "library", choose_encoders(model)) as library:
        reports = library.watch([folder], stop=stop, prune=True)
        assert next(reports).added == [str(folder / first.name)]
        threading.Timer(1.0, shutil.copy, (second, folder)).start()
        assert next(reports).added == [str(folder / second.name)]
        threading.Timer(0.5, (folder / first.name).unlink).start()
        assert next(reports).vanished == [str(folder / first.name)]
        threading.Timer(0.5, stop.set).start()
        assert next(reports, None) is None
        assert [Path(film.path).name for film in library.store.films()] == [second.name]


def test_watching_retries_at_its_start(films: Path, model: Path, tmp_path: Path, run, monkeypatch) -> None:
    retried = []

    def index_films(*_: object, retry: bool, **__: object) -> IndexReport:
        retried.append(retry)
        return IndexReport(pruned=False)

    monkeypatch.setattr("gmmformer.search.library.index_films", index_films)
    monkeypatch.setattr("gmmformer.search.library.settled_changes", lambda *_: iter([None, None]))
    run("index", tmp_path / "library", films, "--model", model, "--watch", "--retry", "--json")
    assert retried == [True, False, False]


def test_killed_indexing_goes_on(films: Path, model: Path, tmp_path: Path, run: Callable[..., str]) -> None:
    library = tmp_path / "library"
    command = [sys.executable, "-m", "gmmformer", "index", str(library), str(films), "--model", str(model)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = None
    deadline = time.monotonic() + 60
    while seen is None and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
        if (library / "library.sqlite").exists():
            with Library.open(library) as opened:
                seen = activity_in(library)
    assert seen is not None
    assert seen.what == "indexing"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Library.open(library) as opened:
        assert activity_in(library) is None
        assert verify(opened.store) == []
    run("index", library, films)
    with Library.open(library) as opened:
        assert len(opened.store.films()) == 4
        assert verify(opened.store) == []
