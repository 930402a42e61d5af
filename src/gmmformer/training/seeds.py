"""Several runs that differ in their seed alone, one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gmmformer.config import OF_THE_MACHINE
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.evaluation import Metrics
from gmmformer.training.loop import Report, TrainingEnd, resume, train
from gmmformer.training.run_folder import RunSettings


def train_seeds(
    collection: Collection,
    path: str | Path,
    seeds: Sequence[int],
    *,
    preset: str | None = None,
    report: Report | None = None,
    progress: bool = False,
    **settings: Any,
) -> list[TrainingEnd]:
    """Train a run for each seed, in `path`/seed-SEED; what an earlier call left there is gone on with.

    Args:
        collection: The data.
        path: Folder of the runs.
        seeds: A seed for each run.
        preset: As for `train`.
        report: As for `train`.
        progress: As for `train`.
        **settings: As for `train`, but for `seed`.

    Returns:
        The end of each run; fewer than there are seeds, the last one "interrupted", where that was so.

    Raises:
        InputError: As for `train`, or a folder holds a run with other settings.
    """
    ends: list[TrainingEnd] = []
    for seed in seeds:
        own = Path(path) / f"seed-{seed}"
        if (own / "config.json").exists():
            asked = RunSettings.of(collection, preset, **settings, seed=seed)
            _see_same(own, asked)
            machine = {name: getattr(asked.run, name) for name in OF_THE_MACHINE}
            ends.append(resume(own, report=report, progress=progress, **machine))
        else:
            ends.append(train(collection, own, preset=preset, report=report, progress=progress, **settings, seed=seed))
        if ends[-1].stopped == "interrupted":
            break
    return ends


def mean_of(metrics: Sequence[Metrics]) -> Metrics:
    """The metrics that several runs on one split have on average."""
    first = metrics[0]
    return Metrics(
        recall=tuple(np.mean([one.recall for one in metrics], axis=0).tolist()),
        median_rank=float(np.mean([one.median_rank for one in metrics])),
        mean_reciprocal_rank=float(np.mean([one.mean_reciprocal_rank for one in metrics])),
        queries=first.queries,
        videos=first.videos,
    )


def _see_same(path: Path, asked: RunSettings) -> None:
    kept = RunSettings.read(path / "config.json")
    free = (*OF_THE_MACHINE, *(["precision"] if asked.run.precision == "auto" else []))
    like = replace(asked, run=replace(asked.run, **{name: getattr(kept.run, name) for name in free}))
    if kept == like:
        return
    before, now = _flat(kept), _flat(like)
    name = next(name for name in before if before[name] != now[name])
    raise InputError(
        f"{path}: holds a run with another {name} ({before[name]}, not {now[name]}); choose another --out, or give the "
        "settings of the runs that are there"
    )


def _flat(settings: RunSettings) -> dict[str, Any]:
    named = settings.as_dict()
    return {**named.pop("model"), **named.pop("train"), **named.pop("run"), **named}
