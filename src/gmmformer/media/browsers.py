"""What a page is given of films: whether a browser plays one as it is, and small pictures."""

import io
import os
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from gmmformer.errors import InputError
from gmmformer.media.container import OpenFilm, open_film
from gmmformer.media.films import DecodeError, printable, unreadable_reason
from gmmformer.media.frames import frame_at
from gmmformer.media.packets import COVER

MP4_PICTURES = frozenset(("av1", "h264", "vp9"))
MP4_SOUND = frozenset(("aac", "mp3"))
WEBM_PICTURES = frozenset(("av1", "vp8", "vp9"))
WEBM_SOUND = frozenset(("opus", "vorbis"))
PIXELS = {
    "av1": ("yuv420p", "yuv420p10le"),
    "h264": ("yuv420p", "yuvj420p"),
    "vp8": ("yuv420p", "yuva420p"),
    "vp9": ("yuv420p", "yuva420p"),
}
NAMES = {
    "ac3": "AC-3",
    "av1": "AV1",
    "eac3": "E-AC-3",
    "h264": "H.264",
    "mpeg1video": "MPEG-1",
    "mpeg2video": "MPEG-2",
    "mpeg4": "MPEG-4 part 2",
    "opus": "Opus",
    "prores": "ProRes",
    "vorbis": "Vorbis",
}
ENCRYPTED = frozenset(("enca", "encv"))
"""Sample entries of protected streams (ISO/IEC 14496-12, 8.12)."""
LATE = 0.1
"""Seconds after its clock's zero at which a film may begin: a browser counts from zero, this project from the film's
first frame, so every moment would be off by as much."""
DOC_TYPE = b"\x42\x82"
"""EBML's element that tells WebM from Matroska (RFC 8794, 11.2.7)."""
LEAST_HEIGHT, MOST_HEIGHT = 32, 720
MOST_WIDTH = 4096
QUALITY = 82


class Look(NamedTuple):
    """What a page is told of a film at a glance."""

    reason: str | None
    """Why browsers do not play it as it is; None where they do."""
    lines: int | None
    """Pixels of the shorter side of a stored frame: 1080 of Full HD, however it is turned; None where not known."""


def browser_plays(film: str | os.PathLike[str]) -> str | None:
    """Why current versions of Chromium, Firefox and Safari do not all play a film as it is, or not with right seconds.

    They play mp4 and mov with H.264 (8 bit, 4:2:0), VP9 or AV1 and AAC, MP3 or no sound, and WebM with VP8, VP9 or
    AV1 and Opus, Vorbis or no sound. Only the header is read, and of files without one the beginning; damage further
    on is not noticed.

    Returns:
        None where they play it; else one short clause, such as "HEVC video" or "AVI container".

    Raises:
        DecodeError: The film cannot be read.
    """
    return glance(film).reason


def glance(film: str | os.PathLike[str]) -> Look:
    """Whether browsers play a film (`browser_plays`), and how large its frames are, without decoding any.

    Raises:
        DecodeError: The film cannot be read.
    """
    with open_film(film) as opened:
        coder = opened.stream.codec_context
        sides = (coder.width, coder.height) if coder else (0, 0)
        return Look(_reason(film, opened), min(sides) or None)


def thumbnail(film: str | os.PathLike[str], second: float, height: int = 180) -> bytes:
    """The frame on screen at a second of a film as a JPEG, upright and for an ordinary screen.

    Args:
        film: The film.
        second: Counted from the film's first frame; past the film's end, its last frame is taken.
        height: Pixels down, 32 to 720, exactly; the width follows from the film's aspect, up to 4096.

    Raises:
        InputError: `second` is negative or no number, or `height` is out of bounds.
        DecodeError: The film cannot be read or decoded.
    """
    if not LEAST_HEIGHT <= height <= MOST_HEIGHT:
        raise InputError(
            f"{printable(film)}: a thumbnail's height {height} must be at least {LEAST_HEIGHT} "
            f"and at most {MOST_HEIGHT}"
        )
    image = Image.fromarray(frame_at(film, second, size=height).image)
    width = min(MOST_WIDTH, max(1, round(image.width * height / image.height)))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=QUALITY, optimize=True)
    return written.getvalue()


def _reason(film: str | os.PathLike[str], opened: OpenFilm) -> str | None:
    container, stream = opened.container, opened.stream
    formats = set(container.format.name.split(","))
    if "mp4" in formats:
        pictures, sounds, where = MP4_PICTURES, MP4_SOUND, "mp4"
    elif "webm" in formats and _is_webm(film):
        pictures, sounds, where = WEBM_PICTURES, WEBM_SOUND, "WebM"
    else:
        name = "Matroska" if "matroska" in formats else container.format.long_name.split(" (")[0]
        return f"{name} container"
    shown = [other for other in container.streams.video if not int(other.disposition) & COVER]
    heard = list(container.streams.audio)
    if any(other.codec_context and other.codec_tag in ENCRYPTED for other in (stream, *heard)):
        return "encrypted"
    if shown[0].index != stream.index:
        return "several video streams"
    reason = _picture_reason(stream, pictures, where)
    for sound in heard[:1]:
        codec = _codec(sound)
        if reason is None and codec not in sounds:
            reason = f"{_name(codec)} audio" + (f" in {where}" if codec in MP4_SOUND | WEBM_SOUND else "")
    begins = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
    if reason is None and begins > LATE:
        reason = f"its clock begins at {begins:.1f} s"
    return reason


def _picture_reason(stream: Any, pictures: frozenset[str], where: str) -> str | None:
    codec, pixels = _codec(stream), stream.codec_context.pix_fmt
    name = _name(codec)
    if codec not in pictures:
        return f"{name} video" + (f" in {where}" if codec in PIXELS else "")
    if pixels is None:
        return f"unreadable {name}"
    if pixels in PIXELS[codec]:
        return None
    depth = max(component.bits for component in stream.codec_context.format.components)
    return f"{depth}-bit {name}" if depth > 8 else f"{name} in {pixels}"


def _codec(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name) if stream.codec_context else "unknown"


def _name(codec: str) -> str:
    return NAMES.get(codec, codec.upper().replace("_", " ") if codec != "unknown" else codec)


def _is_webm(film: str | os.PathLike[str]) -> bool:
    try:
        with Path(film).open("rb") as file:
            _, _, after = file.read(1024).partition(DOC_TYPE)
    except OSError as error:
        raise DecodeError(film, unreadable_reason(error)) from error
    return after[1:5] == b"webm"
