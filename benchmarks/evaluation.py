"""Speed of a whole evaluation, from files to recalls, against a straight loop over videos and sentences.

    python benchmarks/evaluation.py [--videos 2179] [--loop-videos 20] [--device cpu]

Both read the same simulated collection of TVR's shape (3,072-d rows, five sentences a video) through the page cache.
The straight loop takes one video at a time, one sentence at a time, then one score at a time; it runs on a part of each
and is scaled to the whole. The share is of the rate at which this machine multiplies matrices, measured in the same
run, reached by our form's multiplications.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gmmformer.config import ModelConfig
from gmmformer.data import Collection, simulate
from gmmformer.evaluation import embed_queries, embed_videos, evaluate, rank_videos, ranks
from gmmformer.evaluation.evaluating import room_for
from gmmformer.model import GMMFormer, VideoEmbeddings, query_batch, video_batch
from simplest import SimplestGMMFormer
from training import matrix_rate

SPLIT = "test"


class Stages(NamedTuple):
    """Seconds that each part of an evaluation takes."""

    videos: float
    sentences: float
    ranking: float

    @property
    def whole(self) -> float:
        return sum(self)


def seconds(run: Callable[[], object], device: str) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


@torch.inference_mode()
def straight_loop(model: SimplestGMMFormer, collection: Collection, videos: int) -> Stages:
    """One thing at a time, on the first `videos` and their sentences; scaled to the whole split."""
    captions = collection.captions(SPLIT)
    of_part = np.flatnonzero(captions.video_of_query < videos)
    embedded: list[VideoEmbeddings] = []
    queries: list[Tensor] = []
    scores = np.zeros((len(of_part), videos), np.float32)

    def embed() -> None:
        for video in captions.video_ids[:videos]:
            rows = collection.frames.views_of([video])
            embedded.append(model.embed_video(video_batch(rows, model.config)))

    def encode() -> None:
        for query in of_part:
            tokens = [collection.text.tokens_of(captions.caption_ids[query])]
            queries.append(model.embed_query(query_batch(tokens, model.config))[0])

    def score() -> None:
        for n, query in enumerate(queries):
            for b, (clips, whole) in enumerate(embedded):
                best = F.cosine_similarity(query, clips[0], dim=-1).max()
                scores[n, b] = 0.7 * best + 0.3 * F.cosine_similarity(query, whole[0], dim=0)
        ranks(scores, captions.video_of_query[of_part])

    of_videos = len(captions.video_ids) / videos
    of_sentences = len(captions.caption_ids) / len(of_part)
    return Stages(
        seconds(embed, "cpu") * of_videos,
        seconds(encode, "cpu") * of_sentences,
        seconds(score, "cpu") * of_videos * of_sentences,
    )


@torch.inference_mode()
def ours(model: GMMFormer, collection: Collection, workers: int) -> Stages:
    """The parts of `evaluate`, each timed."""
    captions, device = collection.captions(SPLIT), model.device.type
    own = torch.from_numpy(captions.video_of_query)
    queries = torch.empty(0)

    def encode() -> None:
        nonlocal queries
        queries = embed_queries(model, collection, SPLIT, workers=workers)

    with room_for(captions, model.config.map_size, model.config.hidden, model.device) as fused:
        return Stages(
            seconds(lambda: embed_videos(model, collection, SPLIT, fused, workers=workers), device),
            seconds(encode, device),
            seconds(lambda: rank_videos(queries, fused, own, model.groups), device),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=2179, help="videos of the split; 1 MB of disk each")
    parser.add_argument("--loop-videos", type=int, default=20, help="videos that the straight loop takes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = GMMFormer(ModelConfig(feature_dim=3072, query_dim=768)).eval()
    simplest = SimplestGMMFormer(model.config).eval()
    simplest.load_state_dict(model.state_dict())
    model.to(options.device)
    with tempfile.TemporaryDirectory(prefix="gmmformer-benchmark-") as folder:
        simulated = simulate(Path(folder), videos=(0, 0, options.videos))
        collection = Collection.open(simulated.root, simulated.name)
        captions = collection.captions(SPLIT)
        part = min(options.loop_videos, options.videos)
        with FlopCounterMode(display=False) as counter:
            evaluate(model, collection, SPLIT)
        straight_loop(simplest, collection, 2)
        loop = straight_loop(simplest, collection, part)
        parts = ours(model, collection, options.workers)
        whole = seconds(lambda: evaluate(model, collection, SPLIT, workers=options.workers), options.device)
    print(f"{len(captions.video_ids):,} videos, {len(captions.caption_ids):,} sentences, {options.device}")
    print(f"straight loop: the first {part} videos and their sentences on the CPU, scaled to all")
    print(f"{'part':14}{'straight loop':>15}{'ours':>10}{'ratio':>10}")
    rows = [(name, theirs, mine) for name, theirs, mine in zip(Stages._fields, loop, parts, strict=True)]
    for name, theirs, mine in [*rows, ("whole", loop.whole, whole)]:
        print(f"{name:14}{theirs:13.2f} s{mine:8.2f} s{theirs / mine:9.1f}x")
    rate, work = matrix_rate(torch.float32, options.device), counter.get_total_flops()
    print(f"matrix products {rate / 1e9:,.0f} GF/s; ours {work / whole / rate:.0%} of it ({work / 1e9:,.0f} GF in all)")


if __name__ == "__main__":
    main()
