"""Cores are shared: a quota is kept and threads that wait give way, unless the user says otherwise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gmmformer
from gmmformer.cores import share_cores, usable_cores

HERE = 8
PASSIVE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}
OPENMP = ("OMP_", "GOMP_", "KMP_")


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(HERE)))


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A machine whose processes are in `groups`, with these files in its cgroups."""
    for name, text in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": t for name, t in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {}, HERE),
        ("0::/\n", {"cpu.max": "max 100000\n"}, HERE),
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "900000 100000\n"}, HERE),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "70000 100000\n"}, 1),  # of a group around it
        ("0::/a\n", {"b/cpu.max": "1000 100000\n"}, HERE),  # of another group
        ("4:cpu,cpuacct:/a\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "90000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 1),
        ("4:cpu:/a\n", {"cpu/cpu.cfs_quota_us": "90000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),  # in a container
        ("4:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, HERE),
        ("not\nthe format\n", {"cpu.max": "100000 100000\n"}, HERE),
        ("0::/\n", {"cpu.max": "nor this\n"}, HERE),
    ],
)
def test_a_quota_is_kept(tmp_path, groups, files, cores):
    assert usable_cores(machine(tmp_path, groups, files)) == cores


def test_no_cgroups(tmp_path):
    assert usable_cores(tmp_path) == HERE


def test_threads_are_as_many_as_the_quota_allows(tmp_path):
    root = machine(tmp_path, "0::/\n", {"cpu.max": "100000 100000\n"})
    environment: dict[str, str] = {}
    share_cores(environment, root)
    assert environment == PASSIVE | {"OMP_NUM_THREADS": "1"}
    environment = {"OMP_NUM_THREADS": "7"}
    share_cores(environment, root)
    assert environment == PASSIVE | {"OMP_NUM_THREADS": "7"}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"])
def test_how_the_user_lets_threads_wait_is_left_alone(tmp_path, name):
    environment = {name: "as I like"}
    share_cores(environment, tmp_path)
    assert environment == {name: "as I like"}


def test_nobody_counts_cores_in_another_way():
    source = Path(gmmformer.__file__).parent
    counting = {path.relative_to(source).as_posix() for path in source.rglob("*.py") if "cpu_count" in path.read_text()}
    assert counting == {"cores.py"}


SEEN_AS_TORCH_LOADS = """
import json, os, sys
class Look:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(json.dumps(dict(os.environ)), flush=True)
            os._exit(0)  # it need not be loaded
sys.meta_path.insert(0, Look())
exec(sys.argv[1])
import torch
"""


@pytest.mark.parametrize(
    "entry",
    [
        "from gmmformer.cli import main",
        "from gmmformer import train",
        "import gmmformer.training",
        "import gmmformer.search",
        "from gmmformer.media.encoders import frame_encoder",
    ],
)
@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "active"}])
def test_it_is_set_before_torch_is_loaded(entry, own):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OPENMP)}
    command = [sys.executable, "-c", SEEN_AS_TORCH_LOADS, entry]
    done = subprocess.run(command, env=environment | own, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    seen.pop("OMP_NUM_THREADS", None)  # there where the tests run under a quota
    assert {name: value for name, value in seen.items() if name.startswith(OPENMP)} == (own or PASSIVE)
