"""Films as files: the demo's plans drawn, encoded and written, each whole or not at all."""

import hashlib
import json
import multiprocessing
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from gmmformer.demo import drawing
from gmmformer.demo.world import FilmPlan, dialogue, sign
from gmmformer.errors import InputError, of_extra
from gmmformer.files import unwritable, write_text, written_whole

_LOOK = 1
"""Raised whenever films of the same plan come out differently, so that those rendered before are replaced."""
_TITLE = "gmmformer demo film "
_KEY_FRAME_SECONDS = 2
_LETTERS, _LIGHT = 13, 110
"""Pixels of the height of letters, and the mean of a picture from which on they are black rather than white."""
_STYLES = b"[Script Info]\n[V4+ Styles]\nFormat: Name\nStyle: Default\n[Events]\nFormat: Text\n"
"""What FFmpeg's encoder of mov_text must be told before anything, in the manner of SubStation Alpha."""


class Rendered(NamedTuple):
    """What `render_films` did."""

    paths: list[Path]
    """A file for each plan, in the order of the plans."""
    kept: int
    """Films that were there already."""
    removed: int
    """Films of other plans, rendered before, that are gone now."""


def render_film(plan: FilmPlan, path: Path, *, words: bool = False) -> None:
    """Draw a film and write it as H.264 in MP4, 192 x 144 pixels, 12 frames per second, a key frame every 2 s.

    With `words` it has a text track of what is said in it (`dialogue`), and its `sign` is on the picture. The same plan
    gives the same bytes with the same version of the encoder. The plan's fingerprint is the file's title.

    Raises:
        InputError: The file cannot be written, or the disk is full; `path` is as it was.
        MissingExtraError: PyAV is not installed.
    """
    av = of_extra("av", "rendering films", "films")
    try:
        with written_whole(path) as beside:
            _encode(av, plan, beside, words)
    except (av.FFmpegError, OSError) as error:
        raise unwritable(path, OSError(error.errno, error.strerror)) from error


def render_films(
    plans: Sequence[FilmPlan],
    folder: Path,
    *,
    words: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Rendered:
    """Render films into a folder, which is made if need be, as `film_0042.mp4` and so on.

    Films that are there and whose plan has not changed are kept. Films in the folder that this function rendered from
    plans not among these are removed; nothing else in the folder is touched.

    Args:
        plans: The films, each of another name.
        folder: Where they go.
        words: As for `render_film`.
        workers: Processes that render at the same time; 1 renders in this one.
        progress: Called with the number of films done and of all films, first before anything is rendered.

    Raises:
        InputError: The folder cannot be written to, the disk is full, or a process was killed; the films that were
            done are kept, so that the same call goes on from there.
        MissingExtraError: PyAV is not installed.
    """
    av = of_extra("av", "rendering films", "films")
    paths = [folder / f"{plan.name}.mp4" for plan in plans]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path: _title(av, path) for path in folder.glob("film_*.mp4") if path.is_file()}
        stale = [path for path in there.keys() - set(paths) if there[path].startswith(_TITLE)]
        for path in stale:
            path.unlink()
    except OSError as error:
        raise unwritable(folder, error) from error
    missing = [
        (plan, path)
        for plan, path in zip(plans, paths, strict=True)
        if there.get(path) != _TITLE + _fingerprint(plan, words)
    ]
    kept = len(plans) - len(missing)
    tell = progress or (lambda done, films: None)
    tell(kept, len(plans))
    for done, _ in enumerate(_rendered(missing, workers, words), start=kept + 1):
        tell(done, len(plans))
    return Rendered(paths, kept, len(stale))


def write_captions(plans: Iterable[FilmPlan], path: Path) -> None:
    """Write one line of JSON per sentence: video (the film's name), sentence, start and end (seconds), split.

    Raises:
        InputError: The file cannot be written.
    """
    lines = [
        json.dumps(
            {"video": plan.name, "sentence": sentence, "start": scene.start, "end": scene.end, "split": plan.split}
        )
        for plan in plans
        for scene in plan.scenes
        for sentence in scene.sentences
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))


def _rendered(missing: list[tuple[FilmPlan, Path]], workers: int, words: bool) -> Iterator[None]:
    """Yield once for every film that is done."""
    if workers == 1 or len(missing) < 2:
        for plan, path in missing:
            render_film(plan, path, words=words)
            yield
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(missing)), mp_context=spawn) as pool:
        films = [pool.submit(render_film, plan, path, words=words) for plan, path in missing]
        try:
            for film in as_completed(films):
                film.result()
                yield
        except BrokenProcessPool as error:
            raise InputError(
                "a process that renders films was killed, perhaps for want of memory; run the same command again"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _encode(av: ModuleType, plan: FilmPlan, path: Path, words: bool) -> None:
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        container.metadata["title"] = _TITLE + _fingerprint(plan, words)
        stream = container.add_stream("libx264", rate=drawing.FPS, options={"preset": "ultrafast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = drawing.WIDTH, drawing.HEIGHT, "yuv420p"
        stream.codec_context.gop_size = _KEY_FRAME_SECONDS * drawing.FPS
        stream.codec_context.thread_count = 1
        if words:
            _write_track(av, container, dialogue(plan))
        start, end, text = sign(plan)
        images = chain.from_iterable(drawing.frames(scene.scene, scene.end - scene.start) for scene in plan.scenes)
        for number, image in enumerate(images):
            if words and start <= number / drawing.FPS < end:
                image = _signed(image, text)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _write_track(av: ModuleType, container: Any, lines: Iterable[tuple[float, float, str]]) -> None:
    """Put lines into a text track of a film that holds nothing yet but its stream of pictures."""
    track = container.add_stream("mov_text")
    track.metadata["language"], track.time_base = "eng", Fraction(1, 1000)
    track.codec_context.subtitle_header = _STYLES
    for start, end, line in lines:
        packet = av.Packet(struct.pack(">H", len(line.encode())) + line.encode())
        packet.pts = packet.dts = round(1000 * start)
        packet.duration, packet.time_base, packet.stream = round(1000 * (end - start)), track.time_base, track
        container.mux(packet)


def _signed(image: drawing.Image, text: str) -> drawing.Image:
    """A picture with text at its foot, thin, so that it is hardly taken for shapes."""
    pil, draw, font = (
        of_extra(f"PIL.{name}", "rendering films", "films") for name in ("Image", "ImageDraw", "ImageFont")
    )
    picture, fill = pil.fromarray(image), "black" if image[-2 * _LETTERS :].mean() > _LIGHT else "white"
    foot = drawing.WIDTH / 2, drawing.HEIGHT - _LETTERS
    draw.Draw(picture).text(foot, text, fill=fill, font=font.load_default(_LETTERS), anchor="mm")
    return np.asarray(picture)


def _fingerprint(plan: FilmPlan, words: bool) -> str:
    """What a film's content depends on, as 32 hexadecimal digits."""
    seen: list[Any] = [(scene.start, scene.end, scene.scene) for scene in plan.scenes]
    seen += [dialogue(plan), sign(plan)] if words else []
    text = repr((_LOOK, drawing.WIDTH, drawing.HEIGHT, drawing.FPS, seen))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _title(av: ModuleType, path: Path) -> str:
    """The title of a film, "" if it has none or is no film."""
    try:
        with av.open(str(path)) as container:
            return str(container.metadata.get("title", ""))
    except (av.FFmpegError, OSError):
        return ""
