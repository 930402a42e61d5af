"""Small films with a number drawn in every frame."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

BITS = 16
ROWS = COLUMNS = 4
WIDTH, HEIGHT = 128, 64


def drawn(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture with `number` in binary: 4 x 4 blocks, white for 1, the highest bit first."""
    bits = np.array([number >> place & 1 for place in reversed(range(BITS))], dtype=np.uint8).reshape(ROWS, COLUMNS)
    blocks = bits.repeat(height // ROWS, axis=0).repeat(width // COLUMNS, axis=1)
    return np.repeat(blocks[..., None] * np.uint8(255), 3, axis=-1)


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    return drawn


@pytest.fixture(scope="session")
def read_number() -> Callable[[np.ndarray], int]:
    """The number drawn in a picture of any size."""

    def read(image: np.ndarray) -> int:
        height, width = image.shape[:2]
        rows = (np.arange(ROWS) * 2 + 1) * height // (2 * ROWS)
        columns = (np.arange(COLUMNS) * 2 + 1) * width // (2 * COLUMNS)
        values = image[np.ix_(rows, columns)].astype(int).mean(axis=-1).ravel()
        assert (np.abs(values - 127.5) > 60).all(), values
        return int("".join("1" if value > 127 else "0" for value in values), 2)

    return read


@pytest.fixture(scope="session")
def make_film() -> Callable[..., Path]:
    """Writes a film; by default frame i has the number i and is shown at times[i], in units of time_base."""

    def make(
        path: Path,
        times: Sequence[int],
        *,
        time_base: Fraction = Fraction(1, 25),
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        options: dict[str, str] | None = None,
        pictures: Iterable[np.ndarray] | None = None,
        picture_format: str = "rgb24",
        format: str | None = None,  # noqa: A002
        prepare: Callable[[Any], None] | None = None,
    ) -> Path:
        pictures = pictures if pictures is not None else (drawn(number) for number in range(len(times)))
        with av.open(str(path), "w", format=format) as container:
            stream = None
            for time, picture in zip(times, pictures, strict=True):
                if stream is None:
                    stream = container.add_stream(codec, rate=round(1 / time_base) if time_base < 1 else 1)
                    stream.height, stream.width = picture.shape[:2]
                    stream.pix_fmt = pixel_format
                    stream.codec_context.time_base = time_base
                    stream.options = {"preset": "ultrafast", "threads": "1"} if "264" in codec else {"threads": "1"}
                    stream.options |= options or {}
                    if prepare:
                        prepare(stream)
                frame = av.VideoFrame.from_ndarray(picture, format=picture_format)
                frame.pts, frame.time_base = time, time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture(scope="session")
def short_film(make_film: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a film of 64 x 48 pixels and 5 frames per second whose frames have the numbers from `first` on."""

    def make(path: Path, *, first: int = 0, seconds: int = 2) -> Path:
        frames = range(seconds * 5)
        pictures = (drawn(first + number, 64, 48) for number in frames)
        return make_film(path, frames, time_base=Fraction(1, 5), pictures=pictures)

    return make


@pytest.fixture(scope="session")
def films_folder(tmp_path_factory: pytest.TempPathFactory, short_film: Callable[..., Path]) -> Path:
    """a.mp4, b.mp4 and c.mp4 of 2, 3 and 4 seconds; read them, do not change them."""
    folder = tmp_path_factory.mktemp("short")
    for number, name in enumerate("abc"):
        short_film(folder / f"{name}.mp4", first=1000 * number, seconds=2 + number)
    return folder


@pytest.fixture(scope="session")
def another_film(films_folder: Path) -> Callable[..., bytes]:
    """The bytes of a film that shows what a.mp4 shows but is another file: a box that players skip holds `mark`."""

    def make(mark: int) -> bytes:
        return (films_folder / "a.mp4").read_bytes() + b"\0\0\0\x10free" + mark.to_bytes(8, "big")

    return make
