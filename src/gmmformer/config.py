"""Every setting of the model and of its training."""

from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from gmmformer.cores import usable_cores
from gmmformer.errors import InputError, one_line, suggest

Window = Literal["full", "batch"]
Precision = Literal["auto", "float32", "bf16"]
Beside = Literal["auto", "all", "none"]
Kind = Literal["v1", "v2"]
Config = TypeVar("Config")

_MOST = 2**63 - 1
_MOST_FLOAT = 3.4e38
MOST_PARAMETERS = 2**31
"""Numbers of the largest network that is built: 8 GiB of them; the published ones have 13 million."""
MOST_POSITIONS = 8192
"""Rows of a video, clips of it or tokens of a sentence that a network can be built for; windows cost their square."""
MOST_AT_ONCE = 1024
"""Threads or processes of one kind."""

_CALLED = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "nothing"}


def config_from(kind: type[Config], saved: object, where: str) -> Config:
    """The settings that were saved at `where`: an object with their names and values, as JSON has it.

    Raises:
        InputError: A setting is unknown or missing, or has a value that the command line would not take.
    """
    if not isinstance(saved, dict):
        raise InputError(f"{where}: holds no settings by name; write the file again, or restore it from a backup")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    unknown = sorted(str(name)[:60] for name in saved.keys() - known.keys())
    if unknown:
        raise InputError(f"{where}: unknown setting {unknown[0]!r}; it was written by a newer version or by hand")
    missing = [n for n, field in known.items() if n not in saved and field.default is field.default_factory is MISSING]
    if missing:
        raise InputError(f"{where}: the setting {missing[0]!r} is missing; restore the file from a backup")
    try:
        return kind(**saved)
    except InputError as error:
        raise InputError(f"{where}: the setting {str(error).removeprefix('--')}") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: object) -> str:
    """A value as a message has it; of what a file may hold in its place no more than that."""
    if isinstance(value, int) and abs(value) > _MOST:
        return "(a number of too many digits)"
    return one_line(value, 60) if isinstance(value, int | float | str) else f"({type(value).__name__})"


def as_declared(config: Any) -> None:
    """Refuse a value that is not of its setting's type, and a number that is not finite."""
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        if get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise InputError(f"{_flag(name)} {_shown(value)}: {suggest(_shown(value), get_args(kind))}")
        elif not any(_is_a(value, one) for one in kinds):
            called = " or ".join(_CALLED.get(one, "values by name") for one in kinds)
            raise InputError(f"{_flag(name)} {_shown(value)} must be {called}")
        elif isinstance(value, float) and not abs(value) <= _MOST_FLOAT:
            raise InputError(f"{_flag(name)} {_shown(value)} must be a finite number, such as float32 holds")


def _is_a(value: object, kind: type) -> bool:
    if kind in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST
        return whole or (kind is float and isinstance(value, float))
    return isinstance(value, get_origin(kind) or kind)


def at_least(config: Any, least: int, *names: str, most: int = _MOST) -> None:
    """Refuse settings that are out of their bounds."""
    for name in names:
        value = getattr(config, name)
        whole = "a whole number of " if isinstance(value, int) else ""
        if not value >= least:
            raise InputError(f"{_flag(name)} {_shown(value)} must be {whole}at least {least}")
        if not value <= most:
            raise InputError(f"{_flag(name)} {_shown(value)} must be {whole}at most {most:,}")


def _shares(config: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"{_flag(name)} {_shown(getattr(config, name))} must be at least 0 and below 1")


