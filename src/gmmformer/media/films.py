"""Film files on disk: which there are, what is in them by content, and how one that fails is named."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gmmformer.errors import InputError
from gmmformer.files import lookalikes

FILM_SUFFIXES = frozenset(
    f".{name}"
    for name in re.findall(
        r"\w+",
        "3g2 3gp amv asf avi divx dv f4v flv gif gxf h264 h265 hevc ivf m1v m2p m2t m2ts m2v m4v mjpeg mjpg mk3d mkv "
        "mod mov mp4 mpe mpeg mpg mpv mts mxf nut ogm ogv qt rm rmvb tod ts vob webm wmv wtv y4m",
    )
)
"""Endings, in lower case, by which a folder's films are known."""

SAMPLE_BYTES = 1 << 18
SAMPLES = 16


class DecodeError(InputError):
    """A film that cannot be decoded, with a reason that a person understands."""

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.reason = reason
        """The reason alone, without the name of the film."""


@dataclass
class DecodeReport:
    """What happened while a film was decoded; grows until the frames end."""

    packet_errors: int = 0
    """Damaged packets that were passed over. Packets that decoding could leave out are not counted."""
    frames_decoded: int = 0
    """Frames that the decoder gave out, wanted or not."""
    packets: int = 0
    """Compressed pictures read."""
    seconds: float = 0.0
    """Length of the film, from its first frame's time to the end of its last frame's."""
    last_frame: float = 0.0
    """Seconds from the film's first frame to its last."""
    promised: float | None = None
    """Seconds that the header claims."""
    text: bool = False
    """Whether there is text beside the pictures, as subtitles are."""
    remarks: list[str] = field(default_factory=list)
    """What is odd about the film though it can be decoded, each once."""
    on_progress: Callable[[], None] | None = None
    """Called at every packet."""

    def remark(self, text: str) -> None:
        """Add a remark, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def start_over(self) -> None:
        """Forget what was counted: the film is decoded once more."""
        self.packet_errors = self.frames_decoded = self.packets = 0


def printable(path: str | bytes | os.PathLike[str]) -> str:
    r"""A path as one line of plain text: line breaks, control characters and bytes that are no UTF-8 are escaped.

    >>> print(printable("a\nfilm.mp4"))
    a\nfilm.mp4
    """
    text = os.fsdecode(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def path_text(path: str | bytes | os.PathLike[str]) -> str:
    """A path as UTF-8 text, for JSON; bytes that are none become backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def named_as_film(path: str) -> bool:
    """Whether a path ends as films do, in any case."""
    return os.path.splitext(path)[1].lower() in FILM_SUFFIXES  # noqa: PTH122 - may hold any bytes


def find_films(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The films among `paths`, in the order given, those of a folder sorted by name, none twice.

    A folder is searched to any depth for regular files, or links to them, whose ending is in FILM_SUFFIXES in any case.
    Hidden names (a leading dot) are passed over, and links to folders are not followed, so loops do no harm. A file
    named outright is taken whatever it is called or is: decoding tells whether it is a film.

    Raises:
        InputError: A path does not exist, or a folder cannot be read.
    """
    found: dict[Path, None] = {}
    for given in paths:
        path = Path(given)
        try:
            path.stat()
        except OSError as error:
            alike = lookalikes(path.name, (other.name for other in path.parent.glob("*")))
            raise InputError(f"{printable(path)}: cannot be read ({error.strerror}); check the name{alike}") from error
        found.update(dict.fromkeys(_films_below(path) if path.is_dir() else [path]))
    return list(found)


def _films_below(folder: Path) -> list[Path]:
    def unreadable(error: OSError) -> None:
        name = printable(error.filename)
        raise InputError(f"{name}: cannot be read ({error.strerror}); mend its permissions or move it away") from error

    films = []
    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        films += [Path(parent, name) for name in files if not name.startswith(".") and named_as_film(name)]
    return sorted(
        (film for film in films if film.is_file()), key=lambda film: [os.fsencode(part) for part in film.parts]
    )


def fingerprint(path: str | os.PathLike[str]) -> str:
    """A name for a file's content that does not depend on its place, its name or its dates.

    BLAKE2b of the size and of 16 samples of 256 KiB spread evenly from the first byte to the last, so all of a
    file up to 4 MiB, and 4 MiB of any larger one: films that differ only between the samples look the same.

    Returns:
        32 hexadecimal digits.

    Raises:
        DecodeError: The file cannot be read.
    """
    try:
        size = regular_file(path).st_size
        digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
        with Path(path).open("rb") as file:
            if size <= SAMPLES * SAMPLE_BYTES:
                digest.update(file.read())
            else:
                for sample in range(SAMPLES):
                    file.seek((size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
                    digest.update(file.read(SAMPLE_BYTES))
    except OSError as error:
        raise DecodeError(path, unreadable_reason(error)) from error
    return digest.hexdigest()


def stamp_of(status: os.stat_result) -> str:
    """Size and date of a file as one word, by which it is seen at a glance to be the same as before."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def regular_file(path: str | os.PathLike[str]) -> os.stat_result:
    """The status of a file that can be read from start to end; opens nothing, so a pipe cannot block.

    Raises:
        DecodeError: It is missing, a folder, a pipe, a socket or a device.
    """
    try:
        status = Path(path).stat()
    except OSError as error:
        raise DecodeError(path, unreadable_reason(error)) from error
    if Path(path).is_dir():
        raise DecodeError(path, "is a folder, not a film")
    if not Path(path).is_file():
        raise DecodeError(path, "is a pipe, a socket or a device, not a file")
    return status


def unreadable_reason(error: OSError) -> str:
    """Why a file could not be read, in words."""
    match error:
        case FileNotFoundError():
            return "there is no such file"
        case PermissionError():
            return "its permissions do not allow reading it"
        case _:
            return f"cannot be read from the disk ({error.strerror or error})"
