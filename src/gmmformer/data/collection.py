"""A collection in the MS-SL layout: its captions, its features, and the batches made of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gmmformer.config import ModelConfig
from gmmformer.cores import read_ahead
from gmmformer.data.captions import Captions, TextFeatures, caption_paths, read_captions, text_path
from gmmformer.data.features import FrameFeatures, feature_of
from gmmformer.errors import InputError, one_line, suggest
from gmmformer.files import read_json
from gmmformer.model.batches import QueryBatch, VideoBatch, query_batch, video_batch
from gmmformer.model.pooling import concatenated_ranges

ORIGIN = "extraction.json"
"""File beside features, and beside captions, that says what `gmmformer extract` made them with."""


class Origin(NamedTuple):
    """What made the features of a collection; None where that is not known."""

    video_encoder: str | None
    text_encoder: str | None
    fps: float | None
    """Rows per second of film."""


class TrainingBatch(NamedTuple):
    """Videos and all their sentences."""

    videos: VideoBatch
    """This process's share of the batch's videos."""
    queries: QueryBatch
    """All sentences of these videos, video after video."""
    labels: Int[Tensor, "queries"]
    """The index of each sentence's video in the whole batch, over all processes."""
    batch_videos: int
    """Videos of the whole batch."""


class Share(NamedTuple):
    """What one process takes of a batch."""

    videos: Int[np.ndarray, "videos"]
    """Their places in the split."""
    queries: Int[np.ndarray, "queries"]
    """All their sentences', video after video."""
    labels: Int[np.ndarray, "queries"]
    """As of `TrainingBatch`."""
    batch_videos: int


