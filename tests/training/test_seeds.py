"""Several seeds: each is the run that it would be alone, and what is there is gone on with."""

import json
import signal
from pathlib import Path
from statistics import mean, stdev

import pytest

from gmmformer.cli import main
from gmmformer.errors import InputError
from gmmformer.evaluation import Metrics, chance
from gmmformer.training import train
from gmmformer.training.seeds import mean_of, train_seeds

SMALL = "--hidden 16 --heads 2 --map-size 4 --max-ctx-l 16 --max-desc-l 8 --batch-size 10 --device cpu --workers 0"


@pytest.fixture
def asked(make_settings):
    settings = make_settings(train={"epochs": 1})
    settings.pop("seed", None)
    return settings


def test_each_seed_is_the_run_that_it_would_be_alone(asked, tmp_path):
    collection = asked.pop("collection")
    ends = train_seeds(collection, tmp_path / "both", [3, 4], **asked)
    assert [end.run.name for end in ends] == ["seed-3", "seed-4"]
    train(collection, tmp_path / "alone", **asked, seed=4)
    runs = (tmp_path / "alone", tmp_path / "both/seed-4", tmp_path / "both/seed-3")
    alone, same, other = ((run / "best" / "model.safetensors").read_bytes() for run in runs)
    assert alone == same != other


def test_what_is_there_is_gone_on_with(asked, tmp_path):
    collection = asked.pop("collection")
    first = train_seeds(collection, tmp_path, [1], **asked)
    before = (tmp_path / "seed-1" / "metrics.jsonl").read_bytes()
    (again, new) = train_seeds(collection, tmp_path, [1, 2], **{**asked, "workers": 1})
    assert again == first[0]
    assert (tmp_path / "seed-1" / "metrics.jsonl").read_bytes() == before
    assert new.stopped == "done"
    with pytest.raises(InputError, match=r"seed-1: holds a run with another epochs \(1, not 2\); choose another --out"):
        train_seeds(collection, tmp_path, [1], **{**asked, "epochs": 2})


def test_an_interrupted_run_is_the_last_and_the_same_call_goes_on(asked, tmp_path):
    collection = asked.pop("collection")
    (stopped,) = train_seeds(
        collection, tmp_path, [1, 2], **{**asked, "epochs": 2}, report=lambda end: signal.raise_signal(signal.SIGINT)
    )
    assert stopped.stopped == "interrupted"
    assert not (tmp_path / "seed-2").exists()
    ends = train_seeds(collection, tmp_path, [1, 2], **{**asked, "epochs": 2})
    assert [(end.stopped, end.epochs) for end in ends] == [("done", 2), ("done", 2)]


def test_the_mean_of_metrics():
    found = mean_of([chance(10, 5), chance(20, 5)])
    assert found.recall == (7.5, 37.5, 75, 100)
    assert (found.median_rank, found.queries) == (8.0, 5)
    assert isinstance(found, Metrics)


def training(root: Path, out: Path, *more: str) -> list[str]:
    start = ["train", "--data", str(root), "--collection", "tiny", "--out", str(out), *SMALL.split(), "--epochs", "1"]
    return [*start, *more]


def test_the_command_tells_mean_and_spread(tiny_collection, tmp_path, capsys):
    asked = training(tiny_collection.root, tmp_path / "runs", "--seeds", "3", "--select-on", "test")
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    best = [run["best_SumR"] for run in told["runs"]]
    assert [Path(run["run"]).name for run in told["runs"]] == ["seed-1", "seed-2", "seed-3"]
    assert told["mean_best_SumR"] == pytest.approx(mean(best))
    assert told["sd_best_SumR"] == pytest.approx(stdev(best))
    assert told["metrics"]["SumR"] == pytest.approx(mean(best))
    assert list(told["baselines"]) == ["ridge"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert f"best SumR: mean {mean(best):.2f}, standard deviation {stdev(best):.2f}, of 3 seeds" in said
    assert json.loads((tmp_path / "runs/seed-2/config.json").read_text())["run"]["select_on"] == "test"
    assert main(training(tiny_collection.root, tmp_path / "other", "--seeds", "1", "--seed", "7", "--json")) == 0
    assert (tmp_path / "other" / "seed-7" / "best").is_dir()


@pytest.mark.parametrize("seeds", ["0", "-1", "1001"])
def test_numbers_of_seeds_that_are_none(tiny_collection, tmp_path, refused, seeds):
    refused(training(tiny_collection.root, tmp_path / "runs", "--seeds", seeds), "--seeds")
    assert not (tmp_path / "runs").exists()


def test_seeds_do_not_go_with_torchrun_or_resume(tiny_collection, tmp_path, refused, monkeypatch):
    refused(["train", "--resume", tmp_path, "--seeds", "2"], "--seeds: a resumed run keeps its own settings")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(training(tiny_collection.root, tmp_path / "runs", "--seeds", "2"), "under torchrun start each by --seed")
