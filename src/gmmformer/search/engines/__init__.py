"""How films are found: by looking at all of them, at an index, or by asking a server."""

from importlib.util import find_spec

from gmmformer.errors import InputError, suggest
from gmmformer.search.engines.ann import NAME as ANN
from gmmformer.search.engines.ann import AnnEngine, index_of
from gmmformer.search.engines.exact import ExactEngine
from gmmformer.search.engines.milvus import MilvusEngine
from gmmformer.search.engines.milvus_server import shown_address
from gmmformer.search.engines.protocol import Engine, Found
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Store

__all__ = [
    "EXACT_UP_TO",
    "AnnEngine",
    "Engine",
    "ExactEngine",
    "Found",
    "MilvusEngine",
    "choose_engine",
    "engine_name",
    "has_faiss",
    "is_address",
]

EXACT_UP_TO = 50_000
"""Windows up to which looking at all of them is fast enough."""


def is_address(name: str) -> bool:
    """Whether an engine's name is the address of a server."""
    return name.startswith(("http://", "https://"))


def has_faiss() -> bool:
    """Whether there can be an index."""
    return find_spec("faiss") is not None


def engine_name(name: str, store: Store, windows: int) -> str:
    """What "auto" means for a library of so many windows; an address is told without credentials. Nothing is loaded.

    Raises:
        InputError: There is no such engine.
    """
    if is_address(name):
        return shown_address(name)
    if name == "auto":
        return ANN if windows > EXACT_UP_TO and index_of(store) is not None and has_faiss() else ExactEngine.name
    if name not in (ANN, ExactEngine.name):
        raise InputError(
            f"--engine {name}: there is no such engine; {suggest(name, ['auto', 'exact', 'ann'])}, or give the address "
            "of a Milvus server such as http://localhost:19530"
        )
    return name


def choose_engine(name: str, store: Store, snapshot: Snapshot, last: Engine | None) -> Engine:
    """The engine of that name: `last` if it still is the right one.

    Raises:
        InputError: There is no such engine, or the library has no index, or that is no address.
        MissingExtraError: What the engine needs is not installed.
    """
    if is_address(name):
        return last or MilvusEngine(store, name)
    name = engine_name(name, store, len(snapshot.windows))
    if last is not None and last.name == name:
        return last
    return AnnEngine(store) if name == ANN else ExactEngine()
