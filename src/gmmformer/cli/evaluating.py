"""The command that measures a model: evaluate."""

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from gmmformer.cli.terminal import bars
from gmmformer.config import Beside, Window
from gmmformer.errors import InputError
from gmmformer.files import unwritable, write_text

if TYPE_CHECKING:
    import numpy as np

    from gmmformer.data import Collection
    from gmmformer.evaluation import Baselines, Evaluation, Metrics
    from gmmformer.evaluation.page import Picture
    from gmmformer.training import RunSettings


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
    relevant: Path | None = None,
    ranks: Path | None = None,
    report: Path | None = None,
    films: Path | None = None,
    baselines: Beside = "auto",
    json: bool = False,
    device: str = "auto",
    workers: int = 2,
    allow_download: bool = False,
    trust_encoder: bool = False,
) -> int:
    """Measure a model on a split: gmmformer evaluate MODEL --data ROOT --collection tvr --split test --report DIR

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
        relevant: JSON file that says which videos are right for a sentence, where it is more than its own:
            {"CAPTION ID": ["VIDEO", ...], ...}. The rank is then that of the best of them.
        ranks: File to write a JSON line to for each sentence: its rank, its score, the best videos.
        report: Folder to write report.html, report.md and report.json to: 95 % intervals, what is hard, where moments
            lie, the worst sentences, what computed.
        films: Folder of the films, whose frames the report then shows.
        baselines: What is measured beside the model: all, none, or auto, which leaves out ridge regression where it
            would read more than 4 GiB of training features.
        json: Print one JSON object, and nothing else, on stdout.
        device: "auto", "cpu", "cuda" or "mps".
        workers: Threads that read features ahead.
        allow_download: Whether MODEL may be fetched from the Hugging Face Hub.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            model names it, where it is mixed.
    """
    from gmmformer.data import Collection, read_right_videos
    from gmmformer.media.encoders import ZERO_SHOT, prefixed

    opened = Collection.open(data, collection, feature=feature)
    model = prefixed(model)
    right = None if relevant is None else read_right_videos(relevant, opened.captions(split))
    pictures = _prepared(report, films, opened, split)
    run = None if report is None else run_of(model)
    measuring = Measuring(mix_in, mix, window, device, workers, allow_download, trust_encoder)
    found = measuring.evaluation(model, opened, split, top=10 if ranks else 1, right=right)
    if ranks is not None:
        found.write_ranks(ranks)
    numbers = found.metrics
    if not json:
        print(f"{opened.name} {split}: {numbers.queries:,} sentences, {numbers.videos:,} videos, {found.seconds:.1f} s")
    worth = Worth.of(numbers, opened, split, baselines, workers=workers, trained=not model.startswith(ZERO_SHOT))
    if report is not None:
        _write_report(report, found, opened, split, model, run, worth.beside.metrics, right, pictures)
    print(json_format.dumps({**found.as_dict(), **worth.as_dict()}) if json else worth.table())
    if report is not None and not json:
        print(f"report {report / 'report.html'}")
    return 0


@dataclass(frozen=True)
class Measuring:
    """How models are run."""

    mix_in: str | None
    mix: float
    window: Window | None
    device: str
    workers: int
    allow_download: bool
    trust_encoder: bool

    def evaluation(
        self, model: str, opened: "Collection", split: str, *, top: int, right: "np.ndarray | None"
    ) -> "Evaluation":
        from gmmformer.media.encoders import ZERO_SHOT, prefixed

        model = prefixed(model)
        if model.startswith(ZERO_SHOT) or self.mix_in is not None:
            from gmmformer.config import Running
            from gmmformer.search import choose_encoders, evaluate_encoders

            if self.window is not None:
                raise InputError(f"--window {self.window}: goes with a trained model alone; leave it out")
            running = Running(device=self.device, allow_download=self.allow_download, trust_encoder=self.trust_encoder)
            encoders = choose_encoders(model, mix_in=self.mix_in, mix=self.mix, running=running)
            with bars() as progress:
                return evaluate_encoders(
                    encoders, opened, split, top=top, right=right, workers=self.workers, progress=progress
                )
        from gmmformer.evaluation import evaluate
        from gmmformer.model import find_device, load_model

        replace = {"window": self.window} if self.window else {}
        loaded = load_model(model, allow_download=self.allow_download, **replace).to(find_device(self.device))
        return evaluate(loaded, opened, split, workers=self.workers, progress=True, top=top, right=right)


def run_of(model: str) -> "RunSettings | None":
    """The settings of the run that a model is of, where it lies in a run folder."""
    from gmmformer.training import RunSettings

    for folder in (Path(model), Path(model).parent):
        if (folder / "best" / "config.json").is_file() and (folder / "config.json").is_file():
            return RunSettings.read(folder / "config.json")
    return None


def _prepared(report: Path | None, films: Path | None, opened: "Collection", split: str) -> "Picture | None":
    """Make the folder of a report; what draws frames for it."""
    if report is None:
        return None
    try:
        report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(report, error) from error
    if films is None:
        return None
    from gmmformer.evaluation.page import pictures_from

    return pictures_from(films, opened, opened.captions(split).video_ids)


def _write_report(
    folder: Path,
    found: "Evaluation",
    opened: "Collection",
    split: str,
    model: str,
    run: "RunSettings | None",
    beside: Mapping[str, "Metrics"],
    right: "np.ndarray | None",
    pictures: "Picture | None",
) -> None:
    from gmmformer.data import read_moments
    from gmmformer.evaluation.findings import findings
    from gmmformer.evaluation.page import as_html, as_markdown

    about: dict[str, Any] = {"epoch_chosen_on": "not known: the model lies in no run folder"}
    if run is not None:
        about = {
            "training_seed": run.train.seed,
            "trained_on": run.run.train_split,
            "epoch_chosen_on": run.run.select_on,
        }
        about |= {"training": ", ".join(f"{name} {value}" for name, value in asdict(run.train).items())}
    told = findings(
        found,
        opened,
        split,
        model=model,
        moments=read_moments(opened, split),
        right=right,
        baselines=beside,
        about=about,
        warnings=_warnings(run, opened, split),
    )
    write_text(folder / "report.json", json_format.dumps(told, ensure_ascii=False, indent=1) + "\n")
    write_text(folder / "report.md", as_markdown(told))
    write_text(folder / "report.html", as_html(told, pictures))


def _warnings(run: "RunSettings | None", opened: "Collection", split: str) -> list[str]:
    """What a reader must know of the split that is reported on."""
    if run is None or run.collection != opened.name:
        return []
    told, reported = [], set(opened.captions(split).caption_ids)
    for other, what in (
        (
            run.run.train_split,
            "the model learned from them, so the numbers say nothing of sentences that it has not seen",
        ),
        (
            run.run.select_on,
            "they chose the epoch, so the numbers are better than on sentences that did not; by how much is not known. "
            "Published tables of this field are made so. Train with --select-on and a split of its own for clean ones",
        ),
    ):
        try:
            shared = len(reported.intersection(opened.captions(other).caption_ids))
        except InputError:  # the split is not in this folder any more
            shared = len(reported) if other == split else 0
        if shared:
            told.append(f"{shared:,} of the {len(reported):,} sentences reported on are of the split {other}: {what}.")
    return told


@dataclass(frozen=True)
class Worth:
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
    ) -> "Worth":
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
