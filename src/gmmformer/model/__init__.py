"""The networks, their score and their losses; checkpoints in and out."""

from gmmformer.model.batches import (
    QueryBatch,
    VideoBatch,
    l2_normalise,
    pool_segments,
    query_batch,
    segment_edges,
    video_batch,
)
from gmmformer.model.checkpoints import PublishedCheckpoint, load_model, new_network, read_published
from gmmformer.model.devices import find_device, find_precision, tell_cost
from gmmformer.model.gmmformer import GMMFormer
from gmmformer.model.losses import Losses, objective
from gmmformer.model.network import Network
from gmmformer.model.scoring import VectorGroup, VideoEmbeddings, best_of, fuse, products, similarity

__all__ = [
    "GMMFormer",
    "Losses",
    "Network",
    "PublishedCheckpoint",
    "QueryBatch",
    "VectorGroup",
    "VideoBatch",
    "VideoEmbeddings",
    "best_of",
    "find_device",
    "find_precision",
    "fuse",
    "l2_normalise",
    "load_model",
    "new_network",
    "objective",
    "pool_segments",
    "products",
    "query_batch",
    "read_published",
    "segment_edges",
    "similarity",
    "tell_cost",
    "video_batch",
]
