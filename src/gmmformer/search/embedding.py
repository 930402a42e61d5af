"""What turns feature rows and sentences into the vectors of a library: a trained model, a dual encoder, or both."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gmmformer.errors import InputError
from gmmformer.files import words_in
from gmmformer.media.encoders import TextEncoder
from gmmformer.model import Network, VectorGroup, l2_normalise, pool_segments

LONGEST_SENTENCE = 10_000
"""Characters; the rest is no sentence."""


class NoTextEncoderError(InputError):
    """A model is asked for the vector of a sentence, and only knows token features."""


@runtime_checkable
class Embedder(Protocol):
    """Puts films and sentences into one space, where scores are inner products."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        ...

    @property
    def fingerprint(self) -> str:
        """The same for two embedders that give the same vectors."""
        ...

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        ...

    @property
    def clips(self) -> int:
        """Clips of a window."""
        ...

    @property
    def frames(self) -> int:
        """Vectors of a window that stand for frames, where it is scored by the best of these too; else 0."""
        ...

    @property
    def window_rows(self) -> int:
        """Most feature rows of a window that it looks at one by one."""
        ...

    @property
    def feature_dim(self) -> int:
        """Width of a feature row."""
        ...

    def embed_windows(
        self, features: Sequence[Float[np.ndarray, "_rows width"]]
    ) -> Float[Tensor, "windows vectors dim"]:
        """The vectors of each window's clips, and of frames behind them, in float32, none longer than 1."""
        ...

    def embed_sentences(self, sentences: Sequence[str]) -> Float[np.ndarray, "queries dim"]:
        """A unit vector for each sentence."""
        ...


class ModelEmbedder:
    """A trained network: vectors whose inner products with a sentence are the score that `evaluate` measures.

    Of the frames that GMMFormer v2 scores by too, as many as clips are kept (`condensed`).
    """

    def __init__(
        self,
        model: Network,
        text: TextEncoder | None = None,
        name: str = "GMMFormer",
        *,
        frames_a_clip: int = 1,
    ) -> None:
        """Use `model`, on the device where it is, in evaluation mode.

        `text` makes token features of sentences, as those that the model was trained on were made; without it only
        token features can be searched for.

        `frames_a_clip` is how many frames are kept for each clip, of a network that scores by frames; 4 are all of a
        published one's.

        Raises:
            InputError: `text` gives features of another width.
        """
        if text is not None and text.dim != model.config.query_dim:
            raise InputError(
                f"the text encoder {text.name} gives {text.dim} numbers a token, the model takes "
                f"{model.config.query_dim}; use the encoder that the model was trained with"
            )
        self.model, self.text, self.name = model.eval(), text, name
        config = model.config
        self.dim, self.clips, self.feature_dim = config.hidden, config.map_size, config.feature_dim
        self.window_rows = config.max_ctx_l
        self.frames = frames_a_clip * self.clips if len(model.groups) > 1 else 0
        self.fingerprint = model_fingerprint(model) + (f"-{self.frames}" if self.frames > self.clips else "")

    @torch.inference_mode()
    def embed_windows(
        self, features: Sequence[Float[np.ndarray, "_rows width"]]
    ) -> Float[Tensor, "windows vectors dim"]:
        """See `Embedder.embed_windows`."""
        return condensed(self.model.encode_video(features).cpu(), self.model.groups, self.frames)

    def embed_sentences(self, sentences: Sequence[str]) -> Float[np.ndarray, "queries dim"]:
        """See `Embedder.embed_sentences`.

        Raises:
            NoTextEncoderError: There is no text encoder.
        """
        if self.text is None:
            raise NoTextEncoderError(
                "sentences need a text encoder: open the library with one, or search by token features"
            )
        return self.embed_tokens(self.text.encode(list(sentences)))

    @torch.inference_mode()
    def embed_tokens(self, tokens: Sequence[Float[np.ndarray, "_tokens width"]]) -> Float[np.ndarray, "queries dim"]:
        """A unit vector for each sentence that is given by its token features.

        Raises:
            InputError: They are not what the model takes.
        """
        return np.asarray(self.model.encode_query(tokens).cpu().numpy())


