"""A run of a few seconds."""

from collections.abc import Callable
from typing import Any

import pytest

from gmmformer.data import Collection

NETWORK = {"hidden": 16, "heads": 2, "map_size": 4, "max_ctx_l": 16, "max_desc_l": 8}
TRAIN = {"batch_size": 10, "epochs": 3, "hard_negative_start_epoch": 1, "lr": 0.01}
RUN = {"device": "cpu", "precision": "float32", "workers": 0, "log_every": 1}


@pytest.fixture(scope="session")
def make_settings(tiny_collection: Collection) -> Callable[..., dict[str, Any]]:
    """What `train` takes for a run on the tiny collection: 24 videos in batches of 10, so the last one is short."""

    def make(
        network: dict[str, Any] | None = None, train: dict[str, Any] | None = None, run: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        settings = NETWORK | (network or {}) | TRAIN | (train or {}) | RUN | (run or {})
        return {"collection": tiny_collection, **settings}

    return make
