"""The networks, their score and their losses; checkpoints in and out."""

from typing import TYPE_CHECKING

from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.model.batches import QueryBatch, VideoBatch, query_batch, video_batch
    from gmmformer.model.checkpoints import PublishedCheckpoint, load_model, new_network, read_published
    from gmmformer.model.devices import find_device, find_precision, tell_cost
    from gmmformer.model.gmmformer import GMMFormer
    from gmmformer.model.losses import Losses, objective
    from gmmformer.model.network import Network
    from gmmformer.model.pooling import l2_normalise, pool_segments, segment_edges
    from gmmformer.model.scoring import Start, VectorGroup, VideoEmbeddings, best_of, fuse, products, similarity

__getattr__, __dir__ = lazily(
    __name__,
    {
        "batches": ["QueryBatch", "VideoBatch", "query_batch", "video_batch"],
        "checkpoints": ["PublishedCheckpoint", "load_model", "new_network", "read_published"],
        "devices": ["find_device", "find_precision", "tell_cost"],
        "gmmformer": ["GMMFormer"],
        "losses": ["Losses", "objective"],
        "network": ["Network"],
        "pooling": ["l2_normalise", "pool_segments", "segment_edges"],
        "scoring": ["Start", "VectorGroup", "VideoEmbeddings", "best_of", "fuse", "products", "similarity"],
    },
)

__all__ = [
    "GMMFormer",
    "Losses",
    "Network",
    "PublishedCheckpoint",
    "QueryBatch",
    "Start",
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
