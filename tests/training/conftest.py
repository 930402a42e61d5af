"""A run of a few seconds."""

from collections.abc import Callable
from typing import Any

import pytest

from gmmformer.config import RunConfig, TrainConfig
from gmmformer.data import Collection
from gmmformer.training import RunSettings, new_model_config

NETWORK = {"hidden": 16, "heads": 2, "map_size": 4, "max_ctx_l": 16, "max_desc_l": 8}
TRAIN = {"batch_size": 10, "epochs": 3, "hard_negative_start_epoch": 1, "lr": 0.01}
RUN = {"device": "cpu", "precision": "32-true", "workers": 0, "log_every": 1}


@pytest.fixture(scope="session")
def make_settings(tiny_collection: Collection) -> Callable[..., RunSettings]:
    """Settings of a run on the tiny collection: 24 videos in batches of 10, so that the last one is short."""

    def make(
        network: dict[str, Any] | None = None, train: dict[str, Any] | None = None, run: dict[str, Any] | None = None
    ) -> RunSettings:
        return RunSettings(
            root=tiny_collection.root,
            collection=tiny_collection.name,
            feature=tiny_collection.feature,
            model=new_model_config(tiny_collection, **NETWORK | (network or {})),
            train=TrainConfig(**TRAIN | (train or {})),
            run=RunConfig(**RUN | (run or {})),
        )

    return make
