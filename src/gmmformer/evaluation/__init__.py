"""How good a model is: ranks, recalls, tables and curves."""

from gmmformer.evaluation.baselines import RIDGE, ZERO_SHOT, Baselines, baselines, verdict
from gmmformer.evaluation.evaluating import (
    QUERY_BATCH,
    VIDEO_BATCH,
    Evaluation,
    NotFiniteError,
    embed_queries,
    embed_videos,
    evaluate,
    evaluate_vectors,
    room_for,
)
from gmmformer.evaluation.linear import Linear, levelled
from gmmformer.evaluation.ranking import (
    RECALL_AT,
    Metrics,
    TopVideos,
    chance,
    metrics_of,
    rank_videos,
    ranks,
    top_videos,
)
from gmmformer.evaluation.report import metrics_table, plot_curves

__all__ = [
    "QUERY_BATCH",
    "RECALL_AT",
    "RIDGE",
    "VIDEO_BATCH",
    "ZERO_SHOT",
    "Baselines",
    "Evaluation",
    "Linear",
    "Metrics",
    "NotFiniteError",
    "TopVideos",
    "baselines",
    "chance",
    "embed_queries",
    "embed_videos",
    "evaluate",
    "evaluate_vectors",
    "levelled",
    "metrics_of",
    "metrics_table",
    "plot_curves",
    "rank_videos",
    "ranks",
    "room_for",
    "top_videos",
    "verdict",
]
