"""What the tests of the server share."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import httpx
import numpy as np

from gmmformer.search import Library, choose_encoders
from gmmformer.web import ServeConfig, Server, create_app

PATIENCE = 120.0
"""Seconds that any answer may take, on a machine that has other work too."""
patient = SimpleNamespace(
    **{name: partial(getattr(httpx, name), timeout=PATIENCE) for name in ("get", "post", "stream", "Client")}
)
"""httpx with that patience instead of 5 seconds."""
FILMS = 8
TOKEN = "open sesame, open sesame"
BEARER = {"authorization": f"Bearer {TOKEN}"}
OLD_FILM = "old camera.avi"
"""A film that no browser plays: MPEG-4 part 2 in AVI."""
BIG = 60_000_000
"""Bytes of a film that is more than any buffer on the way to a client."""
MARKED_UP = "<img src=x onerror=alert(1)>&amp;.mp4"
"""A film whose name is HTML."""


@contextlib.contextmanager
def of_a_big_film(library: Library, tmp_path: Path) -> Iterator[Library]:
    """A library of one such film, /media/1."""
    path = tmp_path / "big.mp4"
    path.write_bytes(bytes(BIG))
    status = path.stat()
    with Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as ours:
        rows = np.ones((5, ours.settings.feature_dim), dtype=np.float32)
        ours.add_film(str(path), rows, stamp=f"{status.st_size}-{status.st_mtime_ns}")
        yield ours


def write_old_film(path: Path, seconds: int = 12, fps: int = 12) -> None:
    """Moving stripes as MPEG-4 part 2 in AVI."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        columns = np.arange(192)
        for number in range(seconds * fps):
            image = np.zeros((144, 192, 3), dtype=np.uint8)
            image[:, (columns + number) % 48 < 24] = (200, 60, 40)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def with_sound_and_time_code(film: Path, path: Path) -> None:
    """A film again, with two channels of silence, time code from 10:00:00:00 on and a reel."""
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        picture = target.add_stream_from_template(source.streams.video[0])
        picture.metadata.update({"timecode": "10:00:00:00", "reel_name": "A001"})
        track = target.add_stream("aac", rate=48_000, layout="stereo")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                target.mux(packet)
        for start in range(0, 48_000 * (source.duration or 0) // av.time_base, 1_024):
            silence = av.AudioFrame.from_ndarray(np.zeros((2, 1_024), dtype=np.float32), "fltp", "stereo")
            silence.sample_rate, silence.pts = 48_000, start
            target.mux(track.encode(silence))
        target.mux(track.encode())


@contextlib.contextmanager
def running(library: Library, config: ServeConfig) -> Iterator[tuple[Server, str]]:
    """A server on a free port, in a thread, and its address without a slash at the end."""
    server = Server(create_app(library, config), config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + PATIENCE
    while not (server.started and server.servers):
        assert thread.is_alive(), "the server has ended"
        assert time.monotonic() < until, "the server has not begun"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield server, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server has not ended"


@contextlib.contextmanager
def served(library: Library, config: ServeConfig) -> Iterator[str]:
    """The address alone."""
    with running(library, config) as (_, url):
        yield url


def until(what: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something holds; fail if it does not."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.02)


def raw(url: str, *parts: bytes, pause: float = 0.0, timeout: float = PATIENCE) -> bytes:
    """All that a server says to these bytes, sent with a pause after each part."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        with contextlib.suppress(ConnectionError):
            while some := connection.recv(1 << 16):
                answer += some
        return answer


def opened(url: str, source: str = "127.0.0.1") -> socket.socket:
    """A connection to a server from one of this machine's addresses, with room for little that is not read."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.socket()
    connection.settimeout(PATIENCE)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.bind((source, 0))
    connection.connect((host, int(port)))
    return connection
