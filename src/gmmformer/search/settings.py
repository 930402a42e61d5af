"""What a library is made for, and what makes its vectors; fixed when it is created."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from gmmformer.errors import InputError
from gmmformer.files import parsed_json
from gmmformer.search.database import MOST_ROWS
from gmmformer.search.parts import checksum
from gmmformer.search.vectors import Dtype, VectorFormat

FPS = 1.0
"""Frames per second of film that are looked at where the model does not say."""
_MOST_NUMBERS = 2**26
"""Of a window's vectors, in a library that somebody made: 256 MB of them."""


def _name(value: Any) -> bool:
    return type(value) is str and "\0" not in value


def _count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_ROWS


def _share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


_MAY_BE: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("model", "fingerprint", "dtype"), _name),
    **dict.fromkeys(("clips", "dim", "window_rows", "feature_dim"), _count),
    "overlap": _share,
    "keep_features": lambda value: type(value) is bool,
    "identity": lambda value: _name(value) and (not value or value.isalnum()),
    "recipe": lambda value: value is None or type(value) is dict,
}
_RECIPE_MAY_BE: dict[str, Callable[[Any], bool]] = {
    "trained": lambda value: type(value) is bool,
    **dict.fromkeys(("video_encoder", "text_encoder", "dual_encoder"), lambda value: value is None or _name(value)),
    "mix": _share,
    "fps": lambda value: type(value) in (int, float) and 0 < value <= 1_000,
    "identities": lambda value: type(value) is dict and all(map(_name, value.values())),
}


def _object(value: Any, may_be: dict[str, Callable[[Any], bool]]) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("they are no names with values")
    for name, one in value.items():
        if name not in may_be or not may_be[name](one):
            raise ValueError(f"{name[:60]!r} is {str(one)[:60]!r}")
    if may_be is _RECIPE_MAY_BE and not (value.get("trained") or value.get("dual_encoder")):
        raise ValueError("its recipe names neither a trained model nor a dual encoder")
    return dict(value)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What makes the vectors of a library, by name, so that it can be made again from the library alone."""

    trained: bool = False
    """Whether there is a trained model; the library keeps it."""
    video_encoder: str | None = None
    """The frame encoder of the features that the trained model takes; None where nobody knows."""
    text_encoder: str | None = None
    """The text encoder of the token features that the trained model takes; None where nobody knows."""
    dual_encoder: str | None = None
    """The dual encoder that is used without training."""
    mix: float = 0.0
    """The dual encoder's share of the score, where there is a trained model too."""
    fps: float = FPS
    """Frames per second of film that are looked at."""
    identities: dict[str, str] = field(default_factory=dict)
    """Name and version of each encoder, by role, as the library was made with it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A library belongs to one model and holds one kind of vectors."""

    model: str
    """What a person calls the model."""
    fingerprint: str
    """Of its settings and weights; no other model's sentences mean anything here."""
    clips: int
    """Vectors of a window."""
    dim: int
    """Numbers in a vector."""
    window_rows: int
    """Feature rows that the model looks at; a longer film is cut into windows of that many."""
    feature_dim: int
    """Width of a feature row."""
    dtype: Dtype = "int8"
    """How vectors are stored."""
    overlap: float = 0.25
    """Share of a window that the next one repeats."""
    keep_features: bool = True
    """Whether feature rows are kept, so that another model needs no decoding."""
    identity: str = ""
    """Another for every library, to know it by elsewhere."""
    recipe: Recipe | None = None
    """What makes its vectors, so that a search can make it again; None if only whoever made the library knows."""

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise InputError(f"--overlap {self.overlap} must be at least 0 and below 1")
        if self.clips * max(self.dim, 1) > _MOST_NUMBERS:
            raise InputError(f"{self.clips:,} clips of {self.dim:,} numbers are more than a library takes for a window")
        _ = self.format

    @cached_property
    def format(self) -> VectorFormat:
        """How a window's vectors lie on disk."""
        return VectorFormat(dtype=self.dtype, clips=self.clips, dim=self.dim)

    def to_json(self) -> tuple[str, int]:
        """The settings as text, and its checksum."""
        text = json.dumps(asdict(self), sort_keys=True)
        return text, checksum(text)

    @classmethod
    def from_json(cls, text: str, check: int, where: str) -> "Settings":
        """The settings of a library at `where`.

        Raises:
            InputError: They are not what was written there.
        """
        try:
            if checksum(text) != check:
                raise ValueError("its checksum differs")
            values = _object(parsed_json(text), _MAY_BE)
            recipe = values.pop("recipe", None)
            return cls(**values, recipe=None if recipe is None else Recipe(**_object(recipe, _RECIPE_MAY_BE)))
        except (ValueError, TypeError, InputError) as error:
            raise InputError(
                f"{where}: its settings are damaged ({error}); restore it from a backup, or index the films anew"
            ) from error
