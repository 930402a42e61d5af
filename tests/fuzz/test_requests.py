"""Requests: to the application itself, with headers that no HTTP library would pass on, and as raw bytes."""

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import h11
import pytest
from fuzz_hunt import Hunt
from fuzz_material import write
from fuzz_mutations import LONG, WORDS, Mutation, of_bytes, of_json
from fuzz_outcomes import Finding, Tree, raised
from hypothesis import strategies as st

from gmmformer.search import Library
from gmmformer.web import create_app

LATEST = 20.0
"""Seconds after which an answer, or the end of the connection, is overdue."""
FORGIVEN = (501, 503)
"""Answers above 499 that say what they mean."""
NO_HTTP = b"Invalid HTTP request received."
"""What uvicorn says to what never comes so far as to be a request."""
NUMBERS = (
    *("0", "1", "2", "5", "-1", "99", "1.5", "1e999", "NaN", "inf", "", "9" * 400),
    *("0x1", "1_0", "٣", "%00", "true"),
)
PATHS = (
    *("/", "/login", "/healthz", "/metrics", "/openapi.json", "/favicon.ico", "/nowhere"),
    *(
        "/static/app.js",
        "/static/",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/%00",
        "/static/%ff",
        "//x",
        "*",
    ),
    *("/api/library", "/api/search", "/api/films", "/api/films/{}", "/api/films/{}/clips", "/api/films/{}/thumbnail"),
    *(
        "*",
        "/api/films/{}/preview",
        "/media/{}",
        "/api/cut",
        "/api/export",
        "http://x/",
        "/%2e",
        "/a%0d%0ab:c",
        "/\u00e9",
    ),
)
QUERIES = (
    "q",
    "k",
    "moments",
    "where",
    "min_length",
    "strips",
    "token",
    "t",
    "start",
    "end",
    "width",
    "format",
    "m",
    "a",
)
BODIES = (
    {"queries": ["a red star"], "k": 2, "moments": 2, "where": "*", "min_length": 0.5, "strips": True},
    {"id": 1, "start": 0.2, "end": 0.6, "exact": None},
    {"format": "edl", "moments": [{"id": 2, "start": 0.5, "end": 1.0, "sentence": "a bar"}], "title": "mine"},
    {"format": "csv", "moments": [{"id": 1, "start": 0, "end": 1}]},
    {"token": "no such token is there"},
)
VALUES = {
    "host": (
        "localhost",
        "localhost:8000",
        "[::1]",
        "[::1",
        "evil.example",
        "",
        "localhost:99999",
        "a" * 5_000,
        "\u00e9",
    ),
    "origin": (
        "http://localhost",
        "null",
        "http://[::1",
        "http://evil.example",
        "x",
        "http://[]",
        "http://[v1.x]/",
        "\x7f",
    ),
    "range": (
        "bytes=0-",
        "bytes=-1",
        "bytes=5-2",
        "bytes=0-0,2-3",
        "bytes=-",
        "bytes=" + "9" * 400 + "-",
        "bytes=٣-",
        "x",
    ),
    "if-range": ('"x"', "x", 'W/"', "Sun, 99 Nov 2026 99:00:00 GMT"),
    "if-none-match": ("*", '"', 'W/"a", "b"', ","),
    "if-modified-since": ("Sun, 06 Nov 1994 08:49:37 GMT", "x", "0"),
    "content-type": (
        "application/json",
        "application/json; charset=x",
        "text/plain",
        "multipart/form-data",
        "",
        "a/b;=;",
    ),
    "content-length": ("0", "5", "-1", "99999999999999999999", "1, 1", "٣", "x", "+5"),
    "transfer-encoding": ("chunked", "gzip, chunked", "x"),
    "authorization": ("Bearer x", "Bearer", "Basic x", "bearer \u00e9", ""),
    "cookie": ("a=b", "=;=;", "a" * 5_000, '"', "a=\u00e9"),
    "accept": ("text/event-stream", "*/*", ";q="),
    "sec-fetch-site": ("cross-site", "same-origin", ""),
    "expect": ("100-continue", "x"),
    "upgrade": ("websocket", "h2c"),
    "connection": ("close", "keep-alive", "upgrade"),
    "x-forwarded-for": ("1.2.3.4", "[", "a" * 300),
    "x-forwarded-proto": ("https", "\u00e9"),
}


