"""The command line: what it prints, and one sentence and exit code 2 for whatever is wrong with the input."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gmmformer.cli import COMMANDS, main
from gmmformer.data import Collection
from gmmformer.model import load_model

KEYS = ["R@1", "R@5", "R@10", "R@100", "SumR", "MedR", "MRR", "queries", "videos", "seconds"]
BESIDE = ["baselines", "left_out", "verdict"]
SMALL = "--hidden 16 --heads 2 --map-size 4 --max-ctx-l 16 --max-desc-l 8 --batch-size 10 --device cpu --workers 0"


@pytest.fixture
def broken(tiny_collection: Collection, tmp_path: Path) -> Path:
    """A copy of the tiny collection to break; its root."""
    shutil.copytree(tiny_collection.root / "tiny", tmp_path / "data" / "tiny")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def model_folder(tiny_collection, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    assert main(training(tiny_collection.root, run, "--epochs 1")) == 0
    return run


def training(root: Path, out: Path, more: str = "") -> list[str]:
    return ["train", "--data", str(root), "--collection", "tiny", "--out", str(out), *SMALL.split(), *more.split()]


def evaluating(model: Path | str, root: Path, more: str = "") -> list[str]:
    start = ["evaluate", str(model), "--data", str(root), "--collection", "tiny", "--split", "val"]
    return [*start, "--device", "cpu", "--workers", "0", *more.split()]


def cli(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gmmformer", *map(str, arguments)], capture_output=True, text=True, **options
    )


# What it prints.


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_says_what_there_is_and_does_not_wait_for_torch(command):
    code = """
import sys
from gmmformer.cli import main
try:
    main()
finally:
    assert "torch" not in sys.modules and "numpy" not in sys.modules
