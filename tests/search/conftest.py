"""Small libraries, and what fills them."""

import sys
from pathlib import Path

import pytest
import torch

from gmmformer.config import ModelConfig
from gmmformer.data import Collection
from gmmformer.model import GMMFormer
from gmmformer.search import Library, ModelEmbedder

sys.path.insert(0, str(Path(__file__).parent))

from tests_search_helpers import Plain, Words, drawn_film, put


@pytest.fixture
def plain() -> Plain:
    return Plain()


@pytest.fixture
def library(tmp_path: Path, plain: Plain) -> Library:
    """Forty films of one to four windows."""
    made = Library.create(tmp_path / "library", plain, store="float32")
    put(made, [drawn_film(seed, rows=8 + seed % 45) for seed in range(40)])
    return made


@pytest.fixture(scope="session")
def tiny_model(tiny_collection: Collection) -> ModelEmbedder:
    """An untrained model of the tiny collection's widths."""
    config = ModelConfig(
        feature_dim=tiny_collection.frames.dim, query_dim=Words.dim, hidden=64, heads=2, map_size=8, max_ctx_l=32
    )
    torch.manual_seed(2)
    return ModelEmbedder(GMMFormer(config), Words())
