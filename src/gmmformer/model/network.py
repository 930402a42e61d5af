"""What everything else asks of a network, and networks on disk and on the Hugging Face Hub.

A folder holds config.json, model.safetensors and a model card.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import ModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gmmformer.config import ModelConfig, TrainConfig, config_from
from gmmformer.errors import InputError, one_line
from gmmformer.files import read_json, read_text, write_bytes, write_text
from gmmformer.model.batches import QueryBatch, VideoBatch, query_batch, video_batch
from gmmformer.model.scoring import Start, VectorGroup

Model = TypeVar("Model", bound="Network")

WEIGHTS, CONFIG, CARD, WORDS = "model.safetensors", "config.json", "README.md", "words.txt"
BEST = "best"
"""Folder of a run that holds its best model."""

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


class Network(
    nn.Module,
    ModelHubMixin,
    model_card_template=MODEL_CARD,
    library_name="gmmformer",
    license="mit",
    pipeline_tag="video-text-to-text",
    tags=["video-retrieval", "partially-relevant-video-retrieval", "gmmformer"],
    paper_url="https://arxiv.org/abs/2310.05195",
):
    """A network that finds videos by sentences: all that data, training, evaluation and search ask of one.

    Training asks for `forward` and `objective`. Everything else asks for `encode_query`, `encode_video` and `groups`:
    one unit vector for a sentence, as many vectors for a video as its `groups` say, and a score that is, group by
    group, the largest inner product (`gmmformer.model.scoring`). Built from one `ModelConfig`; loading is strict.
    """

    losses: ClassVar[tuple[str, ...]]
    """The terms of the objective; the last is "total", their weighted sum."""
    words: Any = None
    """Makes token features [tokens, dim] of each of several sentences, for `encode_query`; None if it cannot."""
    vocabulary: tuple[str, ...] = ()
    """The words of the sentences that it was trained on, ascending; none where that is not known."""
    config: ModelConfig

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    @abstractmethod
    def groups(self) -> tuple[VectorGroup, ...]:
        """The vectors that are stored of a video, and what each group counts in its score."""

    @abstractmethod
    def embed_query(self, batch: QueryBatch) -> Float[Tensor, "queries hidden"]:
        """One vector per sentence, not normalised."""

    @abstractmethod
    def embed_video(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """The embeddings of each video that the objective is about: tensors whose first axis is the videos."""

    @abstractmethod
    def stored(self, videos: Any) -> Float[Tensor, "videos vectors hidden"]:
        """Embeddings as the vectors that are kept of each video, group after group, float32, none longer than 1."""

    @abstractmethod
    def objective(
        self,
        queries: Float[Tensor, "queries hidden"],
        videos: Any,
        labels: Int[Tensor, "queries"],
        config: TrainConfig,
        *,
        hard: bool,
        generator: torch.Generator,
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of the loss of a batch, by `losses`; the arguments as for `gmmformer.model.losses.objective`."""

    def begin_at(self, start: Start) -> None:
        """Set the weights so that the network scores as a linear map does; training goes on from there.

        Raises:
            InputError: It cannot.
        """
        raise InputError(f"--start features: a {type(self).__name__} begins at random alone; leave it out")

    def forward(
        self, queries: QueryBatch, videos: VideoBatch
    ) -> tuple[Float[Tensor, "queries hidden"], tuple[Tensor, ...]]:
        """Embed both sides, as a training step does."""
        return self.embed_query(queries), self.embed_video(videos)

    @torch.no_grad()
    def encode_query(
        self, queries: QueryBatch | Sequence[Float[np.ndarray, "_tokens dim"]] | Sequence[str]
    ) -> Float[Tensor, "queries hidden"]:
        """A unit vector for each sentence, float32, without a graph, where the weights are.

        Args:
            queries: A batch, or the token features of each sentence, or, if the model has `words`, sentences.

        Raises:
            InputError: They are not what the model takes.
        """
        if isinstance(queries, str):
            raise InputError(f"encode_query takes several sentences; put {one_line(queries, 40)!r} into a list")
        if not isinstance(queries, QueryBatch):
            if any(isinstance(query, str) for query in queries):
                queries = self._tokens([str(query) for query in queries])
            queries = query_batch(queries, self.config)  # type: ignore[arg-type]
        return F.normalize(self.embed_query(queries).float(), dim=-1)

    @torch.no_grad()
    def encode_video(
        self, videos: VideoBatch | Sequence[Float[np.ndarray, "_rows dim"]]
    ) -> Float[Tensor, "videos vectors hidden"]:
        """The vectors that are stored of each video, float32, without a graph, where the weights are.

        Args:
            videos: A batch, or the feature rows of each video in the order of the film.

        Raises:
            InputError: They are not what the model takes.
        """
        if isinstance(videos, np.ndarray) and videos.ndim == 2:
            raise InputError("encode_video takes several videos; put the rows of the one into a list")
        batch = videos if isinstance(videos, VideoBatch) else video_batch(videos, self.config)
        return self.stored(self.embed_video(batch))

    def _tokens(self, sentences: list[str]) -> list[Float[np.ndarray, "_tokens dim"]]:
        if self.words is None:
            made_by = f" (it was trained on those of {self.config.text_encoder})" if self.config.text_encoder else ""
            raise InputError(
                f"the model takes token features{made_by}, and has no text encoder to make them of words: give arrays "
                "of token features, or let its `words` be a function that makes them of a list of sentences"
            )
        found: list[Float[np.ndarray, "_tokens dim"]] = self.words(sentences)
        return found

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
        if self.vocabulary:
            write_text(folder / WORDS, "\n".join(self.vocabulary))
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
        """Load a model from a run, from a folder that `save_pretrained` wrote, or from the Hub.

        Args:
            pretrained_model_name_or_path: A folder, or a hub id such as "name/gmmformer-tvr".
            **options: `revision`, `token`, `cache_dir`, `force_download` and `local_files_only` for the Hub;
                `map_location`, the device to load on; fields of `ModelConfig` (`window="batch"`) replace the saved.

        Returns:
            The model in evaluation mode.

        Raises:
            InputError: It is not there, its files do not belong together, or a weight is not finite.
        """
        source = str(_model_folder(Path(pretrained_model_name_or_path)))
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
        if (words := weights_file.parent / WORDS).is_file():
            model.vocabulary = tuple(sorted(read_text(words).split()))
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


def _model_folder(path: Path) -> Path:
    """Of a run the folder of its best model; any other as it is."""
    if (path / BEST).is_dir():
        return path / BEST
    if (path / "state.pt").exists():
        raise InputError(f"{path}: this run has no model yet: its first epoch is not over")
    return path


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
