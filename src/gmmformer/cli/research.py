"""Commands on collections: train, evaluate, convert, check-data, simulate."""

import json as json_format
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, Suppress, arg

from gmmformer.cli.terminal import bars, report_epoch
from gmmformer.config import Beside, NetworkConfig, RunConfig, TrainConfig, Window
from gmmformer.errors import InputError

if TYPE_CHECKING:
    from gmmformer.data import Collection
    from gmmformer.evaluation import Baselines, Metrics
    from gmmformer.training import TrainingEnd

OF_THE_MACHINE = ("device", "workers", "save_minutes")
"""Settings of a run that may differ when it is resumed."""
_BESIDE_RESUME = ("--resume", "--json", "--baselines", *(f"--{name.replace('_', '-')}" for name in OF_THE_MACHINE))


def train(
    *,
    data: Path | None = None,
    collection: str | None = None,
    out: Path | None = None,
    feature: str | None = None,
    preset: str | None = None,
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
        preset: Settings to start from: those published for tvr, activitynet or charades, or few, for some hundred
            videos or fewer. Other flags change them.
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
        end = train_run(opened, out, report=report, progress=True, **settings)
    if int(os.environ.get("RANK", "0")) == 0:
        _report_training(end, baselines, json)
    return 130 if end.stopped == "interrupted" else 0


def evaluate(
    model: Positional[str],
    *,
    data: Path,
    collection: str,
    split: str = "test",
    feature: str | None = None,
    mix_in: Annotated[str | None, arg(name="with", metavar="zero-shot:NAME")] = None,
    mix: float = 0.5,
    window: Window | None = None,
    ranks: Path | None = None,
    baselines: Beside = "auto",
    json: bool = False,
    device: str = "auto",
    workers: int = 2,
    allow_download: bool = False,
    trust_encoder: bool = False,
) -> int:
    """Measure a model on a split: gmmformer evaluate MODEL --data ROOT --collection tvr --split test

    Args:
        model: A run folder, a saved model, a published checkpoint, or a hub id; or zero-shot:NAME, a dual encoder such
            as CLIP as it is, on features that `extract --video-encoder NAME` made.
        data: Folder that holds collections in the MS-SL layout.
        collection: Name of the collection, a folder in it.
        split: Caption file to evaluate on.
        feature: Folder of video features under FeatureData. Default: the published one, or the only one there.
        mix_in: A dual encoder to mix into the score of a model that was trained on its features: zero-shot:NAME.
        mix: Its share of the score, with --with.
        window: "batch" gives the published system's numbers to the last digit, "full" lets an embedding depend on its
            video alone. Default: as the model was trained.
        ranks: File to write a JSON line to for each sentence: its rank, its score, the best videos.
        baselines: What is measured beside the model: all, none, or auto, which leaves out ridge regression where it
            would read more than 4 GiB of training features.
        json: Print one JSON object, and nothing else, on stdout.
        device: "auto", "cpu", "cuda" or "mps".
        workers: Threads that read features ahead.
        allow_download: Whether MODEL may be fetched from the Hugging Face Hub.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            model names it, where it is mixed.
    """
    from gmmformer.data import Collection
    from gmmformer.evaluation import evaluate as evaluate_model
    from gmmformer.media.encoders import ZERO_SHOT, prefixed
    from gmmformer.model import find_device, load_model

    opened = Collection.open(data, collection, feature=feature)
    top = 10 if ranks else 1
    model = prefixed(model)
    if model.startswith(ZERO_SHOT) or mix_in is not None:
        from gmmformer.config import Running
        from gmmformer.search import choose_encoders, evaluate_encoders

        if window is not None:
            raise InputError(f"--window {window}: goes with a trained model alone; leave it out")
        running = Running(device=device, allow_download=allow_download, trust_encoder=trust_encoder)
        encoders = choose_encoders(model, mix_in=mix_in, mix=mix, running=running)
        with bars() as progress:
            found = evaluate_encoders(encoders, opened, split, top=top, workers=workers, progress=progress)
    else:
        loaded = load_model(model, allow_download=allow_download, **({"window": window} if window else {}))
        found = evaluate_model(loaded.to(find_device(device)), opened, split, workers=workers, progress=True, top=top)
    if ranks is not None:
        found.write_ranks(ranks)
    numbers = found.metrics
    if not json:
        print(f"{opened.name} {split}: {numbers.queries:,} sentences, {numbers.videos:,} videos, {found.seconds:.1f} s")
    worth = _Worth.of(numbers, opened, split, baselines, workers=workers, trained=not model.startswith(ZERO_SHOT))
    print(json_format.dumps({**found.as_dict(), **worth.as_dict()}) if json else worth.table())
    return 0


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


@dataclass(frozen=True)
class _Worth:
    """What a model is worth: its metrics beside those of chance and of the baselines, and what follows."""

    model: "Metrics"
    beside: "Baselines"
    verdict: str

    @classmethod
    def of(
        cls,
        model: "Metrics",
        collection: "Collection",
        split: str,
        which: Beside,
        *,
        train_split: str = "train",
        trained: bool = True,
        workers: int = 0,
    ) -> "_Worth":
        from gmmformer.evaluation import ZERO_SHOT, baselines, verdict

        beside = baselines(collection, split, which=which, train_split=train_split, workers=workers, progress=True)
        if not trained:  # a dual encoder is its own baseline
            beside.metrics.pop(ZERO_SHOT, None)
            return cls(model, beside, "")
        return cls(model, beside, verdict(model, beside.metrics, collection, train_split))

    def as_dict(self) -> dict[str, Any]:
        """What --json adds."""
        return {
            "baselines": {name: found.as_dict() for name, found in self.beside.metrics.items()},
            "left_out": list(self.beside.left_out),
            "verdict": self.verdict,
        }

    def table(self) -> str:
        """The table, what is not in it, and, if a baseline is as good as the model, a last line that says so."""
        from gmmformer.evaluation import chance, metrics_table

        by_chance = chance(self.model.videos, self.model.queries)
        rows = {"model": self.model, **self.beside.metrics, "chance": by_chance}
        return "\n".join([metrics_table(rows), *self.beside.left_out, *filter(None, [self.verdict])])


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
        worth = _Worth.of(
            end.metrics, collection, ran.run.val_split, which, train_split=ran.run.train_split, workers=ran.run.workers
        )
    if json:
        found: dict[str, Any] = {"run": str(end.run), "stopped": end.stopped, "epochs": end.epochs}
        found |= {"best_epoch": end.best_epoch, "best_SumR": end.best_sum_recall}
        print(json_format.dumps(found | (worth.as_dict() if worth else {})))
    elif worth:
        print(worth.table())


def _end_of_training(end: "TrainingEnd") -> str:
    if end.stopped == "interrupted":
        return f"interrupted; everything is saved. Go on with: gmmformer train --resume {end.run}"
    why = "all epochs are done" if end.stopped == "done" else "no better SumR for long"
    where = "before the first epoch" if end.best_epoch is None else f"in epoch {end.best_epoch + 1}"
    best = f"best SumR {end.best_sum_recall or 0:.2f} {where}"
    return f"{why}: {best}\nmodel  {end.run / 'best'}\ncurves {end.run / 'curves.png'}"
