"""Commands on collections: train, convert, check-data, simulate; and the demo, which goes all the way."""

import json as json_format
import os
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional, Suppress

from gmmformer.cli.evaluating import Worth
from gmmformer.cli.searching import print_hits
from gmmformer.cli.terminal import bars, report_epoch, telling
from gmmformer.config import OF_THE_MACHINE, Beside, NetworkConfig, RunConfig, TrainConfig
from gmmformer.errors import InputError

if TYPE_CHECKING:
    from gmmformer.training import TrainingEnd

MOST_SEEDS = 1000
_BESIDE_RESUME = ("--resume", "--json", "--baselines", *(f"--{name.replace('_', '-')}" for name in OF_THE_MACHINE))


def train(
    *,
    data: Path | None = None,
    collection: str | None = None,
    out: Path | None = None,
    feature: str | None = None,
    preset: str | None = None,
    seeds: int | None = None,
    resume: Path | None = None,
    baselines: Beside = "all",
    json: bool = False,
    network: NetworkConfig = NetworkConfig(),
    training: TrainConfig = TrainConfig(),
    run: RunConfig = RunConfig(),
    given: Suppress[tuple[str, ...]] = (),
) -> int:
    """Train a model on a collection: gmmformer train --data ROOT --collection tvr --preset tvr --out RUN

    The run folder gets config.json, metrics.jsonl, TensorBoard events, curves.png and the best model (best/). Ctrl-C
    saves and stops; --resume RUN goes on. On several GPUs: torchrun --nproc-per-node N -m gmmformer train ...

    Args:
        data: Folder that holds collections in the MS-SL layout.
        collection: Name of the collection, a folder in it.
        out: Run folder to make.
        feature: Folder of video features under FeatureData. Default: the published one, or the only one there.
        preset: Settings to start from: those published for tvr, activitynet or charades, those of GMMFormer v2 for
            tvr-v2, activitynet-v2 or charades-v2, or few, for some hundred videos or fewer. Other flags change them.
        seeds: Runs to train one after the other, in OUT/seed-1, OUT/seed-2, ... (from --seed on, if that is given); the
            same command goes on where it was broken off.
        resume: Run folder to go on with; all settings are its own, but those of the machine.
        baselines: What is measured beside the model at the end, on the val split: all, none, or auto, which leaves out
            ridge regression where it would read more than 4 GiB of training features.
        json: Print one JSON object at the end, and nothing else, on stdout.
        network: The size of the network.
        training: The objective, the optimiser, the schedule.
        run: The machine and what is left behind.
        given: The options that are there, whether or not they differ from what is the default.
    """
    if resume is not None and (own := [option for option in given if option not in _BESIDE_RESUME]):
        raise InputError(f"{own[0]}: a resumed run keeps its own settings; leave it out, or start a new run")
    from gmmformer.data import Collection
    from gmmformer.training import resume as resume_run
    from gmmformer.training import train as train_run

    report = None if json else report_epoch
    if resume is not None:
        machine = {name: getattr(run, name) for name in OF_THE_MACHINE if f"--{name.replace('_', '-')}" in given}
        end = resume_run(resume, report=report, progress=True, **machine)
    else:
        for flag, value in (("--data", data), ("--collection", collection), ("--out", out)):
            if value is None:
                raise InputError(
                    f"{flag} is missing: gmmformer train --data ROOT --collection NAME --out RUN (or --resume RUN)"
                )
        assert data is not None
        assert collection is not None
        assert out is not None
        opened = Collection.open(data, collection, feature=feature)
        settings = {**vars(network), **vars(training), **vars(run)}
        if seeds is not None:
            first = training.seed if "--seed" in given else 1
            return _train_seeds(opened, out, range(first, first + seeds), settings, baselines, json)
        end = train_run(opened, out, report=report, progress=True, **settings)
    if int(os.environ.get("RANK", "0")) == 0:
        _report_training(end, baselines, json)
    return 130 if end.stopped == "interrupted" else 0


