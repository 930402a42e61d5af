"""The unit of systemd and the Dockerfile that the project offers: checked, and what they start is started."""

import configparser
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tests_web_helpers import TOKEN

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unit() -> str:
    """The one unit on the page about the server."""
    (found,) = re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(), re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def steps() -> ModuleType:
    """The tool that runs the Dockerfile."""
    spec = importlib.util.spec_from_file_location("dockerfile_steps", ROOT / "tools" / "dockerfile_steps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dockerfile(steps: ModuleType) -> list[tuple[str, str]]:
    """What the Dockerfile says, instruction by instruction."""
    found: list[tuple[str, str]] = steps.instructions((ROOT / "Dockerfile").read_text())
    return found


def test_systemd_finds_nothing_wrong_with_the_unit(unit: str, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up("the check of the unit skipped: apt-get install systemd")
    path = tmp_path / "gmmformer.service"
    path.write_text(unit.replace("/opt/gmmformer/bin/gmmformer", sys.executable))  # it looks whether that is there
    told = subprocess.run([program, "verify", "--man=no", path], capture_output=True, text=True, check=False)
    ours = [line for line in told.stderr.splitlines() if "gmmformer" in line]
    assert (told.returncode, ours) == (0, [])


def serves(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """Start that with this environment and nothing else, and end it when it serves."""
    with subprocess.Popen(
        words, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as it:
        try:
            assert it.stdout is not None
            assert it.stderr is not None
            line = it.stdout.readline()
            assert line.startswith("serving at http://127.0.0.1:"), it.stderr.read()
            it.terminate()
            assert it.wait(60) == 0
        finally:
            it.kill()


def test_what_the_unit_starts_serves_in_a_bare_environment(unit: str, library_folder: Path, tmp_path: Path) -> None:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(unit)
    words = shlex.split(parsed["Service"]["ExecStart"])
    assert words[:3] == ["/opt/gmmformer/bin/gmmformer", "serve", "/srv/library"]
    command = [sys.executable, "-m", "gmmformer", "serve", str(library_folder), *words[3:], "--port", "0"]
    bare = {"GMMFORMER_TOKEN": TOKEN, "TMPDIR": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    serves(command, bare, tmp_path)


def test_what_the_image_starts_serves_with_its_environment(
    dockerfile: list[tuple[str, str]], library_folder: Path, tmp_path: Path
) -> None:
    said = dict(dockerfile)
    program, *words = [*json.loads(said["ENTRYPOINT"]), *json.loads(said["CMD"])]
    assert program == "gmmformer"
    words = [str(library_folder) if word == "/library" else word for word in words]
    variables = dict(one.split("=") for one in said["ENV"].split() if not one.startswith("PATH="))
    bare = {**variables, "GMMFORMER_TOKEN": TOKEN, "TMPDIR": str(tmp_path)}
    bare["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    serves([sys.executable, "-m", "gmmformer", *words, "--port", "0"], bare, tmp_path)


def test_the_dockerfile_pins_what_it_takes_and_copies_what_is_there(dockerfile: list[tuple[str, str]]) -> None:
    assert re.fullmatch(r"IMAGE=python:3\.\d+\.\d+-slim", dict(dockerfile)["ARG"])
    assert [rest for word, rest in dockerfile if word == "FROM"] == ["${IMAGE} AS built", "${IMAGE}"]
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"torch", "av", "fastapi", "uvicorn", "starlette"} <= pinned
    copied: set[str] = set()
    for word, rest in dockerfile:
        if word == "COPY" and not rest.startswith("--from"):
            copied.update(rest.split()[:-1])
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
        if word == "RUN" and "pip install" in rest:
            assert "constraints.txt" in copied
            assert "-c constraints.txt" in rest
    words = [word for word, _ in dockerfile]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert dict(dockerfile)["USER"] not in ("0", "root")
