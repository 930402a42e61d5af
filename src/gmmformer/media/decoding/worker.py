"""The process that decodes films for gmmformer.media.decoding.workers: film names come in, frames go out.

Standard input: one JSON object a line, first the settings, then a film each. Standard output: a JSON object a line,
each followed by as many bytes of pixels as it announces.
"""

import json
import os
import queue
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gmmformer.media.films import DecodeError, DecodeReport
from gmmformer.media.frames import Frame, sampled_frames

CHUNK_FRAMES = 64
CHUNK_BYTES = 32 << 20
"""A chunk holds no more frames and no more pixels than these, but one frame at least."""
BEAT_SECONDS = 1.0
HEADER_BELIEVED = 0.95
"""A film that ends before this share of what its header promises is remarked on."""


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """Decode films until `incoming` ends; when it ends, however busy, the process is over: the parent is gone."""
    settings = json.loads(incoming.readline())
    _limit_memory(settings["memory_limit"])
    films: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_names, args=(incoming, films), daemon=True).start()
    sender = _Sender(outgoing)
    sender.send({"kind": "ready"})
    while True:
        _decode(films.get(), settings, sender)


def _read_names(incoming: BinaryIO, films: queue.Queue[str]) -> None:
    for line in incoming:
        films.put(json.loads(line)["path"])
    os._exit(0)


def _limit_memory(limit: int) -> None:
    """Let this process allocate `limit` bytes more of address space than it has now, where the system knows how."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + limit
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (OSError, ValueError):
        return


class _Sender:
    """Writes messages; a sign of life at most once a second."""

    def __init__(self, outgoing: BinaryIO) -> None:
        self._outgoing = outgoing
        self._last = time.monotonic()

    def send(self, message: dict[str, Any], payload: list[np.ndarray] | None = None) -> None:
        self._outgoing.write(json.dumps(message).encode("ascii") + b"\n")
        for array in payload or []:
            self._outgoing.write(array.data)
        self._outgoing.flush()
        self._last = time.monotonic()

    def beat(self, pictures: int) -> None:
        if time.monotonic() - self._last > BEAT_SECONDS:
            self.send({"kind": "beat", "pictures": pictures})


def _decode(path: str, settings: dict[str, Any], sender: _Sender) -> None:
    report = DecodeReport()
    report.on_progress = lambda: sender.beat(report.packets)
    reason = None
    frames, out_of_memory = 0, False
    try:
        sampled = sampled_frames(path, fps=settings["fps"], size=settings["size"], report=report)
        for chunk in _chunks(sampled):
            shape = [len(chunk), *chunk[0].image.shape]
            seconds = [frame.seconds for frame in chunk]
            message = {"kind": "chunk", "pictures": report.packets, "seconds": seconds, "shape": shape}
            sender.send(message, [frame.image for frame in chunk])
            frames += len(chunk)
    except DecodeError as error:
        reason = error.reason
    except MemoryError:
        out_of_memory = True
        reason = f"needs more than the {settings['memory_limit'] / (1 << 30):.3g} GiB of memory that a film may take"
    promised, read = report.promised or 0, report.seconds
    if read < promised * HEADER_BELIEVED and promised - read > 1:
        report.remark(f"its header promises {promised:.0f} s, {read:.0f} s could be read")
    sender.send(
        {
            "kind": "end",
            "reason": reason,
            "warning": "; ".join(report.remarks) if reason is None and report.remarks else None,
            "out_of_memory": out_of_memory,
            "frames": frames,
            "seconds": report.seconds,
            "packet_errors": report.packet_errors,
            "frames_decoded": report.frames_decoded,
        }
    )


def _chunks(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    chunk: list[Frame] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == CHUNK_FRAMES or (len(chunk) + 1) * frame.image.nbytes > CHUNK_BYTES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def main() -> None:
    """Serve on standard input and output; nothing else may write there."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    try:
        serve(incoming, outgoing)
    except BrokenPipeError:
        os._exit(0)
    sys.exit(0)


if __name__ == "__main__":
    main()
