"""The recall of any embedder on a split of a collection, so that the choice between models can be measured."""

import time
from collections.abc import Iterator

import torch

from gmmformer.data import Collection
from gmmformer.data.progress import Progress, silent
from gmmformer.data.read_ahead import read_ahead
from gmmformer.errors import InputError
from gmmformer.evaluation import QUERY_BATCH, VIDEO_BATCH, Evaluation, evaluate_vectors
from gmmformer.model import VectorGroup
from gmmformer.search.encoders import Encoders


@torch.inference_mode()
def evaluate_encoders(
    encoders: Encoders,
    collection: Collection,
    split: str,
    *,
    top: int = 10,
    workers: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Rank every video of a split for every sentence of it, the sentences read by the encoders themselves.

    Args:
        encoders: What a library would be made with: a dual encoder, a trained model, or a mix of both.
        collection: Features of the frame encoder that they take.
        split: Name of a caption file of the collection.
        top: Best videos to keep for each sentence.
        workers: Threads that read ahead.
        progress: Called as videos are embedded.

    Raises:
        InputError: The features are of another encoder, or sentences are missing.
    """
    started = time.perf_counter()
    embedder, captions = encoders.embedder, collection.captions(split)
    wanted, found = encoders.frames.name, collection.origin().video_encoder
    if collection.frames.dim != embedder.feature_dim or found not in (None, wanted):
        raise InputError(
            f"{collection.frames.folder}: holds {collection.frames.dim}-dimensional features of "
            f"{found or 'an unknown encoder'}, but {embedder.name} takes {embedder.feature_dim}-dimensional ones of "
            f"{wanted}; extract the films with --video-encoder {wanted}"
        )
    names = captions.video_ids
    fused = torch.empty(len(names), embedder.clips, embedder.dim)
    batches = [names[first : first + VIDEO_BATCH] for first in range(0, len(names), VIDEO_BATCH)]
    done = 0
    for rows in read_ahead(collection.frames.views_of, batches, workers):
        fused[done : done + len(rows)] = embedder.embed_windows(rows)
        done += len(rows)
        progress("videos", done, len(names))
    queries = torch.cat(
        [torch.from_numpy(embedder.embed_sentences(some)) for some in _batches(list(captions.sentences))]
    )
    groups = (VectorGroup(embedder.clips, 1.0),)
    return evaluate_vectors(queries, fused, captions, groups, top=top, started=started)


def _batches(sentences: list[str]) -> Iterator[list[str]]:
    return (sentences[first : first + QUERY_BATCH] for first in range(0, len(sentences), QUERY_BATCH))
