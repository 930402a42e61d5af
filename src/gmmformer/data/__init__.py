"""Collections on disk: captions, video and text features, and the batches that the network takes."""

from typing import TYPE_CHECKING

from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.data.captions import Captions, TextFeatures, read_captions
    from gmmformer.data.check import CheckReport, Problem, check_collection
    from gmmformer.data.collection import Collection, TrainingBatch
    from gmmformer.data.features import FrameFeatures
    from gmmformer.data.simulation import Simulated, simulate
    from gmmformer.data.truth import read_moments, read_right_videos

__getattr__, __dir__ = lazily(
    __name__,
    {
        "captions": ["Captions", "TextFeatures", "read_captions"],
        "check": ["CheckReport", "Problem", "check_collection"],
        "collection": ["Collection", "TrainingBatch"],
        "features": ["FrameFeatures"],
        "simulation": ["Simulated", "simulate"],
        "truth": ["read_moments", "read_right_videos"],
    },
)

__all__ = [
    "Captions",
    "CheckReport",
    "Collection",
    "FrameFeatures",
    "Problem",
    "Simulated",
    "TextFeatures",
    "TrainingBatch",
    "check_collection",
    "read_captions",
    "read_moments",
    "read_right_videos",
    "simulate",
]
