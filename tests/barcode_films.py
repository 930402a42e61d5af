"""Films of bar codes by name: how each is odd, and what is true of it because it was made so."""

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
    write,
)

FRAME = Fraction(1, RATE)
WHOLE = {"time_base": FRAME}
HOUR = 3600
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
    slack: Fraction = 2 * MILLISECOND
    """Seconds by which its container has lost the times of its pictures."""
    square: bool = True
    """Pictures are to be in proportion."""


Recipe = Callable[[Path], Film]
STEADY = steady(100)
UNEVEN = sorted({Fraction(round(100 * 0.02 * n**1.45), 100) for n in range(40)})
"""Pictures that come ever more slowly, up to 0.6 s apart."""


def plain(name: str, times: Sequence[Fraction] = STEADY, *, last: Fraction = FRAME, **how: Any) -> Recipe:
    """A film with a picture at each time, however written."""
    truth = {key: how.pop(key) for key in ("copied", "slack") if key in how}

    def make(folder: Path) -> Film:
        return Film(path=write(folder / name, times, **how), times=times, length=times[-1] + last, **truth)

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
        film = write(folder / "pictures.ts", STEADY, clock=clock, **how)
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
        # ffmpeg begins each piece with a whole picture.
        return Film(path=edited(path, edits), times=times, length=second, copied=None, slack=FRAME / 2 + MILLISECOND)

    return make


def packed(name: str) -> Recipe:
    """DivX's packed frames, taken over as they are into a container that needs no such thing."""

    def make(folder: Path) -> Film:
        options = {"bf": "1", "b_strategy": "0", "sc_threshold": "1000000000"}
        times = steady(97)
        path = write(folder / "packed.avi", times, codec="mpeg4", options=options, time_base=FRAME, change=Packer())
        if not name.endswith(".avi"):
            path = combined(folder / name, [path])
        return Film(path=path, times=times, length=times[-1] + FRAME, copied=None, slack=3 * FRAME)

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


def tagged(name: str, tag: str, *, pixel_format: str = "yuv420p") -> Recipe:
    """A stream that says of its colours what `tag` says."""

    def make(folder: Path) -> Film:
        source = plain("source-" + name, steady(60), pixel_format=pixel_format)(folder)
        return replace(source, path=filtered(folder / name, source.path, f"h264_metadata={tag}"))

    return make


