"""The command line: one function per command, its signature is its interface. The only page that prints."""

import functools
import json as json_format
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from tyro.conf import Positional

from gmmformer.config import PRESETS, DecodeConfig, NetworkConfig, Preset, RunConfig, TrainConfig, Window, preset
from gmmformer.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from gmmformer.media.extract import ExtractStatus
    from gmmformer.training import EpochEnd, TrainingEnd

OF_THE_MACHINE = ("device", "workers", "save_minutes")
"""Settings of a run that may differ when it is resumed."""


def train(
    *,
    data: Path | None = None,
    collection: str | None = None,
    out: Path | None = None,
    feature: str | None = None,
    preset: str | None = None,
    resume: Path | None = None,
    json: bool = False,
    network: NetworkConfig = NetworkConfig(),
    training: TrainConfig = TrainConfig(),
    run: RunConfig = RunConfig(),
) -> int:
    """Train a model on a collection: gmmformer train --data ROOT --collection tvr --preset tvr --out RUN

    The run folder gets config.json, metrics.jsonl, TensorBoard events, curves.png and the best model (best/). Ctrl-C
    saves and stops; --resume RUN goes on. On several GPUs: torchrun --nproc-per-node N -m gmmformer train ...

    Args:
        data: Folder that holds collections in the MS-SL layout.
        collection: Name of the collection, a folder in it.
        out: Run folder to make.
        feature: Folder of video features under FeatureData. Default: the preset's, or the only one there.
        preset: Published settings to start from: tvr, activitynet or charades. Other flags change them.
        resume: Run folder to go on with; all settings are its own, but those of the machine.
        json: Print one JSON object at the end, and nothing else, on stdout.
        network: The size of the network.
        training: The objective, the optimiser, the schedule.
        run: The machine and what is left behind.
    """
    from gmmformer.data import Collection
    from gmmformer.training import RunSettings, new_model_config
    from gmmformer.training import resume as resume_run
    from gmmformer.training import train as train_run

    report = None if json else _report_epoch
    if resume is not None:
        given = {"--data": data, "--collection": collection, "--out": out, "--feature": feature, "--preset": preset}
        extra = [flag for flag, value in given.items() if value is not None]
        machine = {name: value for name, value in _changed(run).items() if name in OF_THE_MACHINE}
        changed = {**_changed(network), **_changed(training), **_changed(run)}
        extra += [f"--{name.replace('_', '-')}" for name in changed if name not in machine]
        if extra:
            raise InputError(f"{extra[0]}: a resumed run keeps its own settings; leave it out, or start a new run")
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
        opened = Collection.open(data, collection, feature=feature or (PRESETS[preset].feature if preset else None))
        settings = RunSettings(
            root=data.resolve(),
            collection=collection,
            feature=opened.feature,
            model=new_model_config(opened, **vars(network)),
            train=training,
            run=run,
        )
        end = train_run(settings, out, report=report, progress=True)
    if int(os.environ.get("RANK", "0")) == 0:
        _report_training(end, json)
    return 130 if end.stopped == "interrupted" else 0


def evaluate(
    model: Positional[str],
    *,
    data: Path,
    collection: str,
    split: str = "test",
    feature: str | None = None,
    window: Window | None = None,
    ranks: Path | None = None,
    json: bool = False,
    device: str = "auto",
    workers: int = 2,
    allow_download: bool = False,
) -> int:
    """Measure a model on a split: gmmformer evaluate MODEL --data ROOT --collection tvr --split test

    Args:
        model: A run folder, a saved model, a published checkpoint, or a hub id.
        data: Folder that holds collections in the MS-SL layout.
        collection: Name of the collection, a folder in it.
        split: Caption file to evaluate on.
        feature: Folder of video features under FeatureData. Default: the published one, or the only one there.
        window: "batch" gives the published system's numbers to the last digit, "full" lets an embedding depend on its
            video alone. Default: as the model was trained.
        ranks: File to write a JSON line to for each sentence: its rank, its score, the best videos.
        json: Print one JSON object, and nothing else, on stdout.
        device: "auto", "cpu", "cuda" or "mps".
        workers: Threads that read features ahead.
        allow_download: Whether MODEL may be fetched from the Hugging Face Hub.
    """
    from gmmformer.data import Collection
    from gmmformer.evaluation import chance, metrics_table
    from gmmformer.evaluation import evaluate as evaluate_model
    from gmmformer.model import load_model

    loaded = load_model(model, allow_download=allow_download, **({"window": window} if window else {}))
    opened = Collection.open(data, collection, feature=feature)
    found = evaluate_model(
        loaded.to(_device(device)), opened, split, workers=workers, progress=True, top=10 if ranks else 1
    )
    if ranks is not None:
        found.write_ranks(ranks)
    if json:
        print(json_format.dumps(found.as_dict()))
        return 0
    numbers = found.metrics
    print(f"{opened.name} {split}: {numbers.queries:,} sentences, {numbers.videos:,} videos, {found.seconds:.1f} s")
    print(metrics_table({"model": numbers, "chance": chance(numbers.videos, numbers.queries)}))
    return 0


