"""The command that says how sure it is that one system is better than another: compare."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tyro.conf import Positional

from gmmformer.cli.evaluating import Measuring, run_of
from gmmformer.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from gmmformer.data import Collection
    from gmmformer.evaluation.comparing import Ranking


def compare(
    systems: Positional[tuple[str, ...]],
    *,
    data: Path | None = None,
    collection: str | None = None,
    split: str = "test",
    feature: str | None = None,
    relevant: Path | None = None,
    json: bool = False,
    device: str = "auto",
    workers: int = 2,
    allow_download: bool = False,
) -> int:
    """Say how sure it is that one system is better than another: gmmformer compare RUN_A RUN_B --split test

    Differences are taken on the same sentences; videos are drawn again with all their sentences, and where a system has
    several runs, those as well. Each system is compared with the first.

    Args:
        systems: Two or more: a run or whatever else names a model, a file that evaluate --ranks wrote, or a folder of
            several runs (as train --seeds makes it) or of such files (.jsonl), whose metrics are averaged.
        data: Folder that holds collections in the MS-SL layout. Default: that of the first run.
        collection: Name of the collection, a folder in it. Default: that of the first run.
        split: Caption file to evaluate on.
        feature: Folder of video features under FeatureData. Default: as the first run, or the published one.
        relevant: JSON file of right videos, as for evaluate.
        json: Print one JSON object, and nothing else, on stdout.
        device: "auto", "cpu", "cuda" or "mps".
        workers: Threads that read features ahead.
        allow_download: Whether models may be fetched from the Hugging Face Hub.
    """
    if len(systems) < 2:
        raise InputError("compare takes two systems or more: gmmformer compare RUN_A RUN_B")
    if len(set(systems)) < len(systems):
        raise InputError(f"{max(systems, key=systems.count)} is there twice; compare it with another")
    from gmmformer.evaluation.comparing import compare

    members = {system: _members(Path(system)) or [system] for system in systems}
    models = [member for some in members.values() for member in some if not _is_ranks(member)]
    on = _Split.of(data, collection, feature, split, models, relevant)
    measuring = Measuring(None, 0.5, None, device, workers, allow_download, False)
    rankings = {system: [_ranking(member, on, measuring) for member in some] for system, some in members.items()}
    differences = list(compare(rankings))
    if json:
        print(json_format.dumps({"differences": [one.as_dict() for one in differences]}))
        return 0
    for one in differences:
        print(f"{one.in_words()}\n\n{one.table()}\n")
    return 0


class _Split(NamedTuple):
    """What models are evaluated on."""

    collection: "Collection"
    split: str
    right: "np.ndarray | None"

    @classmethod
    def of(
        cls,
        data: Path | None,
        collection: str | None,
        feature: str | None,
        split: str,
        models: list[str],
        relevant: Path | None,
    ) -> "_Split | None":
        """What is asked for, or what the first model's run is of; None where there are no models."""
        if not models:
            if (data, collection, relevant) != (None, None, None):
                raise InputError(
                    "--data, --collection and --relevant go with models, and files of ranks say all; leave them out"
                )
            return None
        from gmmformer.data import Collection, read_right_videos

        run = run_of(models[0])
        if run is not None and data is None and collection is None:
            data, collection, feature = run.root, run.collection, feature or run.feature
        if data is None or collection is None:
            flag = "--data" if data is None else "--collection"
            raise InputError(f"{flag} is missing: {models[0]} is a model, and does not say on what to evaluate it")
        opened = Collection.open(data, collection, feature=feature)
        return cls(opened, split, None if relevant is None else read_right_videos(relevant, opened.captions(split)))


def _ranking(member: str, on: _Split | None, measuring: Measuring) -> "Ranking":
    from gmmformer.evaluation.comparing import Ranking

    if on is None or _is_ranks(member):
        return Ranking.read(Path(member))
    return Ranking.of(member, measuring.evaluation(member, on.collection, on.split, top=1, right=on.right))


def _is_ranks(member: str) -> bool:
    return member.endswith(".jsonl")


def _members(folder: Path) -> list[str]:
    """The runs, or else the files of ranks, in a folder of several; none if it is something else."""
    if not folder.is_dir() or (folder / "config.json").exists():
        return []
    runs = sorted(path.parent.parent for path in folder.glob("*/best/config.json"))
    return [str(path) for path in runs or sorted(folder.glob("*.jsonl"))]
