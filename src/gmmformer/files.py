"""Files that are whole or not there, written beside their place and renamed into it; files read in bounds; when two
names of files, written by people and by file systems, are the same one.
"""

import errno
import fcntl
import json
import math
import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from gmmformer.errors import InputError

_WORD = re.compile(r"[^\W_]+")
MOST_SETTINGS = 2**20
"""Bytes of a JSON file that holds settings; a larger one is none."""
MOST_TEXT = 2**29
"""Bytes of a file of captions; the largest published one has a fiftieth."""
DEEPEST_JSON = 32
"""Arrays and objects within each other; what a user hands in needs four."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; move it into place when the block ends, remove it if the block fails.

    A reader sees the old file or the new one, never half of either, whatever kills the process. The data reaches the
    disk before the rename, and the rename before this returns.

    Raises:
        InputError: The disk is full or the folder cannot be written to; `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        synced(beside)
        beside.replace(path)
        synced(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


@contextmanager
def swapped_whole(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` to fill; it takes that place when the block ends, or goes if that fails.

    A kill between the two renames leaves the old folder as `.NAME.old`: call `recover` before looking at `folder`.

    Raises:
        InputError: The disk is full or the place cannot be written to; `folder` is as it was.
    """
    beside, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        yield beside
        for path in [*beside.rglob("*"), beside]:
            synced(path)
        if folder.exists():
            folder.rename(old)
        try:
            beside.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        synced(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def synced(path: Path) -> None:
    """Bring what a file holds, or the names in a folder, down to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some network disks know no such thing of a folder
            raise
    finally:
        os.close(descriptor)


def recover(folder: Path) -> None:
    """Put right what a kill in the middle of `written_whole` or `swapped_whole` left in `folder`, if it is there.

    Whoever calls this is the only one who writes there (see `locked`).
    """
    for old in folder.glob(".*.old"):
        place = folder / old.name.removeprefix(".").removesuffix(".old")
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(place)
    for part in folder.glob(".*.part"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink()


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Hold the one right to change `folder`, which is made if missing; the system gives it up when the process dies.

    Raises:
        InputError: Another process holds it, or this one does already.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe does not hold us up
        handle = os.open(folder / ".lock", flags, 0o666)
    except OSError as error:
        raise unwritable(folder, error) from error
    status = os.fstat(handle)
    lock = status.st_dev, status.st_ino
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        who = "this process itself" if lock in _locked else "another process"
        raise InputError(f"{folder}: {who} is {doing} there; wait until it is done") from error
    _locked.add(lock)
    try:
        yield
    finally:
        _locked.discard(lock)
        os.close(handle)


_locked: set[tuple[int, int]] = set()
"""The locks that this process holds, by device and inode."""


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with written_whole(path) as beside:
        beside.write_bytes(data)


def unwritable(path: Path, error: OSError) -> InputError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            f"{path}: the disk is full; nothing was changed there. Free some space and run the same command again"
        )
    if error.errno == errno.EFBIG:
        return InputError(
            f"{path}: the file is larger than the disk or this account (ulimit -f) allows; nothing was changed there. "
            "Choose another place or raise the limit"
        )
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); choose another place or mend its permissions"
    )


def read_bounded(path: Path, most: int | None = MOST_SETTINGS) -> bytes:
    """All of a file, which is an ordinary one of at most `most` bytes; None: of any size.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger, or no file but a device, a pipe or a folder.
    """
    if path.exists() and not path.is_file():
        raise ValueError("not an ordinary file")
    with path.open("rb") as file:
        if most is None:
            return file.read()
        room = 2 * os.fstat(file.fileno()).st_size + MOST_SETTINGS  # Python takes what it is asked to read beforehand
        data = file.read(min(room, most) + 1)
    if len(data) > min(room, most):
        raise ValueError(f"larger than {min(room, most):,} bytes")
    return data


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The text of a file of people's words.

    Raises:
        InputError: It cannot be read, is larger than `most` bytes, is no ordinary file, not UTF-8, or holds NUL bytes.
    """
    remedy = "give a text file in UTF-8"
    try:
        data = read_bounded(path, most)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except ValueError as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}") from error
    if (null := text.find("\0")) >= 0:
        line = text.count("\n", 0, null) + 1
        raise InputError(f"{path}, line {line}: holds a NUL byte, as no text does, unless in UTF-16; save it as UTF-8")
    return text


def read_json(path: Path, most: int = MOST_SETTINGS) -> Any:
    """The value in a JSON file of at most `most` bytes, as `parsed_json` reads it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger, or does not hold what `parsed_json` takes.
    """
    return parsed_json(read_bounded(path, most))


def parsed_json(text: str | bytes) -> Any:
    """The value that a JSON text of a user holds, every number in it finite; the one definition of reading such.

    Raises:
        ValueError: It is not JSON in UTF-8, or it says NaN or Infinity, a number that float64 or 64 bits cannot hold,
            a key of an object twice, or is nested more than `DEEPEST_JSON` deep. The message is one line.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    level = [value]
    for _ in range(DEEPEST_JSON):
        inside = chain.from_iterable(
            outer.values() if isinstance(outer, dict) else outer for outer in level if isinstance(outer, dict | list)
        )
        level = [inner for inner in inside if isinstance(inner, dict | list)]
        if not level:
            return value
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"arrays and objects more than {DEEPEST_JSON} deep"


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (number := int(digits)) < 2**64:
        raise ValueError(f"the number {digits[:20]}..., which 64 bits do not hold")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]}, which is too large")
    return number


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{twice[:60]!r} is there twice")
    return found


_DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_finite, parse_constant=_no_number, object_pairs_hook=_once)


def composed(name: str) -> str:
    """The name with its accents composed (NFC): however they were written, two such names are the same name."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """What is left of a name when accents are composed, case, surplus spaces and invisible characters are gone.

    Two names that look alike are equal then; whether they mean the same is for the caller to say.

    >>> folded("Cafe\u0301\u200b  CR\u00c8ME ") == folded("caf\u00e9 cr\u00e8me")
    True
    """
    if not name.isascii():
        name = "".join(c for c in name if unicodedata.category(c) != "Cf")
        name = unicodedata.normalize("NFD", name)
    return composed(" ".join(name.casefold().split()))


def words_in(text: str) -> list[str]:
    r"""The words of a text, without case and accents.

    >>> words_in("Café_À la-2019") == words_in("cafe\u0301 a\u0300 LA 2019")
    True
    """
    return _WORD.findall(plain(text))


def plain(text: str) -> str:
    """A text without case and accents."""
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return text.casefold()


def folded_path(path: str) -> str:
    """A path of which each part is folded, and what stands before the ending of the last one by itself."""
    stem, ending = os.path.splitext(path)  # noqa: PTH122 - may hold any bytes
    return "/".join(map(folded, stem.split("/"))) + folded(ending)


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder, or below it, by how both are written.

    >>> lies_in("/srv/films/a.mp4", "/srv/films/"), lies_in("/srv/films-old", "/srv/films"), lies_in("/srv", "/")
    (True, False, True)
    """
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def lookalikes(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name that looks like a known one: how both are written; else empty.

    >>> lookalikes("Tea ", ["tea", "coffee"])
    "; it is written 'Tea ', what is there is written 'tea'"
    """
    wanted = folded(name)
    alike = [other for other in known if folded(other) == wanted]
    there = " and ".join(ascii(other) for other in alike[:3])
    return f"; it is written {name!a}, what is there is written {there}" if alike else ""
