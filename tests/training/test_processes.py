"""Several processes: N with a batch's share each give what one gives with the whole batch."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gmmformer.config import RunConfig
from gmmformer.errors import InputError
from gmmformer.model import find_device, load_model
from gmmformer.training import train
from gmmformer.training.processes import launch, seed_step

WITHOUT_DRAWS = {"drop": 0.0, "input_drop": 0.0}


@pytest.fixture(scope="module")
def settings(make_settings):
    # 24 videos in batches of 23: an odd batch, then one video for two processes
    return make_settings(network=WITHOUT_DRAWS, train={"batch_size": 23, "epochs": 2, "lr": 1e-3})


@pytest.fixture(scope="module")
def two(settings, tmp_path_factory) -> Path:
    """What two processes wrote: their comparisons, and a run."""
    out = tmp_path_factory.mktemp("two")
    (out / "settings").write_bytes(pickle.dumps(settings))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [*command, str(script), str(out / "settings"), str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_loss_and_gradients_are_those_of_one_process(two):
    for rank in range(2):
        found = json.loads((two / f"{rank}.json").read_text())
        assert [(case["network"], case["videos"]) for case in found] == [
            (network, videos) for network in ("v1", "v2") for videos in (6, 6, 5, 5, 2, 2, 1, 1)
        ]
        for case in found:
            assert case["labels_equal"], case
            assert case["loss"] <= 1e-5, case
            assert case["gradient"] <= 1e-5 * max(1, case["largest"]), case
            assert case["largest"] > 1e-3, case


def test_one_process_asked_to_stop_stops_all(two):
    for rank in range(2):
        assert all(case["stop"] for case in json.loads((two / f"{rank}.json").read_text()))


def test_a_run_is_that_of_one_process(two, settings, tmp_path):
    train(path=tmp_path / "one", **settings)
    ours, theirs = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (two / "run", tmp_path / "one")
    )
    assert len(ours) == len(theirs) == 6  # 2 epochs of 2 steps; written by one process only
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["total"] == pytest.approx(other["total"], abs=1e-4)
    mine, other = (load_model(run).state_dict() for run in (two / "run", tmp_path / "one"))
    for name, weight in other.items():
        # Adam makes steps of what is but rounding noise in a gradient: all of it in a key's bias, a little elsewhere
        if not name.endswith("key.bias"):
            assert (mine[name] - weight).abs().mean().item() <= 2e-5, name


def test_the_first_process_decides_the_precision_of_all(two):
    assert [(two / f"{rank}.precision").read_text() for rank in range(2)] == ["float32"] * 2


def test_devices():
    assert find_device("cpu") == "cpu"
    assert find_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="--device cuba: did you mean 'cuda'"):
        find_device("cuba")
    for wrong in ("cpu:1", "cuda:x", "cuda:", "cuda:9999"):
        with pytest.raises(InputError, match=f"--device {wrong}"):
            find_device(wrong)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="--device cuda: torch finds no such device here; take --device cpu"):
            find_device("cuda")


def test_one_process_is_the_only_one():
    fabric, run = launch(RunConfig(device="cpu"))
    assert (fabric.world_size, fabric.is_global_zero) == (1, True)
    assert run.precision in ("float32", "bf16")


def test_what_a_step_draws_depends_on_seed_and_step_alone():
    def draws(seed: int, step: int, rank: int) -> tuple[float, float]:
        generator = seed_step(seed, step, rank)
        return torch.rand(1).item(), torch.rand(1, generator=generator).item()

    first = draws(1, 2, 0)
    torch.rand(10)
    assert draws(1, 2, 0) == first
    other_rank = draws(1, 2, 1)
    assert other_rank[0] != first[0]  # its own dropout
    assert other_rank[1] == first[1]  # the same negatives
    others = [draws(1, 3, 0), draws(2, 2, 0), draws(2, 1, 0)]
    assert len({first[0], *(dropout for dropout, _ in others)}) == 4
    assert len({first[1], *(negatives for _, negatives in others)}) == 4
