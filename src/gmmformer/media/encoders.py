"""What turns frames and sentences into vectors: the protocols, and the encoder of a given name."""

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from gmmformer.config import Running
from gmmformer.errors import InputError, one_line

CODE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")
"""The name of an encoder that is Python code: package.module:factory."""
OURS = frozenset(("gmmformer.demo.encoders:ShapeFrames", "gmmformer.demo.encoders:ShapeWords"))
"""Code of this package, which a file may name."""

ZERO_SHOT = "zero-shot:"
"""Before the name of a dual encoder that is to be used as it is."""
SMALL = "small"
"""The dual encoder that is taken where no model is named; it needs no prefix."""

Made = TypeVar("Made")


class Encoder(Protocol):
    """What encoders of frames and of sentences tell of themselves."""

    @property
    def name(self) -> str:
        """By which it can be made again: a hub id, a folder's absolute path, package.module:factory."""
        ...

    @property
    def identity(self) -> str:
        """Name and version: two encoders of one identity give the same vectors."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...


@runtime_checkable
class FrameEncoder(Encoder, Protocol):
    """Frames in, one vector each out."""

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
class TextEncoder(Encoder, Protocol):
    """Sentences in, one vector per token out."""

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


def prefixed(model: str) -> str:
    """The name of a model, by whose beginning it can be told whether it is a dual encoder used as it is.

    >>> prefixed("small"), prefixed("zero-shot:small"), prefixed("runs/small")
    ('zero-shot:small', 'zero-shot:small', 'runs/small')
    """
    return ZERO_SHOT + model if model == SMALL else model


def frame_encoder(name: str, running: Running = Running()) -> FrameEncoder:
    """The frame encoder of that name.

    Args:
        name: "small", or "efficientnet-lite0", its eye alone (1,280 numbers a frame), which `gmmformer models get
            small` fetches. Or the hub id or folder of a model that `transformers` knows: CLIP and SigLIP give their
            projected image features, DINOv2 and other ViTs the class token, others their pooled output. Or
            package.module:factory, which is imported and called: factory(running).
        running: Device ("auto" takes CUDA, then MPS, then the CPU), precision, batch and downloads.

    Raises:
        InputError: There is no such model here, or it does not encode pictures.
        MissingExtraError: `transformers` or Pillow is not installed.
    """
    if CODE.fullmatch(name):
        return _made(name, FrameEncoder, running)  # type: ignore[type-abstract]
    if name in (SMALL, "efficientnet-lite0"):
        from gmmformer.media.models import small_folder
        from gmmformer.media.small import Lite0Frames

        return Lite0Frames(small_folder(running), running, named=name == SMALL)
    from gmmformer.media.loading import Loading
    from gmmformer.media.transformers import PretrainedFrames

    return PretrainedFrames(Loading(name, running))


def text_encoder(
    name: str,
    running: Running = Running(),
    *,
    layer: int = -1,
) -> TextEncoder:
    """The text encoder of that name.

    Args:
        name: "small", or "minilm", its sentences alone; or the hub id or folder of a model that `transformers` knows.
            BERT, RoBERTa and the like give the hidden states of the words, without special tokens, as TVR's and MS-SL's
            features do; CLIP and SigLIP the projected states of the words and, last, the sentence's vector in the space
            they share with pictures; models of sentence-transformers (they have a modules.json) one pooled vector. Or
            package.module:factory, imported and called.
        running: Device ("auto" takes CUDA, then MPS, then the CPU), precision, batch and downloads.
        layer: Which hidden states of BERT, RoBERTa and the like: -1 the last; TVR's released features are from -2.

    Raises:
        InputError: There is no such model here, or it does not encode text.
        MissingExtraError: `transformers` is not installed.
    """
    if CODE.fullmatch(name):
        return _made(name, TextEncoder, running)  # type: ignore[type-abstract]
    if name in (SMALL, "minilm"):
        from gmmformer.media.models import small_folder
        from gmmformer.media.small import CentredSentences, MiniLM

        return (CentredSentences if name == SMALL else MiniLM)(small_folder(running), running)
    from gmmformer.media.loading import Loading
    from gmmformer.media.transformers import PretrainedText

    return PretrainedText(Loading(name, running), layer=layer)


def dual_encoder(name: str, running: Running = Running()) -> DualEncoder:
    """Both towers of a model whose pictures and sentences share a space (small, CLIP, SigLIP), to search untrained.

    Raises:
        InputError: There is no such model here, or it has no shared space.
        MissingExtraError: `transformers` or Pillow is not installed.
    """
    if CODE.fullmatch(name):
        return _made(name, DualEncoder, running)
    if name == SMALL:
        return DualEncoder(frames=frame_encoder(name, running), text=text_encoder(name, running))
    from gmmformer.media.loading import Loading
    from gmmformer.media.transformers import pretrained_pair

    frames, text = pretrained_pair(Loading(name, running))
    return DualEncoder(frames=frames, text=text)


def recorded(name: str | None, where: str, trusted: bool) -> str | None:
    """The name of an encoder that a file gave: code is imported by the word of whoever runs it, never by a file's.

    Args:
        name: As the file has it.
        where: The file, or what it belongs to.
        trusted: Whether the user gave that word.

    Raises:
        InputError: It is code, and nobody gave it.
    """
    if name is not None and CODE.fullmatch(name) and name not in OURS and not trusted:
        raise InputError(
            f"{where}: its encoder {name} is Python code, which a file alone does not get run; add --trust-encoder "
            "(Running.trust_encoder in Python) if you know that code and want it"
        )
    return name


def _made(name: str, kind: type[Made], running: Running) -> Made:
    """Import package.module and call factory(running)."""
    module, _, factory = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{name}: {module} cannot be imported ({one_line(error)}); install it, or put its folder on PYTHONPATH"
        ) from error
    if not callable(make := getattr(found, factory, None)):
        raise InputError(f"{name}: {module} has nothing to call of the name {factory!r}; mend the name")
    made = make(running)
    if not isinstance(made, kind):
        wanted = sorted({*dir(kind), *kind.__annotations__})
        missing = [each for each in wanted if not each.startswith("_") and not hasattr(made, each)]
        raise InputError(f"{name}: what it returns is no {kind.__name__}; it lacks {', '.join(missing)}")
    if (own := getattr(made, "name", name)) != name:
        raise InputError(f"{name}: the encoder's own name is {own!r}; it must be what makes it again, {name!r}")
    return made
