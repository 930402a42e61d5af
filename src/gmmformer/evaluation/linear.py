"""What linear maps find: frames brought among sentences by ridge regression, or as they are, the best frame's cosine.

A sentence is the mean of its tokens; a frame's target is the mean sentence of its video.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from gmmformer.config import MOST_POSITIONS, ModelConfig
from gmmformer.data import Collection, TrainingBatch
from gmmformer.evaluation.ranking import Metrics, metrics_of, ranks
from gmmformer.model import QueryBatch, Start

_BATCH = 100
_FOLDS = 5
_HELD_OUT = 200
"""Most training videos of a fold, on which maps are compared; with more there is one fold."""
_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Of the ridge, in parts of the frames' mean variance."""
NO_MAP = float("inf")
"""The strength that keeps frames where they are, less their mean: for those of one space with sentences."""
_SCORE_BYTES = 2**29
_BLOCK = 512
"""Sentences scored at a time."""

Prepare = Callable[[Tensor], Tensor]


def as_they_are(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Rows of unit length, as batches have them."""
    return rows


def levelled(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Rows less the mean of their numbers, of unit length again: as input stages see them, but for scale."""
    return F.layer_norm(rows, rows.shape[1:]).div(rows.shape[1] ** 0.5)


class Linear:
    """Linear maps from the frames of a collection to its sentences, fitted and measured batch by batch."""

    def __init__(
        self, collection: Collection, *, prepare: Prepare = as_they_are, workers: int = 0, progress: bool = False
    ) -> None:
        """Look at tokens and frames as `prepare` gives them."""
        self.collection, self.prepare, self.workers, self.progress = collection, prepare, workers, progress
        self.config = ModelConfig(
            feature_dim=collection.frames.dim, query_dim=collection.text.dim, max_desc_l=MOST_POSITIONS
        )

    @property
    def one_space(self) -> bool:
        """Whether one dual encoder made frames and sentences."""
        origin, collection = self.collection.origin(), self.collection
        same = origin.video_encoder is not None and origin.video_encoder == origin.text_encoder
        return same and collection.frames.dim == collection.text.dim

    def zero_shot(self, split: str) -> Metrics:
        """How a dual encoder ranks as it is, the last vector of a sentence being its own."""
        return self._measured(split, "zero-shot", self._sentences(split, _last), lambda frames: frames)

    def ridge(self, split: str, train_split: str) -> Metrics:
        """How ridge regression ranks."""
        sums = self._added_up(train_split, self._videos(train_split))
        fitted = _Map.of(sums, self._best(sums, train_split, _STRENGTHS))
        return self._measured(split, "ridge", fitted.queries(self._sentences(split, self._mean)), fitted.frames)

    def start(self, train_split: str) -> Start:
        """The map that finds held-out training videos best: ridge, or, in one space, none at all."""
        sums = self._added_up(train_split, self._videos(train_split))
        fitted = _Map.of(sums, self._best(sums, train_split, (*_STRENGTHS, *([NO_MAP] if self.one_space else []))))
        sentences = (self._sentences(train_split, self._mean) - fitted.sentence).double()
        values, vectors = torch.linalg.eigh(sentences.T @ sentences / len(sentences))
        frame = sums.frame / sums.pairs
        square = (sums.square / sums.pairs - torch.outer(frame, frame)).float()
        return Start(
            *fitted,
            basis=vectors.flip(1).float(),
            sentence_spread=float(values.sum().clamp_min(0).sqrt()),
            frame_spread=float(((square @ fitted.weight) * fitted.weight).sum().clamp_min(0).sqrt()),
        )

    def _added_up(self, split: str, videos: Int[np.ndarray, "videos"]) -> "_Sums":
        sums = _Sums.none(self.config)
        with self._bar("ridge", len(videos)) as bar:
            for batch in self._training(split, videos):
                sentences = _means(self._mean(batch.queries), torch.bincount(batch.labels))
                sums.add(self.prepare(batch.videos.frames), sentences.repeat_interleave(batch.videos.lengths, 0))
                bar.update(len(sentences))
        return sums

    def _best(self, sums: "_Sums", split: str, strengths: tuple[float, ...]) -> float:
        """The strength that ranks held-out training videos best, by the mean reciprocal rank over all that are."""
        videos = len(self._videos(split))
        every = max(min(_FOLDS, videos // 2), videos // _HELD_OUT)  # of so many videos one is held out
        if every < 2:
            return strengths[-1 if strengths[-1] == NO_MAP else len(strengths) // 2]
        found = np.zeros(len(strengths))
        for fold in range(every if every <= _FOLDS else 1):
            held_out = np.arange(fold, videos, every)
            rest = sums - self._added_up(split, held_out)
            batches = list(self._training(split, held_out))
            sentences = torch.cat([self._mean(batch.queries) for batch in batches])
            own = torch.cat([batch.labels + number * _BATCH for number, batch in enumerate(batches)]).numpy()
            frames = [(self.prepare(batch.videos.frames), batch.videos.lengths) for batch in batches]
            for index, strength in enumerate(strengths):
                fitted = _Map.of(rest, strength)
                queries = fitted.queries(sentences)
                scores = [_best_frame(queries, fitted.frames(rows), lengths) for rows, lengths in frames]
                found[index] += (1 / ranks(np.concatenate(scores, 1), own)).sum()
        return strengths[int(found.argmax())]

    def _videos(self, split: str) -> Int[np.ndarray, "videos"]:
        return np.arange(len(self.collection.captions(split).video_ids))

    def _mean(self, batch: QueryBatch) -> Float[Tensor, "queries dim"]:
        return F.normalize(_means(self.prepare(batch.tokens), batch.lengths), dim=1)

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
                    scores[:, done : done + count] = _best_frame(
                        some, project(self.prepare(batch.frames)), batch.lengths
                    )
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


class _Map(NamedTuple):
    """A linear map from frames to sentences, both less their means."""

    frame: Float[Tensor, "wide"]
    sentence: Float[Tensor, "dim"]
    weight: Float[Tensor, "wide dim"]

    @classmethod
    def of(cls, sums: _Sums, strength: float) -> "_Map":
        """The one with the least squared error and `strength` times the frames' mean variance times its square."""
        frame, sentence = sums.frame / sums.pairs, sums.sentence / sums.pairs
        if strength == NO_MAP:
            return cls(frame.float(), sentence.float(), torch.eye(len(frame)))
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


def _last(batch: QueryBatch) -> Float[Tensor, "queries dim"]:
    """The last vector of each sentence, which is a dual encoder's for all of it."""
    return batch.tokens[batch.lengths.cumsum(0) - 1]


def _means(rows: Float[Tensor, "rows dim"], lengths: Int[Tensor, "groups"]) -> Float[Tensor, "groups dim"]:
    return torch.segment_reduce(rows, "mean", lengths=lengths)


def _best_frame(
    queries: Float[Tensor, "queries dim"], frames: Float[Tensor, "rows dim"], lengths: Int[Tensor, "videos"]
) -> Float[np.ndarray, "queries videos"]:
    """The score of the best frame of each video for each query."""
    starts = (lengths.cumsum(0) - lengths).numpy()
    parts = [np.maximum.reduceat((some @ frames.T).numpy(), starts, axis=1) for some in torch.split(queries, _BLOCK)]
    return np.concatenate(parts)
