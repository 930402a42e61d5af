"""Decoding: a long film at one frame a second against decoding all of it, and frames a second through the workers.

Compare the processor times where the machine has other work. A film whose frames all build on the one before (no B
frames, few key frames) is not here: all of it must be decoded.

python benchmarks/media.py [--hours 2] [--folder /tmp]
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from gmmformer.media.container import open_film
from gmmformer.media.decoding import FilmEnd, decode_films
from gmmformer.media.films import DecodeReport
from gmmformer.media.frames import sampled_frames
from gmmformer.media.pictures import PictureMaker

WIDTH, HEIGHT, RATE = 640, 360, 25
PIECE_SECONDS = 40
FILMS = {
    "H.264, key frame every second, B frames": (
        "libx264",
        {"g": "25", "preset": "veryfast", "x264-params": "scenecut=0"},
    ),
    "H.264, key frame every 10 s, B frames": (
        "libx264",
        {"g": "250", "preset": "veryfast", "x264-params": "scenecut=0"},
    ),
}


class Measured(NamedTuple):
    seconds: float
    cpu: float
    """Seconds of processor time, children included; the machine's other work does not show in it."""
    frames: int
    decoded: int
    peak: int
    """Bytes of memory over those of the process before it began."""


def write_film(path: Path, hours: float, codec: str, options: dict[str, str]) -> None:
    """Encode 40 seconds of moving noise, and repeat its packets."""
    piece = path.with_suffix(".piece.mp4")
    rng = np.random.default_rng(0)
    wall = rng.integers(0, 255, (HEIGHT // 8 + 1, WIDTH // 4, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(piece), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", options
        for number in range(PIECE_SECONDS * RATE):
            shift = number * 3 % WIDTH
            picture = wall[:HEIGHT, shift : shift + WIDTH] // 2 + rng.integers(
                0, 12, (HEIGHT, WIDTH, 1), dtype=np.uint8
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(piece)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in source.demux(video=0) if p.size]
        base = source.streams.video[0].time_base
        length = round(PIECE_SECONDS / base)
        for repeat in range(round(hours * 3600 / PIECE_SECONDS)):
            for data, pts, dts, key in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.time_base = pts + repeat * length, dts + repeat * length, base
                packet.duration, packet.is_keyframe, packet.stream = round(Fraction(1, RATE) / base), key, stream
                container.mux(packet)
    piece.unlink()


def every_frame(path: Path) -> tuple[int, int]:
    """The plain way: decode all, keep one of 25."""
    report, kept = DecodeReport(), 0
    with open_film(path, report=report) as film:
        for number, frame in enumerate(film.frames()):
            if number % RATE == 0:
                PictureMaker(film, size=256).picture(frame)
                kept += 1
    return kept, report.frames_decoded


def one_a_second(path: Path) -> tuple[int, int]:
    report = DecodeReport()
    return sum(1 for _ in sampled_frames(path, report=report)), report.frames_decoded


def through_workers(path: Path) -> tuple[int, int]:
    (end,) = (result for result in decode_films([path]) if isinstance(result, FilmEnd))
    assert end.ok, end.reason
    return end.frames, end.frames_decoded


def measured(function: Callable[[Path], tuple[int, int]], path: Path) -> Measured:
    """In a process of its own, so that the peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, path))


def _measured(function: Callable[[Path], tuple[int, int]], path: Path) -> Measured:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), sum(os.times()[:4])
    frames, decoded = function(path)
    seconds, cpu = time.perf_counter() - began, sum(os.times()[:4]) - busy
    peak = max(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before,
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
    )
    return Measured(seconds, cpu, frames, decoded, peak * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    print(f"{arguments.hours:g} h of {WIDTH} x {HEIGHT} at {RATE} frames/s, one decoder thread, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for name, (codec, options) in FILMS.items():
            path = Path(folder, "film.mp4")
            write_film(path, arguments.hours, codec, options)
            print(f"\n{name} ({path.stat().st_size / 1e6:.0f} MB)")
            whole = None
            for label, function in (
                ("every frame", every_frame),
                ("1 a second", one_a_second),
                ("1 a second, worker", through_workers),
            ):
                result = measured(function, path)
                whole = whole or result
                print(
                    f"  {label:20s} {result.seconds:6.1f} s (ratio {result.seconds / whole.seconds:.2f}), "
                    f"{result.cpu:6.1f} s of processor (ratio {result.cpu / whole.cpu:.2f}), {result.frames} frames "
                    f"kept of {result.decoded} decoded ({result.decoded / result.cpu:.0f}/s), "
                    f"{arguments.hours * 3600 / result.seconds:.0f} x real time, memory +{result.peak / 1e6:.0f} MB"
                )


if __name__ == "__main__":
    main()
