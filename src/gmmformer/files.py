"""Files that are either whole or not there: written beside their place, then renamed into it."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gmmformer.errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; move it into place when the block ends, remove it if the block fails.

    A reader sees the old file or the new one, never half of either, whatever kills the process. The data
    reaches the disk before the rename.

    Raises:
        InputError: The disk is full or the folder cannot be written to; `path` is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
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
        for file in beside.iterdir():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        if folder.exists():
            folder.rename(old)
        try:
            beside.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


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
        InputError: Another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / ".lock").open("a")
    except OSError as error:
        raise unwritable(folder, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another process is {doing} there; wait until it is done") from error
        yield


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
