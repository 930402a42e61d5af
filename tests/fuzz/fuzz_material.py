"""Small valid inputs, and the cases in which one file of them is spoilt."""

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from fuzz_mutations import Mutation, of_file
from fuzz_outcomes import Mother, Tree, tree
from hypothesis import strategies as st

from gmmformer.data import simulate
from tiny_models import untrained

NETWORK = ("--hidden", "8", "--heads", "2", "--map-size", "4", "--max-ctx-l", "8", "--max-desc-l", "6")
FILMS = {
    "film.mp4": ("libx264", "aac"),
    "film.mkv": ("libx264", None),
    "film.webm": ("libvpx", "libopus"),
    "film.avi": ("mpeg4", "mp3"),
    "film.ts": ("mpeg2video", "mp2"),
}
"""A film in each of five containers: codecs of its pictures and of its sound."""
BECOMES = ("gone", "empty", "a folder", "a link to itself", "a link to nothing", "a link to /dev/zero")


class Spoilt(NamedTuple):
    """One file of some, changed, or turned into something else."""

    name: str
    how: tuple[Mutation, ...] | str

    def write(self, folder: Path, whole: Tree) -> None:
        """Put all files into `folder`, this one spoilt."""
        write(folder, whole)
        path = folder / self.name
        if not isinstance(self.how, str):
            data = whole[self.name]
            assert isinstance(data, bytes)
            for change in self.how:
                data = change(data)
            path.write_bytes(data)
            return
        path.unlink()
        match self.how:
            case "empty":
                path.write_bytes(b"")
            case "a folder":
                path.mkdir()
            case "a link to itself":
                path.symlink_to(path.name)
            case "a link to nothing":
                path.symlink_to("nothing")
            case "a link to /dev/zero":
                path.symlink_to("/dev/zero")


def spoilt(whole: Tree, *among: str, becomes: tuple[str, ...] = BECOMES) -> st.SearchStrategy[Spoilt]:
    """Cases in which one of the files `among` is spoilt; names may be the beginnings of several."""
    names = [name for name in sorted(whole) if isinstance(whole[name], bytes) and (not among or name.startswith(among))]

    def of(name: str) -> st.SearchStrategy[Spoilt]:
        changes = st.lists(of_file(name, len(whole[name])), min_size=1, max_size=3).map(tuple)
        return st.builds(Spoilt, st.just(name), changes | changes | changes | st.sampled_from(becomes))

    return st.sampled_from(names).flatmap(of)


def write(folder: Path, whole: Tree) -> None:
    """Make the folders and files of a tree."""
    for name, data in whole.items():
        if isinstance(data, bytes):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


def collection(folder: Path) -> Tree:
    """`data/tiny`: a few videos of a few rows."""
    simulate(folder / "data", name="tiny", videos=(6, 3, 3), feature_dim=6, query_dim=5, difficulty=0.1, seed=3)
    return tree(folder)


def run(mother: Mother, folder: Path, collection: Tree) -> Tree:
    """`data/tiny`, and `run`, stopped after the first of two epochs."""
    write(folder, collection)
    arguments = ("--data", "data", "--collection", "tiny", "--out", "run", "--device", "cpu", "--workers", "0")
    size = (*NETWORK, "--batch-size", "4", "--epochs", "2", "--patience", "0")
    outcome = mother.run(folder, "train", *arguments, *size)
    assert outcome.code == 0, outcome.err
    data = ("--data", "data", "--collection", "tiny")
    for command in (("evaluate", "run", *data), ("check-data", "data", "--collection", "tiny")):
        mother.warm(folder, *command)
    return {name: data for name, data in tree(folder).items() if "tensorboard" not in name}


def film(path: Path, seconds: int = 2, fps: int = 5) -> None:
    """A film in which a bar moves, with a tone where its container is given sound."""
    pictures, sound = FILMS[path.name]
    with av.open(str(path), "w") as container:
        video = container.add_stream(pictures, rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"threads": "1"}
        tone: Any = container.add_stream(sound, rate=48_000) if sound else None
        for number in range(seconds * fps):
            image = np.full((48, 64, 3), 40, np.uint8)
            image[:, 6 * number % 64 :][:, :6] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if tone is not None:
            waves = np.sin(np.arange(48_000 * seconds) / 20).astype(np.float32)[None]
            samples = av.AudioFrame.from_ndarray(np.vstack([waves, waves]), format="fltp", layout="stereo")
            samples.sample_rate, samples.pts = 48_000, 0
            resampler = av.AudioResampler(tone.format, tone.layout, tone.rate, tone.codec_context.frame_size or None)
            for some in (*resampler.resample(samples), *resampler.resample(None)):
                container.mux(tone.encode(some))
            container.mux(tone.encode())


def library(mother: Mother, folder: Path, films: Tree) -> Tree:
    """`library` with the films of `films`, its model in it, and an index."""
    (folder / "films").mkdir()
    write(folder / "films", films)
    untrained(folder / "model", seed=5)
    for arguments in (
        ("index", "library", "films", "--model", "model", "--decoders", "1"),
        ("library", "library", "rebuild"),
    ):
        outcome = mother.run(folder, *arguments)
        assert outcome.code == 0, outcome.err
    mother.warm(folder, "search", "library", "a red star", "--engine", "ann")
    mother.warm(folder, "library", "library", "verify")
    return {name: data for name, data in tree(folder).items() if not name.startswith("model")}
