"""Files that are either whole or not there: written beside their place, then renamed into it."""

import errno
import os
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
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); choose another place or mend its permissions"
    )
