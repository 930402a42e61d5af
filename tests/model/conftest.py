"""Inputs and models of a few dimensions, and the reference's numbers as batches."""

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gmmformer.config import ModelConfig
from gmmformer.model import GMMFormer, QueryBatch, VideoBatch, read_published

Forward = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def forward(reference: Path) -> Forward:
    return dict(np.load(reference / "forward.npz"))


@pytest.fixture(scope="session")
def device() -> str:
    """Where the networks run that are held to published numbers: `benchmarks/gpu.sh` says cuda."""
    return os.environ.get("GMMFORMER_TEST_DEVICE", "cpu")


@pytest.fixture(scope="session")
def initial_model(reference: Path, device: str) -> GMMFormer:
    """The network of the reference's forward passes, window "full"."""
    return read_published(reference / "initial.ckpt").model().to(device)


@pytest.fixture(scope="session")
def reference_videos(forward: Forward) -> Callable[..., VideoBatch]:
    """Some of the reference's videos (all of them by default), packed."""

    def make(videos: Sequence[int] = range(6)) -> VideoBatch:
        mask = forward["frame_mask"][list(videos)] > 0
        return VideoBatch(
            torch.from_numpy(forward["clips"][list(videos)]),
            torch.from_numpy(forward["frames"][list(videos)][mask]),
            torch.from_numpy(mask.sum(1)),
        )

    return make


@pytest.fixture(scope="session")
def reference_queries(forward: Forward) -> QueryBatch:
    mask = forward["token_mask"] > 0
    return QueryBatch(torch.from_numpy(forward["tokens"][mask]), torch.from_numpy(mask.sum(1)))


@pytest.fixture(scope="session")
def make_model() -> Callable[..., GMMFormer]:
    """A small network whose weights are far from nought, in evaluation mode."""

    def make(seed: int = 0, **settings: Any) -> GMMFormer:
        small = {"hidden": 16, "heads": 2, "map_size": 4, "max_ctx_l": 12, "max_desc_l": 6, "drop": 0.0}
        config = ModelConfig(**{"feature_dim": 7, "query_dim": 5, "input_drop": 0.0, **small, **settings})
        torch.manual_seed(seed)
        model = GMMFormer(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return model.eval()

    return make


@pytest.fixture(scope="session")
def make_videos() -> Callable[..., VideoBatch]:
    def make(config: ModelConfig, lengths: Sequence[int], seed: int = 0) -> VideoBatch:
        generator = torch.Generator().manual_seed(seed)
        return VideoBatch(
            torch.randn(len(lengths), config.map_size, config.feature_dim, generator=generator),
            torch.randn(sum(lengths), config.feature_dim, generator=generator),
            torch.tensor(lengths, dtype=torch.int64),
        )

    return make


@pytest.fixture(scope="session")
def make_queries() -> Callable[..., QueryBatch]:
    def make(config: ModelConfig, lengths: Sequence[int], seed: int = 0) -> QueryBatch:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randn(sum(lengths), config.query_dim, generator=generator)
        return QueryBatch(tokens, torch.tensor(lengths, dtype=torch.int64))

    return make


@pytest.fixture
def rewrite_zip() -> Callable[..., Path]:
    """Write a changed copy of a zip: `change(name, data)` gives an entry's new data, None leaves it out."""

    def rewrite(
        old: Path, new: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
    ) -> Path:
        with zipfile.ZipFile(old) as source, zipfile.ZipFile(new, "w", compression) as target:
            for name in source.namelist():
                data = change(name, source.read(name))
                if data is not None:
                    target.writestr(name, data)
        return new

    return rewrite
