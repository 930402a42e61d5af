"""Caption files: which sentence describes which video."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from gmmformer.errors import InputError, shown
from gmmformer.files import read_text


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
