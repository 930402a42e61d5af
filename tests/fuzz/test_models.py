"""Run folders, model folders and published checkpoints, as they are evaluated, converted and gone on with."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from fuzz_hunt import Hunt
from fuzz_material import Spoilt, spoilt, write
from fuzz_mutations import Weight, claims
from fuzz_outcomes import Finding, Mother, Outcome, Tree, attempt
from hypothesis import strategies as st

ON = ("--data", "data", "--collection", "tiny", "--device", "cpu", "--workers", "0")
PUBLISHED = "published.ckpt"


def not_finite(folder: Path, outcome: Outcome) -> list[Finding]:
    """A finding if the weights in `folder` hold what is not finite, and yet the command went through."""
    if outcome.code != 0:
        return []
    data = (folder / "model.safetensors").read_bytes()
    numbers = np.frombuffer(data[8 + int.from_bytes(data[:8], "little") :], dtype="<f4")
    if np.isfinite(numbers).all():
        return []
    return [Finding(f"{outcome.arguments[0]} goes through with weights that are not finite", outcome.out[:400])]


def test_model_folders(hunt: Hunt, mother: Mother, run: Tree) -> None:
    commands = (
        ("evaluate", "run/best", *ON, "--json"),
        ("evaluate", "run", *ON, "--window", "batch", "--json"),
        ("call", "gmmformer.model:load_model", '"run/best"'),
        ("index", "library", "--data", "data", "--collection", "tiny", "--model", "run/best", "--json"),
    )

    def use(case: tuple[Spoilt, tuple[str, ...]], folder: Path):
        case[0].write(folder, run)
        outcome, findings = attempt(mother, folder, *case[1], makes=("library",))
        if case[0].name.endswith(".safetensors") and isinstance(case[0].how, tuple):
            findings += not_finite(folder / "run/best", outcome)
        return case[1], findings

    files = spoilt(run, "run/best/model", "run/best/config")
    odd = st.builds(Weight, st.integers(0, 10_000), st.sampled_from((math.nan, math.inf, -math.inf)))
    weights = st.builds(Spoilt, st.just("run/best/model.safetensors"), st.tuples(odd))
    hunt(st.tuples(files | weights, st.sampled_from((*commands, commands[2]))), use, examples=10)


def test_run_folders(hunt: Hunt, mother: Mother, run: Tree) -> None:
    """What is gone on with is whole, or the run is as it was."""
    arguments = ("train", "--resume", "run", "--device", "cpu", "--workers", "0", "--json")

    def resume(case: Spoilt, folder: Path):
        case.write(folder, run)
        return arguments, attempt(mother, folder, *arguments, changes=("run",))[1]

    hunt(spoilt(run, "run/config", "run/metrics", "run/state", "run/best/"), resume, examples=3)


@pytest.fixture(scope="session")
def published(reference: Path, run: Tree) -> Tree:
    """A checkpoint as the published system wrote it."""
    return {PUBLISHED: (reference / "initial.ckpt").read_bytes()}


def test_published_checkpoints(hunt: Hunt, mother: Mother, published: Tree) -> None:
    commands = (("convert", PUBLISHED, "out"), ("call", "gmmformer.model:load_model", json.dumps(PUBLISHED)))

    def convert(case: tuple[Spoilt, tuple[str, ...]], folder: Path):
        case[0].write(folder, published)
        outcome, findings = attempt(mother, folder, *case[1], makes=("out",))
        if case[1][0] == "convert" and outcome.code == 0:
            findings += not_finite(folder / "out", outcome)
        return case[1], findings

    claiming = st.builds(Spoilt, st.just(PUBLISHED), st.tuples(claims()))
    hunt(st.tuples(spoilt(published) | claiming, st.sampled_from(commands)), convert, examples=6)


def test_what_is_not_finite_is_noticed(mother: Mother, run: Tree, tmp_path: Path) -> None:
    """The check itself can fail."""
    write(tmp_path, run)
    file = tmp_path / "run/best/model.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\xc0\x7f")
    outcome = Outcome(("evaluate",), 0, None, "", "", 0.0, 0)
    assert not_finite(tmp_path / "run/best", outcome)
