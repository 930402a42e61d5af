"""A whole run: what it leaves, when it stops, and that a resumed one is, to the bit, one that never stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gmmformer.errors import InputError
from gmmformer.evaluation import Metrics
from gmmformer.model import load_model
from gmmformer.training import EpochEnd, resume, train
from gmmformer.training.loop import epoch_order
from gmmformer.training.processes import seed_step

STEPS = 9  # 3 epochs of 3 batches


def metrics_of_run(run: Path) -> list[dict[str, object]]:
    """The lines of metrics.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "videos_per_second"} for line in lines]


def assert_equal_runs(ours: Path, theirs: Path) -> None:
    assert metrics_of_run(ours) == metrics_of_run(theirs)
    for name in ("model.safetensors", "config.json"):
        assert (ours / "best" / name).read_bytes() == (theirs / "best" / name).read_bytes()
    mine, other = (torch.load(run / "state.pt", weights_only=True) for run in (ours, theirs))
    for state in (mine, other):
        del state["metrics_bytes"]
    assert torch.equal(*(torch.cat([w.flatten() for w in state.pop("model").values()]) for state in (mine, other)))
    for key, moments in mine["optimiser"]["state"].items():
        for name, moment in moments.items():
            assert torch.equal(moment, other["optimiser"]["state"][key][name])
    assert mine["progress"] == other["progress"]
    assert not list(ours.glob("**/*.part"))


