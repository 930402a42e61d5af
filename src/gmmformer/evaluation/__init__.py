"""How good a model is: ranks, recalls, tables and curves."""

from gmmformer.evaluation.evaluating import (
    QUERY_BATCH,
    VIDEO_BATCH,
    Evaluation,
    NotFiniteError,
    check_widths,
    embed_queries,
    embed_videos,
    evaluate,
    evaluate_vectors,
    fused_space,
)
from gmmformer.evaluation.metrics import RECALL_AT, Metrics, chance, metrics_of, ranks
from gmmformer.evaluation.ranking import TopVideos, rank_videos, top_videos
from gmmformer.evaluation.report import metrics_table, plot_curves

__all__ = [
    "QUERY_BATCH",
    "RECALL_AT",
    "VIDEO_BATCH",
    "Evaluation",
    "Metrics",
    "NotFiniteError",
    "TopVideos",
    "chance",
    "check_widths",
    "embed_queries",
    "embed_videos",
    "evaluate",
    "evaluate_vectors",
    "fused_space",
    "metrics_of",
    "metrics_table",
    "plot_curves",
    "rank_videos",
    "ranks",
    "top_videos",
]
