"""Files of a saved network, in a folder or on the Hugging Face Hub: config.json, model.safetensors, a model card."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gmmformer.config import ModelConfig, config_from
from gmmformer.errors import InputError, one_line
from gmmformer.files import read_json

WEIGHTS, CONFIG, CARD, WORDS = "model.safetensors", "config.json", "README.md", "words.txt"
BEST = "best"
"""Folder of a run that holds its best model."""


class _Undrawn(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Models that are made within have weights without numbers: they take no memory, and none are drawn for them.

    To draw some of no memory costs torch seconds, in which it loads its compiler.
    """
    with torch.device("meta"), _Undrawn():
        yield


def model_folder(path: Path) -> Path:
    """Of a run the folder of its best model; any other as it is."""
    if (path / BEST).is_dir():
        return path / BEST
    if (path / "state.pt").exists():
        raise InputError(f"{path}: this run has no model yet: its first epoch is not over")
    return path


HUB_OPTIONS = ("force_download", "token", "cache_dir", "local_files_only", "revision")


def model_file(source: str, name: str, hub: dict[str, Any]) -> Path:
    if Path(source).is_dir():
        path = Path(source) / name
        if not path.is_file():
            raise InputError(f"{source}: not a saved model: it has no {name}")
        return path
    try:
        return Path(hf_hub_download(source, name, **hub))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise InputError(
            f"{source}: no such file or folder here; if it is a model on the Hugging Face Hub, add --allow-download"
        ) from error
    except (EntryNotFoundError, HfHubHTTPError) as error:
        raise InputError(f"{source}: not to be had from the Hugging Face Hub ({str(error).splitlines()[0]})") from error
    except ValueError as error:  # not the form of a hub id
        raise InputError(f"{source}: no such file or folder, and no hub id (those look like name/model)") from error


def read_config(path: Path, replace: dict[str, Any]) -> ModelConfig:
    try:
        saved = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the config.json of a saved model ({one_line(error)}); save it again") from error
    return config_from(ModelConfig, saved | replace if isinstance(saved, dict) else saved, str(path))


def read_weights(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which are those of `expected` by name and shape."""
    try:
        with safe_open(path, framework="pt") as file:
            there = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in there.items()}
            kinds = {name: part.get_dtype() for name, part in there.items()}
            for name in sorted(expected.keys() | shapes.keys()):
                if expected.get(name) != shapes.get(name) or kinds[name] not in _KINDS:
                    found = f"{kinds[name]} of shape {shapes[name]}" if name in shapes else "not there"
                    wanted = f"numbers of shape {expected[name]}" if name in expected else "no such weights"
                    raise InputError(
                        f"{path}: its weights do not fit {CONFIG} beside it: {one_line(name, 100)!r} is {found}, "
                        f"the model has {wanted}"
                    )
            return {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a safetensors file ({one_line(error)}); save the model again") from error


_KINDS = ("F16", "BF16", "F32", "F64")


def see_finite(weights: Mapping[str, Tensor], where: Path) -> None:
    """Refuse weights that are, or are to be, in the file `where`, if they hold what is no number to reckon with.

    Raises:
        InputError: One is NaN or infinity; the message names it.
    """
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise InputError(
                f"{where}: the weights {name} hold NaN or infinity, so every score would be nonsense; "
                "train anew with a lower --lr, or fetch the model again"
            )
