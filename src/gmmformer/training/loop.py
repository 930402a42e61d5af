"""Training: from a collection to the best epoch's model, through anything that interrupts it."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from gmmformer.data import Collection, TrainingBatch
from gmmformer.data.resident import resident
from gmmformer.errors import InputError
from gmmformer.evaluation import Metrics, NotFiniteError, evaluate
from gmmformer.files import locked
from gmmformer.model import new_network
from gmmformer.training.optimiser import learning_rate, optimiser_for
from gmmformer.training.processes import gather, launch, seed_step, stop_on_signal
from gmmformer.training.run_folder import Progress, RunFolder, RunSettings
from gmmformer.training.start import begin_at_features, lead


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """What one epoch came to."""

    epoch: int
    """Counted from 0."""
    losses: dict[str, float]
    """Mean of each loss term over the epoch's steps."""
    metrics: Metrics
    """On the split that chooses the best epoch."""
    best: bool
    """Whether no earlier epoch had a SumR as high."""
    videos_per_second: float


@dataclass(frozen=True, kw_only=True)
class TrainingEnd:
    """How a call of `train` or `resume` ended."""

    run: Path
    stopped: str
    """"done" (all epochs), "early" (no better SumR for long) or "interrupted" (resume goes on)."""
    epochs: int
    """Epochs that are over."""
    best_epoch: int | None
    """Counted from 0; None before the first epoch was over, or if none was better than a start from features."""
    best_sum_recall: float | None
    """None before the first epoch was over, unless the start was measured."""
    metrics: Metrics | None = None
    """Of the best epoch, on the split that chose it, in the first process; None where metrics.jsonl lacks it."""
    remarks: tuple[str, ...] = ()
    """What was put right when the run was gone on with."""


Report = Callable[[EpochEnd], None]


def train(
    collection: Collection,
    path: str | Path,
    *,
    preset: str | None = None,
    report: Report | None = None,
    progress: bool = False,
    **settings: Any,
) -> TrainingEnd:
    """Train a model into a new run folder.

    Args:
        collection: The data.
        path: The run folder to make.
        preset: Settings to start from: "tvr", "activitynet" or "charades", as published, with "-v2" behind it those of
            GMMFormer v2, or "few".
        report: Called after every epoch, on the first process only.
        progress: Whether to show a progress bar on stderr.
        **settings: Other values for fields of `NetworkConfig`, `TrainConfig` and `RunConfig`, such as `epochs=3`.

    Raises:
        InputError: The data, a setting or the run folder is not usable; the message says what to do.
    """
    path, asked = Path(path), RunSettings.of(collection, preset, **settings)
    fabric, run = launch(asked.run)
    asked = replace(asked, run=run)
    _see_usable(collection, asked)
    folder = RunFolder.create(path, asked) if fabric.is_global_zero else RunFolder(path)
    with _held(fabric, path):
        return _Training(fabric, asked, collection, folder, report, progress).run(resume=False)


def resume(path: str | Path, *, report: Report | None = None, progress: bool = False, **machine: Any) -> TrainingEnd:
    """Go on with the run at `path`, to the bit as if it had not stopped (on the CPU, one process, as many threads).

    Args:
        path: A run folder.
        report: Called after every epoch, on the first process only.
        progress: Whether to show a progress bar on stderr.
        **machine: Fields of `RunConfig` that are different now, such as `device` or `workers`.
    """
    path = Path(path)
    settings = RunSettings.read(path / "config.json")
    fabric, run = launch(replace(settings.run, **machine))
    settings = replace(settings, run=run)
    collection = Collection.open(settings.root, settings.collection, feature=settings.feature)
    _see_usable(collection, settings)
    with _held(fabric, path):
        return _Training(fabric, settings, collection, RunFolder(path), report, progress).run(resume=True)


def _held(fabric: Fabric, path: Path) -> AbstractContextManager[None]:
    """The run folder, for this run alone; its first process writes there."""
    return locked(path, "training") if fabric.is_global_zero else nullcontext()


def _see_usable(collection: Collection, settings: RunSettings) -> None:
    collection.see_fits(settings.model)
    for split in (settings.run.train_split, settings.run.select_on):
        collection.captions(split)


