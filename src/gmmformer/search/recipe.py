"""The models behind a library, chosen and recalled: what looks at frames, what reads sentences, what embeds both."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from gmmformer.config import ModelConfig, Running
from gmmformer.cores import Progress, read_ahead, silent
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.evaluation import QUERY_BATCH, VIDEO_BATCH, Evaluation, evaluate_vectors, room_for
from gmmformer.media.encoders import (
    ZERO_SHOT,
    DualEncoder,
    FrameEncoder,
    TextEncoder,
    dual_encoder,
    frame_encoder,
    prefixed,
    recorded,
    text_encoder,
)
from gmmformer.model import Network, VectorGroup, find_device, load_model
from gmmformer.search.embedding import DualEmbedder, Embedder, MixedEmbedder, ModelEmbedder
from gmmformer.search.settings import FPS, Recipe, Settings

AnyEncoder = TypeVar("AnyEncoder", FrameEncoder, TextEncoder)

MODEL = "model"
"""Folder of a library that holds the trained model it belongs to."""


class Encoders:
    """What a library needs to take in films and to understand sentences."""

    def __init__(self, recipe: Recipe, model: Network | None, name: str, running: Running) -> None:
        """Use `choose_encoders`, or `Models` for those of a library."""
        self._given, self._running, self.model = recipe, running, model
        self._dual = dual_encoder(recipe.dual_encoder, running) if recipe.dual_encoder else None
        self._identities: dict[str, str] = {}
        self.embedder = self._embedder(name)

    @property
    def recipe(self) -> Recipe:
        """What they are, with the versions of those that have been needed so far."""
        return Recipe(**(vars(self._given) | {"identities": {**self._given.identities, **self._identities}}))

    @cached_property
    def frames(self) -> FrameEncoder:
        """What makes feature rows of frames.

        Raises:
            InputError: Nobody knows what made the features that the model was trained on, or it cannot be loaded.
        """
        recipe, dual = self._given, self._dual
        if self.model is None:
            assert dual is not None
            return self._same("video_encoder", dual.frames)
        if recipe.video_encoder is None:
            raise InputError(
                "the model does not say what encoder made the features it was trained on, so films cannot be made "
                "ready for it; name the encoder with --video-encoder"
            )
        own = self._same("video_encoder", frame_encoder(recipe.video_encoder, self._running))
        if own.dim != self.model.config.feature_dim:
            raise InputError(
                f"--video-encoder {recipe.video_encoder} gives {own.dim} numbers a frame, the model takes "
                f"{self.model.config.feature_dim}; name the encoder that it was trained with"
            )
        return own if dual is None or self._one_for_both else SideBySide(own, dual.frames)

    def frames_elsewhere(self) -> Callable[[], FrameEncoder]:
        """What makes `frames` in another process, of names alone, without the trained model; it can be pickled."""
        return partial(_made_alike, self._given, self._running, self.frames.identity)

    @property
    def _one_for_both(self) -> bool:
        """Whether the trained model looks at the dual encoder's own frame features."""
        return self._given.dual_encoder == self._given.video_encoder

    def _embedder(self, name: str) -> Embedder:
        recipe, dual, model = self._given, self._dual, self.model
        if model is None:
            assert dual is not None
            return self._dual_embedder(dual)
        text = None
        if recipe.text_encoder is not None:
            text = self._same("text_encoder", text_encoder(recipe.text_encoder, self._running))
        trained = ModelEmbedder(model, text, name, frames_a_clip=recipe.frames_a_clip)
        if dual is None:
            return trained
        second = self._dual_embedder(dual, model.config)
        width = model.config.feature_dim
        begin = 0 if self._one_for_both else width
        columns = (slice(0, width), slice(begin, begin + second.feature_dim))
        return MixedEmbedder(trained, second, recipe.mix, columns=columns)

    def _dual_embedder(self, dual: DualEncoder, like: ModelConfig | None = None) -> DualEmbedder:
        text = self._same("dual_encoder", dual.text)
        shape = {} if like is None else {"clips": like.map_size, "window_rows": like.max_ctx_l}
        return DualEmbedder(text, identity=text.identity, **shape)

    def _same(self, role: str, encoder: AnyEncoder) -> AnyEncoder:
        """The encoder, if it is the version that the library was made with."""
        before = self._given.identities.get(role, encoder.identity)
        if before != encoder.identity:
            raise InputError(
                f"{encoder.name}: is {encoder.identity} now, but the library was made with {before}; put that version "
                "back, or index the films anew"
            )
        self._identities[role] = encoder.identity
        return encoder


