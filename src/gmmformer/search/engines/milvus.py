"""A Milvus server for libraries that outgrow one machine: it names candidates, the library's own vectors score them."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.cores import Progress, silent
from gmmformer.errors import InputError, of_extra, one_line
from gmmformer.search.engines.exact import Found, group_count, grouped, search_all, search_candidates, vector_ids
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Served, Store
from gmmformer.search.writer import Writer

TOKEN = "GMMFORMER_MILVUS_TOKEN"
"""Environment variable with what a server wants to be shown: an API key, or "user:password"."""
PORT = 19_530
"""Where a server listens if its address does not say."""
UNKNOWN_PATIENCE = 3.0
"""Seconds for which a server that has not answered yet is asked; it is rather not there than away for a while."""
CONNECT_SECONDS = 5.0
NOT_FOUND = 100
"""The server's number for a collection that it does not have."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
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


class CollectionGoneError(Exception):
    """The server does not have the collection."""


class MilvusServer:
    """A connection to a server, made when it is needed and made again when it broke; threads may share it."""

    def __init__(self, address: str, collection: str) -> None:
        """Nothing is asked yet.

        Args:
            address: Such as "http://localhost:19530"; may hold "user:password@", and a database as its path.
            collection: What is loaded into the server's memory whenever a connection is made.

        Raises:
            InputError: That is no address.
            MissingExtraError: pymilvus is not installed.
        """
        self.pymilvus, self._rpc_error = _pymilvus()
        parts = _split(address)
        self._place = parts.hostname or "", _port(parts)
        self.address = shown_address(address)
        """Without credentials, so that it can be shown and kept."""
        own = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else ""
        self._token = own or os.environ.get(TOKEN, "")
        self._collection = collection
        self._lock = threading.Lock()
        self._made: Any = None
        self._reached = False

    def ask(self, method: str, *args: Any, patience: float, remedy: str, **options: Any) -> Any:
        """What a method of the client gives, called again with growing pauses while the server is away.

        It is given up after `patience` seconds, for which `remedy` says what to do.

        Raises:
            InputError: It has been away for `patience` seconds, or it refuses.
            CollectionGoneError: It is there, but the collection is not.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            client = None
            try:
                client = self._client()
                left = max(1.0, began + patience - time.monotonic())
                return getattr(client, method)(*args, timeout=left, **options)
            except (self.pymilvus.MilvusException, self._rpc_error, OSError, ValueError) as error:
                with self._lock:  # another thread may have a new one by now
                    self._made = None if self._made is client else self._made
                if client is not None:
                    client.close()
                if getattr(error, "code", None) == NOT_FOUND:
                    raise CollectionGoneError from error
                if _refused(error):
                    raise InputError(
                        f"{self.address}: the Milvus server refuses these credentials; set {TOKEN} to its API key or "
                        "to user:password"
                    ) from error
                allowed = patience if self._reached else min(patience, UNKNOWN_PATIENCE)
                if time.monotonic() + pause > began + allowed:
                    raise InputError(
                        f"{self.address}: the Milvus server does not answer ({_said(error)}); {remedy}"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Give the connection back; another is made when something is asked."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None:
            made.close()

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                socket.create_connection(self._place, timeout=CONNECT_SECONDS).close()  # fails at once if none listens
                made = self.pymilvus.MilvusClient(
                    uri=self.address, token=self._token, timeout=CONNECT_SECONDS, dedicated=True
                )
                name, wait = self._collection, {"timeout": CONNECT_SECONDS}
                try:
                    if made.has_collection(name, **wait) and made.list_indexes(name, **wait):
                        made.load_collection(name, **wait)
                except BaseException:
                    made.close()
                    raise
                self._made, self._reached = made, True
            return self._made


def shown_address(address: str) -> str:
    """A server's address whole, but for credentials: so it can be shown and kept.

    Raises:
        InputError: That is no address.
    """
    parts = _split(address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{_port(parts)}{parts.path.rstrip('/')}"


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else PORT)


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            "--engine: the address of a Milvus server is http://host:port or https://host:port, with user:password@ "
            f"before the host or {TOKEN} in the environment if it asks who you are"
        )
    return parts


def _refused(error: BaseException) -> bool:
    """Whether the server, or what it told the client, says that one may not."""
    codes = [getattr(some, "code", None) for some in (error, error.__cause__)]  # pymilvus raises from errors of gRPC
    refused = ("UNAUTHENTICATED", "PERMISSION_DENIED")
    return any(callable(code) and getattr(code(), "name", "") in refused for code in codes)


def _said(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return one_line((details() if callable(details) else None) or getattr(error, "message", "") or error)


def _pymilvus() -> tuple[Any, Any]:
    """The package, told to keep its stack traces to itself, and what its calls raise beside its own exceptions."""
    grpc, pymilvus = (of_extra(name, "a Milvus server", "milvus") for name in ("grpc", "pymilvus"))
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus, grpc.RpcError


class MilvusEngine:
    """Finds nearly what is best among vectors that a server holds; scores are exact.

    The library's database says up to which window the server has been filled; later windows are looked at one by one,
    and windows of removed films are passed over, so a search is right at any moment of the filling. Every library has
    a collection of its own on the server, named after its identity.
    """

    def __init__(self, store: Store, address: str) -> None:
        """Use the server at `address`, as `MilvusServer` takes it; nothing is asked yet."""
        self._store = store
        self._collection = f"gmmformer_{store.settings.identity}"
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
        if anew or not self._ask("has_collection", name):
            writer.serve(self.name, 0)
            self._ask("drop_collection", name)
        self._prepare()
        snapshot, covers = self._store.snapshot(), self._store.served(self.name).covers
        try:
            self._compare(snapshot, covers, self._ask)
        except CollectionGoneError as error:
            raise self._foreign() from error
        first, total = int(np.searchsorted(snapshot.windows, covers, side="right")), len(snapshot.windows)
        step = max(1, _ROWS // self._groups)
        for start in range(first, total, step):
            slots = np.arange(start, min(start + step, total))
            ids = vector_ids(snapshot.windows[slots], snapshot.format.clips).tolist()
            vectors = grouped(snapshot.fused(slots)).reshape(len(ids), -1)
            self._ask("upsert", name, [{"id": one, "vector": vector} for one, vector in zip(ids, vectors, strict=True)])
            done = start + len(slots)
            if done == total or (start - first) // step % _NOTED == _NOTED - 1:  # what the server confirmed, it keeps
                writer.serve(self.name, int(snapshot.windows[done - 1]))
            progress("filling the server", done - first, total - first)
        if (total - first) * self._groups >= SEALED:
            self._ask("flush", name)
        self._delete(self._store.removed_windows(self._store.served(self.name).covers))

    def close(self) -> None:
        """See `Engine.close`."""
        self._server.close()

    def _nearest(self, queries: Float[np.ndarray, "queries dim"], count: int) -> Int[np.ndarray, "queries count"]:
        answer = self._look(
            "search",
            self._collection,
            data=list(queries),
            limit=count,
            consistency_level="Bounded",
            search_params={"metric_type": "IP", "params": {"nprobe": PROBES}},
        )
        vectors = np.full((len(queries), count), -1, dtype=np.int64)
        for row, hits in zip(vectors, answer, strict=True):
            row[: len(hits)] = np.asarray(hits.ids, dtype=np.int64)
        return vectors

    def _prepare(self) -> None:
        """See to it that the collection is there, has its index and is loaded, whatever was done before."""
        name, client, kinds = self._collection, self._server.pymilvus.MilvusClient, self._server.pymilvus.DataType
        if not self._ask("has_collection", name):
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", kinds.INT64, is_primary=True)
            schema.add_field("vector", kinds.FLOAT_VECTOR, dim=self._store.settings.dim)
            self._ask("create_collection", name, schema=schema)
        if not self._ask("list_indexes", name):
            index = client.prepare_index_params()
            index.add_index("vector", index_type="IVF_FLAT", metric_type="IP", params={"nlist": LISTS})
            self._ask("create_index", name, index)
        self._ask("load_collection", name)

    def _compare(self, snapshot: Snapshot, covers: int, ask: Callable[..., Any]) -> None:
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
        asked = {"filter": f"id in {ids}", "output_fields": ["id", "vector"], "consistency_level": "Strong"}
        held = {int(row["id"]): np.asarray(row["vector"]) for row in ask("query", self._collection, **asked)}
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
            asked = {"filter": f"id in {firsts}", "output_fields": ["id"], "consistency_level": level}
            there = [int(row["id"]) for row in self._ask("query", self._collection, **asked)]
            gone = [first + group for first in there for group in range(self._groups)]
            if gone:
                self._ask("delete", self._collection, ids=gone)

    def _look(self, method: str, *args: Any, **options: Any) -> Any:
        remedy = "start it, or search with --engine exact"
        return self._server.ask(method, *args, patience=SEARCH_PATIENCE, remedy=remedy, **options)

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        remedy = "start it and run the same command again, which goes on where this one stopped"
        return self._server.ask(method, *args, patience=FILL_PATIENCE, remedy=remedy, **options)

    def _foreign(self) -> InputError:
        return InputError(
            f"{self.name}: what the server holds as {self._collection} is not what this library put there (it was "
            "emptied or set back, or a copy of the library was put there); fill it anew with `gmmformer library DIR "
            f"rebuild --engine {self.name}`, or search with --engine exact"
        )
