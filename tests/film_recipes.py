"""Recipes for films of bar codes: how each is odd, and what is true of it because it was made so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from barcodes import NEVER, picture
from film_making import (
    MILLISECOND,
    OPTIONS,
    RATE,
    Packer,
    altered,
    combined,
    edited,
    filtered,
    hevc_orientation,
    joined,
    silence,
    steady,
    upright,
    write,
)

FRAME = Fraction(1, RATE)
WHOLE = {"time_base": FRAME}
HOUR = 3600
BT601, BT2020 = 5, 9
"""Matrices, as ITU-T H.273 counts them."""
WRAP = Fraction(1 << 33, 90000)
"""Seconds after which the clock of a transport stream begins again."""


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film and the truth about it. Second 0 is its first picture on screen."""

    path: Path
    times: Sequence[Fraction]
    """When each picture comes on screen, which is what it shows."""
    length: Fraction
    """Seconds, to the end of the last picture."""
    copied: bool | None = True
    """Whether clips can be copied out of it; None where they may be, if they are right."""

    @property
    def last_stays(self) -> float:
        """Seconds that its length may be off: of the last picture's stay not every container keeps a note."""
        return float(max(FRAME, self.times[-1] - self.times[-2]) + 2 * MILLISECOND)


Recipe = Callable[[Path], Film]
STEADY = steady(80)
UNEVEN = sorted({Fraction(round(100 * 0.02 * n**1.45), 100) for n in range(40)})
"""Pictures that come ever more slowly, up to 0.6 s apart."""


def plain(name: str, times: Sequence[Fraction] = STEADY, *, last: Fraction = FRAME, **how: Any) -> Recipe:
    """A film with a picture at each time, however written."""
    copied = how.pop("copied", True)

    def make(folder: Path) -> Film:
        return Film(path=write(folder / name, times, **how), times=times, length=times[-1] + last, copied=copied)

    return make


def joint(
    name: str, clocks: Sequence[Fraction | int], *, each: int = 60, copied: bool | None = None, **how: Any
) -> Recipe:
    """Recordings one after the other, the clock of each at its beginning."""

    def make(folder: Path) -> Film:
        times = steady(each * len(clocks))
        parts = [
            write(
                folder / f"{number}-{name}",
                times[number * each : (number + 1) * each],
                clock=clock - times[number * each],
                **how,
            )
            for number, clock in enumerate(clocks)
        ]
        return Film(path=joined(folder / name, parts), times=times, length=times[-1] + FRAME, copied=copied)

    return make


def gapped(name: str, *gaps: float, **how: Any) -> Recipe:
    """A second of pictures, nothing for a while, another second of pictures."""
    times = steady(25)
    for gap in gaps:
        times += [times[-1] + Fraction(str(gap)) + second for second in steady(25)]
    return plain(name, times, **how)


def beside(name: str, *sounds_at: int, clock: int = 0, copied: bool | None = True, **how: Any) -> Recipe:
    """With sound that begins at another time than the pictures."""

    def make(folder: Path) -> Film:
        film = write(folder / "pictures.mp4", STEADY, clock=clock, **how)
        sounds = [silence(folder / f"{at}.mkv", 4, clock=at) for at in sounds_at]
        return Film(
            path=combined(folder / name, [film, *sounds]), times=STEADY, length=STEADY[-1] + FRAME, copied=copied
        )

    return make


def cut_by_edits(name: str, edits: Sequence[tuple[Fraction | int, Fraction | int | None]], **how: Any) -> Recipe:
    """An edit list that leaves out some of the pictures; those say that they are never seen."""
    how = {"options": {"bf": "0"}} | how

    def make(folder: Path) -> Film:
        shown, second = [NEVER + number * FRAME for number in range(len(STEADY))], Fraction(0)
        times = []
        for length, media in edits:
            if media is None:
                continue
            for number, stamp in enumerate(STEADY):
                if media <= stamp < media + length:
                    shown[number] = second + stamp - media
                    times.append(shown[number])
            second += length
        path = write(folder / name, shown, stamps=STEADY, **how)
        return Film(path=edited(path, edits), times=times, length=second, copied=None)

    return make