class _Training:
    def __init__(
        self,
        fabric: Fabric,
        settings: RunSettings,
        collection: Collection,
        folder: RunFolder,
        report: Report | None,
        progress: bool,
    ) -> None:
        self.fabric, self.settings, self.collection, self.folder = fabric, settings, collection, folder
        self.report, self.show = report, progress and fabric.is_global_zero
        config = settings.train
        self.videos = len(collection.captions(settings.run.train_split).video_ids)
        self.batches = -(-self.videos // config.batch_size)
        torch.manual_seed(config.seed)
        self.model = new_network(settings.model)
        self.model.vocabulary = collection.captions(settings.run.train_split).vocabulary
        self.optimiser = optimiser_for(self.model, config)
        self.at = Progress(loss_sums=self._no_losses())
        self.interrupted = False

    def run(self, *, resume: bool) -> TrainingEnd:
        state, start = self._load_state() if resume else None, self.settings.train.start
        if state is None and start == "features":
            run = self.settings.run
            begin_at_features(self.model, self.collection, run.train_split, workers=run.workers, progress=self.show)
        self.resident = resident(self.collection, self.settings.run, self.settings.model, self.fabric.device)
        self.wrapped, self.wrapped_optimiser = self.fabric.setup(self.model, self.optimiser)
        if state is not None:
            self.at = self.folder.restore(state, self.model, self.optimiser, self.batches)
        elif start == "features":
            self._measure_start()
        with stop_on_signal(lambda: setattr(self, "interrupted", True)), self._bar() as bar:
            while not self.at.finished and not self.interrupted:
                self._epoch(bar)
        if self.fabric.is_global_zero:
            self.folder.close()
        last = self.at
        over = last.epoch >= self.settings.train.epochs
        stopped = "interrupted" if not last.finished else "done" if over else "early"
        return TrainingEnd(
            run=self.folder.path,
            stopped=stopped,
            epochs=last.epoch,
            best_epoch=last.best_epoch,
            best_sum_recall=last.best_sum_recall,
            metrics=self.folder.metrics_of(last.best_epoch) if self.fabric.is_global_zero else None,
            remarks=tuple(self.folder.remarks),
        )

    def _measure_start(self) -> None:
        metrics = self._evaluated()
        self.at.best_sum_recall = metrics.sum_recall
        if self.fabric.is_global_zero:
            self.folder.log({"kind": "start", **metrics.as_dict()}, 0)
            self.model.save_pretrained(self.folder.best)

    def _epoch(self, bar: "tqdm[Any]") -> None:
        config, run, at = self.settings.train, self.settings.run, self.at
        self.model.train()
        bar.set_description(f"epoch {at.epoch + 1}/{config.epochs}")
        sums = torch.tensor(at.loss_sums, dtype=torch.float64, device=self.fabric.device)
        began, saved = time.perf_counter(), time.monotonic()
        for batch in self._training_batches():
            losses, stop = self._step(batch)
            sums += torch.stack([losses[name] for name in self.model.losses]).detach().double()
            at.step, at.batch = at.step + 1, at.batch + 1
            due = time.monotonic() - saved > 60 * run.save_minutes
            regular = at.step % run.log_every == 0 or at.batch == self.batches
            if regular or stop or due:  # and so before the state is saved or the model evaluated
                at.loss_sums = tuple(sums.tolist())
                self._see_finite()
            if regular:  # and only then: an interrupted run logs what an uninterrupted one does
                self._log_step(losses, bar)
            bar.update()
            if (stop and at.batch < self.batches) or due:
                at.train_seconds += time.perf_counter() - began
                began, saved = time.perf_counter(), time.monotonic()
                self._save_state()
            if stop:
                self.interrupted = True
                if at.batch < self.batches:
                    return
        at.train_seconds += time.perf_counter() - began
        self._end_epoch(bar)
        at.finished = at.epoch >= config.epochs or at.epoch - 1 - (at.best_epoch or 0) > config.patience
        self._save_state()

    def _no_losses(self) -> tuple[float, ...]:
        return (0.0,) * len(self.model.losses)

    def _step(self, batch: TrainingBatch) -> tuple[dict[str, Tensor], bool]:
        config, at = self.settings.train, self.at
        generator = seed_step(config.seed, at.step, self.fabric.global_rank)
        rate = learning_rate(at.step, self.batches * config.epochs, config)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        queries, videos = self.wrapped(batch.queries, batch.videos)
        everyone = gather(self.fabric, queries, videos, batch.labels, self.interrupted)
        hard = at.epoch >= config.hard_negative_start_epoch
        losses = self.model.objective(
            everyone.queries, everyone.videos, everyone.labels, config, hard=hard, generator=generator
        )
        self.wrapped_optimiser.zero_grad()
        self.fabric.backward(losses["total"])
        self.wrapped_optimiser.step()
        return losses, everyone.stop

    def _training_batches(self) -> Iterator[TrainingBatch]:
        config, run = self.settings.train, self.settings.run
        made: Callable[..., Iterator[TrainingBatch]] = (
            partial(self.collection.training_batches, run.train_split, self.settings.model, workers=run.workers)
            if self.resident is None
            else self.resident.training_batches
        )
        return made(
            batch_size=config.batch_size,
            order=epoch_order(self.videos, config.seed, self.at.epoch),
            skip=self.at.batch,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )

    def _see_finite(self) -> None:
        """Refuse to go on with losses, or with weights made by them, that are not finite.

        Raises:
            InputError: The message names the step and what to do.
        """
        total = self.at.loss_sums[-1]  # the sum of all terms, so not finite if one of them is not
        bad = None if np.isfinite(total) else f"the loss is {total}"
        if bad is None:
            broken = [name for name, weight in self.model.named_parameters() if not torch.isfinite(weight).all()]
            bad = f"the weights {broken[0]} hold NaN or infinity" if broken else None
        if bad is not None:
            raise self._diverged(bad)

    def _diverged(self, what: str) -> InputError:
        return InputError(
            f"{self.folder.path}: {what} at step {self.at.step}; resume would meet it again: "
            "start anew with a lower --lr, or with --precision float32"
        )

    def _log_step(self, losses: dict[str, Tensor], bar: "tqdm[Any]") -> None:
        bar.set_postfix(
            loss=f"{losses['total'].item():.3f}",
            SumR="-" if self.at.best_sum_recall is None else f"{self.at.best_sum_recall:.1f}",
            refresh=False,
        )
        if self.fabric.is_global_zero:
            terms = {name: losses[name].item() for name in self.model.losses}
            rate = self.optimiser.param_groups[0]["lr"]
            self.folder.log(
                {"kind": "step", "step": self.at.step, "epoch": self.at.epoch, "lr": rate, **terms}, self.at.step
            )

    def _end_epoch(self, bar: "tqdm[Any]") -> None:
        at = self.at
        bar.set_description(f"epoch {at.epoch + 1}: evaluating")
        metrics = self._evaluated()
        needed = lead(metrics.videos) if at.best_epoch is None else 0.0
        better = at.best_sum_recall is None or metrics.sum_recall > at.best_sum_recall + needed
        if better:
            at.best_sum_recall, at.best_epoch = metrics.sum_recall, at.epoch
        end = EpochEnd(
            epoch=at.epoch,
            losses=dict(zip(self.model.losses, (value / self.batches for value in at.loss_sums), strict=True)),
            metrics=metrics,
            best=better,
            videos_per_second=self.videos / at.train_seconds,
        )
        if self.fabric.is_global_zero:
            self._record(end)
        at.epoch, at.batch, at.loss_sums, at.train_seconds = at.epoch + 1, 0, self._no_losses(), 0.0

    def _evaluated(self) -> Metrics:
        run, metrics = self.settings.run, None
        if self.fabric.is_global_zero:
            try:
                metrics = evaluate(self.model, self.collection, run.select_on, workers=run.workers).metrics
            except NotFiniteError as error:
                raise self._diverged(error.what) from error
        found: Metrics = self.fabric.broadcast(metrics)
        return found

    def _record(self, end: EpochEnd) -> None:
        record = {"kind": "epoch", "epoch": end.epoch, **end.losses, **end.metrics.as_dict(), "best": end.best}
        self.folder.log({**record, "videos_per_second": round(end.videos_per_second, 1)}, self.at.step)
        if end.best:
            self.model.save_pretrained(self.folder.best)
        self.folder.draw_curves(at_most_every=10.0)
        if self.report:
            self.report(end)

    def _save_state(self) -> None:
        if self.fabric.is_global_zero:
            self.folder.save_state(
                {
                    "model": self.model.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "progress": asdict(self.at),
                }
            )

    def _load_state(self) -> dict[str, Any] | None:
        # The first process cuts metrics.jsonl back before any other could look.
        state = self.folder.load_state() if self.fabric.is_global_zero else None
        self.fabric.barrier()
        return state if self.fabric.is_global_zero else self.folder.load_state()

    def _bar(self) -> "tqdm[Any]":
        total, off = self.batches * self.settings.train.epochs, not self.show
        return tqdm(
            total=total, initial=self.at.step, unit="step", desc="training", disable=off, smoothing=0.05, leave=False
        )


def epoch_order(videos: int, seed: int, epoch: int) -> Int[np.ndarray, "videos"]:
    """The order of the training videos in an epoch: drawn from (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(videos)