def convert(file: Positional[Path], out: Positional[Path]) -> int:
    """Turn a published checkpoint into a model folder (config.json, model.safetensors): gmmformer convert FILE OUT

    Nothing in the file is executed.

    Args:
        file: A checkpoint as the published system saved it.
        out: Folder to make.
    """
    from gmmformer.model import read_published

    checkpoint = read_published(file)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already; choose another place for the model")
    model = checkpoint.model()
    model.save_pretrained(out)
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{out}: {parameters:,} parameters, {model.config.feature_dim}-d videos, {model.config.query_dim}-d tokens")
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

    with _bars() as progress:
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
    """
    from gmmformer.data import simulate as simulate_collection

    with _bars() as progress:
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
    counts = ", ".join(f"{count:,} {split}" for split, count in made.videos.items())
    print(f"{made.root / made.name}: {counts} videos, {sum(made.sentences.values()):,} sentences, {made.rows:,} rows")
    print(f"what it holds: gmmformer check-data {made.root} --collection {made.name}")
    return 0


def extract(
    films: Positional[tuple[Path, ...]],
    *,
    out: Path,
    collection: str,
    captions: tuple[str, ...] = (),
    captions_format: str = "auto",
    skip_broken: bool = False,
    video_encoder: str = "builtin",
    text_encoder: str = "builtin",
    feature: str | None = None,
    seed: int = 9527,
    device: str = "auto",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    batch: int = 32,
    allow_download: bool = False,
    ray: str | None = None,
    json: bool = False,
    decode: DecodeConfig = DecodeConfig(),
) -> int:
    """Turn films, and sentences about them, into a collection: gmmformer extract FILMS --out ROOT --collection NAME

    The same command again does only what is missing or changed. Films that cannot be read are listed at the end and in
    failures.jsonl. Exit code 1 if no film could be read.

    Args:
        films: Film files, and folders to search for them.
        out: Folder of collections.
        collection: Name of the collection, a folder in it.
        captions: Files with sentences about the films; SPLIT=FILE where a file is one split (train=train.jsonl).
        captions_format: auto, jsonl, csv, activitynet, charades, tvr or qvhighlights.
        skip_broken: Leave out broken records of the captions, and say how many, rather than stop at the first.
        video_encoder: "builtin", or a hub id or folder of CLIP, SigLIP, DINOv2 and the like.
        text_encoder: "builtin", or a hub id or folder of RoBERTa, CLIP, a sentence encoder and the like.
        feature: Folder of the features under FeatureData. Default: named after the video encoder.
        seed: Draws train, val and test where the captions give no split.
        device: "auto", "cpu", "cuda" or "mps": where the encoders run.
        dtype: What the encoders compute in.
        batch: Frames, or sentences, in one forward pass.
        allow_download: Whether encoders may be fetched from the Hugging Face Hub.
        ray: Address of a Ray cluster that does the work ("auto": the one running here).
        json: Print one JSON object at the end, and nothing else, on stdout.
        decode: How films are decoded.
    """
    from gmmformer.media import encoders
    from gmmformer.media.annotations import read_captions_files
    from gmmformer.media.extract import extract as extract_films

    broken: list[InputError] = []
    annotations = read_captions_files(captions, captions_format, on_broken=broken.append if skip_broken else None)
    options: dict[str, Any] = {"device": device, "dtype": dtype, "batch": batch, "allow_download": allow_download}
    source: dict[str, Any] = {}
    if ray is not None:
        from gmmformer.media.cluster import featurise_on

        source["source"] = featurise_on(ray, functools.partial(encoders.frame_encoder, video_encoder, **options))
    with _film_bar() as progress:
        report = extract_films(
            films,
            out,
            collection,
            frames=encoders.frame_encoder(video_encoder, **options),
            text=encoders.text_encoder(text_encoder, **options),
            annotations=annotations,
            feature=feature,
            decode=decode,
            seed=seed,
            progress=progress,
            **source,
        )
    if broken:
        print(f"left out {len(broken):,} broken records of the captions, the first: {broken[0]}", file=sys.stderr)
    print(json_format.dumps(report.as_dict()) if json else report.table())
    return 0 if report.records else 1


def demo(out: Positional[Path], *, films: int = 240, seed: int = 9527) -> int:
    """Render small films, extract, train, evaluate on films not seen, and draw what was found: gmmformer demo OUT

    A few minutes on two cores. Nothing is downloaded.

    Args:
        out: Folder to work in.
        films: Films to render.
        seed: The world of the films, and the training.
    """
    from gmmformer.demo.run import run_demo
    from gmmformer.evaluation import metrics_table

    with _bars() as progress:
        end = run_demo(out, films=films, seed=seed, progress=progress, say=print, report=_report_epoch)
    print(metrics_table({"model": end.metrics, "chance": end.chance}))
    times = end.metrics.recall[0] / end.chance.recall[0]
    print(f"R@1 is {times:.0f} times chance, over {end.metrics.videos} films and {end.metrics.queries} sentences\n")
    print(f"what was found   {end.contact_sheet}\ntraining curves  {end.curves}\nthe model        {end.model}")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "train": train,
    "evaluate": evaluate,
    "convert": convert,
    "check-data": check_data,
    "simulate": simulate,
    "extract": extract,
    "demo": demo,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 (done, but not all is well), 2 (bad input) or 130 (interrupted)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code: int = tyro.extras.subcommand_cli_from_dict(
            COMMANDS | {"train": _train_from(_preset_in(arguments))},
            prog="gmmformer",
            description="Find the untrimmed video, and the seconds in it, that a sentence describes.",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        return code
    except (InputError, MissingExtraError) as error:
        print(f"gmmformer: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gmmformer: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _preset_in(arguments: list[str]) -> Preset | None:
    """The preset that the arguments of `train` name: its values are the defaults of the other flags."""
    for position, argument in enumerate(arguments[1:], start=1):
        if argument == "--preset" and position + 1 < len(arguments):
            return preset(arguments[position + 1])
        if argument.startswith("--preset="):
            return preset(argument.removeprefix("--preset="))
    return None


def _train_from(start: Preset | None) -> Callable[..., int]:
    return functools.partial(train, network=start.network, training=start.train) if start else train


def _changed(config: NetworkConfig | TrainConfig | RunConfig) -> dict[str, Any]:
    default = type(config)()
    return {name: value for name, value in vars(config).items() if value != getattr(default, name)}


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr for each kind of work that is reported: what, how much is done, how much there is."""
    from tqdm import tqdm

    bars: dict[str, tqdm[Any]] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in bars:
            bars[what] = tqdm(total=total, desc=what, unit_scale=True, leave=False)
        bars[what].update(done - bars[what].n)
        if done >= total:
            bars.pop(what).close()

    try:
        yield show
    finally:
        for bar in bars.values():
            bar.close()


