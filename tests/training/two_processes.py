"""What test_processes.py runs under torchrun: python -m torch.distributed.run ... two_processes.py SETTINGS OUT."""

import json
import os
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric

from gmmformer.config import Kind, ModelConfig, RunConfig, TrainConfig
from gmmformer.model import QueryBatch, VideoBatch, devices, new_network
from gmmformer.training import train
from gmmformer.training.processes import gather, launch, seed_step

CONFIG = ModelConfig(
    feature_dim=6, query_dim=5, hidden=16, heads=2, map_size=4, max_ctx_l=12, max_desc_l=6, drop=0.0, input_drop=0.0
)
TRAIN = TrainConfig(hard_pool_size=3, diversity_weight=0.1, matching_weight=0.2)


def encode_share(model: torch.nn.Module, videos: int, rank: int, world: int) -> tuple[torch.Tensor, ...]:
    """The embeddings and labels of this process's share of a batch of `videos`; video k has 2 or 1 sentences."""
    generator = torch.Generator().manual_seed(videos)
    parts = []
    for video in range(videos):
        frames, sentences = 1 + (5 * video) % 12, 2 - video % 2
        parts.append(
            (
                torch.randn(1, 4, 6, generator=generator),
                torch.randn(frames, 6, generator=generator),
                torch.randn(2 * sentences, 5, generator=generator),
                torch.full((sentences,), video),
            )
        )
    share = torch.arange(videos).tensor_split(world)[rank].tolist()
    none = (torch.empty(0, 4, 6), torch.empty(0, 6), torch.empty(0, 5), torch.empty(0, dtype=torch.int64))
    clips, frames, tokens, labels = (
        torch.cat([none[kind], *(parts[video][kind] for video in share)]) for kind in range(4)
    )
    lengths = torch.tensor([len(parts[video][1]) for video in share], dtype=torch.int64)
    queries = QueryBatch(tokens, torch.full((len(labels),), 2))
    return *model(queries, VideoBatch(clips, frames, lengths)), labels


def compare(fabric: Fabric, network: Kind, videos: int, hard: bool) -> dict[str, object]:
    """How far loss and gradients of this process, averaged over all, are from those of one process."""
    torch.manual_seed(0)
    model = new_network(replace(CONFIG, network=network))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    alone = new_network(model.config)
    alone.load_state_dict(model.state_dict())
    wrapped = fabric.setup(model)

    queries, embedded, labels = encode_share(wrapped, videos, fabric.global_rank, fabric.world_size)
    everyone = gather(fabric, queries, embedded, labels, fabric.global_rank == 1)
    generator = seed_step(1, 2, fabric.global_rank)
    shared = model.objective(everyone.queries, everyone.videos, everyone.labels, TRAIN, hard=hard, generator=generator)[
        "total"
    ]
    fabric.backward(shared)

    queries, embedded, labels = encode_share(alone, videos, 0, 1)
    generator = seed_step(1, 2, 0)
    single = alone.objective(queries, embedded, labels, TRAIN, hard=hard, generator=generator)["total"]
    single.backward()
    gradients = zip(model.parameters(), alone.parameters(), strict=True)
    return {
        "network": network,
        "videos": videos,
        "loss": abs(shared.item() - single.item()),
        "gradient": max((ours.grad - theirs.grad).abs().max().item() for ours, theirs in gradients),
        "largest": max(theirs.grad.abs().max().item() for theirs in alone.parameters()),
        "labels_equal": bool(torch.equal(everyone.labels, labels)),
        "stop": everyone.stop,
    }


def main() -> None:
    settings, out = Path(sys.argv[1]), Path(sys.argv[2])
    devices.relative_time = lambda _: 0.5 if int(os.environ["RANK"]) else 2.0  # bfloat16 pays for the second alone
    fabric, run = launch(RunConfig(device="cpu", workers=0))
    kinds: tuple[Kind, ...] = ("v1", "v2")
    found = [compare(fabric, kind, videos, hard) for kind in kinds for videos in (6, 5, 2, 1) for hard in (True, False)]
    (out / f"{fabric.global_rank}.json").write_text(json.dumps(found))
    (out / f"{fabric.global_rank}.precision").write_text(run.precision)
    train(path=out / "run", **pickle.loads(settings.read_bytes()))


if __name__ == "__main__":
    main()
