"""What a model must be better than to be worth its training: straight baselines on the very features it was given.

Ridge regression from each frame to the mean sentence of its video (a sentence being the mean of its tokens), and, where
one dual encoder made both, that encoder as it is. Both score a video by its best frame: by the largest cosine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from gmmformer.config import MOST_POSITIONS, Beside, ModelConfig
from gmmformer.data import Collection, TrainingBatch
from gmmformer.errors import InputError
from gmmformer.evaluation.ranking import Metrics, metrics_of, ranks
from gmmformer.model import QueryBatch

RIDGE, ZERO_SHOT = "ridge", "zero-shot"
MOST_READ = 4 * 2**30
"""Bytes of training features that are read for ridge where nobody asked for it."""

_BATCH = 100
_FOLDS = 5
_HELD_OUT = 200
"""Most training videos of a fold, on which strengths are compared; with more there is one fold."""
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Of the ridge, in parts of the frames' mean variance."""
_SCORE_BYTES = 2**29
_BLOCK = 512
"""Sentences scored at a time."""


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
    reader = _Reader(collection, workers, progress)
    if (of_encoder := reader.zero_shot(split)) is not None:
        metrics[ZERO_SHOT] = of_encoder
    try:
        reason = _reason_against(collection, split, train_split, which)
        if reason is None:
            metrics[RIDGE] = reader.ridge(split, train_split)
    except InputError as error:  # of training features, which a model that is there needs no more
        reason = str(error)
    return Baselines(metrics, () if reason is None else (f"{RIDGE} is left out: {reason}",))


def verdict(model: Metrics, others: Mapping[str, Metrics], collection: Collection, train_split: str = "train") -> str:
    """Which baseline a model is not better than, by SumR, and what to do; "" if it is better than all."""
    better = {name: found.sum_recall for name, found in others.items() if found.sum_recall >= model.sum_recall}
    if not better:
        return ""
    names = " and ".join(f"{name} ({value:.2f})" for name, value in better.items())
    advice = [f"give it more captions than the {_sentences(collection, train_split)}"]
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
    size = 4 * collection.frames.dim * sum(_rows(collection.frames.rows_of(video)) for video in ids)
    if which == "auto" and size > MOST_READ:
        return f"it reads {size / 1e9:.1f} GB of training features; say --baselines all to have it"
    return None


def _rows(rows: slice | Int[np.ndarray, "frames"]) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


