"""Results as people want to see them: a table for the terminal, curves for the eye."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gmmformer.evaluation.ranking import RECALL_AT, Metrics
from gmmformer.files import written_whole


def metrics_table(rows: dict[str, Metrics]) -> str:
    """Aligned lines of text: a header, then a line for each named result.

    >>> from gmmformer.evaluation import chance
    >>> print(metrics_table({"chance": chance(200, 1000)}))
              R@1    R@5   R@10  R@100   SumR   MedR     MRR
    chance   0.50   2.50   5.00  50.00  58.00  100.5  0.0294
    """
    width = max(map(len, rows))
    header = " " * width + "".join(f"{f'R@{k}':>7}" for k in RECALL_AT) + f"{'SumR':>7}{'MedR':>7}{'MRR':>8}"
    lines = [
        f"{name:<{width}}"
        + "".join(f"{value:7.2f}" for value in (*result.recall, result.sum_recall))
        + f"{result.median_rank:7.1f}{result.mean_reciprocal_rank:8.4f}"
        for name, result in rows.items()
    ]
    return "\n".join([header, *lines])


def plot_curves(epochs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the loss and the recalls of the epochs (lines of metrics.jsonl) as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    at = [record["epoch"] + 1 for record in epochs]
    figure = Figure(figsize=(10, 4))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.13, top=0.92, wspace=0.18)  # to fit it takes twice the time
    loss, recall = figure.subplots(1, 2)
    marker = "o" if len(at) < 30 else None
    loss.plot(at, [record["total"] for record in epochs], color="#4c566a", marker=marker, markersize=3)
    loss.set(title="Training loss", xlabel="epoch", ylabel="loss")
    for k, colour in zip(RECALL_AT, ("#bf616a", "#d08770", "#5e81ac", "#8fbcbb"), strict=True):
        recall.plot(
            at, [record[f"R@{k}"] for record in epochs], label=f"R@{k}", color=colour, marker=marker, markersize=3
        )
    best = max(epochs, key=lambda record: record["SumR"])
    recall.axvline(best["epoch"] + 1, color="#4c566a", linewidth=0.8, linestyle=":")
    recall.set(
        title=f"Validation: best SumR {best['SumR']:.1f} in epoch {best['epoch'] + 1}", xlabel="epoch", ylabel="percent"
    )
    recall.set_ylim(0, 100)
    recall.legend(loc="upper left", frameon=False)
    for axes in (loss, recall):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    with written_whole(path) as beside:
        figure.savefig(beside, dpi=130, format="png")
