"""GMMFormer: find the untrimmed video, and the seconds in it, that a sentence describes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

# What each name comes from; imported when first asked for, so that `gmmformer --help` does not wait for torch.
_HOMES = {
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
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gmmformer' has no attribute {name!r}")
    return getattr(import_module(f"gmmformer.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
