"""Evaluation of a model on one split of a collection, at any size of it."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from gmmformer.cores import keep_memory
from gmmformer.data import Captions, Collection
from gmmformer.errors import InputError
from gmmformer.evaluation.ranking import (
    Metrics,
    TopVideos,
    metrics_of,
    own_and_clip_scores,
    rank_videos,
    top_videos,
)
from gmmformer.files import written_whole
from gmmformer.model import Network, VectorGroup

VIDEO_BATCH, QUERY_BATCH = 100, 50
"""The published batches; with window="batch" the first is part of the result."""

_RESIDENT_BYTES = 2**31
_LOOKED_AT = 2**23
"""Numbers that are looked through at a time."""


class NotFiniteError(InputError):
    """A model makes no numbers of what it is given, so that scores would be nonsense."""

    def __init__(self, what: str, remedy: str = "take another model, or train it anew with a lower --lr") -> None:
        super().__init__(f"{what}, so scores would be nonsense; {remedy}")
        self.what = what


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What `evaluate` found."""

    metrics: Metrics
    ranks: Int[np.ndarray, "queries"]
    """The rank of each sentence's own video (or of the best right one, if it has several), 1 the best, in the order of
    the caption file."""
    scores: Float[np.ndarray, "queries"]
    """The score of each sentence against its own video."""
    clip_scores: Float[np.ndarray, "queries clips"]
    """How the clips of its own video score for each sentence."""
    top: TopVideos
    """The best videos of each sentence."""
    captions: Captions
    seconds: float
    """Time it took."""

    def as_dict(self) -> dict[str, float | int]:
        """What `gmmformer evaluate --json` prints."""
        return {**self.metrics.as_dict(), "seconds": round(self.seconds, 3)}

    def write_ranks(self, path: Path) -> None:
        """Write a JSON line per sentence: its rank, its score, the best videos and their winning clips."""
        with written_whole(path) as beside, beside.open("w", encoding="utf-8") as file:
            for record in self._records():
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _records(self) -> Iterator[dict[str, Any]]:
        captions, ids = self.captions, self.captions.video_ids
        top = zip(*(column.tolist() for column in self.top), strict=True)
        for query, (videos, scores, clips) in enumerate(top):
            yield {
                "caption_id": captions.caption_ids[query],
                "video": ids[captions.video_of_query[query]],
                "rank": int(self.ranks[query]),
                "score": float(self.scores[query]),
                "top": [
                    {"video": ids[video], "score": score, "clip": clip}
                    for video, score, clip in zip(videos, scores, clips, strict=True)
                ],
            }


