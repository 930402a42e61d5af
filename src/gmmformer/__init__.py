"""GMMFormer: find the untrimmed video, and the seconds in it, that a sentence describes."""

import os
from typing import TYPE_CHECKING

from gmmformer.cores import share_cores
from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.config import PRESETS, ModelConfig, NetworkConfig, RunConfig, TrainConfig
    from gmmformer.data import Collection, query_batch, simulate, video_batch
    from gmmformer.errors import InputError, MissingExtraError
    from gmmformer.evaluation import Evaluation, Metrics, evaluate
    from gmmformer.model import (
        GMMFormer,
        QueryBatch,
        VideoBatch,
        VideoEmbeddings,
        load_model,
        read_published,
        similarity,
    )
    from gmmformer.training import RunSettings, new_model_config, resume, train

__version__ = "0.1.0"

share_cores(os.environ)

__getattr__, _names = lazily(
    __name__,
    {
        "config": ("PRESETS", "ModelConfig", "NetworkConfig", "RunConfig", "TrainConfig"),
        "data": ("Collection", "query_batch", "simulate", "video_batch"),
        "errors": ("InputError", "MissingExtraError"),
        "evaluation": ("Evaluation", "Metrics", "evaluate"),
        "model": (
            "GMMFormer",
            "QueryBatch",
            "VideoBatch",
            "VideoEmbeddings",
            "load_model",
            "read_published",
            "similarity",
        ),
        "training": ("RunSettings", "new_model_config", "resume", "train"),
    },
)

__all__ = [
    "PRESETS",
    "Collection",
    "Evaluation",
    "GMMFormer",
    "InputError",
    "Metrics",
    "MissingExtraError",
    "ModelConfig",
    "NetworkConfig",
    "QueryBatch",
    "RunConfig",
    "RunSettings",
    "TrainConfig",
    "VideoBatch",
    "VideoEmbeddings",
    "evaluate",
    "load_model",
    "new_model_config",
    "query_batch",
    "read_published",
    "resume",
    "similarity",
    "simulate",
    "train",
    "video_batch",
]


def __dir__() -> list[str]:
    return [*_names(), "__version__"]
