"""How films are found: by looking at all of them, or at an index."""

from gmmformer.errors import InputError, suggest
from gmmformer.search.engines.ann import NAME as ANN
from gmmformer.search.engines.ann import AnnEngine
from gmmformer.search.engines.exact import ExactEngine
from gmmformer.search.engines.protocol import Engine, Found
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Store

__all__ = ["EXACT_UP_TO", "AnnEngine", "Engine", "ExactEngine", "Found", "choose_engine"]

EXACT_UP_TO = 50_000
"""Windows up to which looking at all of them is fast enough."""


def choose_engine(name: str, store: Store, snapshot: Snapshot, last: Engine | None) -> Engine:
    """The engine of that name: `last` if it still is the right one.

    Raises:
        InputError: There is no such engine, or the library has no index.
        MissingExtraError: What the engine needs is not installed.
    """
    if name == "auto":
        large = len(snapshot.windows) > EXACT_UP_TO and store.derived(ANN) is not None
        name = ANN if large else ExactEngine.name
    if name not in (ANN, ExactEngine.name):
        raise InputError(f"--engine {name}: there is no such engine; {suggest(name, ['auto', 'exact', 'ann'])}")
    if last is not None and last.name == name:
        return last
    return AnnEngine(store) if name == ANN else ExactEngine()
