"""Caption files, which say which sentence describes which video, and text features: a matrix of tokens per sentence."""

import math
import mmap
import os
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Float, Int

from gmmformer.errors import InputError, one_line, shown
from gmmformer.files import read_text, words_in

_MOST_NUMBERS = 2**24
"""Of a sentence: 64 MiB of float32, where a long one has 30 tokens of a thousand."""
_MOST_WORDS = 100_000
_SLACK_BYTES = 2**16
"""That compressed features may take beside twice what they are when they are not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Captions:
    """The sentences of one split and the videos that they describe."""

    caption_ids: tuple[str, ...]
    """One per sentence, in the order of the file; also the name of the sentence's text features."""
    sentences: tuple[str, ...]
    """One per caption id."""
    video_ids: tuple[str, ...]
    """The split's videos in the order of their first appearance."""
    video_of_query: Int[np.ndarray, "queries"]
    """Index into `video_ids` for each sentence."""

    @cached_property
    def queries_by_video(self) -> Int[np.ndarray, "queries"]:
        """The sentences' indices, video after video; within a video in the order of the file."""
        return np.argsort(self.video_of_query, kind="stable")

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The words of all sentences, ascending; none of them where there are more than a model keeps."""
        words = {word for sentence in self.sentences for word in words_in(sentence)}
        return tuple(sorted(words)) if len(words) <= _MOST_WORDS else ()

    @cached_property
    def queries_per_video(self) -> Int[np.ndarray, "videos"]:
        """How many sentences each video has, at least 1."""
        return np.bincount(self.video_of_query, minlength=len(self.video_ids))


class CaptionFault(NamedTuple):
    """A line of a caption file that cannot be used."""

    line: int
    """Counted from 1; 0 where the whole file is meant."""
    what: str
    remedy: str


def read_captions(path: Path) -> Captions:
    """The captions of one split.

    Raises:
        InputError: The file is missing, empty or not UTF-8, or a line is empty, has no sentence, has no `#` in its
            caption id, or repeats an id; the message names the line.
    """
    captions, faults = scan_captions(path)
    if faults:
        fault = faults[0]
        where = f"{path}, line {fault.line}" if fault.line else f"{path}"
        raise InputError(f"{where}: {fault.what}; {fault.remedy}")
    return captions


def scan_captions(path: Path) -> tuple[Captions, list[CaptionFault]]:
    """What can be read of a caption file, and every line that cannot.

    Raises:
        InputError: The file cannot be read as text.
    """
    text = read_text(path)
    sentences: dict[str, str] = {}
    faults: list[CaptionFault] = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        caption_id, _, sentence = line.strip().partition(" ")
        if not caption_id:
            faults.append(CaptionFault(number, "empty caption line", "remove it"))
        elif not caption_id.partition("#")[0] or "#" not in caption_id:
            what = f"caption id {shown(caption_id)} does not say its video, which stands before a '#'"
            faults.append(CaptionFault(number, what, "write VIDEO#NUMBER, a space, the sentence"))
        elif not sentence.strip():
            what = f"caption {shown(caption_id)} has no sentence"
            faults.append(CaptionFault(number, what, "write VIDEO#NUMBER, a space, the sentence"))
        elif caption_id in sentences:
            faults.append(
                CaptionFault(number, f"caption id {shown(caption_id)} is there twice", "give each line its own id")
            )
        else:
            sentences[caption_id] = sentence.strip()
    if not text.strip():
        faults = [
            CaptionFault(
                0, "there is no caption in it", "write one line per sentence: VIDEO#NUMBER, a space, the sentence"
            )
        ]
    return _captions(sentences), faults


def _captions(sentences: dict[str, str]) -> Captions:
    index: dict[str, int] = {}
    video_of_query = [index.setdefault(caption_id.partition("#")[0], len(index)) for caption_id in sentences]
    return Captions(
        caption_ids=tuple(sentences),
        sentences=tuple(sentences.values()),
        video_ids=tuple(index),
        video_of_query=np.array(video_of_query, dtype=np.int64),
    )


def caption_paths(root: Path, name: str) -> dict[str, Path]:
    """The caption file of each split that is there."""
    end = ".caption.txt"
    files = sorted((root / name / "TextData").glob(f"*{end}"))
    return {path.name[len(name) : -len(end)]: path for path in files if path.name.startswith(name)}


class TextFeatures:
    """The token features of every sentence of a collection.

    HDF5 reads one dataset at a time, whatever the number of threads, and takes 0.2 ms for each. So a sentence's place
    in the file is asked for once; from then on its tokens come from the mapped file. Compressed or chunked files, and
    those that are not float32, are read through HDF5 each time. Objects may be used from several threads; each
    process opens the file for itself, whether it was forked or spawned.
    """

    def __init__(self, path: Path, dim: int) -> None:
        """Use `open`, which reads `dim` from the file."""
        self.path = path
        self.dim = dim
        self._opened: _Opened | None = None

    @classmethod
    def open(cls, path: Path) -> "TextFeatures":
        """The features in an HDF5 file with one (tokens, dim) dataset per caption id.

        Raises:
            InputError: The file is missing, is no HDF5 file, is damaged, or holds no such dataset.
        """
        text = cls(path, 0)
        try:
            shape = text._handle().first_shape()
        except ValueError as error:
            raise InputError(f"{path}: damaged, HDF5 says ({error}); copy it again") from error
        if shape is None or len(shape) != 2 or shape[1] < 1:
            raise InputError(f"{path}: holds no (tokens, dim) dataset; it must have one for each caption id")
        text.dim = shape[1]
        return text

    def tokens_of(self, caption_id: str) -> Float[np.ndarray, "tokens dim"]:
        """The sentence's token vectors, float32, read-only, as they are on disk (not normalised, not cut).

        Raises:
            InputError: They are missing, not two-dimensional, of another width than the others, or there is no token.
        """
        tokens = self.tokens_or_fault(caption_id)
        if isinstance(tokens, str):
            raise InputError(
                f"{self.path}: the text features of caption {caption_id!r} {tokens}; extract them or remove the caption"
                " (`gmmformer check-data` lists all such captions)"
            )
        return tokens

    def tokens_or_fault(self, caption_id: str) -> Float[np.ndarray, "tokens dim"] | str:
        """As `tokens_of`, but what is wrong with the features is returned, not raised."""
        opened = self._handle()
        place = opened.places.get(caption_id)
        tokens = opened.mapped(*place) if place else opened.read(caption_id)
        if isinstance(tokens, str):
            return tokens
        if tokens.ndim != 2 or tokens.shape[1] != self.dim or not len(tokens):
            return f"have shape {tokens.shape}, not (tokens, {self.dim}) with at least one token"
        return tokens

    def _handle(self) -> "_Opened":
        """The file as this process has it open; a forked child must not use its parent's."""
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = _Opened(self.path)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "dim": self.dim}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class _Opened:
    """An open HDF5 file beside its mapped bytes.

    HDF5 raises errors of every kind on a damaged file, so all that it raises is taken for damage here.
    """

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        self.places: dict[str, tuple[int, tuple[int, int]]] = {}
        self._lock = threading.Lock()
        if not path.exists():
            raise InputError(f"{path}: missing; it holds the token features, one dataset for each caption id")
        try:
            if not path.is_file():
                raise OSError("not an ordinary file")
            self._file = h5py.File(path, "r", locking="best-effort")
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._mappable = not self._file.userblock_size
        except Exception as error:
            raise InputError(f"{path}: cannot be read as HDF5 ({one_line(error)}); copy it again") from error

    def first_shape(self) -> tuple[int, ...] | None:
        """The shape of the first dataset.

        Raises:
            ValueError: The file is damaged.
        """
        with self._lock:
            try:
                found = self._file.visititems(lambda _, item: item.shape if isinstance(item, h5py.Dataset) else None)
            except Exception as error:
                raise ValueError(one_line(error)) from error
        return None if found is None else tuple(found)

    def mapped(self, offset: int, shape: tuple[int, int]) -> Float[np.ndarray, "tokens dim"]:
        return np.frombuffer(self._bytes, dtype="<f4", count=shape[0] * shape[1], offset=offset).reshape(shape)

    def read(self, caption_id: str) -> Float[np.ndarray, "..."] | str:
        """The dataset, and its place noted if its bytes lie in the file as they are; else what is wrong with it."""
        with self._lock:
            try:
                return self._read(caption_id)
            except Exception as error:
                return f"cannot be read ({one_line(error)})"

    def _read(self, caption_id: str) -> Float[np.ndarray, "..."] | str:
        name = caption_id.encode()
        try:
            for part in range(name.count(b"/") + 1):  # links lead out of the file, or round in circles
                if self._file.id.links.get_info(b"/".join(name.split(b"/")[: part + 1])).type != h5py.h5l.TYPE_HARD:
                    return "are a link to elsewhere, not a dataset"
        except (KeyError, RuntimeError, ValueError, TypeError):  # an odd name, or none that is there
            return "are missing"
        dataset = h5py.h5o.open(self._file.id, name)
        if not isinstance(dataset, h5py.h5d.DatasetID):
            return "are not a dataset"
        shape, dtype = dataset.shape, dataset.dtype
        if dtype.kind not in "fiu" or shape is None:
            return f"are of type {one_line(dtype, 40)}, not float32"
        size = math.prod(shape)
        if size > _MOST_NUMBERS:
            return f"have shape {shape}, which no sentence has"
        offset = dataset.get_offset() if self._mappable and dtype == "<f4" and len(shape) == 2 else None
        if offset is not None and offset + 4 * size <= len(self._bytes) and size:
            self.places[caption_id] = (offset, shape)
            return self.mapped(offset, shape)
        made = dataset.get_create_plist()
        if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
            return "lie in another file"
        chunk = made.get_chunk() if made.get_layout() == h5py.h5d.CHUNKED else ()
        packed = dataset.get_storage_size() if made.get_nfilters() else 0
        if math.prod(chunk) > _MOST_NUMBERS or packed > 8 * size + _SLACK_BYTES:
            return "are stored in pieces that no sentence needs"
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and is told as such
            return np.asarray(h5py.Dataset(dataset)[()]).astype(np.float32)


def text_path(root: Path, name: str) -> Path:
    """Where the text features of ROOT/NAME are expected."""
    return root / name / "TextData" / f"roberta_{name}_query_feat.hdf5"