class Asked(NamedTuple):
    """A request, as its parts."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def target(self) -> bytes:
        """Path and query."""
        query = "&".join(f"{name}={value}" for name, value in self.query)
        return (self.path + (f"?{query}" if query else "")).replace(" ", "%20").encode()

    def bytes(self) -> bytes:
        """As it goes over the wire; a host and a length are added where none are given."""
        given = dict(self.headers)
        headers = [*self.headers, *([] if "host" in given else [("host", "localhost")]), ("connection", "close")]
        if self.body and not {"content-length", "transfer-encoding"} & given.keys():
            headers.append(("content-length", str(len(self.body))))
        lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
        return self.method.encode() + b" " + self.target + b" HTTP/1.1\r\n" + lines + b"\r\n" + self.body


def asked() -> st.SearchStrategy[Asked]:
    word = st.sampled_from([word.decode("utf-8", "replace") for word in (*WORDS, LONG[0], LONG[1][:9_000])])
    value = st.sampled_from(NUMBERS) | word | st.sampled_from(("1:0.1:0.5", "a red star", "edl", "*", "[", "1:0:9"))
    path = st.builds(lambda path, number: path.replace("{}", number), st.sampled_from(PATHS), st.sampled_from(NUMBERS))
    header = st.sampled_from(sorted(VALUES)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(VALUES[name]) | word)
    )
    spoilt = st.builds(
        lambda body, change: change(json.dumps(body).encode()),
        st.sampled_from(BODIES),
        of_json(),
    )
    body = (
        st.just(b"") | spoilt | st.sampled_from([json.dumps(body).encode() for body in BODIES]) | st.binary(max_size=20)
    )
    json_header = st.just(("content-type", "application/json"))
    return st.builds(
        Asked,
        st.sampled_from(("GET", "POST", "HEAD", "OPTIONS", "PUT", "TRACE", "get", "G\u00c9T", "A" * 300)),
        path,
        st.lists(st.tuples(st.sampled_from(QUERIES), value), max_size=4).map(tuple),
        st.lists(header | json_header, max_size=4).map(tuple),
        body,
    )


def wrong_with(status: int, headers: list[tuple[bytes, bytes]], body: bytes, head: bool) -> Finding | None:
    """What is wrong with an answer: it must mean what its status says, and an error is one sentence."""
    told = {name.lower(): value for name, value in headers}
    if status == 400 and told.get(b"content-type", b"").startswith(b"text/plain") and body == NO_HTTP * (not head):
        return None
    if status >= 500 and status not in FORGIVEN:
        return Finding(f"answers {status}", body[:2_000].decode("utf-8", "replace"))
    if told.get(b"x-content-type-options") != b"nosniff":
        return Finding("answers without the headers that make it safe", str(status))
    if status < 400 or head:
        return None
    if told.get(b"content-type") != b"application/problem+json":
        return Finding(f"answers {status} as {told.get(b'content-type')!r}", body[:2_000].decode("utf-8", "replace"))
    detail = json.loads(body)["detail"]
    if not detail or not detail.isprintable() or "Error" in detail or len(detail) > 500:
        return Finding(f"says in an answer {status} what is not a sentence", detail)
    return None


@pytest.fixture(scope="session")
def library_folder(library: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library on disk; its films are where they were when it was made."""
    folder = tmp_path_factory.mktemp("served")
    write(folder, library)
    return folder / "library"


def _at_work() -> str:
    """Where every thread of this process is, so that what does not answer tells what it waits for."""
    stacks = sys._current_frames().items()
    return "\n".join(f"thread {thread}:\n{''.join(traceback.format_stack(frame))}" for thread, frame in stacks)