def convert(file: Positional[Path], out: Positional[Path], *, json: bool = False) -> int:
    """Turn a published checkpoint into a model folder (config.json, model.safetensors): gmmformer convert FILE OUT

    Nothing in the file is executed.

    Args:
        file: A checkpoint as the published system saved it.
        out: Folder to make.
        json: Print one JSON object, and nothing else, on stdout.
    """
    from gmmformer.model import read_published

    checkpoint = read_published(file)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already; choose another place for the model")
    model = checkpoint.model()
    model.save_pretrained(out)
    parameters = sum(weight.numel() for weight in model.parameters())
    config = model.config
    told = {
        "model": str(out),
        "parameters": parameters,
        "feature_dim": config.feature_dim,
        "query_dim": config.query_dim,
    }
    text = f"{out}: {parameters:,} parameters, {config.feature_dim}-d videos, {config.query_dim}-d tokens"
    print(json_format.dumps(told) if json else text)
    return 0


def check_data(root: Positional[Path], *, collection: str, feature: str | None = None, json: bool = False) -> int:
    """Read a whole collection once and say what is there and what is wrong: gmmformer check-data ROOT --collection NAME

    Exit code 1 if anything is wrong.

    Args:
        root: Folder that holds collections in the MS-SL layout.
        collection: Name of the collection, a folder in it.
        feature: Folder of video features under FeatureData. Default: the published one, or the only one there.
        json: Print one JSON object, and nothing else, on stdout.
    """
    from gmmformer.data import check_collection

    with bars() as progress:
        report = check_collection(root, collection, feature, progress)
    print(json_format.dumps(report.as_dict()) if json else report.table())
    return 0 if report.usable else 1


def simulate(
    out: Positional[Path],
    *,
    like: str = "tvr",
    videos: int | None = None,
    difficulty: float = 0.5,
    seed: int = 9527,
    feature_dim: int | None = None,
    query_dim: int | None = None,
    json: bool = False,
) -> int:
    """Write a made-up collection with known moments in the MS-SL layout: gmmformer simulate OUT --like tvr --videos 500

    Args:
        out: Folder to write the collection to, as OUT/NAME.
        like: Collection whose sizes it takes: tvr, activitynet or charades.
        videos: Training videos; the other splits are in proportion. Default: as many as the real collection has.
        difficulty: From 0, where everyone finds everything, to 1, where nothing can be found.
        seed: The same seed gives the same collection.
        feature_dim: Width of the video features. Default: as the real collection.
        query_dim: Width of the token features. Default: as the real collection.
        json: Print one JSON object, and nothing else, on stdout.
    """
    from gmmformer.data import simulate as simulate_collection

    with bars() as progress:
        made = simulate_collection(
            out,
            like=like,
            videos=videos,
            difficulty=difficulty,
            seed=seed,
            feature_dim=feature_dim,
            query_dim=query_dim,
            progress=progress,
        )
    if json:
        print(json_format.dumps({**asdict(made), "root": str(made.root)}))
        return 0
    counts = ", ".join(f"{count:,} {split}" for split, count in made.videos.items())
    print(f"{made.root / made.name}: {counts} videos, {sum(made.sentences.values()):,} sentences, {made.rows:,} rows")
    print(f"what it holds: gmmformer check-data {made.root} --collection {made.name}")
    return 0


def _report_training(end: "TrainingEnd", which: Beside, json: bool) -> None:
    for remark in end.remarks:
        print(f"gmmformer: {remark}", file=sys.stderr)
    worth = None
    if not json:
        print(_end_of_training(end))
    if end.stopped != "interrupted" and end.metrics is not None:
        from gmmformer.data import Collection
        from gmmformer.training import RunSettings

        ran = RunSettings.read(end.run / "config.json")
        collection = Collection.open(ran.root, ran.collection, feature=ran.feature)
        worth = Worth.of(
            end.metrics, collection, ran.run.select_on, which, train_split=ran.run.train_split, workers=ran.run.workers
        )
    if json:
        print(json_format.dumps(_told(end) | (worth.as_dict() if worth else {})))
    elif worth:
        print(worth.table())


