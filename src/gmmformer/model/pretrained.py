"""Models on disk and on the Hugging Face Hub: config.json, model.safetensors and a model card, in one folder."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gmmformer.config import ModelConfig, config_from
from gmmformer.errors import InputError, one_line
from gmmformer.files import read_json, write_bytes, write_text

Model = TypeVar("Model", bound="PretrainedModel")

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

MODEL_CARD = """---
{{ card_data }}
---

# GMMFormer

Finds the untrimmed video that contains a moment which a sentence describes (partially relevant video retrieval).
Method: [GMMFormer, AAAI 2024](https://arxiv.org/abs/2310.05195).

```python
from gmmformer import GMMFormer

model = GMMFormer.from_pretrained("{{ repo_id | default("this folder", true) }}")
```

Video features are {{ feature_dim }}-dimensional, token features {{ query_dim }}-dimensional; embed with the features
that the model was trained on.
"""


class PretrainedModel(
    nn.Module,
    ModelHubMixin,
    model_card_template=MODEL_CARD,
    library_name="gmmformer",
    license="mit",
    pipeline_tag="video-text-to-text",
    tags=["video-retrieval", "partially-relevant-video-retrieval", "gmmformer"],
    paper_url="https://arxiv.org/abs/2310.05195",
):
    """Saves and loads a network that is built from one `ModelConfig`; loading is strict."""

    config: ModelConfig

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write the model to a folder; each file is whole or as it was.

        Args:
            save_directory: Folder to write to, made if missing.
            **options: `push_to_hub=True` with `repo_id` also uploads it; see `push_to_hub`.

        Returns:
            The address of the commit if the model was uploaded.

        Raises:
            InputError: The folder cannot be written to, or a weight is not finite; nothing was written then.
        """
        folder = Path(save_directory)
        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.state_dict().items()}
        see_finite(weights, folder / WEIGHTS)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: no folder can be made there ({error.strerror})") from error
        write_bytes(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
        write_text(folder / CONFIG, json.dumps(asdict(self.config), indent=2) + "\n")
        if not (folder / CARD).exists():
            named = {"repo_id": options.get("repo_id"), **(options.get("model_card_kwargs") or {})}
            card = self.generate_model_card(
                feature_dim=self.config.feature_dim, query_dim=self.config.query_dim, **named
            )
            write_text(folder / CARD, str(card))
        if options.pop("push_to_hub", False):
            return self.push_to_hub(repo_id=options.pop("repo_id", folder.name), **_hub_options(options))
        return None

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model to the Hugging Face Hub, its card with the address that loads it.

        Args:
            repo_id: Where to, such as "name/gmmformer-tvr"; made if missing.
            **options: `private`, `token`, `commit_message`, `branch` and the others of huggingface_hub's mixin.

        Returns:
            The address of the commit.
        """
        named = {"repo_id": repo_id, **(options.pop("model_card_kwargs", None) or {})}
        return str(super().push_to_hub(repo_id, model_card_kwargs=named, **options))

    @classmethod
    def from_pretrained(cls: type[Model], pretrained_model_name_or_path: str | Path, **options: Any) -> Model:
        """Load a model from a folder that `save_pretrained` wrote, or from the Hub.

        Args:
            pretrained_model_name_or_path: A folder, or a hub id such as "name/gmmformer-tvr".
            **options: `revision`, `token`, `cache_dir`, `force_download` and `local_files_only` for the Hub;
                `map_location`, the device to load on; fields of `ModelConfig` (`window="batch"`) replace the saved.

        Returns:
            The model in evaluation mode.

        Raises:
            InputError: It is not there, its files do not belong together, or a weight is not finite.
        """
        source = str(pretrained_model_name_or_path)
        device = options.pop("map_location", "cpu")
        hub = {name: options.pop(name) for name in _HUB_OPTIONS if name in options}
        config_file, weights_file = (_file(source, name, hub) for name in (CONFIG, WEIGHTS))
        config = _config(config_file, options)
        with shapes_alone():
            expected = {name: tuple(weight.shape) for name, weight in cls(config).state_dict().items()}
        weights = _weights(weights_file, expected)  # no memory is taken before the file is seen to hold as much
        model = cls(config)
        model.load_state_dict(weights, strict=True)
        see_finite(model.state_dict(), weights_file)
        return model.to(torch.device(device)).eval()


class _Undrawn(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "normal_":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Models that are made within have weights without numbers: they take no memory, and none are drawn for them.

    To draw some of no memory costs torch seconds, in which it loads its compiler.
    """
    with torch.device("meta"), _Undrawn():
        yield


_HUB_OPTIONS = ("force_download", "token", "cache_dir", "local_files_only", "revision")


def _hub_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("config", "model_card_kwargs")}


def _file(source: str, name: str, hub: dict[str, Any]) -> Path:
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


def _config(path: Path, replace: dict[str, Any]) -> ModelConfig:
    try:
        saved = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not the config.json of a saved model ({one_line(error)}); save it again") from error
    return config_from(ModelConfig, saved | replace if isinstance(saved, dict) else saved, str(path))


def _weights(path: Path, expected: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
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
