"""`gmmformer extract` on real films, from the command line to the arrays, through kills and crowds."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gmmformer.cli import main
from gmmformer.data import Collection, FrameFeatures, check_collection
from gmmformer.demo.encoders import ShapeFrames, ShapeWords
from gmmformer.files import locked
from gmmformer.media.frames import sampled_frames


@pytest.fixture
def extract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command with OUT/mine as the collection; the exit code, what it said and what it complained about."""

    def run(*arguments: str | Path, out: Path = tmp_path / "out") -> tuple[int, str, str]:
        capsys.readouterr()
        name = [] if "--collection" in arguments else ["--collection", "mine"]
        flags = ["--out", str(out), *name, "--decoders", "1"]
        flags += [] if "--video-encoder" in arguments else ["--video-encoder", ShapeFrames.name]
        flags += ["--text-encoder", ShapeWords.name] if "--captions" in arguments else []
        code = main(["extract", *flags, *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "captions.jsonl"
    records = [
        {"video": "a", "sentence": "blocks flicker", "start": 0.5, "end": 1.5, "split": "train"},
        {"video": "b.mp4", "sentence": "more blocks", "split": "val"},
        {"video": "c", "sentence": "other blocks", "split": "test"},
        {"video": "broken", "sentence": "nobody knows", "split": "test"},
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def collection_of(root: Path) -> dict[str, Any]:
    """Everything that an extraction wrote, HDF5 by its arrays."""
    found: dict[str, Any] = {}
    for path in sorted((root / "mine").rglob("*")):
        name = str(path.relative_to(root))
        if path.suffix == ".hdf5":
            with h5py.File(path) as file:
                file.visititems(lambda key, item, name=name: found.update({f"{name}/{key}": item[()].tobytes()}))
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_nothing_is_made_where_there_is_no_film(extract: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    code, _, complaint = extract(tmp_path / "films")
    assert (code, (tmp_path / "out").exists()) == (2, False)
    assert "there is no film in it" in complaint


def test_from_films_to_a_collection(extract, films_folder, captions, tmp_path):
    code, said, complaints = extract(films_folder, "--captions", captions)
    assert code == 0
    assert "3 films, 9 rows of ShapeFrames" in said
    assert "decoded 3 films, 0 were there already, 0 failed" in said
    assert "sentences: 1 train, 1 val, 1 test" in said
    assert "no film for 1 videos of the captions, such as broken" in said
    assert "Error" not in complaints
    assert check_collection(tmp_path / "out", "mine").problems == ()
    collection = Collection.open(tmp_path / "out", "mine")
    encoder = ShapeFrames()
    for name, seconds in zip("abc", (2, 3, 4), strict=True):
        images = [frame.image for frame in sampled_frames(films_folder / f"{name}.mp4", size=encoder.size)]
        assert len(images) == seconds
        expected = encoder.encode(images, [None, *images[:-1]])
        np.testing.assert_allclose(collection.frames.features_of(name), expected, atol=1e-6)
        np.testing.assert_array_equal(collection.frames.seconds_of(name), np.arange(seconds))
    moments = (tmp_path / "out/mine/TextData/moments.tsv").read_text()
    assert moments == "a#enc#0\t1\t2\t2\n"


def test_json_is_one_object_and_nothing_else(extract, films_folder, captions, tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "films/broken.mp4").write_bytes(b"no film")
    code, said, _ = extract(films_folder, tmp_path / "films", "--captions", captions, "--json")
    assert code == 0
    (line,) = said.splitlines()
    found = json.loads(line)
    assert found["collection"] == str(tmp_path / "out/mine")
    assert (found["films"], found["decoded"], found["frames"], found["film_seconds"]) == (3, 3, 9, 9.0)
    assert found["sentences"] == {"train": 1, "val": 1, "test": 1}
    ((film, reason),) = [(failure["film"], failure["reason"]) for failure in found["failed"]]
    assert film == str(tmp_path / "films/broken.mp4")
    assert "not a film" in reason


def test_the_second_run_does_nothing_and_is_quick(extract, films_folder, captions, tmp_path):
    extract(films_folder, "--captions", captions)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    started = time.perf_counter()
    code, said, _ = extract(films_folder, "--captions", captions)
    assert time.perf_counter() - started < 2
    assert code == 0
    assert "decoded 0 films, 3 were there already, 0 failed" in said
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.fixture
def crowd(tmp_path: Path, another_film: Callable[[int], bytes]) -> Path:
    """A folder with one good film among everything that a folder can hold by the name of a film."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    (folder / "-good one's #1\n\u732b.mp4").write_bytes(another_film(1))
    (folder / os.fsdecode(b"bytes\xff.MP4")).write_bytes(another_film(2))
    (folder / "folder.mp4").mkdir()
    (folder / "folder.mp4/inside.mp4").write_bytes(another_film(3))
    os.mkfifo(folder / "fifo.mp4")
    (folder / "text.mp4").write_text("a text about films\n" * 100)
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(another_film(4)[:700])
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "round").symlink_to(folder)
    (folder / ".hidden.mp4").write_bytes(another_film(5))
    (folder / "notes.txt").write_text("no film, and not called one")
    return folder


def test_films_that_fail_are_listed_with_reasons_and_the_others_survive(extract, crowd, tmp_path):
    code, said, _ = extract(crowd, crowd / "fifo.mp4", "--json")
    assert code == 0
    reasons = {Path(failure["film"]).name: failure["reason"] for failure in json.loads(said)["failed"]}
    assert set(reasons) == {"fifo.mp4", "text.mp4", "empty.mp4", "cut.mp4"}
    assert "pipe" in reasons["fifo.mp4"]
    assert all(len(reason) > 10 and "\n" not in reason for reason in reasons.values())
    lines = (tmp_path / "out/mine/failures.jsonl").read_text().splitlines()
    assert {Path(json.loads(line)["film"]).name: json.loads(line)["reason"] for line in lines} == reasons
    videos = FrameFeatures.open(tmp_path / "out/mine/FeatureData/ShapeFrames").video_ids
    assert videos == ("-good%20one%27s%20%231%0A%E7%8C%AB", "bytes%5Cxff", "folder.mp4/inside")
    code, said, _ = extract(crowd, crowd / "fifo.mp4")
    assert "decoded 0 films, 3 were there already, 4 failed" in said
    assert f"all failures: {tmp_path / 'out/mine/failures.jsonl'}" in said


def test_the_exit_code_is_1_when_all_fail(extract, tmp_path):
    (tmp_path / "x.mp4").write_text("text")
    code, said, _ = extract(tmp_path / "x.mp4")
    assert code == 1
    assert "0 films" in said
    assert "x.mp4: " in said


def test_a_film_named_like_a_flag_can_be_named_outright(extract, films_folder, tmp_path, monkeypatch):
    (tmp_path / "-dash.mp4").write_bytes((films_folder / "a.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    code, _, _ = extract("./-dash.mp4")
    assert code == 0
    assert FrameFeatures.open(tmp_path / "out/mine/FeatureData/ShapeFrames").video_ids == ("-dash",)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nowhere"], "nowhere: cannot be read"),
        (["FILMS", "--captions", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
        (["FILMS", "--captions", "trian=CAPTIONS"], "there is no split 'trian'; did you mean 'train'?"),
        (["FILMS", "--captions", "CAPTIONS", "val=MORE"], "'a' is in 'train' and in 'val'"),
        (["FILMS", "--fps", "0"], "--fps 0.0 must be above 0"),
        (["FILMS", "--collection", "../up"], "--collection '../up'"),
        (["FILMS", "--video-encoder", "some/model"], "--allow-download"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_decoded(
    extract, films_folder, captions, tmp_path, arguments, problem
):
    more = tmp_path / "more.jsonl"
    more.write_text('{"video": "a", "sentence": "x"}\n')
    places = {"FILMS": str(films_folder), "CAPTIONS": str(captions), "MORE": str(more)}
    words = []
    for word in arguments:
        split, equals, name = word.rpartition("=")
        words.append(split + equals + places.get(name, name))
    code, said, complaints = extract(*words)
    assert code == 2
    assert said == ""
    sentence = [line for line in complaints.splitlines() if line.startswith("gmmformer: ")]
    assert len(sentence) == 1
    assert problem in sentence[0]
    assert not (tmp_path / "out/mine/FeatureData").exists()


def test_broken_records_are_left_out_only_when_told_to(extract, films_folder, captions):
    with captions.open("a") as file:
        file.write('{"video": "a"}\n')
    code, _, complaints = extract(films_folder, "--captions", captions)
    assert code == 2
    assert f"{captions}, line 5: it has no field 'sentence'" in complaints
    code, said, complaints = extract(films_folder, "--captions", captions, "--skip-broken")
    assert code == 0
    assert "left out 1 broken records" in complaints
    assert "sentences: 1 train, 1 val, 1 test" in said


def test_other_settings_on_the_same_folder_are_refused(extract, films_folder, tmp_path):
    extract(films_folder)
    before = collection_of(tmp_path / "out")
    code, _, complaints = extract(films_folder, "--fps", "2")
    assert code == 2
    assert "was extracted with fps 1.0, now it would be 2.0; give another --feature" in complaints
    assert collection_of(tmp_path / "out") == before
    code, _, _ = extract(films_folder, "--fps", "2", "--feature", "twice")
    assert code == 0
    assert FrameFeatures.open(tmp_path / "out/mine/FeatureData/twice").rows == 18


def test_two_at_once_the_second_is_refused(extract, films_folder, tmp_path):
    with locked(tmp_path / "out/mine", "extracting"):
        code, said, complaints = extract(films_folder)
    assert (code, said) == (2, "")
    assert (
        complaints.strip().splitlines()[-1].endswith("this process itself is extracting there; wait until it is done")
    )
    assert extract(films_folder)[0] == 0


def test_a_film_that_is_being_written_does_no_harm(extract, films_folder, tmp_path):
    """A film that grows while the command runs is either whole in the collection or named as a failure."""
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "a.mp4").write_bytes((films_folder / "a.mp4").read_bytes())
    (folder / "growing.mp4").write_bytes((films_folder / "b.mp4").read_bytes())
    script = f"""
        import time
        with open({str(folder / "growing.mp4")!r}, "ab", buffering=0) as film:
            while True:
                film.write(bytes([0, 0, 0, 8]) + b"free")
                print(flush=True)
                time.sleep(0.002)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        code, said, _ = extract(folder, "--json")
        writer.kill()
    assert code == 0
    found = json.loads(said)
    assert found["films"] == 1
    ((film, reason),) = [(failure["film"], failure["reason"]) for failure in found["failed"]]
    assert film.endswith("growing.mp4")
    assert "changed while it was" in reason
    assert extract(folder)[0] == 0
    assert FrameFeatures.open(tmp_path / "out/mine/FeatureData/ShapeFrames").video_ids == ("a", "growing")


def test_there_is_no_encoder_that_nobody_named(films_folder, captions, tmp_path, capsys):
    words = ["extract", str(films_folder), "--out", str(tmp_path / "out"), "--collection", "mine"]
    for more, flag in (
        ([], "--video-encoder"),
        (["--video-encoder", "x", "--captions", str(captions)], "--text-encoder"),
    ):
        assert main([*words, *more]) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        assert sentence.startswith(f"gmmformer: {flag} is missing")
        for part in ("folder", "Hub name", "package.module:factory", "GB", "--allow-download"):
            assert part in sentence
    assert not (tmp_path / "out").exists()


KILLS = """
    import json, os, random, signal, sys, time
    from gmmformer.cli import main
    import gmmformer.media.extract, gmmformer.demo.encoders
    films, captions, whole, out, seed = sys.argv[1:]

    def run(root):
        return main(["extract", films, "--out", root, "--collection", "mine", "--captions", captions,
                     "--video-encoder", "gmmformer.demo.encoders:ShapeFrames",
                     "--text-encoder", "gmmformer.demo.encoders:ShapeWords", "--decoders", "2", "--json"])

    started = time.perf_counter()
    assert run(whole) == 0
    took = time.perf_counter() - started
    chance = random.Random(int(seed))
    killed = 0
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        child = os.fork()
        if not child:
            os.setsid()
            os._exit(run(out))
        time.sleep(took * share * chance.uniform(0.7, 1.3))
        os.kill(child, signal.SIGKILL)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    assert killed, "every run was over before it was killed"
    assert run(out) == 0
"""


def test_killed_at_random_moments_it_ends_as_if_it_never_had_been(
    captions, another_film, films_folder, tmp_path, drawn
):
    films = tmp_path / "films"
    films.mkdir()
    for number in range(24):
        (films / f"{'abc'[number % 3]}{number or ''}.mp4").write_bytes(another_film(number))
    (films / "broken.mp4").write_bytes(another_film(99)[:300])
    places = [films, captions, tmp_path / "whole", tmp_path / "out", drawn.integers(2**31)]
    words = [sys.executable, "-c", textwrap.dedent(KILLS), *map(str, places)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    whole, pieces = collection_of(tmp_path / "whole"), collection_of(tmp_path / "out")
    assert pieces.keys() == whole.keys()
    assert pieces == whole
    assert len(json.loads(done.stdout.splitlines()[-1])["failed"]) == 1
    assert check_collection(tmp_path / "out", "mine").problems == ()
    assert not [path for path in (tmp_path / "out/mine").rglob(".*") if path.name not in (".lock", ".made-of")]
