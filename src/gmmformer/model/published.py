"""Checkpoints as the published system wrote them, read without running anything they name.

Such a file is a zip of a pickle and of raw storages. The pickle names classes of a module that does not exist here, so
torch's safe loader refuses it; this reader answers the few names that occur with inert stand-ins and refuses the rest.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmmformer.config import ModelConfig
from gmmformer.errors import InputError
from gmmformer.model.network import GMMFormer

_STORAGE_TYPES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_CONFIG_KEYS = {
    "feature_dim": "visual_feat_dim",
    "query_dim": "q_feat_size",
    "hidden": "hidden_size",
    "heads": "n_heads",
    "map_size": "map_size",
    "max_ctx_l": "max_ctx_l",
    "max_desc_l": "max_desc_l",
    "input_drop": "input_drop",
    "drop": "drop",
    "clip_weight": "clip_scale_w",
    "frame_weight": "frame_scale_w",
}

_MODULES = {
    "query_encoder": "query_encoder.windows.0",
    "modular_vector_mapping": "query_pool.score",
    "modular_vector_mapping_2": "frame_pool.score",
    **{
        f"{branch}_{old}": f"{branch}_input.{new}"
        for branch in ("query", "clip", "frame")
        for old, new in (
            ("input_proj.LayerNorm", "input_norm"),
            ("input_proj.net.1", "linear"),
            ("pos_embed.position_embeddings", "positions"),
            ("pos_embed.LayerNorm", "norm"),
        )
    },
    **{
        f"{old}.attn{window}": f"{new}.windows.{window}"
        for old, new in (
            ("clip_encoder", "clip_encoder.0"),
            ("clip_encoder_2", "clip_encoder.1"),
            ("frame_encoder_1", "frame_encoder.0"),
            ("frame_encoder_2", "frame_encoder.1"),
        )
        for window in range(4)
    },
}
_ATTENTION_PARTS = {
    "self.query": "query",
    "self.key": "key",
    "self.value": "value",
    "output.dense": "output",
    "output.LayerNorm": "norm",
}


@dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """What a published file holds that is of use here."""

    config: ModelConfig
    state_dict: dict[str, Tensor]
    """The weights under the names of `GMMFormer`."""
    settings: dict[str, Any]
    """The published system's own settings, training among them."""
    epoch: int | None
    """The epoch the weights are from, counted from 0."""

    def model(self) -> GMMFormer:
        """The network with these weights, in evaluation mode."""
        model = GMMFormer(self.config)
        model.load_state_dict(self.state_dict, strict=True)
        return model.eval()


def is_published(path: Path) -> bool:
    """Whether `path` is a file that torch wrote, as published checkpoints are."""
    return path.is_file() and zipfile.is_zipfile(path)


def read_published(path: Path) -> PublishedCheckpoint:
    """Read a published checkpoint, also one saved from a multi-GPU wrapper (`module.` before every name).

    Raises:
        InputError: It is not such a file, names something no checkpoint needs, or its weights do not fit it.
    """
    loaded = _load(path)
    if not isinstance(loaded, dict) or not {"config", "state_dict"} <= loaded.keys():
        raise InputError(f"{path}: not a published checkpoint: it has no 'config' and 'state_dict'")
    settings, weights = loaded["config"], loaded["state_dict"]
    if not isinstance(settings, dict) or not isinstance(weights, dict):
        raise InputError(f"{path}: not a published checkpoint: 'config' and 'state_dict' must be dictionaries")
    missing = sorted(key for key in _CONFIG_KEYS.values() if key not in settings)
    if missing:
        raise InputError(f"{path}: its config has no {missing[0]!r}; it is not a GMMFormer checkpoint")
    try:
        config = ModelConfig(**{ours: settings[theirs] for ours, theirs in _CONFIG_KEYS.items()})
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: its config is not one of a GMMFormer: {error}") from error
    epoch = loaded.get("epoch")
    return PublishedCheckpoint(
        config=config,
        state_dict=_renamed(path, weights, config),
        settings=settings,
        epoch=epoch if isinstance(epoch, int) else None,
    )


def published_name(name: str) -> str | None:
    """Our name of a published parameter; None if there is no such parameter.

    >>> published_name("clip_encoder_2.attn3.output.LayerNorm.weight")
    'clip_encoder.1.windows.3.norm.weight'
    """
    stem, _, leaf = name.removeprefix("module.").rpartition(".")
    for part, ours in _ATTENTION_PARTS.items():
        block = stem.removesuffix(f".{part}")
        if block != stem and block in _MODULES:
            return f"{_MODULES[block]}.{ours}.{leaf}"
    return f"{_MODULES[stem]}.{leaf}" if stem in _MODULES else None


def _renamed(path: Path, weights: dict[Any, Any], config: ModelConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        expected = GMMFormer(config).state_dict()
    renamed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        ours = published_name(name) if isinstance(name, str) else None
        if ours not in expected or not isinstance(weight, Tensor):
            raise InputError(f"{path}: {name!r} is no parameter of a GMMFormer; is it a checkpoint of another model?")
        if weight.shape != expected[ours].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(weight.shape)}, its config asks for {tuple(expected[ours].shape)}"
            )
        renamed[ours] = weight.float().contiguous()
    missing = sorted(expected.keys() - renamed.keys())
    if missing:
        raise InputError(f"{path}: {len(missing)} parameters are missing, the first is {missing[0]}")
    return renamed


class _Inert:
    """Stands in for an object of a module that does not exist here: takes anything, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Storages(pickle.Unpickler):
    """Unpickles tensors, containers and numbers, and refuses every other name."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _strided(*arguments[:4])
        if module == "torch" and name in _STORAGE_TYPES:
            return type(name, (), {"dtype": _STORAGE_TYPES[name]})
        if (module, name) == ("Opts.optimization", "WarmupLinearSchedule"):
            return _Inert
        raise InputError(f"names {module}.{name}, which no checkpoint needs; nothing was run. Do not trust this file")

    def persistent_load(self, pid: Any) -> Tensor:
        _, kind, key, _, count = pid
        if key not in self._storages:
            entry = self._archive.getinfo(f"{self._root}data/{key}")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise InputError("holds compressed weights, which torch never writes")
            raw = np.frombuffer(self._archive.read(entry), dtype=np.uint8).copy()
            self._storages[key] = torch.from_numpy(raw).view(kind.dtype)
        if len(self._storages[key]) != count:
            raise InputError(f"holds {len(self._storages[key])} numbers where its index says {count}; it is damaged")
        return self._storages[key]


def _strided(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    if math.prod(size) > len(storage):  # a stride of 0 would spread one number over all memory
        raise InputError("asks for more numbers than it holds; it is damaged")
    return storage.as_strided(size, stride, offset)  # torch refuses what reaches beyond the storage


def _load(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1:
                raise InputError("is a zip, but not one that torch wrote")
            root = pickles[0].removesuffix("data.pkl")
            order = f"{root}byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise InputError("was written on a big-endian machine, which is not supported")
            with archive.open(pickles[0]) as file:
                return _Storages(file, archive, root).load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a pickle that is not one can raise anything
        raise InputError(
            f"{path}: not a checkpoint that torch wrote, or damaged ({type(error).__name__}: {error})"
        ) from error
