"""What a library is made for, and what makes its vectors; fixed when it is created."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property

from gmmformer.config import as_declared, at_least, config_from
from gmmformer.errors import InputError, shown
from gmmformer.files import parsed_json
from gmmformer.search.parts import checksum
from gmmformer.search.tables import MOST_ROWS
from gmmformer.search.vectors import Dtype, VectorFormat

FPS, MOST_FPS = 1.0, 1_000
"""Frames per second of film that are looked at where the model does not say, and at most."""
MOST_FRAMES_A_CLIP = 64
"""Of a library that somebody made; a network of usual size has 4."""
_LONGEST_NAME = 4_096
"""Letters: a path has no more."""
_MOST_NUMBERS = 2**26
"""Of a window's vectors, in a library that somebody made: 256 MB of them."""


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
    frames_a_clip: int = 1
    """Frames that are kept for each clip, where the trained model scores by frames too."""
    identities: dict[str, str] = field(default_factory=dict)
    """Name and version of each encoder, by role, as the library was made with it."""

    def __post_init__(self) -> None:
        as_declared(self)
        _check_texts([self.video_encoder, self.text_encoder, self.dual_encoder, *self.identities.values()])
        at_least(self, 0, "mix", most=1)
        at_least(self, 1, "frames_a_clip", most=MOST_FRAMES_A_CLIP)
        if not 0 < self.fps <= MOST_FPS:
            raise InputError(f"--fps {self.fps} must be above 0 and at most {MOST_FPS:,}")
        if not (self.trained or self.dual_encoder):
            raise InputError("a recipe names a trained model or a dual encoder; this one does neither")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A library belongs to one model and holds one kind of vectors."""

    model: str
    """What a person calls the model."""
    fingerprint: str
    """Of its settings and weights; no other model's sentences mean anything here."""
    clips: int
    """Clips of a window."""
    dim: int
    """Numbers in a vector."""
    window_rows: int
    """Feature rows that the model looks at; a longer film is cut into windows of that many."""
    feature_dim: int
    """Width of a feature row."""
    frames: int = 0
    """Vectors of a window that stand for frames, where the model scores by these too."""
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
        _ = self.format
        as_declared(self)
        _check_texts([self.model, self.fingerprint, self.identity])
        at_least(self, 1, "clips", "dim", "window_rows", "feature_dim", most=MOST_ROWS)
        at_least(self, 0, "frames", most=MOST_ROWS)
        if not self.identity.isalnum() and self.identity:
            raise InputError(f"a library is known by letters and digits, not by {shown(self.identity)}")
        if not 0 <= self.overlap < 1:
            raise InputError(f"--overlap {self.overlap} must be at least 0 and below 1")
        if self.frames % self.clips:
            raise InputError(f"{self.frames:,} vectors of frames are no multiple of {self.clips:,} clips")
        vectors = self.clips + self.frames
        if vectors * self.dim > _MOST_NUMBERS:
            raise InputError(f"{vectors:,} vectors of {self.dim:,} numbers are more than a library takes for a window")

    @cached_property
    def format(self) -> VectorFormat:
        """How a window's vectors lie on disk."""
        return VectorFormat(dtype=self.dtype, clips=self.clips, dim=self.dim, frames=self.frames)

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
            values = parsed_json(text)
            if isinstance(values, dict) and values.get("recipe") is not None:
                values["recipe"] = config_from(Recipe, values["recipe"], "recipe")
            return config_from(cls, values, "library")
        except (ValueError, TypeError, InputError) as error:
            raise InputError(
                f"{where}: its settings are damaged ({error}); restore it from a backup, or index the films anew"
            ) from error


def _check_texts(texts: Iterable[object]) -> None:
    """Refuse what can be no name: they are written in tables, looked for as files, and told to people."""
    for text in texts:
        if text is not None and not (isinstance(text, str) and "\0" not in text):
            raise InputError(f"{shown(text)} is no text without NUL")
        if text is not None and len(text) > _LONGEST_NAME:
            raise InputError(f"a name of {len(text):,} letters is none: {shown(text)}")
