"""GMMFormer: find the untrimmed video, and the seconds in it, that a sentence describes."""

import os
from typing import TYPE_CHECKING

from gmmformer.cores import share_cores
from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.config import ModelConfig, NetworkConfig, RunConfig, TrainConfig
    from gmmformer.data import Collection, simulate
    from gmmformer.errors import InputError, MissingExtraError
    from gmmformer.evaluation import Evaluation, Metrics, evaluate
    from gmmformer.model import (
        GMMFormer,
        GMMFormerV2,
        Network,
        QueryBatch,
        VideoBatch,
        load_model,
        query_batch,
        read_published,
        similarity,
        video_batch,
    )
    from gmmformer.presets import PRESETS
    from gmmformer.search import Library
    from gmmformer.training import RunSettings, resume, train

__version__ = "0.2.0"

share_cores(os.environ)

__getattr__, _names = lazily(
    __name__,
    {
        "config": (
            "ModelConfig",
            "NetworkConfig",
            "RunConfig",
            "TrainConfig",
        ),
        "data": (
            "Collection",
            "simulate",
        ),
        "errors": (
            "InputError",
            "MissingExtraError",
        ),
        "evaluation": (
            "Evaluation",
            "Metrics",
            "evaluate",
        ),
        "model": (
            "GMMFormer",
            "GMMFormerV2",
            "Network",
            "QueryBatch",
            "VideoBatch",
            "load_model",
            "query_batch",
            "read_published",
            "similarity",
            "video_batch",
        ),
        "presets": ("PRESETS",),
        "search": ("Library",),
        "training": (
            "RunSettings",
            "resume",
            "train",
        ),
    },
)

__all__ = [
    "PRESETS",
    "Collection",
    "Evaluation",
    "GMMFormer",
    "GMMFormerV2",
    "InputError",
    "Library",
    "Metrics",
    "MissingExtraError",
    "ModelConfig",
    "Network",
    "NetworkConfig",
    "QueryBatch",
    "RunConfig",
    "RunSettings",
    "TrainConfig",
    "VideoBatch",
    "evaluate",
    "load_model",
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