def _made_alike(recipe: Recipe, running: Running, identity: str) -> FrameEncoder:
    dual = None if recipe.dual_encoder is None else dual_encoder(recipe.dual_encoder, running)
    own = frame_encoder(recipe.video_encoder, running) if recipe.trained and recipe.video_encoder else None
    if own is None:
        assert dual is not None
        made = dual.frames
    else:
        made = own if dual is None or recipe.video_encoder == recipe.dual_encoder else SideBySide(own, dual.frames)
    if made.identity != identity:
        raise InputError(f"{made.name}: is {made.identity} there, but {identity} here; bring both to one version")
    return made


class SideBySide:
    """Two frame encoders as one: their vectors one after the other."""

    def __init__(self, first: FrameEncoder, second: FrameEncoder) -> None:
        """See frames through both."""
        self._parts = (first, second)
        self.name = f"{first.name}+{second.name}"
        self.identity = f"{first.identity}+{second.identity}"
        self.dim, self.size = first.dim + second.dim, max(first.size, second.size)
        self.needs_previous = first.needs_previous or second.needs_previous

    def encode(
        self,
        images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
        previous: Sequence[UInt8[np.ndarray, "_height _width 3"] | None] | None = None,
    ) -> Float[np.ndarray, "frames dim"]:
        """See `FrameEncoder.encode`."""
        return np.concatenate([part.encode(images, previous) for part in self._parts], axis=1)


def choose_encoders(
    model: str | Path,
    *,
    mix_in: str | None = None,
    mix: float = 0.5,
    frames_a_clip: int = 1,
    video_encoder: str | None = None,
    text_encoder: str | None = None,
    fps: float | None = None,
    films: bool = True,
    running: Running = Running(),
) -> Encoders:
    """The models that a new library is to belong to.

    Args:
        model: A run folder, a saved model, a published checkpoint, a hub id; or zero-shot:NAME, a dual encoder such as
            CLIP used without training; or "small", which is one (`gmmformer.media.small`).
        mix_in: zero-shot:NAME to mix into the trained model's score.
        mix: Its share of the score.
        frames_a_clip: Frames that are kept for each clip of a model that scores by frames too (GMMFormer v2): more find
            more exactly what `evaluate` finds, and take more room; 4 are all of a published one's.
        video_encoder: What made the features the model was trained on, where the model does not say.
        text_encoder: What made its token features, where the model does not say.
        fps: Frames per second of film. Default: as the model was trained, else 1.
        films: Whether films are to be taken in, not only features that are there: then what looks at frames must be
            known and there.
        running: Device, batch, downloads.

    Raises:
        InputError: A model or encoder is not there, or they do not fit each other.
    """
    model = prefixed(str(model))
    if model.startswith(ZERO_SHOT):
        for flag, value in (("--with", mix_in), ("--video-encoder", video_encoder), ("--text-encoder", text_encoder)):
            if value is not None:
                raise InputError(f"{flag} {value}: {model} needs no other encoder; leave it out")
        recipe = Recipe(dual_encoder=_dual_name(model, "--model"), fps=fps or FPS)
        return _checked(Encoders(recipe, None, model, running), films)
    if not 0 < mix < 1:
        raise InputError(f"--mix {mix} must be above 0 and below 1")
    loaded = load_model(model, allow_download=running.allow_download).to(find_device(running.device))
    if frames_a_clip != 1 and len(loaded.groups) == 1:
        raise InputError(f"--frames-a-clip {frames_a_clip}: {model} scores by clips alone; leave it out")
    config = loaded.config
    recipe = Recipe(
        trained=True,
        video_encoder=_agreed("--video-encoder", video_encoder, config.video_encoder, model, running),
        text_encoder=_agreed("--text-encoder", text_encoder, config.text_encoder, model, running),
        dual_encoder=None if mix_in is None else _dual_name(mix_in, "--with"),
        mix=0.0 if mix_in is None else mix,
        frames_a_clip=frames_a_clip,
        fps=fps or config.fps or FPS,
    )
    return _checked(Encoders(recipe, loaded, Path(model).name or model, running), films)