"""
    arguments = [command, "--help"] if command else ["--help"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: gmmformer" in done.stdout
    for word in COMMANDS if command is None else [command]:
        assert word in done.stdout
    if command == "train":
        for flag in ("--preset", "--resume", "--lr", "--hidden", "--hard-negative-start-epoch", "--precision"):
            assert flag in done.stdout


def test_python_m_gmmformer():
    done = cli("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "evaluate" in done.stdout


def test_evaluate_json_is_one_object_and_nothing_else(minitvr):
    done = cli(
        "evaluate", minitvr / "published.ckpt", "--data", minitvr, "--collection", "tvr", "--split", "test",
        "--window", "batch", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == KEYS + BESIDE
    assert done.stdout.count("\n") == 1
    assert [round(found[key], 2) for key in KEYS[:4]] == [3.25, 13.75, 23.50, 100.00]
    assert (found["queries"], found["videos"]) == (400, 80)
    assert found["SumR"] == pytest.approx(sum(found[key] for key in KEYS[:4]))


@pytest.mark.parametrize(("split", "recall"), [("val", "4.67 21.00 37.67 100.00"), ("test", "3.25 13.75 23.50 100.00")])
def test_convert_and_evaluate(minitvr, tmp_path, capsys, split, recall):
    checkpoint = minitvr / "published.ckpt"
    assert main(["convert", str(checkpoint), str(tmp_path / "model")]) == 0
    said = capsys.readouterr().out
    assert "48-d videos" in said
    assert "40-d tokens" in said
    for model in (checkpoint, tmp_path / "model"):
        where = ["--data", str(minitvr), "--collection", "tvr", "--split", split, "--window", "batch"]
        assert main(["evaluate", str(model), *where]) == 0
        table = capsys.readouterr().out.splitlines()
        line = next(line for line in table if line.startswith("model"))
        assert line.split()[1:5] == recall.split()
        assert any(line.startswith("chance") for line in table)


def test_train_evaluate_resume(tiny_collection, model_folder, tmp_path, capsys):
    assert main(evaluating(model_folder, tiny_collection.root, "--json")) == 0
    from_run = json.loads(capsys.readouterr().out)
    assert main(evaluating(model_folder / "best", tiny_collection.root, "--json")) == 0
    from_best = json.loads(capsys.readouterr().out)
    assert {**from_run, "seconds": 0} == {**from_best, "seconds": 0}
    epoch = json.loads((model_folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert epoch["SumR"] == pytest.approx(from_run["SumR"])
    assert main(["train", "--resume", str(model_folder), "--json"]) == 0
    ended = json.loads(capsys.readouterr().out)
    assert ended == {
        "run": str(model_folder),
        "stopped": "done",
        "epochs": 1,
        "best_epoch": 0,
        "best_SumR": pytest.approx(epoch["SumR"]),
        **{name: from_run[name] for name in BESIDE},
    }


def test_what_training_prints(tiny_collection, tmp_path, capsys):
    assert main(training(tiny_collection.root, tmp_path / "run", "--epochs 2")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["epoch", "1"], ["epoch", "2"]]
    assert "SumR" in lines[0]
    assert lines[2].startswith("all epochs are done: best SumR")
    assert lines[3].split() == ["model", str(tmp_path / "run" / "best")]
    assert lines[4].split() == ["curves", str(tmp_path / "run" / "curves.png")]
    assert [line.split()[0] for line in lines[5:9]] == ["R@1", "model", "ridge", "chance"]


def test_ranks(tiny_collection, model_folder, tmp_path, capsys):
    assert main(evaluating(model_folder, tiny_collection.root, f"--json --ranks {tmp_path / 'ranks.jsonl'}")) == 0
    found = json.loads(capsys.readouterr().out)
    records = [json.loads(line) for line in (tmp_path / "ranks.jsonl").read_text().splitlines()]
    assert len(records) == found["queries"]
    ranks = np.array([record["rank"] for record in records])
    assert 100 * (ranks <= 1).mean() == pytest.approx(found["R@1"])
    assert np.median(ranks) == found["MedR"]
    assert [len(record["top"]) for record in records] == [8] * len(records)  # 10, or as many as there are


def test_a_preset_s_values_are_the_defaults_of_the_other_flags(tiny_collection, tmp_path):
    for number, flag in enumerate((["--preset", "charades"], ["--preset=charades"])):
        out = tmp_path / str(number)
        feature = ["--feature", tiny_collection.feature]
        arguments = [*training(tiny_collection.root, out, "--epochs 1 --margin 0.3"), *feature, *flag]
        assert main(arguments) == 0
        config = json.loads((out / "config.json").read_text())
        assert config["train"]["lr"] == 2.5e-4
        assert config["train"]["margin"] == 0.3
        assert config["model"]["drop"] == 0.15
        assert config["model"]["hidden"] == 16


def test_simulate_check_data(tmp_path, capsys):
    flags = "--videos 12 --feature-dim 8 --query-dim 6 --difficulty 0.2 --seed 3"
    assert main(["simulate", str(tmp_path), "--like", "charades", *flags.split()]) == 0
    assert f"gmmformer check-data {tmp_path} --collection charades" in capsys.readouterr().out
    assert main(["check-data", str(tmp_path), "--collection", "charades"]) == 0
    assert "12" in capsys.readouterr().out
    assert main(["check-data", str(tmp_path), "--collection", "charades", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_check_data_says_what_is_wrong_with_exit_code_1(broken, capsys):
    assert main(["check-data", str(broken), "--collection", "tiny"]) == 0
    capsys.readouterr()
    path = next(broken.glob("tiny/FeatureData/*/feature.bin"))
    with path.open("r+b") as file:
        file.write(np.float32("nan").tobytes())
    assert main(["check-data", str(broken), "--collection", "tiny"]) == 1
    assert "NaN" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_error(tiny_collection, model_folder):
    command = [sys.executable, "-m", "gmmformer", *evaluating(model_folder, tiny_collection.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert "Traceback" not in err
    assert "Exception" not in err
    assert process.returncode == 1


def test_ctrl_c_says_how_to_go_on(tiny_collection, tmp_path, capsys):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "gmmformer", *training(tiny_collection.root, run, "--epochs 400 --patience 400")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while not (run / "metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out.splitlines()[-1] == f"interrupted; everything is saved. Go on with: gmmformer train --resume {run}"
    assert torch.load(run / "state.pt", weights_only=True)["progress"]["step"] >= 1


# What it refuses.


def test_a_folder_that_is_missing(tmp_path, refused, model_folder):
    run = tmp_path / "run"
    for command in (training(tmp_path / "nowhere", run), evaluating(model_folder, tmp_path / "nowhere")):
        refused(command, str(tmp_path / "nowhere"), "no such folder")
    assert not run.exists()


def test_a_collection_that_is_missing(tiny_collection, tmp_path, refused):
    arguments = training(tiny_collection.root, tmp_path / "run")
    arguments[arguments.index("tiny")] = "tinny"
    refused(arguments, "tinny")
    assert not (tmp_path / "run").exists()


def change_feature(root: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    path = next(root.glob(f"tiny/FeatureData/*/{name}"))
    path.write_bytes(change(path.read_bytes()))
    return path


def change_captions(root: Path, change: Callable[[list[str]], list[str]]) -> None:
    for split in ("train", "val"):
        path = root / "tiny" / "TextData" / f"tiny{split}.caption.txt"
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def change_text(root: Path, change: Callable[[h5py.File, str], None]) -> None:
    with h5py.File(root / "tiny" / "TextData" / "roberta_tiny_query_feat.hdf5", "r+") as file:
        for split in ("train", "val"):
            first = (root / "tiny" / "TextData" / f"tiny{split}.caption.txt").read_text().split()[0]
            change(file, first)


def replace_text(shape: tuple[int, ...]) -> Callable[[h5py.File, str], None]:
    def change(file: h5py.File, name: str) -> None:
        del file[name]
        file[name] = np.ones(shape, np.float32)

    return change


def shorten_text(file: h5py.File, name: str) -> None:
    del file[name]


def flip_text(root: Path) -> None:
    path = root / "tiny" / "TextData" / "roberta_tiny_query_feat.hdf5"
    for kind in (b"TREE", b"OHDR", b"BTHD", b"FRHP"):  # of older and of newer files; a bit of each letter
        path.write_bytes(path.read_bytes().replace(kind, kind.lower()))


def nan_in_all(data: bytes) -> bytes:
    return np.full(len(data) // 4, np.nan, np.float32).tobytes()


BREAKS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "truncated feature.bin": (
        lambda root: change_feature(root, "feature.bin", lambda data: data[:-1000]),
        ("feature.bin",),
    ),
    "shape.txt that lies about the rows": (
        lambda root: change_feature(root, "shape.txt", lambda data: b"5 16"),
        ("shape.txt",),
    ),
    "shape.txt that lies about the width": (
        lambda root: change_feature(root, "shape.txt", lambda data: data.split()[0] + b" 17"),
        ("17",),
    ),
    "shape.txt that is none": (lambda root: change_feature(root, "shape.txt", lambda data: b"many"), ("shape.txt",)),
    "code in video2frames": (
        lambda root: change_feature(
            root,
            "video2frames.txt",
            lambda data: f"{{'a': __import__('pathlib').Path({str(root / 'canary')!r}).touch()}}".encode(),
        ),
        ("video2frames.txt",),
    ),
    "unknown frame name": (
        lambda root: change_feature(root, "video2frames.txt", lambda data: data.replace(b"_0'", b"_nobody'")),
        ("video2frames.txt",),
    ),
    "no text feature": (lambda root: change_text(root, shorten_text), ("roberta_tiny_query_feat.hdf5",)),
    "text feature of the wrong width": (lambda root: change_text(root, replace_text((3, 13))), ("12",)),
    "text feature without tokens": (lambda root: change_text(root, replace_text((0, 12))), ("no",)),
    "text features with flipped bits": (
        flip_text,
        ("roberta_tiny_query_feat.hdf5: ", "HDF5"),
    ),
    "empty caption line": (
        lambda root: change_captions(root, lambda lines: [lines[0], "", *lines[1:]]),
        ("caption.txt, line 2", "empty caption line"),
    ),
    "caption without a #": (
        lambda root: change_captions(root, lambda lines: [lines[0].replace("#", "_"), *lines[1:]]),
        ("caption.txt, line 1", "'#'"),
    ),
    "NaN in the features": (lambda root: change_feature(root, "feature.bin", nan_in_all), ("NaN", "check-data")),
}


@pytest.mark.parametrize("kind", sorted(BREAKS))
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_bad_data(kind, command, broken, model_folder, tmp_path, refused):
    change, parts = BREAKS[kind]
    change(broken)
    before = sorted(broken.rglob("*"))
    if command == "train":
        refused(training(broken, tmp_path / "run"), *parts)
        assert not list(tmp_path.rglob("*.part"))
        assert not (tmp_path / "run" / "best").exists()
        assert not (tmp_path / "run" / "state.pt").exists()
    else:
        refused(evaluating(model_folder, broken, f"--ranks {tmp_path / 'ranks.jsonl'}"), *parts)
        assert not (tmp_path / "ranks.jsonl").exists()
    assert sorted(broken.rglob("*")) == before  # neither a canary nor anything of ours


def test_a_run_folder_that_exists(tiny_collection, model_folder, refused):
    before = {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()}
    refused(training(tiny_collection.root, model_folder), str(model_folder), "exists already", "--resume")
    assert {path: path.read_bytes() for path in model_folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("flag", [["--preset", "tvrr"], ["--preset=tvrr"]])
def test_a_preset_misspelt(tiny_collection, tmp_path, refused, flag):
    refused([*training(tiny_collection.root, tmp_path / "run"), *flag], "--preset tvrr", "did you mean 'tvr'?")


def test_a_flag_that_is_missing(tiny_collection, refused):
    refused(["train", "--collection", "tiny", "--out", "x"], "--data is missing")
    refused(["train", "--data", tiny_collection.root, "--out", "x"], "--collection is missing")
    refused(["train", "--data", tiny_collection.root, "--collection", "tiny"], "--out is missing")


@pytest.mark.parametrize(
    "flags", ["--lr 0.1", "--hidden 8", "--preset tvr", "--out elsewhere", "--data .", "--collection tvr"]
)
def test_resume_with_other_settings(model_folder, refused, flags):
    refused(["train", "--resume", model_folder, *flags.split()], flags.split()[0], "keeps its own settings")


@pytest.mark.parametrize("flags", ["--epochs 5", "--precision bf16", "--select-on train", "--log-every 3"])
def test_resume_with_other_settings_that_it_would_have_to_ignore(model_folder, refused, flags):
    refused(["train", "--resume", model_folder, *flags.split()], flags.split()[0], "keeps its own settings")


def test_resume_of_what_is_no_run(tmp_path, refused):
    refused(["train", "--resume", tmp_path], "not a run")
    refused(["train", "--resume", tmp_path / "nowhere"], "not a run")


def test_a_setting_out_of_range(tiny_collection, tmp_path, refused):
    for flags, part in (("--heads 5", "--heads 5"), ("--lr 0", "--lr 0"), ("--device cuba", "did you mean 'cuda'")):
        start = ["train", "--data", tiny_collection.root, "--collection", "tiny", "--out", tmp_path / "run"]
        refused([*start, *flags.split()], part)
    assert not (tmp_path / "run").exists()


def test_an_unknown_split(tiny_collection, model_folder, tmp_path, refused):
    arguments = evaluating(model_folder, tiny_collection.root)
    arguments[arguments.index("val")] = "vall"
    refused(arguments, "tinyvall.caption.txt", "did you mean 'val'?")
    refused(training(tiny_collection.root, tmp_path / "run", "--select-on valid"), "tinyvalid.caption.txt")
    assert not (tmp_path / "run").exists()


def test_a_model_that_is_not_there(tiny_collection, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went to the network"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused(evaluating("someone/gmmformer-tvr", tiny_collection.root), "someone/gmmformer-tvr", "--allow-download")
    refused(evaluating(tmp_path / "nowhere", tiny_collection.root), "no such file or folder")
    refused(evaluating(tmp_path, tiny_collection.root), "not a saved model")


def test_a_model_for_other_features(tiny_collection, minitvr, refused):
    wanted = "has features of 16 dims, but the model takes 48"
    refused(evaluating(minitvr / "published.ckpt", tiny_collection.root), wanted)


def test_a_checkpoint_with_code_in_it(tiny_collection, tmp_path, refused):
    class Touch:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'canary'}",)

    path = tmp_path / "evil.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"config": Touch(), "state_dict": {}}))
    refused(evaluating(path, tiny_collection.root), str(path), "nothing was run")
    refused(["convert", path, tmp_path / "model"], str(path), "nothing was run")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["evil.ckpt"]


def test_convert_what_is_none_or_to_where_something_is(minitvr, tmp_path, refused):
    (tmp_path / "text").write_text("hello")
    refused(["convert", tmp_path / "text", tmp_path / "model"], "not a checkpoint")
    refused(["convert", tmp_path / "nowhere.ckpt", tmp_path / "model"], "nowhere.ckpt")
    assert not (tmp_path / "model").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for out in (tmp_path / "full", tmp_path / "text"):
        refused(["convert", minitvr / "published.ckpt", out], str(out), "exists already")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_ranks_to_where_nothing_can_be_written(tiny_collection, model_folder, tmp_path, refused):
    (tmp_path / "file").write_text("")
    arguments = evaluating(model_folder, tiny_collection.root, f"--json --ranks {tmp_path / 'file' / 'ranks.jsonl'}")
    refused(arguments, "cannot be written")


def test_a_disk_that_is_full_while_converting(minitvr, tmp_path, refused, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    refused(["convert", minitvr / "published.ckpt", tmp_path / "model"], "the disk is full")
    assert not [path for path in (tmp_path / "model").rglob("*") if path.is_file()]


def test_simulate_where_something_is_or_like_nothing(tmp_path, refused):
    (tmp_path / "tvr").mkdir()
    refused(["simulate", tmp_path, "--videos", "3", "--feature-dim", "4", "--query-dim", "4"], "exists already")
    refused(["simulate", tmp_path, "--like", "tvrr"], "--like tvrr", "did you mean 'tvr'?")
    refused(["simulate", tmp_path, "--difficulty", "2", "--like", "charades"], "--difficulty 2")
    assert [path.name for path in tmp_path.iterdir()] == ["tvr"]


def test_an_unknown_flag_or_command(capsys):
    for arguments in (["evaluat"], ["evaluate", "x", "--dta", "y"], [], ["train", "--lr", "fast"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert capsys.readouterr().out == ""


def test_a_bad_input_in_a_process_of_its_own(tmp_path):
    done = cli("evaluate", tmp_path / "no.ckpt", "--data", tmp_path, "--collection", "tvr", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("gmmformer: ")


def test_an_interrupted_command_ends_quietly(monkeypatch, capsys, tmp_path):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gmmformer.model.read_published", stop)
    assert main(["convert", str(tmp_path / "a"), str(tmp_path / "b")]) == 130
    assert capsys.readouterr().err == "gmmformer: interrupted\n"


def test_a_run_without_a_model_yet(tiny_collection, model_folder, tmp_path, refused):
    shutil.copytree(model_folder, tmp_path / "run", ignore=shutil.ignore_patterns("best"))
    refused(evaluating(tmp_path / "run", tiny_collection.root), "no model yet")
    assert load_model(model_folder).config.hidden == 16
