"""Every setting of the model and of its training, with the published values for the three collections."""

import os
from dataclasses import dataclass
from typing import Literal, get_type_hints

from gmmformer.errors import InputError, suggest

Window = Literal["full", "batch"]
Precision = Literal["32-true", "bf16-mixed"]


def _at_least(config: object, name: str, least: int) -> None:
    value = getattr(config, name)
    whole = get_type_hints(type(config))[name] is int
    if isinstance(value, bool) or (whole and not isinstance(value, int)) or not value >= least:
        raise InputError(
            f"--{name.replace('_', '-')} {value} must be {'a whole number of ' if whole else ''}at least {least}"
        )


def _share(config: object, name: str) -> None:
    if not 0 <= getattr(config, name) < 1:
        raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)} must be at least 0 and below 1")


def _above_zero(config: object, name: str) -> None:
    if not getattr(config, name) > 0:
        raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)} must be above 0")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The size of the network, whatever features it is for."""

    hidden: int = 384
    """Width of every embedding."""
    heads: int = 4
    """Attention heads; `hidden` is a multiple of it."""
    map_size: int = 32
    """Clips per video: each is an equal share of its rows."""
    max_ctx_l: int = 128
    """Most frames the model looks at; a longer video is averaged down to this many segments."""
    max_desc_l: int = 30
    """Most tokens of a sentence; the rest is cut off."""
    input_drop: float = 0.2
    """Dropout in the three input stages."""
    drop: float = 0.2
    """Dropout on attention weights and on their output."""
    clip_weight: float = 0.7
    """Share of the clip score in the retrieval score."""
    frame_weight: float = 0.3
    """Share of the video score in the retrieval score."""
    window: Window = "full"
    """Positions that the frame branch's Gaussian windows are laid over: "full" takes max_ctx_l, so that an embedding
    depends on its video alone; "batch" takes the longest video of the batch, as the published system did."""

    def __post_init__(self) -> None:
        for name in ("hidden", "heads", "map_size", "max_ctx_l", "max_desc_l"):
            _at_least(self, name, 1)
        for name in ("input_drop", "drop"):
            _share(self, name)
        if self.hidden % self.heads:
            raise InputError(f"--hidden {self.hidden} is not a multiple of --heads {self.heads}")
        if self.map_size > self.max_ctx_l:
            raise InputError(f"--map-size {self.map_size} is more than --max-ctx-l {self.max_ctx_l}")
        if self.window not in ("full", "batch"):
            raise InputError(f"--window {self.window}: {suggest(self.window, ['full', 'batch'])}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig(NetworkConfig):
    """All that must be known to load a model's weights and to embed with them."""

    feature_dim: int
    """Width of a video's feature rows (3072 for TVR's i3d_resnet, 1024 for i3d)."""
    query_dim: int
    """Width of a sentence's token features (768 for TVR, 1024 for the other collections)."""
    video_encoder: str | None = None
    """The frame encoder of the features it was trained on, where `gmmformer extract` made them."""
    text_encoder: str | None = None
    """The text encoder of its token features, where `gmmformer extract` made them."""
    fps: float | None = None
    """Feature rows per second of film, where `gmmformer extract` made them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("feature_dim", "query_dim"):
            _at_least(self, name, 1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained: the objective, the optimiser, the schedule. Defaults are TVR's."""

    lr: float = 3e-4
    """Highest learning rate, reached at the end of the warm-up."""
    warmup: float = 0.01
    """Share of all steps over which the learning rate rises."""
    weight_decay: float = 0.01
    """Decay of Linear and Embedding weights, applied beside the Adam update."""
    clip_norm: float = 1.0
    """Largest gradient norm of one parameter tensor."""
    batch_size: int = 128
    """Videos in a batch, over all processes; each brings all its sentences."""
    epochs: int = 100
    """Most passes over the training videos; the learning rate reaches zero there."""
    patience: int = 10
    """Training stops after more than this many epochs without a better SumR."""
    margin: float = 0.1
    """Margin of the triplet loss, in cosine."""
    hard_negative_start_epoch: int = 30
    """First epoch (counted from 0) whose triplets take the hardest negatives rather than random ones."""
    hard_pool_size: int = 20
    """Hardest videos among which a hard negative is drawn."""
    clip_nce_weight: float = 0.05
    """f0: factor of the clip branch's NCE term."""
    video_nce_weight: float = 0.04
    """f1: factor of the video branch's NCE term."""
    diversity_weight: float = 0.001
    """f2: factor of the query-diverse term."""
    diversity_delta: float = 0.15
    """Offset of the cosine in the query-diverse term."""
    diversity_alpha: float = 32.0
    """Steepness of the query-diverse term."""
    seed: int = 9527
    """Seed of the initial weights, the order of the videos, dropout and the drawn negatives."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "hard_pool_size"):
            _at_least(self, name, 1)
        for name in ("patience", "hard_negative_start_epoch", "weight_decay", "seed"):
            _at_least(self, name, 0)
        for name in ("lr", "clip_norm"):
            _above_zero(self, name)
        _share(self, "warmup")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a run uses the machine and what it leaves behind; nothing here but `precision` changes what is learned."""

    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "mps"."""
    precision: Precision = "32-true"
    """"32-true" is float32; "bf16-mixed" multiplies matrices in bfloat16: much faster where the hardware has it."""
    workers: int = 2
    """Threads that read features ahead; 0 reads between the steps."""
    train_split: str = "train"
    """Caption file that is trained on."""
    val_split: str = "val"
    """Caption file that chooses the best epoch."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    save_minutes: float = 10.0
    """The state is saved after every epoch, and within an epoch whenever this many minutes have passed."""

    def __post_init__(self) -> None:
        _at_least(self, "workers", 0)
        _at_least(self, "log_every", 1)
        if self.precision not in ("32-true", "bf16-mixed"):
            raise InputError(f"--precision {self.precision}: {suggest(self.precision, ['32-true', 'bf16-mixed'])}")
        _above_zero(self, "save_minutes")


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What decoding films may cost."""

    decoders: int = os.cpu_count() or 1
    """Films decoded at a time, each in a process of its own."""
    time_limit: float | None = None
    """Seconds that decoding one film may take. Default: 120 s and 20 s for each second of film."""
    memory_limit: float = 4.0
    """GiB of memory that decoding one film may take."""

    def __post_init__(self) -> None:
        _at_least(self, "decoders", 1)
        for name in ("time_limit", "memory_limit"):
            if getattr(self, name) is not None:
                _above_zero(self, name)


@dataclass(frozen=True, kw_only=True)
class DecodeConfig(DecodeLimits):
    """How films are decoded."""

    fps: float = 1.0
    """Frames per second of film that are looked at."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, "fps")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The published settings for one collection."""

    feature: str
    """Folder of the video features under FeatureData."""
    network: NetworkConfig
    """The network."""
    train: TrainConfig
    """The training settings."""
    published: tuple[float, float, float, float, float]
    """R@1, R@5, R@10, R@100 and SumR that the paper reports on the test split, in percent."""


PRESETS: dict[str, Preset] = {
    "tvr": Preset(
        feature="i3d_resnet",
        network=NetworkConfig(),
        train=TrainConfig(),
        published=(13.9, 33.3, 44.5, 84.9, 176.6),
    ),
    "activitynet": Preset(
        feature="i3d",
        network=NetworkConfig(),
        train=TrainConfig(
            lr=2.5e-4,
            margin=0.2,
            hard_negative_start_epoch=20,
            clip_nce_weight=0.02,
            video_nce_weight=0.04,
            diversity_weight=0.015,
            diversity_delta=0.2,
        ),
        published=(8.3, 24.9, 36.7, 76.1, 146.0),
    ),
    "charades": Preset(
        feature="i3d_rgb_lgi",
        network=NetworkConfig(input_drop=0.15, drop=0.15),
        train=TrainConfig(
            lr=2.5e-4,
            margin=0.2,
            hard_negative_start_epoch=100,
            clip_nce_weight=0.02,
            video_nce_weight=0.02,
            diversity_weight=0.005,
        ),
        published=(2.1, 7.8, 12.5, 50.6, 72.9),
    ),
}
"""`gmmformer train --preset NAME` takes these; `published` is what the paper (arXiv 2310.05195) reports for them."""


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: There is none; the message suggests the nearest.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name}: there is no such preset; {suggest(name, PRESETS)}")
    return PRESETS[name]
