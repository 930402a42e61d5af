"""What a library is made for; fixed when it is created."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from gmmformer.errors import InputError
from gmmformer.search.encoders import Recipe
from gmmformer.search.parts import checksum
from gmmformer.search.vectors import Dtype, VectorFormat


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
        _ = self.format

    @property
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
            values: dict[str, Any] = json.loads(text)
            recipe = values.pop("recipe")
            return cls(**values, recipe=None if recipe is None else Recipe(**recipe))
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"{where}: its settings are damaged ({error}); restore it from a backup, or index the films anew"
            ) from error
