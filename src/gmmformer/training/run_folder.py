"""A run on disk: config.json, metrics.jsonl, events, curves.png, the last state for resume, the best model.

What a killed run leaves is always usable: state.pt and the best model are replaced whole, and metrics.jsonl is cut back
to where the state was saved.
"""

import errno
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch

from gmmformer.config import ModelConfig, RunConfig, TrainConfig
from gmmformer.errors import InputError
from gmmformer.evaluation import plot_curves
from gmmformer.files import recover, unwritable, write_text, written_whole
from gmmformer.model.loading import BEST

FORMAT = 1
"""Version of the run folder; a newer one is refused."""


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
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved.pop("format") > FORMAT:
                raise InputError(f"{path}: written by a newer version of gmmformer; update it to go on with this run")
            saved["root"] = Path(saved["root"])
            for name, kind in (("model", ModelConfig), ("train", TrainConfig), ("run", RunConfig)):
                saved[name] = kind(**saved[name])
            return cls(**saved)
        except FileNotFoundError as error:
            raise InputError(f"{path.parent}: not a run: it has no config.json; start one without --resume") from error
        except (UnicodeDecodeError, json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: not the config.json of a run ({error})") from error


class RunFolder:
    """Writes what a run leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / BEST
        self._metrics = path / "metrics.jsonl"
        self._state = path / "state.pt"
        self._events: Any = None
        self._drawn = 0.0

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
            state: dict[str, Any] = torch.load(self._state, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError, BadZipFile) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{self._state}: damaged ({reason}); remove it to start over, keeping {BEST}/") from error
        if state["format"] > FORMAT:
            raise InputError(
                f"{self._state}: written by a newer version of gmmformer; update it to go on with this run"
            )
        self._cut_metrics(state["metrics_bytes"])
        return state

    def log(self, record: dict[str, Any], step: int) -> None:
        """Add a line to metrics.jsonl, and its numbers to the TensorBoard events if tensorboard is installed."""
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise unwritable(self._metrics, error) from error
        writer = self._writer(step)
        if writer is not None:
            for name, value in record.items():
                if isinstance(value, float):
                    writer.add_scalar(f"{record['kind']}/{name}", value, step)

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl that end an epoch."""
        if not self._metrics.exists():
            return []
        records = [json.loads(line) for line in self._metrics.read_text(encoding="utf-8").splitlines()]
        return [record for record in records if record["kind"] == "epoch"]

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
        if self._metrics.exists():
            with self._metrics.open("r+b") as file:
                file.truncate(size)

    def _writer(self, step: int) -> Any:
        if self._events is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return None
            self._events = SummaryWriter(str(self.path / "tensorboard"), purge_step=step)
        return self._events