@torch.inference_mode()
def evaluate(
    model: Network,
    collection: Collection,
    split: str,
    *,
    top: int = 10,
    right: Int[np.ndarray, "pairs 2"] | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Evaluation:
    """Rank every video of a split for every sentence of it.

    Args:
        model: The model, on the device to use; it is put into evaluation mode and back.
        collection: Features of the kind that the model was trained on.
        split: Name of a caption file of the collection, such as "test".
        top: Best videos to keep for each sentence.
        right: What `read_right_videos` gives, where sentences have several right videos.
        workers: Threads that read ahead.
        progress: Whether to show a progress bar on stderr.

    Raises:
        InputError: The features are not of the model's width, or the data are not whole; a `NotFiniteError` where what
            the model makes of them is not finite.
    """
    started = time.perf_counter()
    collection.see_fits(model.config)
    captions = collection.captions(split)
    training = model.training
    model.eval()
    try:
        vectors = sum(group.vectors for group in model.groups)
        with room_for(captions, vectors, model.config.hidden, model.device) as stored:
            queries = embed_queries(model, collection, split, workers=workers, progress=progress)
            embed_videos(model, collection, split, stored, workers=workers, progress=progress)
            return evaluate_vectors(queries, stored, captions, model.groups, top=top, right=right, started=started)
    finally:
        model.train(training)


def evaluate_vectors(
    queries: Float[Tensor, "queries dim"],
    stored: Float[Tensor, "videos vectors dim"],
    captions: Captions,
    groups: Sequence[VectorGroup],
    *,
    top: int = 10,
    right: Int[np.ndarray, "pairs 2"] | None = None,
    started: float | None = None,
) -> Evaluation:
    """Rank videos for sentences, both given as vectors.

    Args:
        queries: Unit vectors of the sentences of a split, in the order of its caption file.
        stored: Vectors of its videos, in the order of their first appearance there.
        captions: The split.
        groups: How inner products with the vectors of a video make a score.
        top: Best videos to keep for each sentence.
        right: What `read_right_videos` gives, where sentences have several right videos.
        started: `time.perf_counter()` when the work began, for `Evaluation.seconds`.

    Raises:
        NotFiniteError: A vector is not finite; the message names its sentence or video.
    """
    started = time.perf_counter() if started is None else started
    _see_finite(queries, "sentence", captions.caption_ids)
    _see_finite(stored, "video", captions.video_ids)
    video_of_query = torch.from_numpy(captions.video_of_query)
    pairs = None if right is None else torch.from_numpy(right)
    found = rank_videos(queries, stored, video_of_query, groups, right=pairs).cpu().numpy()
    scores, clip_scores = own_and_clip_scores(queries, stored, video_of_query, groups)
    return Evaluation(
        metrics=metrics_of(found, len(captions.video_ids)),
        ranks=found,
        scores=scores.cpu().numpy(),
        clip_scores=clip_scores.cpu().numpy(),
        top=TopVideos(*(column.cpu() for column in top_videos(queries, stored, top, groups))),
        captions=captions,
        seconds=time.perf_counter() - started,
    )


def embed_queries(
    model: Network, collection: Collection, split: str, *, workers: int = 0, progress: bool = False
) -> Float[Tensor, "queries hidden"]:
    """The unit vectors of all sentences of a split, in the order of its caption file, on the model's device."""
    keep_memory()
    batches = collection.query_batches(split, model.config, batch_size=QUERY_BATCH, workers=workers)
    total = len(collection.captions(split).caption_ids)
    parts = []
    with tqdm(total=total, desc="sentences", unit="sentence", disable=not progress, leave=False) as bar:
        for batch in batches:
            parts.append(model.encode_query(batch))
            bar.update(len(batch.lengths))
    return torch.cat(parts)


def embed_videos(
    model: Network,
    collection: Collection,
    split: str,
    into: Float[Tensor, "videos vectors hidden"],
    *,
    workers: int = 0,
    progress: bool = False,
) -> None:
    """Fill `into` with the vectors of all videos of a split, in the order of their first appearance."""
    keep_memory()
    done = 0
    with tqdm(total=len(into), desc="videos", unit="video", disable=not progress, leave=False) as bar:
        for batch in collection.video_batches(split, model.config, batch_size=VIDEO_BATCH, workers=workers):
            vectors = model.encode_video(batch)
            into[done : done + len(vectors)] = vectors
            done += len(vectors)
            bar.update(len(vectors))


@contextmanager
def room_for(
    captions: Captions, vectors: int, dim: int, device: torch.device | str = "cpu"
) -> Iterator[Float[Tensor, "videos vectors dim"]]:
    """Room for the vectors of a split's videos: on `device`, or in a mapped temporary file if they are many."""
    shape = (len(captions.video_ids), vectors, dim)
    if 4 * int(np.prod(shape)) <= _RESIDENT_BYTES:
        yield torch.empty(shape, device=device)
        return
    with tempfile.TemporaryFile(prefix="gmmformer-") as file:
        yield torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))


def _see_finite(vectors: Float[Tensor, "things ..."], what: str, names: Sequence[str]) -> None:
    step = max(1, _LOOKED_AT // vectors[:1].numel()) if len(vectors) else 1
    for first in range(0, len(vectors), step):
        finite = torch.isfinite(vectors[first : first + step].flatten(1).sum(1))  # NaN and infinity outlast a sum
        if not finite.all():
            name = names[first + int(finite.logical_not().nonzero()[0])]
            raise NotFiniteError(f"the model makes NaN or infinity of {what} {name!r}")
