"""Models by whatever names them: runs, saved folders, the Hub, and checkpoints as the published system wrote them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gmmformer.config import ModelConfig, config_from
from gmmformer.errors import InputError, one_line
from gmmformer.model.gmmformer import GMMFormer
from gmmformer.model.network import Network, see_finite, shapes_alone
from gmmformer.model.torch_files import is_torch_file, read_torch_file

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

    def model(self, **replace: Any) -> Network:
        """The network with these weights, in evaluation mode; `replace` are other values for fields of its config."""
        model = new_network(dataclasses.replace(self.config, **replace))
        model.load_state_dict(self.state_dict, strict=True)
        return model.eval()


def new_network(config: ModelConfig) -> Network:
    """The network that a config describes, with weights drawn anew: the one place that knows which class that is."""
    return GMMFormer(config)


def load_model(source: str | Path, *, allow_download: bool = False, **replace: Any) -> Network:
    """The model that `source` names, in evaluation mode on the CPU.

    Args:
        source: A run folder, a folder that `save_pretrained` wrote, a published checkpoint, or a hub id.
        allow_download: Whether a hub id may be fetched.
        **replace: Fields of `ModelConfig` that replace the saved ones, such as `window="batch"`.

    Raises:
        InputError: There is no such model, or it cannot be read.
    """
    path = Path(source)
    if is_torch_file(path):
        return read_published(path).model(**replace)
    if path.is_file():
        raise InputError(f"{path}: neither a published checkpoint nor a folder with a saved model")
    return GMMFormer.from_pretrained(source, local_files_only=not allow_download, **replace)


def read_published(path: Path) -> PublishedCheckpoint:
    """Read a published checkpoint, also one saved from a multi-GPU wrapper (`module.` before every name).

    Raises:
        InputError: It is not such a file, names something no checkpoint needs, or its weights do not fit it.
    """
    loaded = read_torch_file(path)
    if not isinstance(loaded, dict) or not {"config", "state_dict"} <= loaded.keys():
        raise InputError(f"{path}: not a published checkpoint: it has no 'config' and 'state_dict'")
    settings, weights = loaded["config"], loaded["state_dict"]
    if not isinstance(settings, dict) or not isinstance(weights, dict):
        raise InputError(f"{path}: not a published checkpoint: 'config' and 'state_dict' must be dictionaries")
    missing = sorted(key for key in _CONFIG_KEYS.values() if key not in settings)
    if missing:
        raise InputError(f"{path}: its config has no {missing[0]!r}; it is not a GMMFormer checkpoint")
    ours = {ours: settings[theirs] for ours, theirs in _CONFIG_KEYS.items()}
    config = config_from(ModelConfig, ours, f"{path}: its config is not one of a GMMFormer")
    epoch = loaded.get("epoch")
    return PublishedCheckpoint(
        config=config,
        state_dict=_renamed(path, weights, config),
        settings=settings,
        epoch=epoch if isinstance(epoch, int) and 0 <= epoch < 2**31 else None,
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
    with shapes_alone():
        expected = new_network(config).state_dict()
    needed, there = sum(weight.numel() for weight in expected.values()), path.stat().st_size
    if 2 * needed > there:  # before weights that share a storage are made ones of their own
        raise InputError(
            f"{path}: its config asks for {needed:,} numbers, of two bytes at least each, more numbers than it holds"
        )
    renamed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        ours = published_name(name) if isinstance(name, str) else None
        if ours not in expected or not isinstance(weight, Tensor) or not weight.is_floating_point():
            called = repr(one_line(name, 100))
            raise InputError(f"{path}: {called} is no parameter of a GMMFormer; is it a checkpoint of another model?")
        if weight.shape != expected[ours].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(weight.shape)}, its config asks for {tuple(expected[ours].shape)}"
            )
        renamed[ours] = weight.float().contiguous()
    missing = sorted(expected.keys() - renamed.keys())
    if missing:
        raise InputError(f"{path}: {len(missing)} parameters are missing, the first is {missing[0]}")
    see_finite(renamed, path)
    return renamed