class Models:
    """What embeds the films and sentences of a library: given, or its own, loaded when first asked for.

    Threads may share it.
    """

    def __init__(
        self, folder: Path, settings: Settings, given: Encoders | Embedder | None, running: Running = Running()
    ) -> None:
        """The models of the library in `folder`.

        Raises:
            InputError: Those given are not what it belongs to.
        """
        self._folder, self._settings, self._running = folder, settings, running
        self._lock = threading.Lock()
        self._encoders = given if isinstance(given, Encoders) else None
        self._embedder = given.embedder if isinstance(given, Encoders) else given
        if self._embedder is not None and self._embedder.fingerprint != settings.fingerprint:
            raise InputError(
                f"{folder}: this library belongs to the model {settings.model} (fingerprint "
                f"{settings.fingerprint[:12]}), not to {self._embedder.name} ({self._embedder.fingerprint[:12]}); open "
                "it with its own model, or index the films anew"
            )

    @property
    def embedder(self) -> Embedder:
        """What makes vectors of feature rows and of sentences.

        Raises:
            InputError: It was not given, and the library does not keep it, or it is not what it was.
        """
        return self._embedder or self.encoders.embedder

    @property
    def encoders(self) -> Encoders:
        """All that films and sentences go through.

        Raises:
            InputError: They were not given, and the library does not know them, or they are not what they were.
        """
        with self._lock:
            self._encoders = self._encoders or self._recalled()
            return self._encoders

    def _recalled(self) -> Encoders:
        ours, model = self._settings, None
        if ours.recipe is None:
            raise InputError(
                f"{self._folder}: does not keep the model that it belongs to ({ours.model}); open it with that"
            )
        for encoder in (ours.recipe.video_encoder, ours.recipe.text_encoder, ours.recipe.dual_encoder):
            recorded(encoder, str(self._folder), self._running.trust_encoder)
        if ours.recipe.trained:
            try:
                model = load_model(self._folder / MODEL).to(find_device(self._running.device))
            except InputError as error:
                raise InputError(
                    f"{error}; it is the library's own model: restore it from a backup, or index anew"
                ) from error
        found = Encoders(ours.recipe, model, ours.model, self._running)
        if found.embedder.fingerprint != ours.fingerprint:
            raise InputError(
                f"{self._folder / MODEL}: is not the model that the library was made with; restore it from a backup, "
                "or index the films anew"
            )
        return found


@torch.inference_mode()
def evaluate_encoders(
    encoders: Encoders,
    collection: Collection,
    split: str,
    *,
    top: int = 10,
    right: Int[np.ndarray, "pairs 2"] | None = None,
    workers: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Rank every video of a split for every sentence of it, the sentences read by the encoders themselves.

    Args:
        encoders: What a library would be made with: a dual encoder, a trained model, or a mix of both.
        collection: Features of the frame encoder that they take.
        split: Name of a caption file of the collection.
        top: Best videos to keep for each sentence.
        right: What `read_right_videos` gives, where sentences have several right videos.
        workers: Threads that read ahead.
        progress: Called as videos are embedded.

    Raises:
        InputError: The features are of another encoder, or sentences are missing.
    """
    started = time.perf_counter()
    embedder, captions = encoders.embedder, collection.captions(split)
    wanted, found = encoders.frames.name, collection.origin().video_encoder
    if collection.frames.dim != embedder.feature_dim or found not in (None, wanted):
        raise InputError(
            f"{collection.frames.folder}: holds {collection.frames.dim}-dimensional features of "
            f"{found or 'an unknown encoder'}, but {embedder.name} takes {embedder.feature_dim}-dimensional ones of "
            f"{wanted}; extract the films with --video-encoder {wanted}"
        )
    names = captions.video_ids
    groups = tuple(VectorGroup(count, 1.0) for count in (embedder.clips, embedder.frames) if count)
    with room_for(captions, embedder.clips + embedder.frames, embedder.dim) as stored:
        batches = [names[first : first + VIDEO_BATCH] for first in range(0, len(names), VIDEO_BATCH)]
        done = 0
        for rows in read_ahead(collection.frames.views_of, batches, workers):
            stored[done : done + len(rows)] = embedder.embed_windows(rows)
            done += len(rows)
            progress("videos", done, len(names))
        sentences = list(captions.sentences)
        asked = [sentences[first : first + QUERY_BATCH] for first in range(0, len(sentences), QUERY_BATCH)]
        queries = torch.cat([torch.from_numpy(embedder.embed_sentences(some)) for some in asked])
        return evaluate_vectors(queries, stored, captions, groups, top=top, right=right, started=started)


def _checked(encoders: Encoders, films: bool) -> Encoders:
    if films:
        _ = encoders.frames
    return encoders


def _dual_name(name: str, flag: str) -> str:
    found = name.removeprefix(ZERO_SHOT)
    if found == name or not found:
        raise InputError(f"{flag} {name}: write {ZERO_SHOT}NAME, such as {ZERO_SHOT}openai/clip-vit-large-patch14")
    folder = Path(found)
    return str(folder.resolve()) if folder.is_dir() else found


def _agreed(flag: str, given: str | None, known: str | None, model: str, running: Running) -> str | None:
    if given is not None and known is not None and given != known:
        raise InputError(f"{flag} {given}: the model was trained with {known}; leave the flag out")
    return given or recorded(known, model, running.trust_encoder)