@pytest.fixture(scope="module", autouse=True)
def no_curves() -> Iterator[None]:
    """Runs so short spend half their time on drawing, which is tried where run folders are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gmmformer.training.run_folder.plot_curves", lambda epochs, path: path.write_bytes(b""))
        yield


@pytest.fixture(scope="module")
def whole(make_settings, tmp_path_factory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    end = train(path=run, **make_settings())
    assert (end.stopped, end.epochs, end.run) == ("done", 3, run)
    return run


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], None]) -> None:
    """Call `act` as the step begins, in a run of this process."""

    def seed(number: int, at: int, rank: int) -> torch.Generator:
        if at == step:
            act()
        return seed_step(number, at, rank)

    monkeypatch.setattr("gmmformer.training.loop.seed_step", seed)


def test_what_a_run_leaves(whole):
    names = {path.name for path in whole.iterdir()}
    assert {"config.json", "metrics.jsonl", "curves.png", "state.pt", "best"} <= names
    model = load_model(whole)
    assert not model.training
    assert model.vocabulary == tuple(sorted(set(model.vocabulary)))
    assert len(model.vocabulary) > 5
    lines = metrics_of_run(whole)
    steps = [line for line in lines if line["kind"] == "step"]
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in steps] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    assert steps[0]["lr"] == 0  # the first step is at x = 0
    for number, epoch in enumerate(epochs):
        mean = np.mean([line["total"] for line in steps[3 * number : 3 * number + 3]])
        assert epoch["total"] == pytest.approx(mean)
    best = max(line["SumR"] for line in epochs)
    first_best = next(line["epoch"] for line in epochs if line["SumR"] == best)
    assert [line["epoch"] for line in epochs if line["best"]][-1] == first_best


def test_the_same_seed_gives_the_same_run(whole, make_settings, tmp_path):
    reports: list[EpochEnd] = []
    train(path=tmp_path / "again", **make_settings(run={"workers": 2}), report=reports.append)
    assert_equal_runs(tmp_path / "again", whole)
    assert [report.epoch for report in reports] == [0, 1, 2]
    assert isinstance(reports[0].metrics, Metrics)
    train(path=tmp_path / "other", **make_settings(train={"seed": 1}))
    assert metrics_of_run(tmp_path / "other") != metrics_of_run(whole)


def test_gmmformer_v2_resumed_is_the_run_that_nothing_interrupted(make_settings, tmp_path, monkeypatch):
    settings = make_settings(train={"matching_weight": 0.1}, network={"network": "v2", "drop": 0.2})
    train(path=tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        assert train(path=tmp_path / "run", **settings).stopped == "interrupted"
    assert resume(tmp_path / "run").stopped == "done"
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")
    terms = metrics_of_run(tmp_path / "run")[0]
    assert terms["matching"] > 0
    assert load_model(tmp_path / "run").config.network == "v2"


def test_a_term_that_the_network_does_not_have_is_refused(make_settings, tmp_path):
    with pytest.raises(InputError, match="--matching-weight: GMMFormer has no matching term"):
        train(path=tmp_path / "run", **make_settings(train={"matching_weight": 0.1}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("step", [1, 4, 8])
def test_resumed_after_ctrl_c(whole, make_settings, tmp_path, monkeypatch, step):
    run, handler = tmp_path / "run", signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: signal.raise_signal(signal.SIGINT))
        end = train(path=run, **make_settings())
    assert end.stopped == ("interrupted" if step < STEPS - 1 else "done")
    assert end.epochs == (step + 1) // 3
    assert signal.getsignal(signal.SIGINT) is handler
    assert resume(run).stopped == "done"
    assert_equal_runs(run, whole)


def test_a_line_of_metrics_is_not_logged_because_of_the_interruption(make_settings, tmp_path, monkeypatch):
    settings = make_settings(run={"log_every": 4})
    train(path=tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        stop_at(patch, 1, lambda: signal.raise_signal(signal.SIGINT))
        train(path=tmp_path / "run", **settings)
    resume(tmp_path / "run")
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")
    settings = make_settings(run={"log_every": 4, "save_minutes": 1e-9})
    train(path=tmp_path / "often", **settings)
    assert metrics_of_run(tmp_path / "often") == metrics_of_run(tmp_path / "whole")


def test_the_second_ctrl_c_is_immediate_and_loses_nothing_that_was_saved(whole, make_settings, tmp_path, monkeypatch):
    def twice() -> None:
        taken = signal.getsignal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is taken:  # two that come before the first is seen are one
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # libraries that others test leave their own
    try:
        with monkeypatch.context() as patch:
            stop_at(patch, 5, twice)
            with pytest.raises(KeyboardInterrupt):
                train(path=tmp_path / "run", **make_settings())
    finally:
        signal.signal(signal.SIGINT, before)
    resume(tmp_path / "run")
    assert_equal_runs(tmp_path / "run", whole)


def test_resumed_after_a_full_disk(whole, make_settings, tmp_path, monkeypatch):
    run, saves, whole_save = tmp_path / "run", [], torch.save

    def save(contents: object, path: Path) -> None:
        saves.append(path)
        if len(saves) == 2:
            path.write_bytes(b"half of it")
            raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file data/1")
        whole_save(contents, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(InputError, match=r"state\.pt: the disk is full; nothing was changed there\."):
            train(path=run, **make_settings())
    assert torch.load(run / "state.pt", weights_only=True)["progress"]["epoch"] == 1
    assert not list(run.glob(".*.part"))
    resume(run)
    assert_equal_runs(run, whole)


def test_resuming_a_finished_run_changes_nothing(whole, tmp_path):
    def contents() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in whole.rglob("*")
            if path.is_file() and path.name != "curves.png" and "tensorboard" not in path.parts
        }

    before = contents()
    end = resume(whole)
    assert (end.stopped, end.epochs) == ("done", 3)
    assert contents() == before


def test_resume_takes_this_machine_s_settings(whole, make_settings, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        train(path=tmp_path / "run", **make_settings())
    resume(tmp_path / "run", workers=1, resident="yes")
    assert_equal_runs(tmp_path / "run", whole)


def test_a_run_killed_before_its_first_state_starts_anew(whole, make_settings, tmp_path, monkeypatch):
    def die() -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        stop_at(patch, 2, die)
        with pytest.raises(MemoryError):
            train(path=tmp_path / "run", **make_settings())
    assert not (tmp_path / "run" / "state.pt").exists()
    resume(tmp_path / "run")
    assert_equal_runs(tmp_path / "run", whole)


def test_early_stop(make_settings, tmp_path, monkeypatch):
    sums = iter([10.0, 30.0, 30.0, 20.0, 25.0, 99.0])

    def evaluate(*_: object, **__: object) -> object:
        value = next(sums) / 4
        metrics = Metrics(recall=(value,) * 4, median_rank=1.0, mean_reciprocal_rank=1.0, queries=1, videos=1)
        return type("Found", (), {"metrics": metrics})()

    monkeypatch.setattr("gmmformer.training.loop.evaluate", evaluate)
    end = train(path=tmp_path / "run", **make_settings(train={"epochs": 50, "patience": 2}))
    # the best is epoch 1; epochs 2, 3 and 4 are more than two without a better one
    assert (end.stopped, end.epochs, end.best_epoch, end.best_sum_recall) == ("early", 5, 1, 30.0)
    assert resume(tmp_path / "run") == end
    assert [line["best"] for line in metrics_of_run(tmp_path / "run") if line["kind"] == "epoch"] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_a_loss_that_is_not_finite_stops_the_run(make_settings, tmp_path):
    with pytest.raises(InputError, match=r"the loss is nan at step \d+.*lower --lr"):
        train(path=tmp_path / "run", **make_settings(train={"lr": 1e30, "warmup": 0.0}))


@pytest.mark.parametrize(
    ("lr", "said"),
    [(1e30, "the model makes NaN or infinity of sentence 'val_000000#enc#0'"), (3e38, r"the weights \S+ hold NaN")],
)
def test_a_model_of_no_numbers_is_never_saved(make_settings, tmp_path, lr, said):
    # one step an epoch, the first of which has the rate 0 and the second a finite loss
    settings = make_settings(train={"lr": lr, "batch_size": 24, "warmup": 0.5})
    with pytest.raises(InputError, match=rf"run: {said}.* at step 2; .*lower --lr"):
        train(path=tmp_path / "run", **settings)
    assert load_model(tmp_path / "run").training is False  # of the first epoch, and whole
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["progress"]["epoch"] == 1


def foreign(state: dict[str, Any], kind: str) -> None:
    moments = state["optimiser"]["state"][0]
    progress, name = state["progress"], next(iter(state["model"]))
    changes: dict[str, Callable[[], object]] = {
        "another network's weights": lambda: state["model"].update({name: torch.zeros(3, 3)}),
        "a weight less": lambda: state["model"].pop(name),
        "a weight that is text": lambda: state["model"].update({name: "abc"}),
        "NaN in a weight": lambda: state["model"][name].view(-1)[:1].fill_(torch.nan),
        "NaN in the optimiser": lambda: moments["square"].view(-1)[:1].fill_(torch.nan),
        "another optimiser's": lambda: moments.update(step=1),
        "no optimiser": lambda: state.pop("optimiser"),
        "a step of another collection": lambda: progress.update(step=progress["step"] + 1),
        "a step of text": lambda: progress.update(step="1"),
        "a negative epoch": lambda: progress.update(epoch=-1),
        "an infinite loss": lambda: progress.update(loss_sums=(float("inf"),) * 6),
        "more of progress": lambda: progress.update(mood="good"),
        "nothing but a format": state.clear,
        "not even a dictionary": lambda: state.update(format=None),
        "bytes of metrics that are none": lambda: state.update(metrics_bytes=-1),
    }
    changes[kind]()


KINDS = [
    "NaN in a weight",
    "NaN in the optimiser",
    "a negative epoch",
    "a step of another collection",
    "a step of text",
    "a weight less",
    "a weight that is text",
    "an infinite loss",
    "another network's weights",
    "another optimiser's",
    "bytes of metrics that are none",
    "more of progress",
    "no optimiser",
    "not even a dictionary",
    "nothing but a format",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_something_else_is_refused_in_one_sentence(whole, tmp_path, kind):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    state = torch.load(run / "state.pt", weights_only=True)
    foreign(state, kind)
    torch.save(state, run / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt: ") as error:
        resume(run)
    assert "\n" not in str(error.value)
    load_model(run)  # the best model is as it was


def test_bfloat16(make_settings, tmp_path):
    end = train(path=tmp_path / "run", **make_settings(run={"precision": "bf16"}, train={"epochs": 1}))
    assert end.stopped == "done"
    assert all(weight.dtype == torch.float32 for weight in load_model(tmp_path / "run").state_dict().values())
    assert all(np.isfinite(line["total"]) for line in metrics_of_run(tmp_path / "run"))


@pytest.mark.parametrize(("times", "decided"), [(0.5, "bf16"), (7.0, "float32")])
def test_a_run_goes_on_in_the_precision_it_began_with(make_settings, tmp_path, monkeypatch, caplog, times, decided):
    def say(times: float) -> None:
        monkeypatch.setattr("gmmformer.model.devices.relative_time", lambda _: times)

    say(times)
    whole, run, settings = tmp_path / "whole", tmp_path / "run", make_settings(run={"precision": "auto"})
    train(path=whole, **settings)
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: signal.raise_signal(signal.SIGINT))
        assert train(path=run, **settings).stopped == "interrupted"
    assert json.loads((run / "config.json").read_text())["run"]["precision"] == decided
    say(1 / times)  # on another machine
    resume(run)
    assert_equal_runs(run, whole)
    other = "float32" if decided == "bf16" else "bf16"
    train(path=tmp_path / "other", **make_settings(run={"precision": other}))
    assert metrics_of_run(tmp_path / "other") != metrics_of_run(whole)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (decided == "bf16")  # resumed where it costs twice the time
    assert all(message.startswith("--precision bf16: ") for message in told)


def test_it_learns(make_settings, tmp_path):
    settings = make_settings(
        network={"hidden": 32, "drop": 0.0, "input_drop": 0.0},
        train={"epochs": 30, "lr": 0.003, "batch_size": 24, "patience": 50, "hard_negative_start_epoch": 100},
        run={"select_on": "train"},
    )
    end = train(path=tmp_path / "run", **settings)
    assert end.best_sum_recall > 230  # chance is 4.2 + 20.8 + 41.7 + 100


def test_a_split_that_is_not_there(make_settings, tmp_path):
    with pytest.raises(InputError, match="there is no such split; did you mean 'val'"):
        train(path=tmp_path / "run", **make_settings(run={"select_on": "vall"}))
    assert not (tmp_path / "run").exists()


def test_each_epoch_has_its_own_order():
    first, second = epoch_order(50, 9527, 0), epoch_order(50, 9527, 1)
    assert sorted(first) == list(range(50))
    assert first.tolist() != second.tolist()
    assert first.tolist() == epoch_order(50, 9527, 0).tolist()
    assert first.tolist() != epoch_order(50, 1, 0).tolist()


KILLED = """
import os, pickle, random, resource, signal, sys, time
import matplotlib.figure, torch
from pathlib import Path
from typing import Any
from gmmformer.errors import InputError
from gmmformer.training import resume, train

