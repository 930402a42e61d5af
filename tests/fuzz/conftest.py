"""What is hunted with: the process that runs commands, the plan, and small valid inputs to spoil."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fuzz_material as material
from fuzz_hunt import Hunt, plan_of
from fuzz_outcomes import Mother, Tree, tree


@pytest.fixture(scope="session")
def mother(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mother]:
    """Runs commands."""
    started = Mother(tmp_path_factory.mktemp("mother"))
    yield started
    started.close()


@pytest.fixture
def hunt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hunt]:
    """Hunts under the name of the test, and tells at the end of all tests how much it tried."""
    tests = [item for item in request.session.items if item.get_closest_marker("hunts")]
    workers = int(getattr(request.config, "workerinput", {}).get("workercount", 1))
    name = request.node.name.removeprefix("test_")
    hunting = Hunt(name, plan_of(len(tests), workers, request.config.rootpath), tmp_path / "case")
    yield hunting
    request.node.user_properties.append(("fuzzed", (name, dict(hunting.tried), hunting.plan.seed, len(hunting.found))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A hunt has its own limits of time."""
    for item in items:
        if "hunt" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.hunts)
            item.add_marker(pytest.mark.timeout(0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many inputs of which kind were tried."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    ended = (report for report in reports if getattr(report, "when", None) == "teardown")
    told = [value for report in ended for key, value in report.user_properties if key == "fuzzed"]
    if told:
        terminalreporter.section("fuzzed inputs")
    for name, tried, seed, found in sorted(told):
        commands = ", ".join(f"{count:,} {command}" for command, count in sorted(tried.items()))
        terminalreporter.write_line(f"{name}: {sum(tried.values()):,} ({commands}), seed {seed}, {found} findings")


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A collection of a few videos, `data/tiny`."""
    return material.collection(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="session")
def run(collection: Tree, mother: Mother, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """That collection, and a run on it that was stopped after its first epoch, `run`."""
    return material.run(mother, tmp_path_factory.mktemp("run"), collection)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A film in each of five containers."""
    folder = tmp_path_factory.mktemp("films")
    for name in material.FILMS:
        material.film(folder / name)
    return tree(folder)


@pytest.fixture(scope="session")
def library(films: Tree, mother: Mother, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """`library`, with films of `films`, the model in it and an index."""
    return material.library(mother, tmp_path_factory.mktemp("library"), films)