@contextmanager
def _film_bar() -> Iterator[Callable[["ExtractStatus"], None]]:
    """A progress bar on stderr of the films that are decoded."""
    from tqdm import tqdm

    started = time.perf_counter()
    with tqdm(desc="films", unit="film", leave=False) as bar:

        def show(status: "ExtractStatus") -> None:
            bar.total = status.films
            rate = status.frames / (time.perf_counter() - started)
            bar.set_postfix_str(f"{rate:,.0f} frames/s, {status.failed} failed", refresh=False)
            bar.update(status.done - bar.n)

        yield show


def _device(name: str) -> str:
    from gmmformer.training import find_device

    return find_device(name)


def _report_epoch(end: "EpochEnd") -> None:
    from tqdm import tqdm

    recall = "  ".join(f"{value:5.2f}" for value in end.metrics.recall)
    tqdm.write(
        f"epoch {end.epoch + 1:3d}  loss {end.losses['total']:.4f}  R@1/5/10/100 {recall}  "
        f"SumR {end.metrics.sum_recall:6.2f}{' *' if end.best else '  '}  {end.videos_per_second:,.0f} videos/s",
        file=sys.stdout,
    )


def _report_training(end: "TrainingEnd", json: bool) -> None:
    if json:
        found: dict[str, Any] = {"run": str(end.run), "stopped": end.stopped, "epochs": end.epochs}
        print(json_format.dumps({**found, "best_epoch": end.best_epoch, "best_SumR": end.best_sum_recall}))
        return
    if end.stopped == "interrupted":
        print(f"interrupted; everything is saved. Go on with: gmmformer train --resume {end.run}")
        return
    why = "all epochs are done" if end.stopped == "done" else "no better SumR for long"
    best = f"best SumR {end.best_sum_recall:.2f} in epoch {(end.best_epoch or 0) + 1}"
    print(f"{why}: {best}\nmodel  {end.run / 'best'}\ncurves {end.run / 'curves.png'}")