try:
    import torch.utils.tensorboard
except ImportError:
    pass

settings, folder = pickle.load(open(sys.argv[1], "rb")), Path(sys.argv[2])

def child(work, limit=None):
    if pid := os.fork():
        return pid
    try:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        work()
        os._exit(0)
    except InputError as error:
        print(error, flush=True)
        os._exit(2)

def go_on(run):
    if (run / "config.json").exists():
        resume(run)
    else:
        train(path=run, **settings)

def lines(run):
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\\n") if path.exists() else 0

os.waitpid(child(lambda: train(path=folder / "whole", **settings)), 0)
kills, chance = 0, random.Random(int(sys.argv[3]))
while True:
    pid = child(lambda: go_on(folder / "killed"))
    least = lines(folder / "killed") + chance.randint(1, 3) if kills < 5 else 10**9
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and lines(folder / "killed") < least:
        time.sleep(0.001)
    if ended[0]:
        break
    time.sleep(chance.uniform(0, 0.02))  # into a step, a save, an evaluation
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kills += 1
print(kills, "kills;", ended[1], flush=True)
pid = child(lambda: train(path=folder / "full", **settings), limit=12000)
print("full:", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
os.waitpid(child(lambda: go_on(folder / "full")), 0)
"""


def test_resumed_after_kill_9_and_after_a_disk_that_was_full(make_settings, tmp_path, drawn):
    import pickle

    settings = make_settings(train={"epochs": 6}, run={"save_minutes": 1e-6})  # after every step
    (tmp_path / "settings").write_bytes(pickle.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "settings"), str(tmp_path), str(drawn.integers(2**31))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    kills, full, code = done.stdout.splitlines()
    assert int(kills.split()[0]) >= 2, done.stdout
    assert kills.endswith("; 0")
    assert full.startswith(str(tmp_path / "full"))
    assert code == "full: 2"
    assert_equal_runs(tmp_path / "killed", tmp_path / "whole")
    assert_equal_runs(tmp_path / "full", tmp_path / "whole")
