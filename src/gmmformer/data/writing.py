"""The MS-SL layout on its way to disk: what `Collection` reads back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import h5py
import numpy as np
from jaxtyping import Float


def video_id(name: str) -> str:
    """A video id for any film name: what would break the layout's files is percent-encoded.

    White space, `#`, quotes, backslashes and whatever Latin-1 lacks are encoded, so that an id is one word in id.txt
    and one literal in video2frames.txt.

    >>> video_id("my trip/day #2.mp4")
    'my%20trip/day%20%232.mp4'
    """
    return "".join(c if c.isprintable() and ord(c) < 256 and c not in " #'\"\\%\xa0" else quote(c, "") for c in name)


def write_row_names(folder: Path, rows_of: Mapping[str, int]) -> None:
    """Write id.txt and video2frames.txt for videos whose rows follow one another in feature.bin.

    As in the published collections, the one is ISO-8859-1 and the other, Python source, UTF-8.
    """
    with (
        (folder / "id.txt").open("w", encoding="latin-1") as ids,
        (folder / "video2frames.txt").open("w", encoding="utf-8") as frames,
    ):
        frames.write("{")
        for position, (video, rows) in enumerate(rows_of.items()):
            names = [f"{video}_{row}" for row in range(rows)]
            ids.write((" " if position else "") + " ".join(names))
            frames.write((", " if position else "") + f"'{video}': ['" + "', '".join(names) + "']")
        frames.write("}")


def write_captions(path: Path, caption_ids: Iterable[str], sentences: Iterable[str]) -> None:
    """Write a caption file: CAPTION_ID SPACE SENTENCE on each line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(
            f"{caption} {' '.join(sentence.split())}\n"
            for caption, sentence in zip(caption_ids, sentences, strict=True)
        )


@contextmanager
def tokens_file(path: Path) -> Iterator[h5py.File]:
    """Yield an HDF5 file to write; what the system refuses to write is raised at the end.

    HDF5 itself cannot be closed, nor forgotten, after a write that failed.

    Raises:
        OSError: The file could not be written: the disk is full, say.
    """
    with path.open("w+b") as raw:
        sink = _Sink(raw)
        try:
            with h5py.File(sink, "w") as file:
                yield file
        finally:
            if sink.error is not None:
                raise sink.error


class _Sink:
    """A file that keeps the first error to itself and takes everything after it without writing."""

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file
        self.seek, self.tell, self.read = file.seek, file.tell, file.read

    def write(self, data: Any) -> int:  # h5py hands over a memoryview of its own kind
        return self._kept(lambda: self._file.write(data), len(data))

    def truncate(self, size: int) -> int:
        return self._kept(lambda: self._file.truncate(size), size)

    def flush(self) -> None:
        self._kept(lambda: self._file.flush() or 0, 0)

    def _kept(self, work: Callable[[], int], otherwise: int) -> int:
        if self.error is None:
            try:
                return work()
            except OSError as error:
                self.error = error
        return otherwise


def write_tokens(
    file: h5py.File, caption_ids: Sequence[str], tokens: Sequence[Float[np.ndarray, "_tokens _dim"]]
) -> None:
    """Add one float32 dataset for each sentence, in groups where an id has slashes.

    h5py's own create_dataset takes four times as long.
    """
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    links.set_char_encoding(h5py.h5t.CSET_UTF8)
    timeless = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    timeless.set_obj_track_times(False)  # the same tokens give the same file, in whatever second
    for name, array in zip(caption_ids, tokens, strict=True):
        space = h5py.h5s.create_simple(array.shape)
        dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, dcpl=timeless, lcpl=links)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array, dtype=np.float32))
