"""What everything else asks of a network, and how one is saved, loaded and put on the Hugging Face Hub."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import ModelHubMixin
from jaxtyping import Float, Int
from safetensors.torch import save
from torch import Tensor, nn

from gmmformer.config import Kind, ModelConfig, TrainConfig
from gmmformer.errors import InputError, one_line
from gmmformer.files import read_text, write_bytes, write_text
from gmmformer.model.batches import QueryBatch, VideoBatch, query_batch, video_batch
from gmmformer.model.saved import (
    CARD,
    CONFIG,
    HUB_OPTIONS,
    WEIGHTS,
    WORDS,
    model_file,
    model_folder,
    read_config,
    read_weights,
    see_finite,
    shapes_alone,
)
from gmmformer.model.scoring import Start, VectorGroup

Model = TypeVar("Model", bound="Network")

MODEL_CARD = """---
{{ card_data }}
---

# {{ title }}

Finds the untrimmed video that contains a moment which a sentence describes (partially relevant video retrieval).
Method: [{{ title }}]({{ paper }}).

```python
from gmmformer import {{ network }}

model = {{ network }}.from_pretrained("{{ repo_id | default("this folder", true) }}")
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

    kind: ClassVar[Kind]
    """What `ModelConfig.network` calls it."""
    title: ClassVar[str]
    """What people call it."""
    paper: ClassVar[str]
    """Address of the paper."""
    losses: ClassVar[tuple[str, ...]]
    """The terms of the objective; the last is "total", their weighted sum."""
    encodings: ClassVar[int] = 1
    """How often a training step encodes its sentences, each time with dropout anew."""
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
        queries: Float[Tensor, "queries encodings hidden"],
        videos: Any,
        labels: Int[Tensor, "queries"],
        config: TrainConfig,
        *,
        hard: bool,
        generator: torch.Generator,
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of the loss of a batch, by `losses`; the arguments as for `gmmformer.model.losses.objective`."""

    def decayed(self) -> set[str]:
        """The names of the parameters that weight decay draws to 0: weights of Linear and Embedding layers."""
        return {
            f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.Linear | nn.Embedding)
        }

    def begin_at(self, start: Start) -> None:
        """Set the weights so that the network scores as a linear map does; training goes on from there.

        Raises:
            InputError: It cannot.
        """
        raise InputError(f"--start features: a {type(self).__name__} begins at random alone; leave it out")

    def forward(
        self, queries: QueryBatch, videos: VideoBatch
    ) -> tuple[Float[Tensor, "queries encodings hidden"], tuple[Tensor, ...]]:
        """Embed both sides, as a training step does."""
        encoded = [self.embed_query(queries) for _ in range(self.encodings if self.training else 1)]
        return torch.stack(encoded, 1), self.embed_video(videos)

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
            told = {name: getattr(self.config, name) for name in ("feature_dim", "query_dim")}
            told |= {"title": self.title, "paper": self.paper, "network": type(self).__name__}
            card = self.generate_model_card(**told, **named)
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
        return load_saved(pretrained_model_name_or_path, {cls.kind: cls}, **options)


def load_saved(source: str | Path, networks: Mapping[Kind, type[Model]], **options: Any) -> Model:
    """Load a model that is one of these networks, by the names that its settings call them by.

    The other arguments, and errors, are those of `Network.from_pretrained`.
    """
    folder = str(model_folder(Path(source)))
    device = options.pop("map_location", "cpu")
    hub = {name: options.pop(name) for name in HUB_OPTIONS if name in options}
    config_file, weights_file = (model_file(folder, name, hub) for name in (CONFIG, WEIGHTS))
    config = read_config(config_file, options)
    network = networks.get(config.network)
    if network is None:
        (wanted,) = networks.values()
        raise InputError(
            f"{config_file.parent}: a model of the network {config.network}, not a {wanted.__name__}; "
            "gmmformer.load_model takes either"
        )
    with shapes_alone():
        expected = {name: tuple(weight.shape) for name, weight in network(config).state_dict().items()}
    weights = read_weights(weights_file, expected)  # no memory is taken before the file is seen to hold as much
    model = network(config)
    model.load_state_dict(weights, strict=True)
    see_finite(model.state_dict(), weights_file)
    with suppress(InputError):  # models of before have none
        model.vocabulary = tuple(sorted(read_text(model_file(folder, WORDS, hub)).split()))
    return model.to(torch.device(device)).eval()


def _hub_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("config", "model_card_kwargs")}
