"""Files: a film's bytes, opened by the library's word alone and sent whole or in part; clips that are written."""

import asyncio
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gmmformer.errors import InputError
from gmmformer.files import unwritable
from gmmformer.media.films import printable, stamp_of
from gmmformer.search import Film
from gmmformer.web.problems import ProblemError

MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".ogv": "video/ogg",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ts": "video/mp2t",
    ".m2ts": "video/mp2t",
    ".wmv": "video/x-ms-wmv",
    ".flv": "video/x-flv",
    ".3gp": "video/3gpp",
}
UNKNOWN_TYPE = "application/octet-stream"
STALL_SECONDS = 120.0
"""After which a client that takes nothing of a film is given up."""
ROOM = 1 << 30
"""Bytes of the disk that clips and films leave free."""
_CHUNK = 1 << 18
_MOST_DIGITS = 18


class OpenFile(NamedTuple):
    """A regular file, open for reading."""

    file: BinaryIO
    size: int
    """Bytes."""
    stamp: str
    """Size and date, as the library notes them."""

    @property
    def changed(self) -> bool:
        """Whether it has been written to since it was opened."""
        return stamp_of(os.fstat(self.file.fileno())) != self.stamp


def open_regular(path: str | os.PathLike[str]) -> OpenFile:
    """Open a file that is one: no pipe can block, no device be read.

    Raises:
        OSError: It cannot be opened.
        ProblemError: It is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ProblemError(409)
    return OpenFile(os.fdopen(handle, "rb", buffering=0), status.st_size, stamp_of(status))


def open_film(film: Film) -> OpenFile:
    """Open the file of a film, if it is the one that was indexed.

    Raises:
        ProblemError: It is gone (410), or has changed, or cannot be read (409).
    """
    state = state_of(film)
    if state is not None:
        raise ProblemError(state)
    try:
        opened = open_regular(film.path)
    except FileNotFoundError:
        raise ProblemError(410) from None
    except (OSError, ValueError):
        raise ProblemError(409) from None
    if opened.stamp != film.stamp:
        opened.file.close()
        raise ProblemError(409)
    return opened


def state_of(film: Film) -> int | None:
    """None if the film's file is there as it was indexed, else the HTTP status that says why not: 409 or 410.

    A film without a stamp was never a file: the library knows it from its features alone.
    """
    if not film.stamp or not Path(film.path).is_absolute():
        return 410
    try:
        status = Path(film.path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return 410
    except (OSError, ValueError):
        return 409
    return None if stat.S_ISREG(status.st_mode) and stamp_of(status) == film.stamp else 409


def tag_of(*parts: object) -> str:
    """An ETag for what these parts decide."""
    return f'"{hashlib.blake2b(repr(parts).encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()}"'


def media_type_of(path: str) -> str:
    """The content type of a film file, by its ending; never one that a browser would run."""
    return MEDIA_TYPES.get(os.path.splitext(path)[1].lower(), UNKNOWN_TYPE)  # noqa: PTH122 - may hold any bytes


def clips_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder that clips are written to, made if it is missing, wherever links in its path lead from now on.

    Raises:
        InputError: It cannot be made or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        path = path.resolve(strict=True)
    except OSError as error:
        raise InputError(f"--clips {printable(folder)}: cannot be made ({error.strerror}); choose another") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"--clips {printable(folder)}: cannot be written to; choose another")
    return path


def name_new(part: Path, path: Path) -> None:
    """Give a file a name in its folder.

    Raises:
        FileExistsError: Another file has it.
    """
    path.touch(exist_ok=False)  # it is ours from now on
    part.replace(path)


def keep_clip(opened: OpenFile, folder: Path, name: str) -> Path:
    """A cut under its name in the folder, or under that with a number where there is such a file.

    Raises:
        InputError: It cannot be written.
    """
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        if shutil.disk_usage(folder).free < opened.size + ROOM:
            raise InputError(f"{printable(folder)}: its disk has no room for more clips; make some")
        with part.open("xb") as file:
            shutil.copyfileobj(opened.file, file, 1 << 20)
        for number in count(1):
            path = folder / (name if number == 1 else f"{name.removesuffix('.mp4')}_{number}.mp4")
            with suppress(FileExistsError):
                name_new(part, path)
                return path
    except OSError as error:
        raise unwritable(folder / name, error) from error
    finally:
        part.unlink(missing_ok=True)
    raise AssertionError


class UnsatisfiableError(ValueError):
    """A range that the file does not have."""


class BrokenOffError(Exception):
    """An answer ends before its end, and why."""


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes [start, stop) that a Range header asks for; None if the whole file is to be sent.

    Other units, and several ranges at once, are answered by the whole file, as RFC 9110 allows.

    >>> byte_range("bytes=0-99", 50), byte_range("bytes=-10", 50), byte_range("bytes=0-1,5-6", 50)
    ((0, 50), (40, 50), None)

    Raises:
        UnsatisfiableError: It is malformed, reversed, or beyond the end.
    """
    unit, equals, wanted = header.partition("=")
    if not equals or unit.strip().lower() != "bytes" or "," in wanted:
        return None
    first, dash, last = (part.strip() for part in wanted.partition("-"))
    if not dash or not all(_is_number(part) for part in (first, last) if part) or not (first or last):
        raise UnsatisfiableError
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= stop:
        raise UnsatisfiableError
    return start, stop


