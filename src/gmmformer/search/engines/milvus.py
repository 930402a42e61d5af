"""A Milvus server for libraries that outgrow one machine: it names candidates, the library's own vectors score them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.cores import Progress, silent
from gmmformer.errors import InputError
from gmmformer.search.engines.exact import Found, group_count, grouped, search_all, search_candidates, vector_ids
from gmmformer.search.engines.milvus_server import Answer, CollectionGoneError, MilvusServer, shown_address
from gmmformer.search.settings import Settings
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Served, Store
from gmmformer.search.writer import Writer

SEARCH_PATIENCE, FILL_PATIENCE = 20.0, 60.0
"""Seconds for which a server that answered before is asked again while it is away."""
LISTS, PROBES = 1024, 128
"""Inverted lists of the server's index for each of its segments, and those that a search looks into. A segment of
fewer than some 40,000 vectors has fewer lists, one of 5,000 is looked at as a whole."""
SEALED = 5_000
"""Vectors put in at once after which the server is told to make its index of them; up to that moment it looks at all
of them, or makes shift with an index of its own, which finds less (10,000 films: recall 0.97 instead of 0.99)."""
LONGEST = 16_384
"""The server gives no longer list."""
_ROWS, _NOTED, _DELETED, _ANSWERED = 4_000, 10, 1_000, 250_000
_LIKE = 1e-4


def collection_of(settings: Settings) -> str:
    """What a server calls the vectors of the library with these settings."""
    return f"gmmformer_{settings.identity}"


class MilvusEngine:
    """Finds nearly what is best among vectors that a server holds; scores are exact.

    The library's database says up to which window the server has been filled; later windows are looked at one by one,
    and windows of removed films are passed over, so a search is right at any moment of the filling. Every library has
    a collection of its own on the server, named after its identity.
    """

    def __init__(self, store: Store, address: str) -> None:
        """Use the server at `address`, such as "http://localhost:19530"; nothing is asked yet.

        Raises:
            InputError: That is no address.
            MissingExtraError: pymilvus is not installed.
        """
        self._store = store
        self._collection = collection_of(store.settings)
        self.name = shown_address(address)
        self._server = MilvusServer(address, self._collection)
        self._groups = group_count(store.settings.clips)
        self._compared: Served | None = None

    def search(
        self,
        snapshot: Snapshot,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, "films"] | None = None,
    ) -> list[Found]:
        """See `Engine.search`.

        Raises:
            InputError: The server does not answer, or what it holds is not this library's.
        """
        served = self._store.served(self.name)
        held = int(np.searchsorted(snapshot.windows, served.covers, side="right")) * self._groups

        def nearest(some: Float[np.ndarray, "queries dim"], count: int) -> Int[np.ndarray, "queries count"]:
            if self._compared != served:  # this waits until all that was written can be found
                self._compare(snapshot, served.covers, self._look)
                self._compared = served
            step = max(1, _ANSWERED // count)
            return np.concatenate([self._nearest(some[at : at + step], count) for at in range(0, len(some), step)])

        try:
            if held:
                return search_candidates(nearest, snapshot, queries, k, allowed, served.covers, min(LONGEST, held))
        except CollectionGoneError as error:
            now = self._store.served(self.name), self._store.snapshot().generation
            if now == (served, snapshot.generation):
                raise self._foreign() from error
        return search_all(snapshot, queries, k, allowed)  # it is just being filled anew, or has nothing yet

    def update(self, writer: Writer, progress: Progress = silent, anew: bool = False) -> None:
        """Bring the server up to date: new windows in, windows of removed films out; `anew` starts from nothing.

        What was done when it is killed, or the server is, is not done again.

        Raises:
            InputError: The server does not answer, or what it holds is not this library's.
        """
        name = self._collection
        if anew or not self._ask(lambda client, seconds: client.has_collection(name, timeout=seconds)):
            writer.serve(self.name, 0)
            self._ask(lambda client, seconds: client.drop_collection(name, timeout=seconds))
        self._ask(self._prepare)
        snapshot, covers = self._store.snapshot(), self._store.served(self.name).covers
        try:
            self._compare(snapshot, covers, self._ask)
        except CollectionGoneError as error:
            raise self._foreign() from error
        first, total = int(np.searchsorted(snapshot.windows, covers, side="right")), len(snapshot.windows)
        step = max(1, _ROWS // self._groups)
        for start in range(first, total, step):
            slots = np.arange(start, min(start + step, total))
            self._ask(partial(self._upsert, self._rows(snapshot, slots)))
            done = start + len(slots)
            if done == total or (start - first) // step % _NOTED == _NOTED - 1:  # what the server confirmed, it keeps
                writer.serve(self.name, int(snapshot.windows[done - 1]))
            progress("filling the server", done - first, total - first)
        if (total - first) * self._groups >= SEALED:
            self._ask(lambda client, seconds: client.flush(name, timeout=seconds))
        self._delete(self._store.removed_windows(self._store.served(self.name).covers))

    def close(self) -> None:
        """Give the connection to the server back."""
        self._server.close()

    def _nearest(self, queries: Float[np.ndarray, "queries dim"], count: int) -> Int[np.ndarray, "queries count"]:
        answer = self._look(
            lambda client, seconds: client.search(
                self._collection,
                data=list(queries),
                limit=count,
                consistency_level="Bounded",
                search_params={"metric_type": "IP", "params": {"nprobe": PROBES}},
                timeout=seconds,
            )
        )
        vectors = np.full((len(queries), count), -1, dtype=np.int64)
        for row, hits in zip(vectors, answer, strict=True):
            row[: len(hits)] = np.asarray(hits.ids, dtype=np.int64)
        return vectors

    def _prepare(self, client: Any, seconds: float) -> None:
        """See to it that the collection is there, has its index and is loaded, whatever was done before."""
        name, kinds = self._collection, self._server.types
        if not client.has_collection(name, timeout=seconds):
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", kinds.INT64, is_primary=True)
            schema.add_field("vector", kinds.FLOAT_VECTOR, dim=self._store.settings.dim)
            client.create_collection(name, schema=schema, timeout=seconds)
        if not client.list_indexes(name, timeout=seconds):
            index = client.prepare_index_params()
            index.add_index("vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": LISTS})
            client.create_index(name, index, timeout=seconds)
        client.load_collection(name, timeout=seconds)

    def _compare(self, snapshot: Snapshot, covers: int, ask: Callable[[Callable[[Any, float], Any]], Any]) -> None:
        """See to it that the server holds this library: the last window that it should have, and no other next one.

        Copies of a library share its name on the server, but not what became of them; and a server may be set back.

        Raises:
            CollectionGoneError: It does not.
        """
        end = int(np.searchsorted(snapshot.windows, covers, side="right"))
        slots = np.arange(max(0, end - 1), min(end + 1, len(snapshot.windows)))
        if not len(slots):
            return
        ids = (snapshot.windows[slots] * self._groups).tolist()
        rows = ask(partial(self._held, ids, ["id", "vector"], "Strong"))
        held = {int(row["id"]): np.asarray(row["vector"], dtype=np.float32) for row in rows}
        own = grouped(snapshot.fused(slots))[:, 0]
        for slot, identity, vector in zip(slots.tolist(), ids, own, strict=True):
            if (slot < end and identity not in held) or (
                identity in held and not np.allclose(held[identity], vector, atol=_LIKE)
            ):
                raise CollectionGoneError

    def _delete(self, windows: list[int]) -> None:
        """Take windows out of the server, as far as they are there."""
        for at in range(0, len(windows), _DELETED):
            level = "Bounded" if at else "Strong"  # the first waits until all that was written can be found
            firsts = [window * self._groups for window in windows[at : at + _DELETED]]
            rows = self._ask(partial(self._held, firsts, ["id"], level))
            gone = [int(row["id"]) + group for row in rows for group in range(self._groups)]
            if gone:
                self._ask(partial(self._remove, gone))

    def _held(self, ids: list[int], fields: list[str], level: str, client: Any, seconds: float) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = client.query(
            self._collection, filter=f"id in {ids}", output_fields=fields, consistency_level=level, timeout=seconds
        )
        return rows

    def _upsert(self, rows: list[dict[str, Any]], client: Any, seconds: float) -> None:
        client.upsert(self._collection, rows, timeout=seconds)

    def _remove(self, ids: list[int], client: Any, seconds: float) -> None:
        client.delete(self._collection, ids=ids, timeout=seconds)

    def _rows(self, snapshot: Snapshot, slots: Int[np.ndarray, "some"]) -> list[dict[str, Any]]:
        ids = vector_ids(snapshot.windows[slots], snapshot.format.clips).tolist()
        vectors = grouped(snapshot.fused(slots))
        return [
            {"id": identity, "vector": vector}
            for identity, vector in zip(ids, vectors.reshape(len(ids), -1), strict=True)
        ]

    def _look(self, question: Callable[[Any, float], Answer]) -> Answer:
        remedy = "start it, or search with --engine exact"
        return self._server.ask(question, patience=SEARCH_PATIENCE, remedy=remedy)

    def _ask(self, question: Callable[[Any, float], Answer]) -> Answer:
        remedy = "start it and run the same command again, which goes on where this one stopped"
        return self._server.ask(question, patience=FILL_PATIENCE, remedy=remedy)

    def _foreign(self) -> InputError:
        return InputError(
            f"{self.name}: what the server holds as {self._collection} is not what this library put there (it was "
            "emptied or set back, or a copy of the library was put there); fill it anew with `gmmformer library DIR "
            f"rebuild --engine {self.name}`, or search with --engine exact"
        )
