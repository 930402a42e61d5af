"""How good a model is: ranks, recalls, tables and curves."""

from gmmformer.evaluation.evaluate import Evaluation, check_widths, embed_queries, embed_videos, evaluate
from gmmformer.evaluation.metrics import Metrics, chance, metrics_of, ranks
from gmmformer.evaluation.ranking import TopVideos, rank_videos, top_videos
from gmmformer.evaluation.report import metrics_table, plot_curves

__all__ = [
    "Evaluation",
    "Metrics",
    "TopVideos",
    "chance",
    "check_widths",
    "embed_queries",
    "embed_videos",
    "evaluate",
    "metrics_of",
    "metrics_table",
    "plot_curves",
    "rank_videos",
    "ranks",
    "top_videos",
]