MATRICES = range(18)
"""Every value of matrix_coefficients in ITU-T H.273."""
TURNS = {
    "90": (lambda image: np.rot90(image, 3), (0, -1, 0, 1, 0, 0, 0, 0, 1)),
    "180": (lambda image: np.rot90(image, 2), (-1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "270": (lambda image: np.rot90(image, 1), (0, 1, 0, -1, 0, 0, 0, 0, 1)),
    "mirrored": (lambda image: image[:, ::-1], (-1, 0, 0, 0, 1, 0, 0, 0, 1)),
    "upside down": (lambda image: image[::-1], (1, 0, 0, 0, -1, 0, 0, 0, 1)),
    "transposed": (lambda image: image.swapaxes(0, 1), (0, 1, 0, 1, 0, 0, 0, 0, 1)),
    "transposed and turned": (lambda image: np.rot90(image.swapaxes(0, 1), 2), (0, -1, 0, -1, 0, 0, 0, 0, 1)),
}

HEVC = {"codec": "libx265"}
MPEG2 = {"codec": "mpeg2video", **WHOLE}
VP9 = {"codec": "libvpx-vp9"}
NO_B = {"options": {"bf": "0"}}
LASTING = {"last": UNEVEN[-1] - UNEVEN[-2]}
"""The last picture stays as long as the one before, as the container says."""

CONTAINERS = {
    "mp4": plain("f.mp4", **NO_B),
    "mp4, b frames": plain("f.mp4"),
    "mp4, one group": plain("f.mp4", options={"g": "9999"}),
    "mp4, fragmented": plain("f.mp4", muxing={"movflags": "frag_keyframe+empty_moov"}),
    "mp4, no edit list": plain("f.mp4", muxing={"use_editlist": "0"}),
    "mov": plain("f.mov"),
    "mkv": plain("f.mkv"),
    "ts": plain("f.ts"),
    "flv": plain("f.flv"),
    "nut": plain("f.nut"),
    "avi": plain("f.avi", copied=False, **NO_B, **WHOLE),
    "avi, b frames": plain("f.avi", copied=False, **WHOLE),
    "raw h264": plain("f.h264", copied=False, **WHOLE),
    "hevc mp4": plain("f.mp4", **HEVC),
    "hevc mkv": plain("f.mkv", **HEVC),
    "hevc ts": plain("f.ts", **HEVC),
    "mpeg4 mp4": plain("f.mp4", codec="mpeg4", **WHOLE),
    "mpeg4 avi": plain("f.avi", codec="mpeg4", copied=False, **WHOLE),
    "mpeg4 mkv": plain("f.mkv", codec="mpeg4", copied=None, **WHOLE),
    "vp8 webm": plain("f.webm", codec="libvpx", copied=False),
    "vp9 webm": plain("f.webm", **VP9),
    "vp9 mp4": plain("f.mp4", **VP9),
    "mpeg2 ts": plain("f.ts", copied=False, **MPEG2),
    "mpeg2 program stream": plain("f.mpg", copied=False, **MPEG2),
    "mpeg2 mxf": plain("f.mxf", copied=False, **MPEG2),
    "mpeg2 mkv": plain("f.mkv", copied=False, **MPEG2),
    "mjpeg avi": plain("f.avi", codec="mjpeg", pixel_format="yuvj420p", copied=False, **WHOLE),
    "prores mov": plain("f.mov", codec="prores_ks", pixel_format="yuv422p10le", copied=False),
    "y4m": plain("f.y4m", codec="rawvideo", copied=False, **WHOLE),
    "gif": plain("f.gif", codec="gif", pixel_format="rgb8", time_base=Fraction(1, 100), copied=False),
    "wmv": plain("f.wmv", codec="wmv2", copied=False),
}
JOINTS = {
    "clock restarted": joint("f.ts", [0, 0]),
    "clock restarted late": joint("f.ts", [5, 5]),
    "clock restarted, no b frames": joint("f.ts", [0, 0], **NO_B),
    "clock restarted thrice": joint("f.ts", [0, 0, 0, 0]),
    "clock restarted after less than a second": joint("f.ts", [0, 0, 0, 0, 0, 0], each=20),
    "clock restarted, hevc": joint("f.ts", [0, 0], **HEVC),
    "clock restarted, mpeg2": joint("f.ts", [0, 0], **MPEG2),
    "clock restarted, program stream": joint("f.mpg", [0, 0], **MPEG2),
    "clock two hours ahead": joint("f.ts", [0, 2 * HOUR]),
    "clock two hours ahead, hevc": joint("f.ts", [0, 2 * HOUR], **HEVC),
    "clock two hours ahead, mpeg2": joint("f.ts", [0, 2 * HOUR], **MPEG2),
    "clock two hours back": joint("f.ts", [2 * HOUR, 0]),
    "clock two hours back, hevc": joint("f.ts", [2 * HOUR, 0], **HEVC),
    "clock two hours back, mpeg2": joint("f.ts", [2 * HOUR, 0], **MPEG2),
    "clock a day ahead": joint("f.ts", [0, 24 * HOUR]),
    "clock ahead and back": joint("f.ts", [0, 2 * HOUR, 0, 20]),
    "clock ten seconds back": joint("f.ts", [12, 2]),
    "clock wraps": plain("f.ts", clock=WRAP - 2, copied=None),
    "clock wraps at a join": joint("f.ts", [WRAP - Fraction(12, 5), 0], **NO_B),
    "clock wraps, then restarts": joint("f.ts", [WRAP - 1, 25]),
    "clock wraps, mpeg2": plain("f.ts", clock=WRAP - 2, copied=False, **MPEG2),
}
GAPS = {
    "gap of a minute, mp4": gapped("f.mp4", 60),
    "gap of two hours, mp4": gapped("f.mp4", 7200),
    "gap of two hours, mov": gapped("f.mov", 7200),
    "gap of two hours, fragmented": gapped("f.mp4", 7200, muxing={"movflags": "frag_keyframe+empty_moov"}),
    "gap of two hours, mkv": gapped("f.mkv", 7200),
    "gap of two hours, mkv, hevc": gapped("f.mkv", 7200, **HEVC),
    "gap of two hours, mkv, one group": gapped("f.mkv", 7200, options={"g": "9999"}),
    "gap of two hours, webm": gapped("f.webm", 7200, **VP9),
    "gap of two hours, nut": gapped("f.nut", 7200),
    "gap of 61 minutes, mkv": gapped("f.mkv", 3660),
    "three gaps, mkv": gapped("f.mkv", 3700, 30, 4000),
    "three gaps, mp4": gapped("f.mp4", 3700, 30, 4000),
    "gap of a day, mkv": gapped("f.mkv", 86400),
}
STARTS = {
    "from 10 s, mp4": plain("f.mp4", clock=10),
    "from 10 s, fragmented": plain("f.mp4", clock=10, muxing={"movflags": "frag_keyframe+empty_moov"}),
    "from 10 s, mkv": plain("f.mkv", clock=10),
    "from 10 s, webm": plain("f.webm", clock=10, **VP9),
    "from 10 s, flv": plain("f.flv", clock=10),
    "from 10 s, ts": plain("f.ts", clock=10),
    "from 20 hours, ts": plain("f.ts", clock=20 * HOUR),
    "from two hours, mkv": plain("f.mkv", clock=2 * HOUR),
    "from two hours, mp4": plain("f.mp4", clock=2 * HOUR),
    "from -2 s, nut": plain("f.nut", clock=-2, **NO_B),
    "from -2 s, mkv": plain("f.mkv", clock=-2, copied=None, muxing={"avoid_negative_ts": "disabled"}),
    "from -2 s, ts": plain("f.ts", clock=-2, muxing={"avoid_negative_ts": "disabled"}),
    "sound first, mp4": beside("f.mp4", 0, clock=3),
    "sound first, mkv": beside("f.mkv", 0, clock=3),
    "sound first, ts": beside("f.ts", 0, clock=3),
    "sound later, mp4": beside("f.mp4", 2),
    "sound later, mkv": beside("f.mkv", 2),
    "sound before zero, mkv": beside("f.mkv", 0, clock=10),
}
UNEVEN_RATES = {
    f"uneven, {name}": plain(f"f.{name.split()[0]}", UNEVEN, **how)
    for name, how in {
        "mp4": LASTING,
        "mp4 without b frames": NO_B,
        "mp4 hevc": HEVC | LASTING,
        "mov": LASTING,
        "mkv": {},
        "mkv hevc": HEVC,
        "ts": {},
        "flv": {},
        "nut": {},
        "webm": VP9,
    }.items()
}
EDITS = {
    "blank before": cut_by_edits("f.mp4", [(2, None), (4, 0)]),
    "blank before, b frames": cut_by_edits("f.mp4", [(2, None), (4, 0)], options={}),
    "trimmed at a key frame": cut_by_edits("f.mp4", [(Fraction(64, 25), Fraction(36, 25))]),
    "trimmed between key frames": cut_by_edits("f.mp4", [(3, 1)]),
    "trimmed between key frames, b frames": cut_by_edits("f.mp4", [(3, 1)], options={}),
    "trimmed, hevc": cut_by_edits("f.mp4", [(3, 1)], codec="libx265", options={}),
    "trimmed at the end": cut_by_edits("f.mp4", [(3, 0)]),
    "trimmed at both ends": cut_by_edits("f.mp4", [(2, 1)], options={}),
    "blank, then trimmed": cut_by_edits("f.mp4", [(5, None), (2, 1)]),
    "a piece left out": cut_by_edits("f.mp4", [(Fraction(3, 2), 0), (Fraction(3, 2), Fraction(5, 2))]),
    "two pieces the other way round": cut_by_edits("f.mp4", [(Fraction(3, 2), Fraction(5, 2)), (Fraction(3, 2), 0)]),
}
PACKED = {f"packed b frames, {name}": packed(f"f.{name}") for name in ("avi", "mkv", "mp4", "mov", "nut")}
TURNED = {
    **{f"turned {name}, mp4": turned("f.mp4", *how) for name, how in TURNS.items()},
    "turned 90, mov": turned("f.mov", *TURNS["90"]),
    "turned 90, mkv": turned("f.mkv", *TURNS["90"]),
    "turned 270, mkv": turned("f.mkv", *TURNS["270"]),
    "turned 90, hevc": turned("f.mp4", *TURNS["90"], **HEVC),
    "turned 90, uneven": turned("f.mp4", *TURNS["90"], clock=10),
    "turned 90 inside, mp4": turned_inside("f.mp4", TURNS["90"][0], "rotate=90"),
    "turned 180 inside, mp4": turned_inside("f.mp4", TURNS["180"][0], "rotate=180"),
    "turned 270 inside, mp4": turned_inside("f.mp4", TURNS["270"][0], "rotate=270"),
    "mirrored inside, mp4": turned_inside("f.mp4", TURNS["mirrored"][0], "flip=horizontal"),
    "upside down inside, mp4": turned_inside("f.mp4", TURNS["upside down"][0], "flip=vertical"),
    "turned 90 inside, ts": turned_inside("f.ts", TURNS["90"][0], "rotate=90", copied=None),
    "turned 90 inside, mkv": turned_inside("f.mkv", TURNS["90"][0], "rotate=90"),
    "turned 90 inside, hevc mp4": turned_inside_hevc("f.mp4", TURNS["90"][0], 90),
    "turned 180 inside, hevc ts": turned_inside_hevc("f.ts", TURNS["180"][0], 180),
    "turned 270 inside, hevc mkv": turned_inside_hevc("f.mkv", TURNS["270"][0], 270),
}
SIZES = {
    "wide samples, mp4": resized("f.mp4", (80, 96, 2)),
    "tall samples, mkv": resized("f.mkv", (320, 96, Fraction(1, 2))),
    "grows, ts": resized("f.ts", (160, 96, 1), (320, 192, 1)),
    "shrinks, ts": resized("f.ts", (320, 192, 1), (160, 96, 1)),
    "grows, mkv": resized("f.mkv", (160, 96, 1), (320, 192, 1)),
    "grows, mp4": resized("f.mp4", (160, 96, 1), (320, 192, 1)),
    "grows, hevc ts": resized("f.ts", (160, 96, 1), (320, 192, 1), codec="libx265"),
    "grows, hevc mkv": resized("f.mkv", (160, 96, 1), (320, 192, 1), codec="libx265"),
    "becomes upright, ts": resized("f.ts", (160, 96, 1), (160, 288, 1)),
    "becomes wide, ts": resized("f.ts", (160, 128, 1), (256, 128, 1)),
    "becomes wide, mkv": resized("f.mkv", (160, 128, 1), (256, 128, 1)),
    "becomes wide and back, ts": resized("f.ts", (160, 128, 1), (256, 128, 1), (160, 128, 1)),
    "samples become wide, ts": resized("f.ts", (160, 96, 1), (80, 96, 2)),
    "samples become square, mkv": resized("f.mkv", (80, 96, 2), (160, 96, 1)),
}
STILLS = {
    "still first, mkv": with_still("f.mkv", size=(64, 64), first=True),
    "still first and larger, mkv": with_still("f.mkv", size=(600, 600), first=True),
    "still first and larger, mp4": with_still("f.mp4", size=(600, 600), first=True),
    "still larger, mkv": with_still("f.mkv", size=(600, 600), first=False),
    "still larger, mp4": with_still("f.mp4", size=(600, 600), first=False),
    "still larger, none marked, mkv": with_still("f.mkv", size=(600, 600), first=False, marked="neither"),
    "still alone marked, mkv": with_still("f.mkv", size=(600, 600), first=False, marked="still"),
    "still first, png, mp4": with_still("f.mp4", size=(600, 600), first=True, codec="png"),
    "still twice, mkv": with_still("f.mkv", size=(600, 600), first=True, pictures=2),
}
COLOURS = {
    **{f"matrix {tag}": tagged("f.mp4", f"matrix_coefficients={tag}") for tag in MATRICES},
    **{
        f"matrix {tag}, 10 bits": tagged("f.mp4", f"matrix_coefficients={tag}", pixel_format="yuv420p10le")
        for tag in MATRICES
    },
    "matrix 8, mkv": tagged("f.mkv", "matrix_coefficients=8"),
    "matrix 14, ts": tagged("f.ts", "matrix_coefficients=14"),
    "rgb": plain("f.mp4", codec="libx264rgb", pixel_format="rgb24"),
    **{f"primaries {tag}": tagged("f.mp4", f"colour_primaries={tag}") for tag in (2, 4, 8, 10, 12, 22, 3, 200)},
    **{f"transfer {tag}": tagged("f.mp4", f"transfer_characteristics={tag}") for tag in (2, 4, 8, 10, 11, 13, 17, 200)},
}
FILMS: dict[str, Recipe] = (
    CONTAINERS | JOINTS | GAPS | STARTS | UNEVEN_RATES | EDITS | PACKED | TURNED | SIZES | STILLS | COLOURS
)
