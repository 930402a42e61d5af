"""How films are found: by looking at all of them, at an index, or by asking a server."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from gmmformer.cores import Progress, silent
from gmmformer.errors import InputError, suggest
from gmmformer.search.engines.ann import OwnFiles
from gmmformer.search.engines.exact import Found
from gmmformer.search.engines.milvus import MilvusEngine, shown_address
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Store
from gmmformer.search.writer import Writer

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


def checked_queries(queries: Float[np.ndarray, "queries dim"], dim: int) -> Float[np.ndarray, "queries dim"]:
    """Queries as engines take them.

    Raises:
        InputError: They are no unit vectors of that width.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise InputError(f"the queries have shape {queries.shape}, not (queries, {dim})")
    if not (np.abs(np.linalg.norm(queries, axis=1) - 1) < 1e-3).all():
        raise InputError("the queries are no unit vectors; normalise them")
    return queries
