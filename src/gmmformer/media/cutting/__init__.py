"""Cuts and previews of moments: checked, cut the cheapest way that is right, and written whole or not at all."""

import hashlib
import math
import os
import re
import unicodedata
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

from gmmformer.errors import InputError
from gmmformer.files import written_whole
from gmmformer.media.cutting.copying import UncopyableError, copy
from gmmformer.media.cutting.encoding import Style, encode
from gmmformer.media.cutting.reading import Cut, Span
from gmmformer.media.films import DecodeError, printable, regular_file
from gmmformer.media.skipping import UnskippableError

__all__ = ["MOST_SECONDS", "Cut", "browser_preview", "cut_moment", "moment_filename"]

MOST_SECONDS = 600
"""The longest cut or preview."""
NEAR = Fraction(1, 10)
"""Seconds before a moment at which a key frame is near enough to copy from. Moments are known to a clip of the model,
which is rarely shorter than half a second, and three frames more at the start go unnoticed."""
CUT = Style(quality=18, preset="veryfast")
PREVIEW = Style(quality=23, preset="superfast", most_width=1920, most_height=720, stereo=True, key_every=2.0)
MOST_NAME = 80
"""Characters of a film's name that the name of its cut keeps."""


def cut_moment(
    film: str | os.PathLike[str],
    start: float,
    end: float,
    out: str | os.PathLike[str],
    *,
    exact: bool | None = None,
) -> Cut:
    """Write a moment of a film as an mp4 of its own, with its sound.

    Encoded anew, second t of the cut shows exactly what second `start` + t of the film shows, variable frame rates
    and all; pictures stand upright with square samples and even sides, interlaced ones are reduced to their first
    field, high dynamic range is toned down. Copied, it is fast and loses nothing, but begins at a key frame and ends
    with a whole frame.

    Args:
        film: The film; seconds count from its first frame on screen.
        start: Seconds, at least 0.
        end: Seconds, after `start` by at most MOST_SECONDS; past the film's end, that counts.
        out: The file to write; its folder must be there. A file of that name is replaced.
        exact: None copies where a key frame lies at the start or at most NEAR seconds before it and mp4 may hold the
            film's codec, and encodes otherwise; False copies from the last key frame before the start, however far;
            True always encodes.

    Raises:
        InputError: The seconds make no sense for this film, it cannot be copied though `exact` is False, or `out`
            cannot be written.
        DecodeError: The film cannot be read or decoded.
    """
    span, film, out = _checked_span(film, start, end), Path(film), Path(out)
    _check_target(film, out)
    why = "its packets are damaged or not what mp4 holds"
    with written_whole(out) as beside:
        if exact is not True:
            sounds: tuple[Literal["copied", "encoded"] | None, ...] = ("copied", "encoded", None)
            for audio in sounds:
                try:
                    copied = copy(film, span, beside, audio=audio, most_before=None if exact is False else NEAR)
                except UncopyableError as error:
                    why = str(error)
                    break
                except (av.FFmpegError, ValueError) as error:
                    _check_disk(error)
                else:
                    return replace(copied, path=out)
            if exact is False:
                raise InputError(f"{printable(film)}: cannot be copied, {why}; cut it with exact=True")
        return replace(_encoded(film, span, beside, CUT), path=out)


def browser_preview(film: str | os.PathLike[str], start: float, end: float, out: str | os.PathLike[str]) -> Cut:
    """Write a moment of a film as what every browser plays: H.264 (8-bit 4:2:0) and AAC stereo in mp4, index first.

    At most 1920 x 720 pixels, never enlarged; else as `cut_moment` with exact=True.
    """
    span, film, out = _checked_span(film, start, end), Path(film), Path(out)
    _check_target(film, out)
    with written_whole(out) as beside:
        return replace(_encoded(film, span, beside, PREVIEW), path=out)


def moment_filename(film: str | os.PathLike[str], start: float, end: float) -> str:
    """A name for the cut of a moment: the film's own in plain ASCII, and from when to when.

    Never a path, hidden, or longer than about 130 characters. Where the film's name had to be changed, six digits made
    of it keep apart films that would look the same.

    >>> moment_filename("films/holiday.mov", 13.5, 20.5)
    'holiday_00-13.5_00-20.5.mp4'
    >>> moment_filename("a film.avi", 3725, 3730.25)
    'a-film-d24872_1-02-05_1-02-10.25.mp4'
    """
    name = os.fsdecode(film).rstrip("/").rpartition("/")[2]
    stem = Path(name).stem if name else "film"
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:MOST_NAME] or "film"
    if plain != stem:
        plain += "-" + hashlib.blake2b(os.fsencode(name), digest_size=3).hexdigest()
    return f"{plain}_{_clock_name(start)}_{_clock_name(end)}.mp4"


def _clock_name(seconds: float) -> str:
    thousandths = round(max(0.0, seconds) * 1000) if math.isfinite(seconds) else 0
    minutes, rest = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    second = f"{rest // 1000:02d}.{rest % 1000:03d}".rstrip("0").rstrip(".") if rest % 1000 else f"{rest // 1000:02d}"
    return f"{hours}-{minutes:02d}-{second}" if hours else f"{minutes:02d}-{second}"


def _checked_span(film: str | os.PathLike[str], start: float, end: float) -> Span:
    name = printable(film)
    if not 0 <= start < math.inf:
        raise InputError(f"{name}: start {start} must be a number of seconds, at least 0")
    if not start < end < math.inf:
        raise InputError(f"{name}: end {end} must be a number of seconds after start {start}")
    if end - start > MOST_SECONDS:
        raise InputError(
            f"{name}: {end - start:g} s are more than the {MOST_SECONDS} s that are cut at once; choose an earlier end"
        )
    return Span(Fraction(start), Fraction(end))


def _check_target(film: Path, out: Path) -> None:
    regular_file(film)
    if out.exists() and out.samefile(film):
        raise InputError(f"{printable(out)}: is the film itself; choose another name for the cut")


def _encoded(film: Path, span: Span, beside: Path, style: Style) -> Cut:
    """Encode with all that works: first jumping to the moment, then reading up to it; without sound if that fails."""
    seek = audio = True
    while True:
        try:
            return encode(film, span, beside, style, seek=seek, audio=audio)
        except UnskippableError:
            seek = False
        except (av.FFmpegError, ValueError) as error:
            _check_disk(error)
            if not audio:
                raise DecodeError(film, f"cannot be encoded ({error})") from error
            audio = False


def _check_disk(error: Exception) -> None:
    """Raise an error that comes from the file being written, which written_whole puts in words."""
    if isinstance(error, OSError):
        raise error
