"""The networks, their score and their losses; checkpoints in and out."""

from typing import TYPE_CHECKING

from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.model.batches import QueryBatch, VideoBatch, query_batch, video_batch
    from gmmformer.model.checkpoints import PublishedCheckpoint, load_model, new_network, read_published
    from gmmformer.model.devices import find_device, find_precision, tell_cost
    from gmmformer.model.gmmformer import GMMFormer
    from gmmformer.model.gmmformer_v2 import GMMFormerV2
    from gmmformer.model.losses import Losses, LossesV2, objective, objective_v2
    from gmmformer.model.network import Network
    from gmmformer.model.pooling import l2_normalise, pool_segments, segment_edges
    from gmmformer.model.scoring import (
        ClipsAndFrames,
        Start,
        VectorGroup,
        VideoEmbeddings,
        best_of,
        fuse,
        products,
        similarity,
    )

__getattr__, __dir__ = lazily(
    __name__,
    {
        "batches": ["QueryBatch", "VideoBatch", "query_batch", "video_batch"],
        "checkpoints": ["PublishedCheckpoint", "load_model", "new_network", "read_published"],
        "devices": ["find_device", "find_precision", "tell_cost"],
        "gmmformer": ["GMMFormer"],
        "gmmformer_v2": ["GMMFormerV2"],
        "losses": ["Losses", "LossesV2", "objective", "objective_v2"],
        "network": ["Network"],
        "pooling": ["l2_normalise", "pool_segments", "segment_edges"],
        "scoring": [
            "ClipsAndFrames",
            "Start",
            "VectorGroup",
            "VideoEmbeddings",
            "best_of",
            "fuse",
            "products",
            "similarity",
        ],
    },
)

__all__ = [
    "ClipsAndFrames",
    "GMMFormer",
    "GMMFormerV2",
    "Losses",
    "LossesV2",
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
    "objective_v2",
    "pool_segments",
    "products",
    "query_batch",
    "read_published",
    "segment_edges",
    "similarity",
    "tell_cost",
    "video_batch",
]
