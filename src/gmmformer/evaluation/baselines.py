"""What a model must be better than to be worth its training: straight baselines on the very features it was given.

Ridge regression from each frame to the mean sentence of its video (a sentence being the mean of its tokens), and, where
one dual encoder made both, that encoder as it is. Both score a video by its best frame: by the largest cosine.
"""

from collections.abc import Mapping
from typing import NamedTuple

from gmmformer.config import Beside
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.evaluation.linear import Linear
from gmmformer.evaluation.ranking import Metrics

RIDGE, ZERO_SHOT = "ridge", "zero-shot"
MOST_READ = 4 * 2**30
"""Bytes of training features that are read for ridge where nobody asked for it."""


class Baselines(NamedTuple):
    """What the baselines come to on a split."""

    metrics: dict[str, Metrics]
    """By "zero-shot" and "ridge", those that could be computed."""
    left_out: tuple[str, ...]
    """A sentence for each that could not though it was asked for: which, and why."""


def baselines(
    collection: Collection,
    split: str,
    *,
    which: Beside = "auto",
    train_split: str = "train",
    workers: int = 0,
    progress: bool = False,
) -> Baselines:
    """Measure the baselines on a split.

    Ridge passes once over the training features, for the strength that finds held-out training videos best. For frames
    of D numbers it holds a few times D D of float64 (0.5 GiB at TVR's 3,072); D D multiplications a frame are what it
    costs: three minutes for TVR on two cores. Frames are those that a model sees: at most 128 of a video.

    Args:
        collection: The features.
        split: What is ranked.
        which: "auto" leaves ridge out where more than 4 GiB of training features would be read for it; "none" both.
        train_split: Caption file that ridge learns from.
        workers: Threads that read ahead.
        progress: Whether to show a progress bar on stderr.

    Raises:
        InputError: The split is not there, or its features are not whole.
    """
    metrics: dict[str, Metrics] = {}
    if which == "none":
        return Baselines(metrics, ())
    linear = Linear(collection, workers=workers, progress=progress)
    if linear.one_space:
        metrics[ZERO_SHOT] = linear.zero_shot(split)
    try:
        reason = _reason_against(collection, split, train_split, which)
        if reason is None:
            metrics[RIDGE] = linear.ridge(split, train_split)
    except InputError as error:  # of training features, which a model that is there needs no more
        reason = str(error)
    return Baselines(metrics, () if reason is None else (f"{RIDGE} is left out: {reason}",))


def verdict(model: Metrics, others: Mapping[str, Metrics], collection: Collection, train_split: str = "train") -> str:
    """Which baseline a model is not better than, by SumR, and what to do; "" if it is better than all."""
    better = {name: found.sum_recall for name, found in others.items() if found.sum_recall >= model.sum_recall}
    if not better:
        return ""
    names = " and ".join(f"{name} ({value:.2f})" for name, value in better.items())
    advice = [f"give it more captions than the {_sentences(collection, train_split)}", "begin with train --preset few"]
    if ZERO_SHOT in better:
        encoder = f"zero-shot:{collection.origin().video_encoder}"
        advice += [f"mix the two (index --with {encoder})", f"or search without it (index --model {encoder})"]
    return f"the model (SumR {model.sum_recall:.2f}) is not better than {names} on the same features: " + ", ".join(
        advice
    )


def _sentences(collection: Collection, train_split: str) -> str:
    try:
        captions = collection.captions(train_split)
    except InputError:
        return "ones it was trained on"
    return f"{len(captions.caption_ids):,} on {len(captions.video_ids):,} videos of {train_split}"


def _reason_against(collection: Collection, split: str, train_split: str, which: Beside) -> str | None:
    if split == train_split:
        return f"it would be measured on {train_split}, which it learns from"
    ids = collection.captions(train_split).video_ids
    size = 4 * collection.frames.dim * sum(collection.frames.count_of(video) for video in ids)
    if which == "auto" and size > MOST_READ:
        return f"it reads {size / 1e9:.1f} GB of training features; say --baselines all to have it"
    return None
