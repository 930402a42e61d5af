"""Models by whatever names them: runs, saved folders, the Hub, and checkpoints as the published system wrote them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gmmformer.config import Kind, ModelConfig, config_from
from gmmformer.errors import InputError, one_line
from gmmformer.model.gmmformer import GMMFormer
from gmmformer.model.gmmformer_v2 import WIDTHS, GMMFormerV2
from gmmformer.model.network import Network, load_saved
from gmmformer.model.saved import see_finite, shapes_alone
from gmmformer.model.torch_files import is_torch_file, read_torch_file

_NETWORKS: dict[Kind, type[Network]] = {network.kind: network for network in (GMMFormer, GMMFormerV2)}

_TOKEN = "weight_token"
"""A parameter of the published GMMFormer v2 alone."""

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

_STAGES = {
    f"{branch}_{old}": f"{branch}_input.{new}"
    for branch in ("query", "clip", "frame")
    for old, new in (
        ("input_proj.LayerNorm", "input_norm"),
        ("input_proj.net.1", "linear"),
        ("pos_embed.position_embeddings", "positions"),
        ("pos_embed.LayerNorm", "norm"),
    )
}
_ATTENTION = {"self.query": "query", "self.key": "key", "self.value": "value"}


def _names(modules: dict[str, str], blocks: dict[str, str], parts: dict[str, str]) -> dict[str, str]:
    """Our names of published modules: of some, of the stages, and of the parts of each block."""
    of_blocks = {f"{old}.{part}": f"{new}.{ours}" for old, new in blocks.items() for part, ours in parts.items()}
    return {**_STAGES, **modules, **of_blocks}


_MODULES: dict[Kind, dict[str, str]] = {
    "v1": _names(
        {"modular_vector_mapping": "query_pool.score", "modular_vector_mapping_2": "frame_pool.score"},
        {
            "query_encoder": "query_encoder.windows.0",
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
        },
        {**_ATTENTION, "output.dense": "output", "output.LayerNorm": "norm"},
    ),
    "v2": _names(
        {
            "modular_vector_mapping": "query_pool.score",
            **{
                f"{old}.{layer}": f"{new}.{layer}"
                for old, new in (("clip_encoder", "clip_encoder"), ("frame_encoder_1", "frame_encoder"))
                for layer in ("layer1", "layer2")
            },
        },
        {
            "query_encoder": "query_encoder.layers.0",
            **{
                f"{old}.{theirs}": f"{new}.{ours}"
                for old, new in (("clip_encoder", "clip_encoder"), ("frame_encoder_1", "frame_encoder"))
                for theirs, ours in (
                    ("ca", "ca"),
                    *((f"attn{window}", f"windows.layers.{window}") for window in range(len(WIDTHS))),
                )
            },
        },
        {
            **_ATTENTION,
            "output.layer1": "layer1",
            "output.layer2": "layer2",
            "norm1": "norm1",
            "norm2": "norm2",
        },
    ),
}


@dataclass(frozen=True, kw_only=True)
class PublishedCheckpoint:
    """What a published file holds that is of use here."""

    config: ModelConfig
    state_dict: dict[str, Tensor]
    """The weights under the names of the network here."""
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
    return _NETWORKS[config.network](config)


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
    return load_saved(source, _NETWORKS, local_files_only=not allow_download, **replace)


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
    kind: Kind = "v2" if {_TOKEN, f"module.{_TOKEN}"} & weights.keys() else "v1"
    keys = _CONFIG_KEYS | ({"temperature": "sft_factor"} if kind == "v2" else {})
    missing = sorted(key for key in keys.values() if key not in settings)
    if "sft_factor" in missing:
        raise InputError(
            f"{path}: its config has no 'sft_factor', the temperature that GMMFormer v2 mixes its windows by; it "
            "stands nowhere else, and without it no score can be told: take the whole file that training wrote"
        )
    if missing:
        raise InputError(f"{path}: its config has no {missing[0]!r}; it is not a GMMFormer checkpoint")
    ours = {"network": kind} | {ours: settings[theirs] for ours, theirs in keys.items()}
    config = config_from(ModelConfig, ours, f"{path}: its config is not one of a GMMFormer")
    epoch = loaded.get("epoch")
    return PublishedCheckpoint(
        config=config,
        state_dict=_renamed(path, weights, config),
        settings=settings,
        epoch=epoch if isinstance(epoch, int) and 0 <= epoch < 2**31 else None,
    )


def published_name(name: str, kind: Kind = "v1") -> str | None:
    """Our name of a published parameter; None if there is no such parameter.

    >>> published_name("clip_encoder_2.attn3.output.LayerNorm.weight")
    'clip_encoder.1.windows.3.norm.weight'
    """
    name = name.removeprefix("module.")
    if kind == "v2" and name == _TOKEN:
        return "token"
    stem, _, leaf = name.rpartition(".")
    return f"{_MODULES[kind][stem]}.{leaf}" if stem in _MODULES[kind] else None


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
        ours = published_name(name, config.network) if isinstance(name, str) else None
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
