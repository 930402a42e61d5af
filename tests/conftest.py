"""Data that many tests share."""

import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import type_checks  # noqa: F401  before whatever it checks

# isort: split
from gmmformer.cli import main
from gmmformer.data import Collection, simulate

collect_ignore = ["type_checks.py"]
"""It has no examples, and is loaded but once."""

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


SEED = os.environ.setdefault(
    "GMMFORMER_TEST_SEED",
    str(int.from_bytes(os.urandom(4), "little")) if "GMMFORMER_FUZZ_MINUTES" in os.environ else "1",
)
"""Of all that tests draw: the same in every run, so that a run can be repeated, but where faults are hunted for.
Set the variable, and they draw something else, or again what a run printed. Workers and processes inherit it."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis begins with that seed too, unless `--hypothesis-seed` says another."""
    if config.getoption("hypothesis_seed") is None:
        config.option.hypothesis_seed = SEED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The last lines of a run."""
    terminalreporter.write_line(f"GMMFORMER_TEST_SEED={SEED}")


LONGEST = (
    "media/test_cluster.py",
    "test_wheel.py",
    "training/test_loop.py",
    "search/test_milvus.py",
    "web/test_serving_from_milvus.py",
    "search/test_cut_off.py",
    "cli/test_terminal.py",
    "web/test_film_work.py",
    "web/test_server.py",
    "training/test_processes.py",
    "media/test_own_encoders.py",
    "test_cli.py",
    "search/test_store.py",
    "search/test_library_cli.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: all wait for a worker that comes to one at the end."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture
def drawn(request: pytest.FixtureRequest) -> np.random.Generator:
    """What a test draws from; its seed is printed when the test fails."""
    logging.getLogger(__name__).warning("replay with GMMFORMER_TEST_SEED=%s", SEED)
    return np.random.default_rng([int(SEED), zlib.crc32(request.node.name.encode())])


@pytest.fixture(scope="session")
def reference() -> Path:
    """Numbers made by running the published system."""
    return Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def minitvr(reference: Path) -> Path:
    """Root of the reference's small collection, called "tvr"."""
    return reference / "minitvr"


@pytest.fixture(scope="session")
def tiny_collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A simulated collection of 24, 8 and 8 videos; read it, do not change it."""
    simulated = simulate(
        tmp_path_factory.mktemp("collections"),
        name="tiny",
        videos=(24, 8, 8),
        feature_dim=16,
        query_dim=12,
        difficulty=0.1,
    )
    return Collection.open(simulated.root, simulated.name)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with exit code 2 and one line on stderr that holds `parts`."""

    def run(arguments: list[object], *parts: str) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        line = err.rpartition("\r")[2].strip()  # what stays when progress bars are gone
        assert line.startswith("gmmformer: ")
        assert "\n" not in line
        assert "Traceback" not in err
        for part in parts:
            assert part in line
        return line

    return run