class _Reader:
    """Passes over a collection, batch by batch."""

    def __init__(self, collection: Collection, workers: int, progress: bool) -> None:
        self.collection, self.workers, self.progress = collection, workers, progress
        self.config = ModelConfig(
            feature_dim=collection.frames.dim, query_dim=collection.text.dim, max_desc_l=MOST_POSITIONS
        )

    def zero_shot(self, split: str) -> Metrics | None:
        """That of the dual encoder which made frames and sentences; None if none did."""
        origin, collection = self.collection.origin(), self.collection
        if origin.video_encoder is None or origin.video_encoder != origin.text_encoder:
            return None
        if collection.frames.dim != collection.text.dim:
            return None
        return self._measured(split, ZERO_SHOT, self._sentences(split, _last), lambda frames: frames)

    def ridge(self, split: str, train_split: str) -> Metrics:
        """That of ridge regression."""
        videos = len(self.collection.captions(train_split).video_ids)
        every = max(min(_FOLDS, videos // 2), videos // _HELD_OUT)  # of so many videos one is held out
        folds = every if every <= _FOLDS else 1
        held_out = [np.arange(fold, videos, every) for fold in range(folds)] if every > 1 else []
        sums = self._added_up(train_split, np.arange(videos))
        strength = self._strength(sums, held_out, train_split)
        fitted = _Ridge.of(sums, strength)
        return self._measured(split, RIDGE, fitted.queries(self._sentences(split, _mean)), fitted.frames)

    def _added_up(self, split: str, videos: Int[np.ndarray, "videos"]) -> "_Sums":
        sums = _Sums.none(self.config)
        with self._bar("ridge", len(videos)) as bar:
            for batch in self._training(split, videos):
                sentences = _means(_mean(batch.queries), torch.bincount(batch.labels))
                sums.add(batch.videos.frames, sentences.repeat_interleave(batch.videos.lengths, 0))
                bar.update(len(sentences))
        return sums

    def _strength(self, sums: "_Sums", held_out: Sequence[Int[np.ndarray, "_videos"]], split: str) -> float:
        """The strength that ranks held-out training videos best, by the mean reciprocal rank over all that are."""
        if not held_out:
            return _STRENGTHS[len(_STRENGTHS) // 2]
        found = np.zeros(len(_STRENGTHS))
        for videos in held_out:
            rest = sums - self._added_up(split, videos)
            batches = list(self._training(split, videos))
            sentences = torch.cat([_mean(batch.queries) for batch in batches])
            own = torch.cat([batch.labels + number * _BATCH for number, batch in enumerate(batches)]).numpy()
            for index, strength in enumerate(_STRENGTHS):
                fitted = _Ridge.of(rest, strength)
                queries = fitted.queries(sentences)
                parts = [_best(queries, fitted.frames(batch.videos.frames), batch.videos.lengths) for batch in batches]
                found[index] += (1 / ranks(np.concatenate(parts, 1), own)).sum()
        return _STRENGTHS[int(found.argmax())]

    def _training(self, split: str, videos: Int[np.ndarray, "videos"]) -> Iterator[TrainingBatch]:
        return self.collection.training_batches(
            split, self.config, batch_size=_BATCH, order=videos, workers=self.workers
        )

    def _sentences(self, split: str, vector: Callable[[QueryBatch], Tensor]) -> Float[Tensor, "queries dim"]:
        batches = self.collection.query_batches(split, self.config, batch_size=_BATCH, workers=self.workers)
        return torch.cat([vector(batch) for batch in batches])

    def _measured(
        self,
        split: str,
        name: str,
        queries: Float[Tensor, "queries dim"],
        project: Callable[[Tensor], Tensor],
    ) -> Metrics:
        """Rank all videos for all sentences by their best frame; scores lie in memory for some sentences at a time."""
        captions = self.collection.captions(split)
        videos = len(captions.video_ids)
        step = max(1, _SCORE_BYTES // (4 * videos))
        found = []
        with self._bar(name, videos * -(-len(queries) // step)) as bar:
            for some, own in zip(
                torch.split(queries, step),
                np.split(captions.video_of_query, range(step, len(queries), step)),
                strict=True,
            ):
                scores, done = np.empty((len(some), videos), np.float32), 0
                for batch in self.collection.video_batches(split, self.config, batch_size=_BATCH, workers=self.workers):
                    count = len(batch.lengths)
                    scores[:, done : done + count] = _best(some, project(batch.frames), batch.lengths)
                    done += count
                    bar.update(count)
                found.append(ranks(scores, own))
        return metrics_of(np.concatenate(found), videos)

    def _bar(self, what: str, total: int) -> "tqdm[Any]":
        return tqdm(total=total, desc=what, unit="video", disable=not self.progress, leave=False)


@dataclass
class _Sums:
    """What ridge needs to know of some pairs of a frame and a sentence: sums of them and of their products."""

    pairs: int
    frame: Float[Tensor, "wide"]
    sentence: Float[Tensor, "dim"]
    square: Float[Tensor, "wide wide"]
    product: Float[Tensor, "wide dim"]

    @classmethod
    def none(cls, config: ModelConfig) -> "_Sums":
        """Of no pairs."""
        wide, dim = config.feature_dim, config.query_dim
        return cls(
            0, *(torch.zeros(shape, dtype=torch.float64) for shape in ((wide,), (dim,), (wide, wide), (wide, dim)))
        )

    def add(self, frames: Float[Tensor, "pairs wide"], sentences: Float[Tensor, "pairs dim"]) -> None:
        """Take in some pairs."""
        self.pairs += len(frames)
        self.frame += frames.sum(0)
        self.sentence += sentences.sum(0)
        self.square += frames.T @ frames
        self.product += frames.T @ sentences

    def __sub__(self, other: "_Sums") -> "_Sums":
        return _Sums(*(mine - others for mine, others in zip(vars(self).values(), vars(other).values(), strict=True)))


class _Ridge(NamedTuple):
    """A linear map from frames to sentences, both less their means."""

    frame: Float[Tensor, "wide"]
    sentence: Float[Tensor, "dim"]
    weight: Float[Tensor, "wide dim"]

    @classmethod
    def of(cls, sums: _Sums, strength: float) -> "_Ridge":
        """The one with the least squared error and `strength` times the frames' mean variance times its square."""
        frame, sentence = sums.frame / sums.pairs, sums.sentence / sums.pairs
        square = sums.square / sums.pairs - torch.outer(frame, frame)
        product = sums.product / sums.pairs - torch.outer(frame, sentence)
        least = torch.finfo(torch.float32).eps  # of unit rows; all frames may be one
        square.diagonal().add_(strength * square.diagonal().mean().clamp_min(least))
        weight = torch.cholesky_solve(product, torch.linalg.cholesky(square))
        return cls(frame.float(), sentence.float(), weight.float())

    def queries(self, sentences: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries dim"]:
        """Sentences as unit vectors."""
        return F.normalize(sentences - self.sentence, dim=1)

    def frames(self, frames: Float[Tensor, "rows wide"]) -> Float[Tensor, "rows dim"]:
        """Frames as unit vectors among the sentences."""
        return F.normalize((frames - self.frame) @ self.weight, dim=1)


def _mean(batch: QueryBatch) -> Float[Tensor, "queries dim"]:
    return F.normalize(_means(batch.tokens, batch.lengths), dim=1)


def _last(batch: QueryBatch) -> Float[Tensor, "queries dim"]:
    """The last vector of each sentence, which is a dual encoder's for all of it."""
    return batch.tokens[batch.lengths.cumsum(0) - 1]


def _means(rows: Float[Tensor, "rows dim"], lengths: Int[Tensor, "groups"]) -> Float[Tensor, "groups dim"]:
    return torch.segment_reduce(rows, "mean", lengths=lengths)


def _best(
    queries: Float[Tensor, "queries dim"], frames: Float[Tensor, "rows dim"], lengths: Int[Tensor, "videos"]
) -> Float[np.ndarray, "queries videos"]:
    """The score of the best frame of each video for each query."""
    starts = (lengths.cumsum(0) - lengths).numpy()
    parts = [np.maximum.reduceat((some @ frames.T).numpy(), starts, axis=1) for some in torch.split(queries, _BLOCK)]
    return np.concatenate(parts)