def packed(name: str) -> Recipe:
    """DivX's packed frames, taken over as they are into a container that needs no such thing."""

    def make(folder: Path) -> Film:
        options = {"bf": "1", "b_strategy": "0", "sc_threshold": "1000000000"}
        times = steady(81)
        path = write(folder / "packed.avi", times, codec="mpeg4", options=options, time_base=FRAME, change=Packer())
        if not name.endswith(".avi"):
            path = combined(folder / name, [path])
        return Film(path=path, times=times, length=times[-1] + FRAME, copied=None)

    return make


def turned(name: str, change: Callable[[np.ndarray], np.ndarray], matrix: Sequence[int], **how: Any) -> Recipe:
    """Stored otherwise than it is to be seen, and the container says how."""

    def prepare(stream: Any) -> None:
        stream.set_display_matrix([value << 30 if at == 8 else value << 16 for at, value in enumerate(matrix)])

    return plain(name, frame=altered(change), prepare=prepare, **how)


def turned_inside(name: str, change: Callable[[np.ndarray], np.ndarray], message: str, **how: Any) -> Recipe:
    """Stored otherwise than it is to be seen, and the stream's own messages say how."""

    def make(folder: Path) -> Film:
        source = plain("source-" + name, frame=altered(change), **how)(folder)
        path = filtered(folder / name, source.path, f"h264_metadata=display_orientation=insert:{message}")
        return replace(source, path=path)

    return make


def turned_inside_hevc(name: str, change: Callable[[np.ndarray], np.ndarray], turn: int) -> Recipe:
    """The same for HEVC."""
    return plain(name, frame=altered(change), codec="libx265", change=hevc_orientation(turn))


def resized(name: str, *sizes: tuple[int, int, Fraction | int], codec: str = "libx264") -> Recipe:
    """Pictures whose stored size or aspect changes inside the film; all are to be seen in proportion."""

    def make(folder: Path) -> Film:
        each, times, parts = 40, steady(40 * len(sizes)), []
        options = {"bf": "0", "x265-params": OPTIONS["libx265"]["x265-params"].replace("bframes=2", "bframes=0")}
        for number, (width, height, aspect) in enumerate(sizes):
            shown = times[number * each : (number + 1) * each]

            def frame(second: Fraction, of: Any = (width, height, Fraction(aspect))) -> Any:
                return av.VideoFrame.from_ndarray(picture(second, *of), format="rgb24")

            def prepare(stream: Any, aspect: Any = aspect) -> None:
                stream.codec_context.sample_aspect_ratio = Fraction(aspect)

            part = folder / f"{number}.ts"
            parts.append(write(part, shown, codec=codec, options=options, frame=frame, prepare=prepare))
        path = joined(folder / "f.ts", parts)
        if not name.endswith(".ts"):
            path = combined(folder / name, [path])
        return Film(path=path, times=times, length=times[-1] + FRAME, copied=None)

    return make


def with_still(
    name: str,
    *,
    size: tuple[int, int],
    first: bool,
    codec: str = "mjpeg",
    pictures: int = 1,
    marked: str = "both",
) -> Recipe:
    """A still picture as a stream beside the film's."""

    def make(folder: Path) -> Film:
        def frame(second: Fraction) -> Any:
            return av.VideoFrame.from_ndarray(np.full((*reversed(size), 3), 90, np.uint8), format="rgb24")

        pixels = "yuvj420p" if codec == "mjpeg" else "rgb24"
        still = write(folder / "still.mp4", steady(pictures), codec=codec, frame=frame, pixel_format=pixels)
        film = write(folder / "film.mp4", STEADY)
        parts = [still, film] if first else [film, still]

        def prepare(streams: list[Any]) -> None:
            for part, stream in zip(parts, streams, strict=True):
                wanted = marked == "both" or (marked == "still") == (part is still)
                stream.disposition = av.stream.Disposition.default if wanted else av.stream.Disposition(0)

        path = combined(folder / name, parts, prepare=prepare)
        return Film(path=path, times=STEADY, length=STEADY[-1] + FRAME)

    return make


def tagged(name: str, tag: str, *, matrix: int = BT601, pixel_format: str = "yuv420p") -> Recipe:
    """A stream that says of its colours what `tag` says; they were stored by `matrix`."""

    def make(folder: Path) -> Film:
        def frame(second: Fraction) -> Any:
            return upright(second).reformat(format=pixel_format, dst_colorspace=matrix, threads=1)

        source = plain("source-" + name, steady(60), frame=frame, pixel_format=pixel_format)(folder)
        return replace(source, path=filtered(folder / name, source.path, f"h264_metadata={tag}"))

    return make
