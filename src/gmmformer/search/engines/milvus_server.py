"""A Milvus server that may be away for a while: its address, a connection to it, and questions asked until answered."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from gmmformer.errors import InputError, MissingExtraError

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

Answer = TypeVar("Answer")


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
        self._pymilvus, self._rpc_error = _pymilvus()
        parts = _split(address)
        self._place = parts.hostname or "", _port(parts)
        self.address = shown_address(address)
        """Without credentials, so that it can be shown and kept."""
        own = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else ""
        self._token = own or os.environ.get(TOKEN, "")
        self._collection = collection
        self._lock = threading.Lock()
        self._made: tuple[int, Any] | None = None
        self._reached = False

    @property
    def types(self) -> Any:
        """The server's kinds of numbers."""
        return self._pymilvus.DataType

    def ask(self, question: Callable[[Any, float], Answer], *, patience: float, remedy: str) -> Answer:
        """What the server answers, asked again with growing pauses while it is away.

        Args:
            question: Given the client, and the seconds that it may take.
            patience: Seconds after which the server is given up.
            remedy: What to do then.

        Raises:
            InputError: It has been away for `patience` seconds, or it refuses.
            CollectionGoneError: It is there, but the collection is not.
        """
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            client = None
            try:
                client = self._client()
                return question(client, max(1.0, began + patience - time.monotonic()))
            except (self._pymilvus.MilvusException, self._rpc_error, OSError, ValueError) as error:
                self._forget(client)
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
                        f"{self.address}: the Milvus server does not answer ({_first_line(error)}); {remedy}"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Give the connection back; another is made when something is asked."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            made[1].close()

    def _client(self) -> Any:
        """A connection of this process, as one does not outlive a fork."""
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                socket.create_connection(self._place, timeout=CONNECT_SECONDS).close()  # fails at once if none listens
                client = self._pymilvus.MilvusClient(
                    uri=self.address, token=self._token, timeout=CONNECT_SECONDS, dedicated=True
                )
                try:
                    if client.has_collection(self._collection, timeout=CONNECT_SECONDS) and client.list_indexes(
                        self._collection, timeout=CONNECT_SECONDS
                    ):
                        client.load_collection(self._collection, timeout=CONNECT_SECONDS)
                except BaseException:
                    client.close()
                    raise
                self._made, self._reached = (os.getpid(), client), True
            return self._made[1]

    def _forget(self, client: Any) -> None:
        """Do not use a connection any more."""
        with self._lock:
            if client is not None and self._made is not None and self._made[1] is client:
                self._made = None
        if client is not None:
            client.close()


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
    for some in (error, error.__cause__):  # pymilvus raises errors from themselves, so there may be no first one
        code = getattr(some, "code", None)
        if callable(code) and getattr(code(), "name", "") in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            return True
    return False


def _first_line(error: BaseException) -> str:
    details = getattr(error, "details", None)
    text = str((details() if callable(details) else None) or getattr(error, "message", "") or error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _pymilvus() -> tuple[Any, Any]:
    """The package, told to keep its stack traces to itself, and what its calls raise beside its own exceptions."""
    try:
        import grpc
        import pymilvus
    except ImportError as error:
        raise MissingExtraError("a Milvus server", "milvus") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus, grpc.RpcError
