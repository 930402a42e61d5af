"""A model that knows nothing, for the built-in encoders, saved as a user's would be."""

from pathlib import Path

import torch

from gmmformer.config import ModelConfig
from gmmformer.demo.encoders import ShapeFrames, ShapeWords
from gmmformer.model import GMMFormer


def untrained(folder: Path, seed: int) -> Path:
    """Save one in `folder`."""
    torch.manual_seed(seed)
    config = ModelConfig(
        feature_dim=ShapeFrames().dim,
        query_dim=ShapeWords().dim,
        hidden=32,
        heads=2,
        map_size=8,
        max_ctx_l=16,
        video_encoder=ShapeFrames.name,
        text_encoder=ShapeWords.name,
        fps=1.0,
    )
    GMMFormer(config).save_pretrained(folder)
    return folder