def condensed(
    stored: Float[Tensor, "videos vectors dim"], groups: Sequence[VectorGroup], kept: int
) -> Float[Tensor, "videos clips_and_kept dim"]:
    """What a library keeps of the vectors of a network: clips, and what stands for frames, as long as each counts.

    Of frames, behind whose last one noughts follow, so many are `kept`, each for an equal share of the video: one
    frame, several times if it is short, or the mean of neighbours, of unit length. Where there are noughts, one stands
    for all, as the score of frames is at least 0 then.
    """
    if len(groups) == 1:
        return groups[0].weight * stored
    clips, frames = torch.split(stored, [group.vectors for group in groups], dim=1)
    rows, most = (frames.norm(dim=-1) > 0).sum(1), frames.shape[1]
    shares = torch.where(rows < most, kept - 1, kept)[:, None]  # the last is left for the nought
    share = torch.arange(kept).minimum(shares - 1)
    begins = share * rows[:, None] // shares
    ends = torch.maximum(begins + 1, (share + 1) * rows[:, None] // shares)
    sums = F.pad(frames.double().cumsum(1), (0, 0, 1, 0))
    wide = (-1, -1, frames.shape[2])
    means = sums.gather(1, ends[..., None].expand(wide)) - sums.gather(1, begins[..., None].expand(wide))
    standing = F.normalize(means, dim=-1).float() * (torch.arange(kept) < shares)[..., None]
    return torch.cat([groups[0].weight * clips, groups[1].weight * standing], dim=1)


class DualEmbedder:
    """A dual encoder such as CLIP, without training: clips are means of its frame vectors, of unit length again."""

    def __init__(self, text: TextEncoder, *, identity: str, clips: int = 32, window_rows: int = 128) -> None:
        """Feature rows come from the encoder's other tower; `identity` says of what version both are."""
        self.text = text
        self.name, self.dim, self.feature_dim = f"zero-shot:{text.name}", text.dim, text.dim
        self.clips, self.window_rows, self.frames = clips, window_rows, 0
        self.fingerprint = _digest(f"dual {identity} {clips} {window_rows}".encode())

    def embed_windows(
        self, features: Sequence[Float[np.ndarray, "_rows width"]]
    ) -> Float[Tensor, "windows vectors dim"]:
        """See `Embedder.embed_windows`."""
        lengths = np.array([len(rows) for rows in features])
        rows = l2_normalise(np.concatenate(features, dtype=np.float32))
        return torch.from_numpy(l2_normalise(pool_segments(rows, lengths, self.clips)))

    def embed_sentences(self, sentences: Sequence[str]) -> Float[np.ndarray, "queries dim"]:
        """See `Embedder.embed_sentences`."""
        vectors = np.concatenate([tokens[-1:] for tokens in self.text.encode(list(sentences))], dtype=np.float32)
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


class MixedEmbedder:
    """Two embedders side by side: one longer vector, whose inner product is the mean of both scores, weighted."""

    def __init__(
        self, first: Embedder, second: Embedder, mix: float, *, columns: tuple[slice, slice] | None = None
    ) -> None:
        """Mix two embedders; `mix` is the share of the second's score.

        Both look at the same feature rows, or each at its own `columns` of them.

        Raises:
            InputError: `mix` is no share, or the two cut films differently or take different features.
        """
        if not 0 <= mix <= 1:
            raise InputError(f"--mix {mix} must be at least 0 and at most 1")
        if (first.clips, first.window_rows) != (second.clips, second.window_rows):
            raise InputError(
                f"{first.name} makes {first.clips} clips of {first.window_rows} rows, {second.name} {second.clips} of "
                f"{second.window_rows}; only models that cut films alike can be mixed"
            )
        if columns is None:
            if first.feature_dim != second.feature_dim:
                raise InputError(
                    f"{first.name} takes features of {first.feature_dim} numbers, {second.name} of "
                    f"{second.feature_dim}; only models that look at the same features can be mixed"
                )
            columns = (slice(0, first.feature_dim), slice(0, first.feature_dim))
        self._parts = (first, second)
        self._weights = (float(1 - mix) ** 0.5, float(mix) ** 0.5)
        self._columns = columns
        self.name = f"{first.name} + {mix:g} {second.name}"
        self.dim, self.clips, self.window_rows = first.dim + second.dim, first.clips, first.window_rows
        self.frames = max(first.frames, second.frames)
        self.feature_dim = max(columns[0].stop, columns[1].stop)
        told = [first.fingerprint, second.fingerprint, mix, *((part.start, part.stop) for part in columns)]
        self.fingerprint = _digest(repr(told).encode())

    def embed_windows(
        self, features: Sequence[Float[np.ndarray, "_rows width"]]
    ) -> Float[Tensor, "windows vectors dim"]:
        """See `Embedder.embed_windows`."""
        parts = [
            weight * part.embed_windows([rows[:, columns] for rows in features])
            for part, weight, columns in zip(self._parts, self._weights, self._columns, strict=True)
        ]
        vectors = self.clips + self.frames
        return torch.cat([F.pad(part, (0, 0, 0, vectors - part.shape[1])) for part in parts], dim=-1)

    def embed_sentences(self, sentences: Sequence[str]) -> Float[np.ndarray, "queries dim"]:
        """See `Embedder.embed_sentences`."""
        parts = [
            weight * part.embed_sentences(sentences) for part, weight in zip(self._parts, self._weights, strict=True)
        ]
        return np.concatenate(parts, axis=1)


def unknown_words(embedder: Embedder, sentence: str) -> list[str]:
    """The words of a sentence that the embedder does not know, where that can be told: of `small`; else none.

    A trained model knows the words of its training sentences, and those that are nearly such ("jumped", "jumps").
    """
    (sentence,) = checked_sentences([sentence])
    if isinstance(embedder, ModelEmbedder) and embedder.model.vocabulary:
        known = embedder.model.vocabulary
        begins = {word: word[: max(4, len(word) - 3)] for word in words_in(sentence)}
        nearest = {word: known[min(bisect_left(known, begin), len(known) - 1)] for word, begin in begins.items()}
        return [word for word, begin in begins.items() if not nearest[word].startswith(begin)]
    unknown = getattr(getattr(embedder, "text", None), "unknown", None)
    return [] if unknown is None else list(unknown(sentence))


def model_fingerprint(model: Network) -> str:
    """A name for what a model computes: of its settings, but for dropout, and its weights."""
    without = ("drop", "input_drop", *(("network", "temperature") if model.config.network == "v1" else ()))
    config = {name: value for name, value in asdict(model.config).items() if name not in without}
    digest = hashlib.blake2b(json.dumps(config, sort_keys=True).encode(), digest_size=16)
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def checked_sentences(sentences: Sequence[str]) -> list[str]:
    """The sentences as encoders take them: white space made plain, cut to a length that is still a sentence.

    Raises:
        InputError: One has no letters at all.
    """
    checked = []
    for index, sentence in enumerate(sentences):
        plain = sentence[:LONGEST_SENTENCE].encode("utf-8", "replace").decode()
        plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
        if not plain:
            where = f"sentence {index + 1}" if len(sentences) > 1 else "the sentence"
            raise InputError(f"{where} is empty; say in words what happens in the scene")
        checked.append(plain)
    return checked


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