class Collection:
    """Videos and sentences on disk. Nothing is ever written there.

    Every batch iterator keeps the order of the files (or the one asked for), whatever the number of `workers`:
    threads that read ahead, 0 for none.
    """

    def __init__(self, root: Path, name: str, feature: str, frames: FrameFeatures, text: TextFeatures) -> None:
        """Use `open`."""
        self.root, self.name, self.feature = root, name, feature
        self.frames, self.text = frames, text
        self._captions: dict[str, Captions] = {}

    @classmethod
    def open(cls, root: str | Path, name: str, *, feature: str | None = None) -> "Collection":
        """The collection ROOT/NAME.

        Without `feature`, the video features are the published ones of that collection if they are there, else the
        only ones there are.

        Raises:
            InputError: A folder or file is missing or broken, or there are several features to choose from.
        """
        root = Path(root)
        feature = feature_of(root, name, feature)
        frames = FrameFeatures.open(root / name / "FeatureData" / feature)
        return cls(root, name, feature, frames, TextFeatures.open(text_path(root, name)))

    def origin(self) -> Origin:
        """What made the features, where `gmmformer extract` did.

        Raises:
            InputError: The file that says so is damaged.
        """
        video = _origin(self.frames.folder / ORIGIN)
        text = _origin(self.text.path.with_name(ORIGIN))
        return Origin(video.get("name"), text.get("name"), video.get("fps"))

    def captions(self, split: str) -> Captions:
        """The captions of a split, such as "train", "val" or "test"; read once.

        Raises:
            InputError: There is no such split, or its file is broken.
        """
        if split not in self._captions:
            paths = caption_paths(self.root, self.name)
            if split not in paths:
                raise InputError(
                    f"{self.root / self.name / 'TextData' / f'{self.name}{split}.caption.txt'}: there is no such split;"
                    f" {suggest(split, paths) if paths else 'there is no caption file in that folder'}"
                )
            self._captions[split] = read_captions(paths[split])
        return self._captions[split]

    def video_batches(
        self, split: str, config: ModelConfig, *, batch_size: int = 100, workers: int = 0
    ) -> Iterator[VideoBatch]:
        """The split's videos in the order of its file.

        Raises:
            InputError: A video has no rows, or the features are not those of `config`; NaN is found on the way.
        """
        video_ids = self._checked(split, config).video_ids
        starts = range(0, len(video_ids), batch_size)
        return read_ahead(lambda k: self._videos(video_ids[k : k + batch_size], config), starts, workers)

    def query_batches(
        self, split: str, config: ModelConfig, *, batch_size: int = 50, workers: int = 0
    ) -> Iterator[QueryBatch]:
        """The split's sentences in the order of its file.

        Raises:
            InputError: The features are not those of `config`; missing sentences are found on the way.
        """
        caption_ids = self._checked(split, config).caption_ids
        starts = range(0, len(caption_ids), batch_size)
        return read_ahead(lambda k: self._queries(caption_ids[k : k + batch_size], config), starts, workers)

    def training_batches(
        self,
        split: str,
        config: ModelConfig,
        *,
        batch_size: int,
        order: Int[np.ndarray, "videos"],
        skip: int = 0,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
    ) -> Iterator[TrainingBatch]:
        """Batches of `batch_size` videos with all their sentences, the short last one kept.

        Batch k holds the videos order[k * batch_size : (k + 1) * batch_size]. The first `skip` batches are left out
        without being read. Of each batch, process `rank` of `world` reads only its share, a contiguous run of videos,
        which may be empty; labels still count videos over the whole batch.

        Raises:
            InputError: As for `video_batches` and `query_batches`.
        """
        captions = self._checked(split, config)

        def make(share: Share) -> TrainingBatch:
            return TrainingBatch(
                self._videos([captions.video_ids[video] for video in share.videos], config),
                self._queries([captions.caption_ids[query] for query in share.queries], config),
                torch.from_numpy(share.labels),
                share.batch_videos,
            )

        return read_ahead(make, shares(captions, batch_size, order, skip, rank, world), workers)

    def see_fits(self, config: ModelConfig) -> None:
        """Refuse features of other widths than a model takes.

        Raises:
            InputError: A width differs.
        """
        for what, dim, wanted in (
            (self.frames.folder, self.frames.dim, config.feature_dim),
            (self.text.path, self.text.dim, config.query_dim),
        ):
            if dim != wanted:
                raise InputError(
                    f"{what}: has features of {dim} dims, but the model takes {wanted}; use those it was trained on"
                )

    def _videos(self, video_ids: tuple[str, ...] | list[str], config: ModelConfig) -> VideoBatch:
        return video_batch(self.frames.views_of(video_ids), config, names=video_ids)

    def _queries(self, caption_ids: tuple[str, ...] | list[str], config: ModelConfig) -> QueryBatch:
        return query_batch([self.text.tokens_of(caption) for caption in caption_ids], config, names=caption_ids)

    def _checked(self, split: str, config: ModelConfig) -> Captions:
        """The split's captions, when everything fits that can be seen without reading features."""
        self.see_fits(config)
        captions = self.captions(split)
        for video_id in captions.video_ids:
            self.frames.rows_of(video_id)
        return captions


def shares(
    captions: Captions, batch_size: int, order: Int[np.ndarray, "videos"], skip: int, rank: int, world: int
) -> Iterator[Share]:
    """What process `rank` of `world` takes of each batch; see `Collection.training_batches`."""
    firsts = np.cumsum(captions.queries_per_video) - captions.queries_per_video
    for start in range(skip * batch_size, len(order), batch_size):
        batch = order[start : start + batch_size]
        own = np.array_split(np.arange(len(batch)), world)[rank]
        videos, counts = batch[own], captions.queries_per_video[batch[own]]
        queries = captions.queries_by_video[concatenated_ranges(firsts[videos], counts)]
        yield Share(videos, queries, np.repeat(own, counts), len(batch))


def _origin(path: Path) -> dict[str, Any]:
    try:
        saved = read_json(path)
        if not isinstance(saved, dict):
            raise ValueError("it is no object")
        return saved
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({one_line(error)}); remove it, or extract the collection again") from error