class Direct:
    """The application in this process, without a server before it."""

    def __init__(self, library: Library) -> None:
        """Begin its life, as `serve` does with a search, which compiles what searches."""
        library.search("warm up", k=1)
        self._app = create_app(library)
        self._runner = asyncio.Runner()
        self._life = self._app.router.lifespan_context(self._app)
        self._runner.run(self._life.__aenter__())

    def close(self) -> None:
        """End it."""
        self._runner.run(self._life.__aexit__(None, None, None))
        self._runner.close()

    def ask(self, request: Asked) -> Finding | None:
        """What is wrong with the answer."""
        path, _, query = request.target.partition(b"?")
        headers = [(name.encode(), value.encode()) for name, value in request.headers]
        if not any(name == b"host" for name, _ in headers):
            headers.append((b"host", b"localhost"))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "method": request.method,
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "client": ("127.0.0.1", 9),
            "server": ("127.0.0.1", 8000),
        }
        if scope["path"] == "/api/events":
            return None  # has no end
        try:
            status, told, body = self._runner.run(asyncio.wait_for(self._answer(scope, request.body), LATEST))
        except TimeoutError:
            return Finding("does not answer", f"{request.path}\n{_at_work()}")
        except Exception as error:
            return Finding(f"raises {type(error).__name__}", repr(error))
        return wrong_with(status, told, body, request.method == "HEAD")

    async def _answer(self, scope: dict[str, Any], body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        sent: list[dict[str, Any]] = []
        coming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if coming:
                return coming.pop()
            await asyncio.sleep(LATEST)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], sent[0]["headers"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture(scope="module")
def direct(library_folder: Path) -> Iterator[Direct]:
    """That application."""
    with Library.open(library_folder) as library:
        running = Direct(library)
        yield running
        running.close()


# What checks types in tests draws from the module random, in threads of the application too, while a case is drawn.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
def test_requests_to_the_application(hunt: Hunt, direct: Direct, caplog: pytest.LogCaptureFixture) -> None:
    def ask(case: Asked, folder: Path):
        (folder / "request").write_bytes(case.bytes())
        caplog.clear()
        found = direct.ask(case)
        logged = [record for record in caplog.records if record.exc_info]
        if found is not None and logged:
            found = Finding(raised(caplog.text), caplog.text[-4_000:])
        return ("cat", "request"), [] if found is None else [found]

    hunt(asked(), ask, examples=100)


class Wire:
    """A server in a process of its own, and its log."""

    def __init__(self, library: Path, log: Path) -> None:
        """Start it."""
        self._log, self._seen = log, 0
        with log.open("wb") as words:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gmmformer", "serve", str(library), "--port", "0"],
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
            )
        assert self._process.stdout is not None
        self._port = int(re.search(r":(\d+)/", self._process.stdout.readline())[1])  # type: ignore[index]

    def close(self) -> None:
        """End it, as a service manager would."""
        self._process.terminate()
        self._process.communicate(timeout=60)

    def ask(self, data: bytes) -> list[Finding]:
        """What is wrong with what is answered to these bytes, and with the server afterwards."""
        found = [self._wrong(self._answer(data), data)]
        text = self._log.read_bytes()[self._seen :].decode("utf-8", "replace")
        self._seen += len(text.encode())
        if "Traceback" in text:
            found.insert(0, Finding(raised(text), text[-4_000:]))
        if self._process.poll() is not None:
            return [Finding(f"ends the server with {self._process.returncode}", text[-4_000:])]
        health = self._answer(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        if not health.startswith(b"HTTP/1.1 200"):
            found.append(Finding("ill afterwards", health[:400].decode("utf-8", "replace")))
        return [finding for finding in found if finding is not None]

    def _answer(self, data: bytes) -> bytes | str:
        """All that comes; in words what is wrong if that does not end."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self._port), timeout=LATEST) as connection:
            end = time.monotonic() + LATEST
            with suppress(ConnectionError):
                connection.sendall(data)
                connection.settimeout(1.0)
                while time.monotonic() < end:
                    try:
                        some = connection.recv(1 << 16)
                    except TimeoutError:
                        connection.shutdown(socket.SHUT_WR)  # it waits for more
                        continue
                    if not some:
                        return answer
                    answer += some
                return answer if answer else b"overdue"
        return answer

    def _wrong(self, answer: bytes, data: bytes) -> Finding | None:
        if answer == b"overdue":
            return Finding("neither answers nor hangs up", data[:400].decode("utf-8", "replace"))
        if not answer:
            return None  # it was told that nothing more comes
        client = h11.Connection(h11.CLIENT)
        with suppress(h11.LocalProtocolError):
            method = "HEAD" if data.startswith(b"HEAD ") else "GET"
            client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
            client.send(h11.EndOfMessage())
        client.receive_data(answer)
        client.receive_data(b"")
        head, body = None, b""
        try:
            for event in iter(client.next_event, h11.NEED_DATA):
                if isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    break
                if isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
        except h11.RemoteProtocolError as error:
            return Finding("answers what is no HTTP", f"{error}: {answer[:400]!r}")
        if head is None:
            return None
        return wrong_with(head.status_code, list(head.headers), body, data.startswith(b"HEAD "))


@pytest.fixture(scope="module")
def wire(library_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """That server."""
    running = Wire(library_folder, tmp_path_factory.mktemp("log") / "log")
    yield running
    running.close()


class Sent(NamedTuple):
    """Requests on one connection, spoilt."""

    requests: tuple[Asked, ...]
    how: tuple[Mutation, ...]

    def bytes(self) -> bytes:
        """As they go over the wire."""
        data = b"".join(request.bytes() for request in self.requests)
        for change in self.how:
            data = change(data)
        return data


def test_bytes_over_a_socket(hunt: Hunt, wire: Wire) -> None:
    def ask(case: Sent, folder: Path):
        (folder / "request").write_bytes(case.bytes())
        return ("nc", "-q", "20", "127.0.0.1", "8000", "<", "request"), wire.ask(case.bytes())

    spoilt = st.lists(of_bytes(300), max_size=3).map(tuple)
    hunt(st.builds(Sent, st.lists(asked(), min_size=1, max_size=2).map(tuple), spoilt), ask, examples=16)
