"""What turns frames and sentences into vectors: the protocols, and the encoder of a given name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from gmmformer.config import Running
from gmmformer.errors import InputError

BUILTIN = "builtin"
"""The name of the encoders that need no weights."""


@runtime_checkable
class FrameEncoder(Protocol):
    """Frames in, one vector each out."""

    @property
    def name(self) -> str:
        """What `frame_encoder` takes to make it again: "builtin", a hub id, or a folder's absolute path."""
        ...

    @property
    def identity(self) -> str:
        """Name and version: two encoders of one identity give the same vectors."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    @property
    def size(self) -> int:
        """Pixels of the shorter side that frames are best decoded at; others are scaled."""
        ...

    @property
    def needs_previous(self) -> bool:
        """Whether `encode` looks at `previous`; if not it need not be kept."""
        ...

    def encode(
        self,
        images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
        previous: Sequence[UInt8[np.ndarray, "_height _width 3"] | None] | None = None,
    ) -> Float[np.ndarray, "frames dim"]:
        """One float32 vector per frame; it does not depend on the other frames in the call.

        Args:
            images: Upright RGB frames; sizes may differ.
            previous: For each frame the one sampled before it from the same film, None for a film's first; a film cut
                into several calls hands over the last frame of the call before. Left out, every frame is a first one.
        """
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Sentences in, one vector per token out."""

    @property
    def name(self) -> str:
        """What `text_encoder` takes to make it again: "builtin", a hub id, or a folder's absolute path."""
        ...

    @property
    def identity(self) -> str:
        """Name and version: two encoders of one identity give the same vectors."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    def encode(self, sentences: Sequence[str]) -> list[Float[np.ndarray, "_tokens dim"]]:
        """One float32 array per sentence, at least one row each; it does not depend on the other sentences.

        Encoders of whole sentences give (1, dim).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class DualEncoder:
    """Two towers with one space: the dot product of a frame's and a sentence's unit vector is their likeness."""

    frames: FrameEncoder
    """Gives unit vectors."""
    text: TextEncoder
    """Gives one unit vector per sentence, as (1, dim)."""

    @property
    def dim(self) -> int:
        """Width of the shared space."""
        return self.frames.dim


def frame_encoder(name: str = BUILTIN, running: Running = Running()) -> FrameEncoder:
    """The frame encoder of that name.

    Args:
        name: "builtin", or the hub id or folder of a model that `transformers` knows: CLIP and SigLIP give their
            projected image features, DINOv2 and other ViTs the class token, others their pooled output.
        running: Device ("auto" takes CUDA, then MPS, then the CPU), precision, batch and downloads.

    Raises:
        InputError: There is no such model here, or it does not encode pictures.
        MissingExtraError: `transformers` or Pillow is not installed.
    """
    if name == BUILTIN:
        from gmmformer.media.encoders.builtin import BuiltinFrames

        return BuiltinFrames()
    from gmmformer.media.encoders.loading import Loading
    from gmmformer.media.encoders.pretrained import PretrainedFrames

    return PretrainedFrames(Loading(name, running))


def text_encoder(
    name: str = BUILTIN,
    running: Running = Running(),
    *,
    layer: int = -1,
) -> TextEncoder:
    """The text encoder of that name.

    Args:
        name: "builtin", or the hub id or folder of a model that `transformers` knows. BERT, RoBERTa and the like give
            the hidden states of the words, without special tokens, as TVR's and MS-SL's features do; CLIP and SigLIP
            the projected states of the words (CLIP's end token too, which is its sentence vector); models of
            sentence-transformers (they have a modules.json) one pooled vector.
        running: Device ("auto" takes CUDA, then MPS, then the CPU), precision, batch and downloads.
        layer: Which hidden states of BERT, RoBERTa and the like: -1 the last; TVR's released features are from -2.

    Raises:
        InputError: There is no such model here, or it does not encode text.
        MissingExtraError: `transformers` is not installed.
    """
    if name == BUILTIN:
        from gmmformer.media.encoders.builtin import BuiltinText

        return BuiltinText()
    from gmmformer.media.encoders.loading import Loading
    from gmmformer.media.encoders.pretrained import PretrainedText

    return PretrainedText(Loading(name, running), layer=layer)


def dual_encoder(name: str, running: Running = Running()) -> DualEncoder:
    """Both towers of a model whose pictures and sentences share a space (CLIP, SigLIP), for search without training.

    Raises:
        InputError: There is no such model here, or it has no shared space.
        MissingExtraError: `transformers` or Pillow is not installed.
    """
    if name == BUILTIN:
        raise InputError(
            f"{name}: the built-in pair has no space that frames and sentences share; give a CLIP or SigLIP model, "
            "such as openai/clip-vit-large-patch14"
        )
    from gmmformer.media.encoders.loading import Loading
    from gmmformer.media.encoders.pretrained import pretrained_pair

    frames, text = pretrained_pair(Loading(name, running))
    return DualEncoder(frames=frames, text=text)
