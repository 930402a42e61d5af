"""How films are found: by looking at all of them, at an index, or by asking a server."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from gmmformer.cores import Progress, silent
from gmmformer.errors import InputError, suggest
from gmmformer.search.engines.ann import AnnIndex, has_faiss, index_of
from gmmformer.search.engines.exact import Found, search_all
from gmmformer.search.engines.milvus import MilvusEngine, shown_address
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Store
from gmmformer.search.writer import Writer

EXACT_UP_TO = 50_000
"""Windows up to which looking at all of them is fast enough."""
NAMES = ("auto", "exact", "ann")


@runtime_checkable
class Engine(Protocol):
    """Finds films; may be shared by threads."""

    @property
    def name(self) -> str:
        """What a person calls it; of an address without credentials."""
        ...

    def search(
        self,
        snapshot: Snapshot,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, "films"] | None = None,
    ) -> list[Found]:
        """The k best films for each query; films of one score in the order in which they came.

        Args:
            snapshot: The library, as the search is to see it.
            queries: Unit vectors.
            k: At least 1.
            allowed: Which films may be found; all without it.
        """
        ...

    def update(self, writer: Writer, progress: Progress = silent, anew: bool = False) -> None:
        """Bring what the engine keeps up to date with the library; `anew` makes all of it again."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


class OwnFiles:
    """The library's own files: every window is looked at, or an index of them."""

    def __init__(self, store: Store, name: str) -> None:
        """Look at every window ("exact"), at the index ("ann"), or as the library's size has it ("auto")."""
        self._store, self._asked, self._index = store, name, AnnIndex(store)

    @property
    def name(self) -> str:
        """See `Engine.name`."""
        return self._for(self._store.snapshot())

    def search(
        self,
        snapshot: Snapshot,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, "films"] | None = None,
    ) -> list[Found]:
        """See `Engine.search`.

        Raises:
            InputError: There is no index, or its file is missing or damaged.
            MissingExtraError: faiss is not installed.
        """
        search = search_all if self._for(snapshot) == "exact" else self._index.search
        return search(snapshot, queries, k, allowed)

    def update(self, writer: Writer, progress: Progress = silent, anew: bool = False) -> None:
        """See `Engine.update`: the index, which is only kept up if it has been made anew once.

        Raises:
            InputError: The library is empty, or the disk is full.
            MissingExtraError: faiss is not installed.
        """
        (self._index.rebuild if anew else self._index.extend)(writer, progress)

    def close(self) -> None:
        """See `Engine.close`."""

    def _for(self, snapshot: Snapshot) -> str:
        if self._asked != "auto":
            return self._asked
        many = len(snapshot.windows) > EXACT_UP_TO
        return "ann" if many and index_of(self._store) is not None and has_faiss() else "exact"


def is_address(name: str) -> bool:
    """Whether an engine's name is the address of a server."""
    return name.startswith(("http://", "https://"))


def choose_engine(name: str) -> Callable[[Store], Engine]:
    """What makes the engine of that name for a library; nothing is loaded or asked yet.

    Raises:
        InputError: There is no such engine, or that is no address.
    """
    if is_address(name):
        shown_address(name)
        return lambda store: MilvusEngine(store, name)
    if name not in NAMES:
        raise InputError(
            f"--engine {name}: there is no such engine; {suggest(name, NAMES)}, or give the address of a Milvus server "
            "such as http://localhost:19530"
        )
    return lambda store: OwnFiles(store, name)
