"""What an evaluation found, as one object that report.json holds and the pages are made of."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from gmmformer.cores import usable_cores
from gmmformer.data import Captions, Collection
from gmmformer.evaluation.bootstrap import LEVEL, RESAMPLES, SEED, Interval, intervals, mean_intervals
from gmmformer.evaluation.evaluating import Evaluation
from gmmformer.evaluation.moments import clip_rows, moments_of, score_curve
from gmmformer.evaluation.ranking import Metrics, chance, metrics_of

FORMAT = 1
"""Version of report.json."""
SHARES = (0.0, 0.2, 0.4, 1.0)
"""Edges of the shares of its video that a moment takes, as the field divides them: (0, 0.2], (0.2, 0.4], (0.4, 1]."""
OVERLAPS = (0.3, 0.5, 0.7)
WORST = 20

_VERSIONS = ("gmmformer", "torch", "numpy")


class Overlap(NamedTuple):
    """How the moment found in each sentence's own video lies over the one that is known, in rows."""

    found: Float[np.ndarray, "queries 2"]
    """From which row to which."""
    iou: Float[np.ndarray, "queries"]
    """Intersection over union, in [0, 1]; NaN where no moment is known."""


def overlap_of(
    clip_scores: Float[np.ndarray, "queries clips"],
    known: Int[np.ndarray, "queries 2"],
    rows: Int[np.ndarray, "queries"],
) -> Overlap:
    """Find each sentence's moment in its own video and lay it over the known one.

    Args:
        clip_scores: Of the sentence's own video.
        known: First row and row after the last; -1, -1 where it is not known.
        rows: Rows of the video.
    """
    found, iou = np.zeros((len(known), 2)), np.full(len(known), np.nan)
    for query in np.flatnonzero(known[:, 0] >= 0):
        spans = clip_rows(int(rows[query]), clip_scores.shape[1]).astype(np.float64)
        (moment,) = moments_of(score_curve(spans[None], clip_scores[query][None]))
        found[query] = moment.start, moment.end
    both = np.minimum(found[:, 1], known[:, 1]) - np.maximum(found[:, 0], known[:, 0])
    either = np.maximum(found[:, 1], known[:, 1]) - np.minimum(found[:, 0], known[:, 0])
    timed = known[:, 0] >= 0
    iou[timed] = np.maximum(both[timed], 0) / either[timed]
    return Overlap(found, iou)