class FileAnswer(Response):
    """Sends an open file or a range of it, and closes it."""

    def __init__(
        self, opened: OpenFile, *, media_type: str, tag: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """`tag` is the content's ETag."""
        super().__init__(media_type=media_type, headers={**(headers or {}), "etag": tag, "accept-ranges": "bytes"})
        self.headers.setdefault("cache-control", "private, no-cache")
        del self.headers["content-length"]
        self._opened, self._tag = opened, tag

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for the file."""
        try:
            await self._answer(scope, receive, send)
        finally:
            self._opened.file.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, size = Headers(scope=scope), self._opened.size
        if unchanged(asked, self._tag):
            await self._send_empty(send, 304)
            return
        wanted = asked.get("range")
        if wanted is not None and asked.get("if-range", self._tag) != self._tag:
            wanted = None
        start, stop, status = 0, size, 200
        if wanted is not None:
            try:
                found = byte_range(wanted, size)
            except UnsatisfiableError:
                raise ProblemError(416, headers={"content-range": f"bytes */{size}"}) from None
            if found is not None:
                start, stop, status = *found, 206
                self.headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
        self.headers["content-length"] = str(stop - start)
        if scope["method"] == "HEAD":
            await self._send_empty(send, status)
            return
        await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})
        left = asyncio.create_task(_left(receive))
        try:
            await self._send_bytes(send, start, stop, left)
        finally:
            left.cancel()

    async def _send_empty(self, send: Send, status: int) -> None:
        await send({"type": "http.response.start", "status": status, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b""})

    async def _send_bytes(self, send: Send, start: int, stop: int, left: "asyncio.Task[None]") -> None:
        """Send [start, stop), until the client has left.

        Raises:
            BrokenOffError: The file changed meanwhile, so that the client sees it fail, or it takes nothing any more.
        """
        while start < stop and not left.done():
            chunk = await asyncio.to_thread(self._read, start, min(_CHUNK, stop - start))
            if not chunk:
                raise BrokenOffError("a film changed while it was sent")
            start += len(chunk)
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.body", "body": chunk, "more_body": start < stop})
            except TimeoutError:
                raise BrokenOffError("a client has stopped reading a film") from None

    def _read(self, start: int, length: int) -> bytes:
        return b"" if self._opened.changed else os.pread(self._opened.file.fileno(), length, start)


async def _left(receive: Receive) -> None:
    """Wait until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def unchanged(headers: Headers, tag: str) -> bool:
    """Whether the client has that version already."""
    known = [one.strip().removeprefix("W/") for one in headers.get("if-none-match", "").split(",")]
    return tag in known or "*" in known


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
