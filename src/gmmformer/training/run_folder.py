"""A run on disk: config.json, metrics.jsonl, events, curves.png, the last state for resume, the best model.

What a killed run leaves is always usable: state.pt and the best model are replaced whole, and metrics.jsonl is cut back
to where the state was saved.
"""

import errno
import json
import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gmmformer.config import ModelConfig, NetworkConfig, RunConfig, TrainConfig, config_from
from gmmformer.data import Collection
from gmmformer.errors import InputError, one_line, suggest
from gmmformer.evaluation import RECALL_AT, Metrics, plot_curves
from gmmformer.files import parsed_json, read_bounded, read_json, recover, synced, unwritable, write_text, written_whole
from gmmformer.model import Network
from gmmformer.model.saved import BEST, see_finite
from gmmformer.model.torch_files import read_torch_file
from gmmformer.presets import Preset
from gmmformer.presets import preset as find_preset

FORMAT = 1
"""Version of the run folder; a newer one is refused."""

_MOST_METRICS = 2**30
_OF_AN_EPOCH = ("epoch", "total", "SumR", *(f"R@{k}" for k in RECALL_AT))
"""What the curves need of a line of metrics.jsonl that ends an epoch."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that a run was started with: enough to go on with it."""

    root: Path
    """Folder of the collections."""
    collection: str
    feature: str
    """Folder of the video features under FeatureData."""
    model: ModelConfig
    train: TrainConfig
    run: RunConfig

    @classmethod
    def of(cls, collection: Collection, preset: str | None = None, **settings: Any) -> "RunSettings":
        """The settings to train on `collection` with.

        Args:
            collection: What is trained on.
            preset: Name of the published settings to start from; None for the defaults, which are TVR's.
            **settings: Other values for fields of `NetworkConfig`, `TrainConfig` and `RunConfig`.

        Raises:
            InputError: There is no such preset or setting, or a value is out of range.
        """
        start = Preset(network=NetworkConfig(), train=TrainConfig()) if preset is None else find_preset(preset)
        kinds = (NetworkConfig, TrainConfig, RunConfig)
        known = {field.name: kind for kind in kinds for field in fields(kind)}
        if strange := settings.keys() - known.keys():
            raise InputError(f"{min(strange)}: there is no such setting; {suggest(min(strange), known)}")
        given = {kind: {name: value for name, value in settings.items() if known[name] is kind} for kind in kinds}
        model = ModelConfig(
            feature_dim=collection.frames.dim,
            query_dim=collection.text.dim,
            **collection.origin()._asdict(),
            **{**vars(start.network), **given[NetworkConfig]},
        )
        train = replace(start.train, **given[TrainConfig])
        if train.matching_weight and model.network == "v1":
            raise InputError("--matching-weight: GMMFormer has no matching term; leave it out, or take --network v2")
        root, run = collection.root.resolve(), RunConfig(**given[RunConfig])
        return cls(root=root, collection=collection.name, feature=collection.feature, model=model, train=train, run=run)

    def as_dict(self) -> dict[str, Any]:
        """What config.json holds."""
        return {"format": FORMAT, **asdict(self), "root": str(self.root)}

    @classmethod
    def read(cls, path: Path) -> "RunSettings":
        """The settings in a run's config.json.

        Raises:
            InputError: It is missing or not one.
        """
        try:
            saved = read_json(path)
            if not isinstance(saved, dict) or not isinstance(saved.get("format"), int):
                raise ValueError("it says no format")
            if saved.pop("format") > FORMAT:
                raise InputError(f"{path}: written by a newer version of gmmformer; update it to go on with this run")
            names = {"root", "collection", "feature", "model", "train", "run"}
            if saved.keys() != names:
                raise ValueError(f"it lacks, or has beside what belongs there, {min(names ^ saved.keys())[:60]!r}")
            if not all(isinstance(saved[name], str) for name in ("root", "collection", "feature")):
                raise ValueError("its collection is not named by texts")
        except FileNotFoundError as error:
            raise InputError(f"{path.parent}: not a run: it has no config.json; start one without --resume") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not the config.json of a run ({one_line(error)}); start a new run") from error
        return cls(
            root=Path(saved["root"]),
            collection=saved["collection"],
            feature=saved["feature"],
            model=config_from(ModelConfig, saved["model"], f"{path}, model"),
            train=config_from(TrainConfig, saved["train"], f"{path}, train"),
            run=config_from(RunConfig, saved["run"], f"{path}, run"),
        )


