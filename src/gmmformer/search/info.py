"""What a library is and holds, for people."""

from dataclasses import dataclass

from gmmformer.search.changes import seconds_in
from gmmformer.search.encoders import Recipe
from gmmformer.search.store import Store
from gmmformer.search.vectors import Dtype


@dataclass(frozen=True, kw_only=True)
class LibraryInfo:
    """What `Library.info` says."""

    folder: str
    model: str
    recipe: Recipe | None
    """What makes its vectors, where the library knows."""
    dtype: Dtype
    films: int
    windows: int
    seconds: float
    """Of all films."""
    failures: int
    removed: int
    """Films whose room `compact` would give back."""
    bytes: int
    """Of the whole folder."""
    keeps_features: bool
    engine: str
    """What "auto" takes now."""


def library_info(store: Store, engine: str) -> LibraryInfo:
    """What a library is and holds, and which engine searches it."""
    snapshot = store.snapshot()
    with store.reading() as connection:
        seconds = seconds_in(connection, store.folder)
        removed = connection.execute("SELECT count(*) FROM films WHERE removed IS NOT NULL").fetchone()[0]
        failures = connection.execute("SELECT count(*) FROM failures").fetchone()[0]
    return LibraryInfo(
        folder=str(store.folder),
        model=store.settings.model,
        recipe=store.settings.recipe,
        dtype=store.settings.dtype,
        films=len(snapshot.films),
        windows=len(snapshot.windows),
        seconds=seconds,
        failures=failures,
        removed=removed,
        bytes=sum(entry.stat().st_size for entry in store.folder.iterdir() if entry.is_file()),
        keeps_features=store.settings.keep_features,
        engine=engine,
    )
