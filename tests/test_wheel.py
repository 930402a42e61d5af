"""The wheel that users install, with no extra and with each extra alone: a command works, or names the extra it needs.

What other extras bring is hidden from Python, so that no environment is made for each: what the project asks for, and
what that asks for in turn, is all that can be imported.
"""

import json
import os
import re
import site
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gmmformer import Collection, GMMFormer, ModelConfig
from gmmformer.cli import COMMANDS
from gmmformer.demo.render import render_films
from gmmformer.demo.world import plan_films
from tiny_models import untrained

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [name for name in PROJECT["optional-dependencies"] if name != "dev"]
HIDING = """
import os, sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    hidden = frozenset(os.environ["HIDDEN"].split())

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None and name in cls.hidden:  # but what a package brings in a folder of its own, as Ray does, is
            path = [folder for folder in sys.path if folder not in SITE]
        return super().find_spec(name, path, target)

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
"""


RUNNING = """
import contextlib, io, json, os, sys, traceback
import h5py, huggingface_hub, lightning_fabric, matplotlib, numba, torch._dynamo
from sitecustomize import Hiding

def run(calls):
    import gmmformer
    from gmmformer.cli import main

    found = {"where": (0, gmmformer.__file__, "")}
    for name, words in calls.items():
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            try:
                code = main(words)
            except SystemExit as end:
                code = end.code
            except BaseException:
                code = traceback.print_exc()
        found[name] = code, out.getvalue(), err.getvalue()
    return found

for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        try:
            os.environ["HIDDEN"] = " ".join(asked["hidden"])  # for what it starts
            Hiding.hidden = frozenset(asked["hidden"])
            with open(asked["answer"], "w") as file:
                json.dump(run(asked["calls"]), file)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    print("done", flush=True)
"""
"""What every environment has of others is loaded once, in a process that sees no extra; each runs its commands in a
fork of it, in which the package itself is still to be imported."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built and installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT], check=True, cwd=folder)
    (wheel,) = folder.glob("gmmformer-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True, cwd=folder)
    return folder / "site"


def closure(wanted: list[Requirement]) -> set[str]:
    """The distributions that some requirements bring, theirs among them."""
    found: set[tuple[str, str]] = set()
    left = [(requirement, extra) for requirement in wanted for extra in ["", *requirement.extras]]
    while left:
        requirement, extra = left.pop()
        key = canonicalize_name(requirement.name), extra
        if key in found:
            continue
        found.add(key)
        try:
            inner = [Requirement(text) for text in requires(requirement.name) or ()]
        except PackageNotFoundError:
            continue
        for one in inner:
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                left += [(one, asked) for asked in ["", *one.extras]]
    return {name for name, _ in found}


@pytest.fixture(scope="module")
def mother(installed, tmp_path_factory) -> Iterator[subprocess.Popen[str]]:
    """The process that environments are forked from."""
    folder = tmp_path_factory.mktemp("hiding")
    (folder / "sitecustomize.py").write_text(f"SITE = {site.getsitepackages()!r}\n{HIDING}")
    path = os.pathsep.join(map(str, (folder, installed)))
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HIDDEN": " ".join(hidden_from(None))}
    command = [sys.executable, "-c", RUNNING]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env=variables, cwd=folder, **pipes) as process:
        yield process
        process.communicate()


@pytest.fixture(params=[None, *EXTRAS], ids=lambda extra: extra or "none", scope="module")
def command(request, mother, tmp_path_factory) -> Callable[..., dict[str, tuple[int, str, str]]]:
    """Runs commands of the wheel with one extra, or none; `.extra` says which."""
    extra = request.param
    answer = tmp_path_factory.mktemp("answers") / "answer.json"

    def run(calls: dict[str, list[object]]) -> dict[str, tuple[int, str, str]]:
        words = {name: list(map(str, call)) for name, call in calls.items()}
        mother.stdin.write(json.dumps({"hidden": hidden_from(extra), "calls": words, "answer": str(answer)}) + "\n")
        mother.stdin.flush()
        assert mother.stdout.readline() == "done\n"
        found: dict[str, tuple[int, str, str]] = json.loads(answer.read_text())
        return found

    run.extra = extra  # type: ignore[attr-defined]
    return run


def hidden_from(extra: str | None) -> list[str]:
    """The modules that are not there where only that extra was asked for."""
    asked = [*PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] if extra else ())]
    kept = closure([Requirement(text) for text in asked]) | {"gmmformer", "pip", "setuptools"}
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not any(canonicalize_name(owner) in kept for owner in owners)
    )


@pytest.fixture(scope="module")
def things(tmp_path_factory, tiny_collection: Collection) -> dict[str, Path]:
    """Films and a model for them, a collection and a model that fits it."""
    folder = tmp_path_factory.mktemp("things")
    render_films(plan_films(3, seed=3), folder / "films", workers=1)
    sizes = {"feature_dim": tiny_collection.frames.dim, "query_dim": tiny_collection.text.dim}
    GMMFormer(ModelConfig(hidden=8, heads=2, map_size=4, **sizes)).save_pretrained(folder / "fitting")
    models = {"model": untrained(folder / "model", seed=2), "fitting": folder / "fitting"}
    return {"films": folder / "films", "data": tiny_collection.root, **models}


def test_it_is_the_wheel_that_runs_and_it_is_whole(installed, command):
    if command.extra is None:
        done = command({"help": ["--help"]})
        assert done["help"][0] == 0
        assert done["where"][1].startswith(str(installed))
    files = {path.relative_to(installed).as_posix() for path in (installed / "gmmformer").rglob("*") if path.is_file()}
    there = {
        path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/gmmformer").rglob("*") if path.is_file()
    }
    assert {name for name in there if "__pycache__" not in name} <= files
    assert "gmmformer/py.typed" in files


def test_every_command_works_or_names_its_extra(command, things, tmp_path):
    model, data, films, lib = things["model"], things["data"], things["films"], tmp_path / "lib"
    trained = things["fitting"] if command.extra else tmp_path / "run"
    small = ["--hidden", 8, "--heads", 2, "--map-size", 4, "--epochs", 1, "--device", "cpu"]
    calls: dict[str, list[object]] = {
        "simulate": ["simulate", tmp_path / "made", "--videos", 3, "--feature-dim", 4, "--query-dim", 4, "--json"],
        "check-data": ["check-data", data, "--collection", "tiny", "--json"],
        "models": ["models", "--json"],
        "train": ["train", "--data", data, "--collection", "tiny", "--out", tmp_path / "run", *small, "--json"],
        "evaluate": ["evaluate", tmp_path / "run", "--data", data, "--collection", "tiny", "--split", "val", "--json"],
        "compare": ["compare", tmp_path / "run", tmp_path / "run" / "best", "--split", "val", "--json"],
        "convert": ["convert", ROOT / "tests/reference/minitvr/published.ckpt", tmp_path / "converted", "--json"],
        "index --data": ["index", lib, "--data", data, "--collection", "tiny", "--model", trained, "--json"],
        "library": ["library", lib, "verify", "--json"],
        "library rebuild": ["library", lib, "rebuild", "--json"],
        "search": ["search", lib, "a dog", "--json"],
        "extract": ["extract", films, "--out", tmp_path / "extracted", "--collection", "x", "--video-encoder",
                    "gmmformer.demo.encoders:ShapeFrames", "--json"],
        "index": ["index", tmp_path / "filmlib", films, "--model", model, "--json"],
        "index --speech": ["index", tmp_path / "heard", films, "--model", model, "--speech", tmp_path, "--json"],
        "index --add": ["index", tmp_path / "read", films, "--model", model, "--add", "written", "--json"],
        "index --watch": ["index", tmp_path / "none", tmp_path / "nowhere", "--model", model, "--watch", "--json"],
        "extract --ray": ["extract", films, "--out", tmp_path / "onray", "--collection", "x", "--video-encoder",
                          "gmmformer.demo.encoders:ShapeFrames", "--ray", "nowhere:1", "--json"],
        "search on a server": ["search", lib, "a dog", "--engine", "http://localhost:9", "--json"],
        "serve": ["serve", tmp_path / "nowhere", "--json"],
        "mcp": ["mcp", tmp_path / "nowhere"],
        "demo": ["demo", tmp_path / "file", "--films", 1, "--json"],
    }  # fmt: skip
    assert {name.split()[0] for name in calls} == set(COMMANDS)
    always = {"simulate", "check-data", "models", "train", "evaluate", "compare", "convert", "index --data", "library"}
    if command.extra is not None:  # they were tried without any
        tried = {
            "evaluate",
            "compare",
            "convert",
            "simulate",
            "check-data",
            *(() if command.extra == "train" else ("train",)),
        }
        calls = {name: words for name, words in calls.items() if name not in tried}
    with_one = {"films": {"extract", "index"}, "search": {"library rebuild"}}
    for name, (code, out, err) in command(calls).items():
        said = f"{name} with {command.extra}: {err[-600:]}"
        assert "Traceback" not in err, said
        assert code in (0, 2), said
        assert code == 0 or not (name in always or name in with_one.get(command.extra, ())), said
        if code == 0 and name != "where":
            json.loads(out.splitlines()[-1])
        for extra in re.findall(r"pip install 'gmmformer\[(\w+)\]'", err):
            assert extra in EXTRAS, said
            assert extra != command.extra, said