def findings(
    found: Evaluation,
    collection: Collection,
    split: str,
    *,
    model: str,
    moments: Int[np.ndarray, "queries 2"] | None = None,
    right: Int[np.ndarray, "pairs 2"] | None = None,
    baselines: Mapping[str, Metrics] | None = None,
    about: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """All that a report says of an evaluation on a split.

    Args:
        found: The evaluation.
        collection: What it was of.
        split: Which split of it.
        model: What the model is called.
        moments: What `read_moments` gives, where it gives anything.
        right: What `read_right_videos` gave, if the evaluation was made with it.
        baselines: What was measured beside it.
        about: More that is to be told of how it came about, such as the seed of the training.
        warnings: What readers must know, a sentence each.
    """
    captions, videos = found.captions, len(found.captions.video_ids)
    own = captions.video_of_query
    rows = np.array([collection.frames.count_of(video) for video in captions.video_ids])[own]
    overlap = None if moments is None else overlap_of(found.clip_scores, moments, rows)
    by: dict[str, Any] = {}
    for name, groups in _groups(captions, rows, moments, collection.origin().fps).items():
        by[name] = [{"which": which, **measured(found.ranks[some], own[some], videos)} for which, some in groups]
    beside = {**(baselines or {}), "chance": chance(videos, len(own))}
    at = _cutoffs(videos)
    curve = (found.ranks[:, None] <= at) * 100.0
    several = 0 if right is None else int((np.bincount(right[:, 0], minlength=len(own)) > 1).sum())
    return {
        "format": FORMAT,
        "model": model,
        "collection": collection.name,
        "feature": collection.feature,
        "split": split,
        "sentences": len(own),
        "videos": videos,
        "warnings": list(warnings),
        "metrics": measured(found.ranks, own, videos)["metrics"],
        "beside": {name: one.as_dict() for name, one in beside.items()},
        "several_right": several,
        "by": by,
        "moments": None if overlap is None else _moments(found.ranks, overlap, own),
        "curve": {
            "k": at.tolist(),
            "recall": curve.mean(0).tolist(),
            "intervals": [list(one) for one in mean_intervals(curve, own)],
            "chance": (100 * at / videos).tolist(),
        },
        "worst": list(_worst(found, overlap, moments, rows, collection)),
        "bootstrap": {"over": "videos", "resamples": RESAMPLES, "seed": SEED, "level": LEVEL},
        "about": {**(about or {}), **machine()},
    }


def measured(
    ranks: Int[np.ndarray, "queries"], video_of_query: Int[np.ndarray, "queries"], videos: int
) -> dict[str, Any]:
    """How many sentences, of how many videos, and each metric with its interval."""
    values = metrics_of(ranks, videos).as_dict()
    return {
        "sentences": len(ranks),
        "videos": len(np.unique(video_of_query)),
        "metrics": {
            name: _value(float(values[name]), interval) for name, interval in intervals(ranks, video_of_query).items()
        },
    }


def machine() -> dict[str, Any]:
    """What computed: the machine and the versions that numbers may depend on, and when."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {usable_cores()} cores",
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONS},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _value(value: float, interval: Interval) -> dict[str, float]:
    return {"value": value, **interval._asdict()}


def _cutoffs(videos: int) -> Int[np.ndarray, "cutoffs"]:
    """Whole numbers from 1 to all videos, evenly spaced on a logarithmic scale."""
    return np.unique(np.rint(np.geomspace(1, videos, 60)).astype(np.int64))


def _groups(
    captions: Captions,
    rows: Int[np.ndarray, "queries"],
    moments: Int[np.ndarray, "queries 2"] | None,
    fps: float | None,
) -> dict[str, list[tuple[str, Bool[np.ndarray, "queries"]]]]:
    """The sentences divided by what may make them hard; groups without a sentence are left out."""
    groups = {}
    if moments is not None:
        share = np.where(moments[:, 0] >= 0, (moments[:, 1] - moments[:, 0]) / rows, np.nan)
        some = [(f"{low:g} to {high:g}", (low < share) & (share <= high)) for low, high in pairwise(SHARES)]
        groups["share of the video that the moment takes"] = [(which, them) for which, them in some if them.any()]
    words = np.array([len(sentence.split()) for sentence in captions.sentences])
    groups["length of the video"] = _thirds(rows / (fps or 1.0), "s" if fps else "rows")
    groups["length of the sentence"] = _thirds(words, "words")
    return groups


def _thirds(
    lengths: Int[np.ndarray, "queries"] | Float[np.ndarray, "queries"], unit: str
) -> list[tuple[str, Bool[np.ndarray, "queries"]]]:
    edges = np.quantile(lengths, [1 / 3, 2 / 3], method="lower")
    third = np.searchsorted(edges, lengths, side="left")
    groups = []
    for which in range(3):
        some = third == which
        if some.any():
            low, high = lengths[some].min(), lengths[some].max()
            one = unit.removesuffix("s") or unit if low == high == 1 else unit
            groups.append((f"{low:.0f} {one}" if low == high else f"{low:.0f} to {high:.0f} {unit}", some))
    return groups


def _moments(
    ranks: Int[np.ndarray, "queries"], overlap: Overlap, video_of_query: Int[np.ndarray, "queries"]
) -> dict[str, Any]:
    timed = ~np.isnan(overlap.iou)
    iou, first = overlap.iou[timed], ranks[timed] == 1
    columns = {"mean IoU": iou}
    columns |= {f"R@1, IoU >= {least:g}": 100.0 * (iou >= least) for least in OVERLAPS}
    columns |= {f"R@1, IoU >= {least:g}, video first": 100.0 * ((iou >= least) & first) for least in OVERLAPS}
    spread = mean_intervals(np.column_stack(list(columns.values())), video_of_query[timed])
    return {
        "sentences": int(timed.sum()),
        "metrics": {
            name: _value(float(column.mean()), interval)
            for (name, column), interval in zip(columns.items(), spread, strict=True)
        },
    }


def _worst(
    found: Evaluation,
    overlap: Overlap | None,
    moments: Int[np.ndarray, "queries 2"] | None,
    rows: Int[np.ndarray, "queries"],
    collection: Collection,
) -> Iterator[dict[str, Any]]:
    """The sentences whose video was found last, and what was found in its place; places are shares of the video."""
    captions = found.captions
    for query in np.lexsort((found.scores, -found.ranks))[:WORST].tolist():
        if found.ranks[query] == 1:
            return
        other, clip = int(found.top.videos[query, 0]), int(found.top.clips[query, 0])
        count = collection.frames.count_of(captions.video_ids[other])
        own = None if moments is None or moments[query, 0] < 0 else moments[query]
        yield {
            "caption_id": captions.caption_ids[query],
            "sentence": captions.sentences[query],
            "rank": int(found.ranks[query]),
            "video": captions.video_ids[captions.video_of_query[query]],
            "score": float(found.scores[query]),
            "rows": int(rows[query]),
            "moment": None if own is None else own.tolist(),
            "moment_found": None if own is None or overlap is None else overlap.found[query].tolist(),
            "found": {
                "video": captions.video_ids[other],
                "score": float(found.top.scores[query, 0]),
                "rows": count,
                "moment": clip_rows(count, found.clip_scores.shape[1])[clip].tolist(),
            },
        }
