"""The library on disk, for its one writer at a time: films in, films out, each all or nothing."""

import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gmmformer.cores import Progress, silent
from gmmformer.errors import InputError
from gmmformer.files import locked, swapped_whole, synced, unwritable
from gmmformer.media.films import printable
from gmmformer.search.database import (
    DATABASE,
    create_database,
    explained,
    has_lines,
    open_database,
    records_in,
    rows_of,
)
from gmmformer.search.embedding import Embedder
from gmmformer.search.lines import Said, keep
from gmmformer.search.parts import PATTERN, append, checksum, part_path, truncate
from gmmformer.search.recipe import MODEL, Encoders, Models
from gmmformer.search.removals import note_removal
from gmmformer.search.settings import Settings
from gmmformer.search.store import Derived, Store
from gmmformer.search.tables import FEATURES, WINDOWS
from gmmformer.search.vectors import Dtype, Records
from gmmformer.search.windows import Timing, Window

Update = Callable[["Writer", Progress, bool], None]
"""Brings an engine up to date; the last argument says whether from nothing."""
PART_BYTES = 4 * 2**30
"""A part that has grown to this is not appended to any more."""
_SHAPE = ("clips", "frames", "dim", "window_rows", "feature_dim")
"""What a library takes over from what embeds for it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NewFilm:
    """A film as it goes into a library; its vectors are finite, else it raises an `InputError`."""

    path: str
    """Its path, or its name in the collection it comes from."""
    windows: Sequence[Window]
    """The parts of it that the model has seen, in order."""
    vectors: Float[Tensor, "windows vectors dim"]
    """What the model made of them: see `Embedder.embed_windows`."""
    rows: int
    """Feature rows of the whole film."""
    timing: Timing
    features: Float[np.ndarray, "rows feature_dim"] | None = None
    """Kept in float16 if the library keeps features."""
    stamp: str = ""
    fingerprint: str = ""
    said: Said | None = None
    """What is said in it; None where that was not looked for."""

    def __post_init__(self) -> None:
        if not torch.isfinite(self.vectors).all():
            raise InputError(
                f"{printable(self.path)}: the model makes NaN or infinity of it, so no search could find it; take "
                "another model, or train it anew with a lower --lr"
            )


def create_library(
    folder: Path, model: Encoders | Embedder, *, dtype: Dtype, overlap: float, keep_features: bool
) -> None:
    """Make an empty library in `folder`, which is made if it is not there; it keeps a copy of a trained model.

    Raises:
        InputError: There is something in the way, or the folder cannot be written to.
    """
    encoders = model if isinstance(model, Encoders) else None
    embedder = model.embedder if isinstance(model, Encoders) else model
    trained = encoders.model if encoders else None
    settings = Settings(
        model=embedder.name,
        **{name: getattr(embedder, name) for name in ("fingerprint", *_SHAPE)},
        dtype=dtype,
        overlap=overlap,
        keep_features=keep_features,
        identity=uuid.uuid4().hex,
        recipe=encoders.recipe if encoders else None,
    )
    if folder.is_file():
        raise InputError(f"{printable(folder)}: is a file; a library is a folder, so choose another name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / DATABASE).exists():
            raise InputError(f"{printable(folder)}: is a library already; open it, or choose another folder")
        kept = MODEL if trained is not None else None  # a model without a database is what a kill left
        left = [entry.name for entry in folder.iterdir() if not (entry.name.startswith(".") or entry.name == kept)]
        if left:
            raise InputError(
                f"{printable(folder)}: is not empty ({printable(left[0])} is there); choose a new folder for it"
            )
        with locked(folder, "writing"), explained(folder):
            if trained is not None:
                with swapped_whole(folder / MODEL) as beside:
                    trained.save_pretrained(beside)
            create_database(folder, *settings.to_json())
            synced(folder)
    except OSError as error:
        raise unwritable(folder, error) from error


@contextmanager
def writing(store: Store, models: Models, update: Update) -> Iterator["Writer"]:
    """The library's writer, for as long as the block lasts.

    Raises:
        InputError: Somebody else is writing, or the folder cannot be written to.
    """
    with locked(store.folder, "writing"):
        connection = open_database(store.folder, write=True)
        try:
            writer = Writer(store, models, connection, update)
            writer.sweep()
            yield writer
        finally:
            connection.close()


class Writer:
    """Changes a library; made by `writing`, which sees to it that there is only one."""

    def __init__(self, store: Store, models: Models, connection: sqlite3.Connection, update: Update) -> None:
        """Use `Library.writing`."""
        self.store, self.models = store, models
        self.folder, self.settings = store.folder, store.settings
        self._connection, self._update = connection, update

    def update_engine(self, progress: Progress = silent, *, anew: bool = False) -> None:
        """Bring what searches the library up to date with it: an index, or a Milvus server.

        Args:
            progress: Called as windows are put into it.
            anew: Make an index, trained on what is there now, or fill the server from nothing. Without it there is
                nothing to do where the library has no index, or not much is new.

        Raises:
            InputError: The library is empty, the disk is full, or the server is away.
            MissingExtraError: faiss is not installed, or pymilvus.
        """
        self._update(self, progress, anew)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that are all done when the block ends, or none if it fails.

        Raises:
            InputError: The disk is full or fails; nothing was changed.
        """
        with explained(self.folder):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("UPDATE state SET generation = generation + 1")
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, OSError):
                    raise unwritable(self.folder, error) from error
                raise

    def add(self, films: Sequence[NewFilm]) -> None:
        """Take films in; one that is there already under the same path is replaced. When this returns they are kept.

        Raises:
            InputError: The disk is full or fails; none of them was taken in.
        """
        if not films:
            return
        try:
            with self.transaction() as connection:
                part, first = self._room(connection, WINDOWS, self.settings.format.vector_bytes)
                features = self._room(connection, FEATURES, 2 * self.settings.feature_dim)
                rows: list[np.ndarray] = []
                windows, row = first, features[1]
                records = self.settings.format.encode(torch.cat([film.vectors for film in films]))
                for film in films:
                    kept = self._kept_features(film)
                    place = None if kept is None else (features[0], row)
                    own = slice(windows - first, windows - first + len(film.windows))
                    theirs = Records(records.vectors[own], records.heads[own])
                    self._insert(connection, film, theirs, (part, windows), kept, place)
                    rows += [] if kept is None else [kept.view(np.uint8)]
                    windows, row = windows + len(film.windows), row + (0 if kept is None else len(kept))
                append(part_path(self.folder, "vectors", part), first, records.vectors)
                append(part_path(self.folder, "heads", part), first, records.heads)
                self._count(connection, part, windows)
                if rows:
                    append(part_path(self.folder, FEATURES, features[0]), features[1], np.concatenate(rows))
                    self._count(connection, features[0], row)
        except BaseException:
            self._give_back()
            raise

    def remove(self, paths: Sequence[str]) -> int:
        """Take films out, and what is noted of their failures; how many there were."""
        with self.transaction() as connection:
            count = sum(self._mark_removed(connection, os.fsencode(path)) for path in paths)
            generation = connection.execute("SELECT generation + 1 FROM state").fetchone()[0]
        note_removal(self.folder, generation)
        return count

    def fail(self, path: str, stamp: str, reason: str) -> None:
        """Note that a film could not be taken in; if it is there in an older form, that stays."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?)", (os.fsencode(path), stamp, reason))

    def restamp(self, stamps: dict[str, str]) -> None:
        """Note that films were seen to be the same although their files look new."""
        if stamps:
            with self.transaction() as connection:
                connection.executemany(
                    "UPDATE films SET stamp = ? WHERE path = ? AND removed IS NULL",
                    [(stamp, os.fsencode(path)) for path, stamp in stamps.items()],
                )

    def derive(self, name: str, derived: Derived) -> None:
        """Note a file that was made from the library; the one it replaces goes."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?, ?)", (name, *derived))
        self.sweep()

    def serve(self, address: str, covers: int) -> None:
        """Note the last window that the server at an address has."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO served VALUES (?, ?, 1)"
                " ON CONFLICT (address) DO UPDATE SET covers = excluded.covers, writes = writes + 1",
                (address, covers),
            )

    def sweep(self) -> None:
        """Remove what a killed writer left: files that the database does not count, and the ends of those it does."""
        with explained(self.folder):
            parts = list(rows_of(self._connection, self.folder, "parts", "id, kind, records"))
            derived = self._connection.execute("SELECT file FROM derived WHERE typeof(file) = 'text'")
            counted = {self.folder / name for (name,) in derived}  # of which only those names count that are looked for
        for number, kind, _ in parts:
            kinds = ("vectors", "heads") if kind == WINDOWS else (FEATURES,)
            counted.update(part_path(self.folder, name, number) for name in kinds)
        try:
            for pattern in (PATTERN, "ann-*.faiss", ".ann-*.part"):
                for path in set(self.folder.glob(pattern)) - counted:
                    path.unlink()  # a folder of such a name is nothing that we left, and is complained of
            self._give_back()
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _insert(
        self,
        connection: sqlite3.Connection,
        film: NewFilm,
        records: Records,
        place: tuple[int, int],
        features: Float[np.ndarray, "rows dim"] | None,
        feature_place: tuple[int, int] | None,
    ) -> None:
        path, when = os.fsencode(film.path), film.timing
        if not path or b"\0" in path:
            raise InputError(f"{film.path!r}: is no name of a film; it must not be empty nor hold a NUL byte")
        self._mark_removed(connection, path)
        seconds = None if when.seconds is None else np.asarray(when.seconds, dtype="<f8").tobytes()
        told = (path, film.fingerprint, len(film.windows), film.rows, when.first, when.step, when.length, seconds)
        rows = None if features is None else checksum(path, features.view(np.uint8))
        identity = connection.execute(
            "INSERT INTO films (path, fingerprint, windows, rows, first, step, length, seconds, stamp, feature_part,"
            " feature_row, feature_checksum, checksum, added)"
            " SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, generation + 1 FROM state",
            (*told, film.stamp, *(feature_place or (None, None)), rows, checksum(told)),
        ).lastrowid
        part, first = place
        connection.executemany(
            "INSERT INTO windows (film, first, rows, part, record, checksum) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    identity,
                    *window,
                    part,
                    first + index,
                    window_checksum(identity, window, records.vectors[index], records.heads[index]),
                )
                for index, window in enumerate(film.windows)
            ],
        )
        if film.said is not None and has_lines(connection):
            keep(connection, int(identity or 0), film.said)

    def _mark_removed(self, connection: sqlite3.Connection, path: bytes) -> int:
        connection.execute("DELETE FROM failures WHERE path = ?", (path,))
        return connection.execute(
            "UPDATE films SET removed = (SELECT generation + 1 FROM state) WHERE path = ? AND removed IS NULL", (path,)
        ).rowcount

    def _kept_features(self, film: NewFilm) -> Float[np.ndarray, "rows dim"] | None:
        if film.features is None or not self.settings.keep_features:
            return None
        with np.errstate(over="ignore"):
            halves = np.asarray(film.features).astype(np.float16)
        return np.ascontiguousarray(np.nan_to_num(halves, nan=0.0))

    def _room(self, connection: sqlite3.Connection, kind: str, record_bytes: int) -> tuple[int, int]:
        """The part to append records to, and how many it has."""
        sizes = records_in(connection, self.folder, kind)
        last = max(sizes, default=0)
        if last and sizes[last] * record_bytes < PART_BYTES:
            return last, sizes[last]
        return int(connection.execute("INSERT INTO parts (kind, records) VALUES (?, 0)", (kind,)).lastrowid or 0), 0

    @staticmethod
    def _count(connection: sqlite3.Connection, part: int, records: int) -> None:
        connection.execute("UPDATE parts SET records = ? WHERE id = ?", (records, part))

    def _give_back(self) -> None:
        """Cut off what lies behind the counted records of each part."""
        sizes = {
            "vectors": (WINDOWS, self.settings.format.vector_bytes),
            "heads": (WINDOWS, self.settings.format.head_bytes),
            FEATURES: (FEATURES, 2 * self.settings.feature_dim),
        }
        for name, (kind, record_bytes) in sizes.items():
            for number, records in records_in(self._connection, self.folder, kind).items():
                truncate(part_path(self.folder, name, number), records * record_bytes)


def window_checksum(
    film: int | None, window: Window, vectors: UInt8[np.ndarray, "vector_bytes"], heads: UInt8[np.ndarray, "head_bytes"]
) -> int:
    """Of a window's vectors, and of whose they are."""
    return checksum((film, *window), vectors, heads)