def _train_seeds(
    opened: "Collection", out: Path, seeds: range, settings: dict[str, Any], which: Beside, json: bool
) -> int:
    from gmmformer.training.seeds import mean_of, train_seeds

    if not 1 <= len(seeds) <= MOST_SEEDS:
        raise InputError(f"--seeds {len(seeds)} must be at least 1 and at most {MOST_SEEDS:,}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("--seeds trains one run after the other in one process; under torchrun start each by --seed")
    settings = {name: value for name, value in settings.items() if name != "seed"}
    ends = train_seeds(opened, out, seeds, report=None if json else report_epoch, progress=True, **settings)
    interrupted = ends[-1].stopped == "interrupted"
    metrics = [end.metrics for end in ends if end.metrics is not None]
    worth = None
    if not interrupted and len(metrics) == len(ends):
        split, train_split, workers = (settings[name] for name in ("select_on", "train_split", "workers"))
        worth = Worth.of(mean_of(metrics), opened, split, which, train_split=train_split, workers=workers)
    _report_seeds(ends, interrupted, worth, json)
    return 130 if interrupted else 0


def _report_seeds(ends: "list[TrainingEnd]", interrupted: bool, worth: Worth | None, json: bool) -> None:
    best = [end.best_sum_recall or 0.0 for end in ends]
    mean, spread = fmean(best), stdev(best) if len(best) > 1 else 0.0
    for end in ends:
        for remark in end.remarks:
            print(f"gmmformer: {remark}", file=sys.stderr)
    if json:
        told: dict[str, Any] = {"runs": list(map(_told, ends)), "mean_best_SumR": mean, "sd_best_SumR": spread}
        print(json_format.dumps(told | ({"metrics": worth.model.as_dict(), **worth.as_dict()} if worth else {})))
        return
    for end in ends:
        print(f"{end.run}: {end.stopped}, best SumR {end.best_sum_recall or 0:.2f}")
    if interrupted:
        print("interrupted; everything is saved. The same command goes on")
        return
    print(f"best SumR: mean {mean:.2f}, standard deviation {spread:.2f}, of {len(best)} seeds; their mean metrics:")
    if worth:
        print(worth.table())


def _told(end: "TrainingEnd") -> dict[str, Any]:
    found: dict[str, Any] = {"run": str(end.run), "stopped": end.stopped, "epochs": end.epochs}
    return found | {"best_epoch": end.best_epoch, "best_SumR": end.best_sum_recall}


def _end_of_training(end: "TrainingEnd") -> str:
    if end.stopped == "interrupted":
        return f"interrupted; everything is saved. Go on with: gmmformer train --resume {end.run}"
    why = "all epochs are done" if end.stopped == "done" else "no better SumR for long"
    where = "before the first epoch" if end.best_epoch is None else f"in epoch {end.best_epoch + 1}"
    best = f"best SumR {end.best_sum_recall or 0:.2f} {where}"
    return f"{why}: {best}\nmodel  {end.run / 'best'}\ncurves {end.run / 'curves.png'}"


def demo(out: Positional[Path], *, films: int = 240, seed: int = 9527, json: bool = False) -> int:
    """Render small films, extract, train, evaluate on films not seen, index and search those: gmmformer demo OUT

    A few minutes on two cores. Nothing is downloaded.

    Args:
        out: Folder to work in.
        films: Films to render.
        seed: The world of the films, and the training.
        json: Print one JSON object at the end, and nothing else, on stdout.
    """
    from gmmformer.demo.run import run_demo
    from gmmformer.evaluation import metrics_table

    with bars() as progress:
        end = run_demo(out, films=films, seed=seed, progress=progress, **telling(json))
    if json:
        paths = {name: str(getattr(end, name)) for name in ("model", "library", "contact_sheet", "curves")}
        print(json_format.dumps({**end.metrics.as_dict(), "chance": end.chance.as_dict(), **paths}))
        return 0
    print(metrics_table({"model": end.metrics, "chance": end.chance}))
    times = end.metrics.recall[0] / end.chance.recall[0]
    print(f"R@1 is {times:.0f} times chance, over {end.metrics.videos} films and {end.metrics.queries} sentences\n")
    for sentence, hits, seconds in end.searches:
        print(f'gmmformer search {end.library} "{sentence}" -k 3')
        print_hits(hits, end.metrics.videos, seconds)
        print()
    print(f"what was found   {end.contact_sheet}\ntraining curves  {end.curves}\nthe model        {end.model}")
    print(f"the library      {end.library}\nto see it in a browser: gmmformer serve {end.library}")
    return 0