@dataclass
class Progress:
    """Where a run stands; with the weights and the optimiser, all that resume needs."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best_epoch: int | None = None
    best_sum_recall: float | None = None
    loss_sums: tuple[float, ...] = ()
    """Of each term of the objective, over the steps of the epoch."""
    train_seconds: float = 0.0
    finished: bool = False


class RunFolder:
    """Writes what a run leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / BEST
        self._metrics = path / "metrics.jsonl"
        self._state = path / "state.pt"
        self._events: Any = None
        self._drawn = 0.0
        self.remarks: list[str] = []
        """What was put right here, for people."""

    @classmethod
    def create(cls, path: Path, settings: RunSettings) -> "RunFolder":
        """A new run folder.

        Raises:
            InputError: There is something at `path` already, or it cannot be made.
        """
        if path.is_dir() and any(entry.name not in ("config.json", ".lock") for entry in path.iterdir()):
            raise InputError(f"{path}: exists already; go on with it by --resume {path}, or choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
        write_text(path / "config.json", json.dumps(settings.as_dict(), indent=2) + "\n")
        return cls(path)

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the state to resume from; the metrics written so far belong to it."""
        written = self._metrics.stat().st_size if self._metrics.exists() else 0
        if written:
            synced(self._metrics)
        with written_whole(self._state) as beside:
            try:
                torch.save({"format": FORMAT, "metrics_bytes": written, **state}, beside)
            except RuntimeError as error:  # torch reports a full disk as one
                raise OSError(errno.ENOSPC, f"no space left ({error})") from error

    def load_state(self) -> dict[str, Any] | None:
        """The state to resume from, with metrics.jsonl cut back to it; None if none was saved yet.

        Raises:
            InputError: The state is damaged or of a newer version.
        """
        recover(self.path)
        recover(self.best)
        if not self._state.exists():
            self._cut_metrics(0)
            return None
        try:
            state = read_torch_file(self._state)
        except InputError as error:
            raise InputError(f"{error}; remove it to start over, keeping {BEST}/") from error
        if not isinstance(state, dict) or not isinstance(state.get("format"), int):
            raise self._foreign("it says no format")
        if state["format"] > FORMAT:
            raise InputError(
                f"{self._state}: written by a newer version of gmmformer; update it to go on with this run"
            )
        written = state.get("metrics_bytes")
        if not isinstance(written, int) or written < 0:
            raise self._foreign("it does not say how much of metrics.jsonl belongs to it")
        self._cut_metrics(written)
        self.epochs()  # a line that is none is said now, not after an epoch of work
        return state

    def restore(self, state: dict[str, Any], model: Network, optimiser: Optimizer, batches: int) -> Progress:
        """Go on from a saved state with a model and its optimiser, in epochs of `batches` batches.

        Raises:
            InputError: The state is not one of this run; the message says what differs.
        """
        weights, kept, at = state.get("model"), state.get("optimiser"), state.get("progress")
        kept = kept.get("state") if isinstance(kept, dict) else None
        if not isinstance(weights, dict) or not isinstance(kept, dict) or not isinstance(at, dict):
            raise self._foreign("it has no weights, optimiser and progress")
        if (name := _differing(weights, model.state_dict())) is not None:
            raise self._foreign(f"its weights {name} are not those of the network in config.json")
        see_finite(weights, self._state)
        parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
        for index, moments in kept.items():
            like = parameters[index] if isinstance(index, int) and 0 <= index < len(parameters) else None
            if like is None or not isinstance(moments, dict) or _differing(moments, {"mean": like, "square": like}):
                raise self._foreign("its optimiser is not that of the network in config.json")
            see_finite(moments, self._state)
        model.load_state_dict(weights)
        optimiser.load_state_dict({"state": kept, "param_groups": optimiser.state_dict()["param_groups"]})
        return self._progress(at, batches, len(model.losses))

    def _progress(self, at: dict[str, Any], batches: int, terms: int) -> Progress:
        sums, best, recall = (at.get(name) for name in ("loss_sums", "best_epoch", "best_sum_recall"))
        numbers = [*(at.get(name) for name in ("epoch", "batch", "step")), 0 if best is None else best]
        fits = (
            at.keys() == vars(Progress()).keys()
            and all(type(number) is int and 0 <= number < 2**63 for number in numbers)
            and isinstance(sums, tuple)
            and len(sums) == terms
            and all(
                _is_finite(number) for number in [*sums, at["train_seconds"], 0.0 if best is recall is None else recall]
            )
            and isinstance(at["finished"], bool)
        )
        if not fits:
            raise self._foreign("it does not say where the run stands")
        epoch, batch, step = at["epoch"], at["batch"], at["step"]
        if step != epoch * batches + batch:
            raise self._foreign(f"its step {step} is not batch {batch} of epoch {epoch} of the collection as it is now")
        return Progress(**at)

    def _foreign(self, why: str) -> InputError:
        return InputError(
            f"{self._state}: not a state of this run ({why}); bring back the one that is, or remove it to start over, "
            f"keeping {BEST}/"
        )

    def log(self, record: dict[str, Any], step: int) -> None:
        """Add a line to metrics.jsonl, and its numbers to the TensorBoard events if tensorboard is installed."""
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise unwritable(self._metrics, error) from error
        if self._events is None:
            with suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self._events = SummaryWriter(str(self.path / "tensorboard"), purge_step=step)
        for name, value in record.items():
            if isinstance(value, float) and self._events is not None:
                self._events.add_scalar(f"{record['kind']}/{name}", value, step)

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl that end an epoch.

        Raises:
            InputError: A line is not one that training wrote.
        """
        return [record for record in self._records() if record["kind"] == "epoch"]

    def _records(self) -> list[dict[str, Any]]:
        found = []
        for number, line in enumerate(self._read_metrics().splitlines(), start=1):
            try:
                record = parsed_json(line)
            except ValueError as error:
                raise self._no_metrics(f"line {number} is not JSON: {one_line(error)}") from error
            if not isinstance(record, dict) or record.get("kind") not in ("start", "step", "epoch"):
                raise self._no_metrics(f"line {number} is neither of the start nor of a step or an epoch")
            if record["kind"] == "epoch" and not all(_is_finite(record.get(name)) for name in _OF_AN_EPOCH):
                raise self._no_metrics(f"line {number} lacks a number of an epoch")
            if record["kind"] != "step":
                found.append(record)
        return found

    def metrics_of(self, epoch: int | None) -> Metrics | None:
        """How good the model was after an epoch (None: at the start), as metrics.jsonl has it; None if it does not."""
        found = [record for record in self._records() if record.get("epoch") == epoch]
        whole = found and all(_is_finite(found[0].get(name)) for name in Metrics.NAMES)
        return Metrics.from_dict(found[0]) if whole else None

    def _read_metrics(self) -> bytes:
        try:
            return read_bounded(self._metrics, _MOST_METRICS)
        except FileNotFoundError:
            return b""
        except (OSError, ValueError) as error:
            raise self._no_metrics(one_line(error)) from error

    def _no_metrics(self, why: str) -> InputError:
        return InputError(
            f"{self._metrics}: not what training writes ({why}); move it away, the run goes on without what it says"
        )

    def draw_curves(self, *, at_most_every: float = 0.0) -> None:
        """Draw curves.png anew, unless that was done in the last `at_most_every` seconds."""
        if time.monotonic() - self._drawn >= at_most_every and (epochs := self.epochs()):
            plot_curves(epochs, self.path / "curves.png")
            self._drawn = time.monotonic()

    def close(self) -> None:
        """Draw the last curves and finish the events."""
        self.draw_curves()
        if self._events is not None:
            self._events.close()

    def _cut_metrics(self, size: int) -> None:
        """Cut metrics.jsonl back to the whole lines among its first `size` bytes."""
        if not self._metrics.exists():
            return
        lines = self._read_metrics()
        whole = lines[:size].rfind(b"\n") + 1
        if whole < size:
            self.remarks.append(
                f"{self._metrics}: ends before the state that the run goes on from, as after a crash of the machine; "
                "its last whole line stays, and the curves lack what came after it"
            )
        with self._metrics.open("r+b") as file:
            file.truncate(whole)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _differing(found: dict[Any, Any], like: dict[str, Tensor]) -> str | None:
    """The first name that has no tensor of floats on one side or another shape there; None if all fits."""
    for name in sorted(map(str, found.keys() | like.keys())):
        ours, theirs = like.get(name), found.get(name)
        if ours is None or not isinstance(theirs, Tensor):
            return one_line(name, 100)
        if theirs.shape != ours.shape or not theirs.is_floating_point():
            return one_line(name, 100)
    return None
