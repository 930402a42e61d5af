"""Collections on disk: captions, video and text features, and the batches that the network takes."""

from gmmformer.data.batches import TrainingBatch, query_batch, video_batch
from gmmformer.data.captions import Captions, read_captions
from gmmformer.data.check import check_collection
from gmmformer.data.collection import Collection
from gmmformer.data.features import FrameFeatures
from gmmformer.data.pooling import l2_normalise, pool_segments, segment_edges
from gmmformer.data.report import CheckReport, Problem
from gmmformer.data.simulation import Simulated, simulate
from gmmformer.data.text_features import TextFeatures

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
    "l2_normalise",
    "pool_segments",
    "query_batch",
    "read_captions",
    "segment_edges",
    "simulate",
    "video_batch",
]
