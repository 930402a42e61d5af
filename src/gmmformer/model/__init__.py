"""The network, its score and its losses; checkpoints in and out."""

from gmmformer.model.devices import find_device, find_precision, tell_cost
from gmmformer.model.inputs import QueryBatch, VideoBatch
from gmmformer.model.loading import load_model
from gmmformer.model.losses import Losses, objective
from gmmformer.model.network import GMMFormer
from gmmformer.model.published import PublishedCheckpoint, read_published
from gmmformer.model.scoring import VideoEmbeddings, fuse, fused_clip_scores, similarity

__all__ = [
    "GMMFormer",
    "Losses",
    "PublishedCheckpoint",
    "QueryBatch",
    "VideoBatch",
    "VideoEmbeddings",
    "find_device",
    "find_precision",
    "fuse",
    "fused_clip_scores",
    "load_model",
    "objective",
    "read_published",
    "similarity",
    "tell_cost",
]
