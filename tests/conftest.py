"""Data that many tests share."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

from gmmformer.data import Collection, simulate

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers that tests share

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


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
