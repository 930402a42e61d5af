"""Captions in every format, as `extract` reads them."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import fuzz_material as material
import pytest
from fuzz_hunt import Hunt
from fuzz_mutations import of_file
from fuzz_outcomes import Mother, Tree, attempt
from hypothesis import strategies as st

from gmmformer.demo.encoders import ShapeFrames, ShapeWords

ENCODERS = ("--video-encoder", ShapeFrames.name, "--text-encoder", ShapeWords.name)
RECORDS = [("film", "a bar moves", 0.5, 1.5), ("film", "it is light", 0, 2), ("film", "é, “quoted”; tab", 1, 1.25)]
WHOLE = {
    "jsonl": "".join(
        json.dumps({"video": video, "sentence": said, "start": start, "end": end, "split": "train", "duration": 2})
        + "\n"
        for video, said, start, end in RECORDS
    ),
    "csv": "video,sentence,start,end,split\n"
    + "".join(f'{video},"{said}",{start},{end},test\n' for video, said, start, end in RECORDS),
    "activitynet": json.dumps(
        {
            "film": {
                "duration": 2.0,
                "timestamps": [[start, end] for _, _, start, end in RECORDS],
                "sentences": [said for _, said, _, _ in RECORDS],
            }
        }
    ),
    "charades": "".join(f"{video} {start} {end}##{said}\n" for video, said, start, end in RECORDS),
    "tvr": "".join(
        json.dumps({"desc_id": number, "desc": said, "vid_name": video, "ts": [start, end], "duration": 2.0}) + "\n"
        for number, (video, said, start, end) in enumerate(RECORDS)
    ),
    "qvhighlights": "".join(
        json.dumps({"qid": number, "query": said, "vid": video, "relevant_windows": [[start, end]], "duration": 2})
        + "\n"
        for number, (video, said, start, end) in enumerate(RECORDS)
    ),
}
ENDINGS = {"csv": "csv", "charades": "txt", "activitynet": "json"}
NAMES = (
    "captions",
    "a b",
    "train=it",
    "-x",
    "e\u0301",
    "line\nbreak",
    os.fsdecode(b"caf\xe9"),
    "a" * 200,
    "\u202egnp",
    "[x]*?",
)
"""Names that a caption file may have."""


class Given(NamedTuple):
    """A caption file."""

    format: str
    how: tuple
    name: str
    told: bool
    """Whether the format is named."""
    skip: bool

    def write(self, folder: Path) -> str:
        """Write it; its name."""
        data = WHOLE[self.format].encode()
        for change in self.how:
            data = change(data)
        name = f"{self.name}.{ENDINGS.get(self.format, 'jsonl')}"
        (folder / name).write_bytes(data)
        return name


def given(*names: str) -> st.SearchStrategy[Given]:
    def of(format: str) -> st.SearchStrategy[Given]:  # noqa: A002
        change = of_file(f"x.{ENDINGS.get(format, 'jsonl')}", len(WHOLE[format].encode()))
        changes = st.lists(change, min_size=1, max_size=3).map(tuple)
        return st.builds(Given, st.just(format), changes, st.sampled_from(names), st.booleans(), st.booleans())

    return st.sampled_from(sorted(WHOLE)).flatmap(of)


@pytest.mark.parametrize("format", sorted(WHOLE))
def test_what_is_spoilt_is_whole_at_first(format: str, tmp_path: Path) -> None:  # noqa: A002
    from gmmformer.media.annotations import read_annotations

    name = Given(format, (), "captions", True, False).write(tmp_path)
    assert len(read_annotations(tmp_path / name)) == len(RECORDS)


def test_caption_files(hunt: Hunt, mother: Mother) -> None:
    """Read alone: what comes of them is checked by the types of what `extract` is given."""

    def read(case: Given, folder: Path):
        name = case.write(folder)
        function = "gmmformer.media.annotations:read_captions_files"
        arguments = ("call", function, json.dumps([f"./{name}"]), json.dumps(case.format if case.told else "auto"))
        return arguments, attempt(mother, folder, *arguments)[1]

    hunt(given(*NAMES), read, examples=16)


def test_extraction(hunt: Hunt, mother: Mother, films: Tree) -> None:
    """From a caption file to a collection, which is whole or not there."""

    def extract(case: Given, folder: Path):
        material.write(folder, {"film.mkv": films["film.mkv"]})
        name = case.write(folder)
        out = ("--out", "out", "--collection", "mine", "--decoders", "1", "--json", *ENCODERS)
        flags = (*(("--captions-format", case.format) if case.told else ()), *(("--skip-broken",) if case.skip else ()))
        arguments = ("extract", "film.mkv", f"--captions=./{name}", *flags, *out)
        return arguments, attempt(mother, folder, *arguments, makes=("out",))[1]

    hunt(given("captions"), extract, examples=2)