def _above_zero(config: Any, *names: str) -> None:
    """Refuse settings that are 0 or less; one that may be None says so by it."""
    for name in names:
        if getattr(config, name) is not None and not getattr(config, name) > 0:
            raise InputError(f"{_flag(name)} {_shown(getattr(config, name))} must be above 0")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The network and its size, whatever features it is for."""

    network: Kind = "v1"
    """GMMFormer, or GMMFormer v2, whose presets (tvr-v2, ...) have the losses that go with it too."""
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
    """Share of the video score in the retrieval score; in GMMFormer v2 of that of the best frame."""
    temperature: float = 0.09
    """GMMFormer v2 alone: of the softmax by which its windows are mixed at each position (published: sft_factor)."""
    window: Window = "full"
    """Positions that the frame branch's Gaussian windows are laid over: "full" takes max_ctx_l, so that an embedding
    depends on its video alone; "batch" takes the longest video of the batch, as the published system did."""

    def __post_init__(self) -> None:
        as_declared(self)
        at_least(self, 1, "hidden", "heads")
        at_least(self, 1, "map_size", "max_ctx_l", "max_desc_l", most=MOST_POSITIONS)
        _shares(self, "input_drop", "drop")
        _above_zero(self, "temperature")
        if self.network == "v2" and self.window != "full":
            raise InputError("--window batch: GMMFormer v2 has one form of its windows; leave it out")
        at_least(self, 0, "clip_weight", "frame_weight", most=1)
        if not self.clip_weight + self.frame_weight:
            raise InputError("--clip-weight 0 and --frame-weight 0 leave nothing to score by; raise one of them")
        squares = (
            217 if self.network == "v2" else 68
        )  # 17 layers of 11 square matrices, two of 5 and ten; 17 blocks of 4
        if squares * self.hidden**2 > MOST_PARAMETERS:
            raise InputError(f"--hidden {self.hidden} makes a network of more than {MOST_PARAMETERS:,} numbers")
        if self.hidden % self.heads:
            raise InputError(f"--hidden {self.hidden} is not a multiple of --heads {self.heads}")
        if self.map_size > self.max_ctx_l:
            raise InputError(f"--map-size {self.map_size} is more than --max-ctx-l {self.max_ctx_l}")


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
        at_least(self, 1, "feature_dim", "query_dim", most=MOST_PARAMETERS // self.hidden)
        _above_zero(self, "fps")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained: the objective, the optimiser, the schedule. Defaults are TVR's."""

    start: Literal["random", "features"] = "random"
    """Where weights begin: "random", as published, or "features": at what these find by themselves (docs/films.md)."""
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
    matching_weight: float = 0.0
    """f3, of GMMFormer v2 alone: factor of the matching term."""
    diversity_delta: float = 0.15
    """Offset of the cosine in the query-diverse term."""
    diversity_alpha: float = 32.0
    """Steepness of the query-diverse term."""
    seed: int = 9527
    """Seed of the initial weights, the order of the videos, dropout and the drawn negatives."""

    def __post_init__(self) -> None:
        as_declared(self)
        at_least(self, 1, "batch_size", "epochs", "hard_pool_size")
        terms = ("clip_nce_weight", "video_nce_weight", "diversity_weight", "matching_weight")
        at_least(self, 0, "patience", "hard_negative_start_epoch", "weight_decay", "seed", "margin", *terms)
        at_least(self, 0, "diversity_alpha")
        _above_zero(self, "lr", "clip_norm")
        _shares(self, "warmup")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How a run uses the machine and what it leaves behind; nothing here but `precision` changes what is learned."""

    device: str = "auto"
    """"auto" (a GPU if there is one), "cpu", "cuda" or "mps"."""
    precision: Precision = "auto"
    """"float32" is float32; "bf16" multiplies matrices in bfloat16: much faster where the hardware has units for
    it, several times slower elsewhere; "auto" takes it where it pays. A run keeps what it began with."""
    workers: int = 2
    """Threads that read features ahead; 0 reads between the steps."""
    resident: Literal["auto", "yes", "no"] = "auto"
    """Whether the features that are trained on lie on the device as the network takes them, so that no step reads or
    copies any; "auto": on a GPU that has room for them."""
    train_split: str = "train"
    """Caption file that is trained on."""
    select_on: str = "val"
    """Caption file that chooses the best epoch; what is measured on it later looks better than it is."""
    log_every: int = 20
    """Steps between two lines of metrics.jsonl."""
    save_minutes: float = 10.0
    """The state is saved after every epoch, and within an epoch whenever this many minutes have passed."""

    def __post_init__(self) -> None:
        as_declared(self)
        at_least(self, 0, "workers", most=MOST_AT_ONCE)
        at_least(self, 1, "log_every")
        _above_zero(self, "save_minutes")


OF_THE_MACHINE = ("device", "workers", "resident", "save_minutes")
"""Settings of a run that may differ when it is gone on with."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a model and its encoders run; nothing here changes what they compute, but for rounding."""

    device: str = "auto"
    """"auto", "cpu", "cuda", "cuda:1" or "mps"."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """What encoders multiply matrices in; their vectors are float32 always."""
    batch_size: int = 32
    """Frames, or sentences, in one forward pass."""
    allow_download: bool = False
    """Whether what is not here may be fetched from the Hugging Face Hub."""
    trust_encoder: bool = False
    """Whether an encoder that is Python code, package.module:factory, may be imported because a file names it."""

    def __post_init__(self) -> None:
        as_declared(self)
        at_least(self, 1, "batch_size")


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What decoding films may cost."""

    decoders: int = usable_cores()
    """Films decoded at a time, each in a process of its own."""
    time_limit: float | None = None
    """Seconds that decoding one film may take. Default: 120 s and a second for each picture."""
    memory_limit: float = 4.0
    """GiB of memory that decoding one film may take."""

    def __post_init__(self) -> None:
        as_declared(self)
        at_least(self, 1, "decoders", most=MOST_AT_ONCE)
        _above_zero(self, "time_limit", "memory_limit")


@dataclass(frozen=True, kw_only=True)
class DecodeConfig(DecodeLimits):
    """How films are decoded."""

    fps: float = 1.0
    """Frames per second of film that are looked at."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _above_zero(self, "fps")
