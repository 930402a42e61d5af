"""Clients that mean no good, over real sockets: slow ones, many at once, such as send without end or never read."""

import contextlib
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests_web_helpers import BEARER, BIG, TOKEN, of_a_big_film, raw, running, served, until

from gmmformer.search import Library
from gmmformer.web import ServeConfig, Server, files, protocol, server


def test_bodies_that_are_too_large(guarded_url: str) -> None:
    big = json.dumps({"queries": ["x" * 3_000]}).encode()
    kind = {"content-type": "application/json", **BEARER}
    told = httpx.post(f"{guarded_url}/api/search", content=big, headers=kind)
    assert (told.status_code, told.headers["content-type"]) == (413, "application/problem+json")
    assert httpx.post(f"{guarded_url}/login", content=b" " * 2_001, headers=kind).status_code == 413
    chunked = httpx.post(f"{guarded_url}/login", content=iter([b" " * 1_500] * 2), headers=kind)
    assert chunked.status_code == 413
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for lie in (b"Content-Length: 99999999999999999999\r\n", b"Content-Length: 5000\r\n"):
        assert raw(guarded_url, head + lie + b"\r\n").split()[1] == b"413"
    for nonsense in (
        b"Content-Length: -1\r\n",
        b"Content-Length: x\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
    ):
        assert raw(guarded_url, head + nonsense + b"\r\n").split()[1] == b"400"


def test_an_endless_body_is_cut_off_while_it_comes(guarded_url: str) -> None:
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"400\r\n" + b" " * 1_024 + b"\r\n"
    assert raw(guarded_url, head, chunk, chunk).split()[1] == b"413"
    with socket.create_connection(("127.0.0.1", int(guarded_url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(head)
        with pytest.raises(ConnectionError):
            connection.sendall(chunk * 100_000)


def test_slow_clients_are_dropped(guarded_url: str) -> None:
    assert raw(guarded_url, b"GET / HT") == b""
    assert raw(guarded_url) == b""
    drip = [b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 30]
    assert raw(guarded_url, *drip, pause=0.05) == b""
    body = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    assert raw(guarded_url, body, b" ", b" ", pause=0.1).split()[1] == b"408"


def test_a_second_request_may_not_dawdle_either(guarded_url: str) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(guarded_url, whole, b"GET / HT", pause=0.1)
    assert answer.count(b"HTTP/1.1 200") == 1


def test_a_client_that_reads_nothing_is_dropped(library: Library, tmp_path: Path) -> None:
    with of_a_big_film(library, tmp_path) as ours, served(ours, ServeConfig(port=0, stall_seconds=0.4)) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET /media/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: httpx.get(f"{url}/metrics").text.count("in_progress 1.0\n"))  # the one that asks


def test_more_requests_than_allowed_are_turned_away(library: Library) -> None:
    with served(library, ServeConfig(port=0, requests=2, streams=2)) as url:
        streams = [httpx.Client(timeout=10) for _ in range(2)]
        opened = [client.stream("GET", f"{url}/api/events") for client in streams]
        for one in opened:
            assert one.__enter__().status_code == 200
        refused = httpx.get(f"{url}/api/films")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert httpx.get(f"{url}/healthz").status_code == 200  # it is there; the page says what is the matter
        for one, client in zip(opened, streams, strict=True):
            one.__exit__(None, None, None)
            client.close()
        until(lambda: httpx.get(f"{url}/api/films").status_code == 200)


def opened(url: str, source: str = "127.0.0.1") -> socket.socket:
    """A connection to a server from one of this machine's addresses, with room for little that is not read."""
    connection = socket.socket()
    connection.settimeout(20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.bind((source, 0))
    connection.connect(address(url))
    return connection


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition(":")
    return host, int(port)


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it: there is no more to come."""
    connection.setblocking(False)
    try:
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


MANY = 300
"""More than there are places for requests."""


def attack(url: str, stack: contextlib.ExitStack, said: bytes, many: int = MANY) -> list[socket.socket]:
    """Many clients that say this and then nothing, and that read nothing."""
    clients = [stack.enter_context(opened(url)) for _ in range(many)]
    for client in clients:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client.sendall(said)
    return clients


POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n\r\n{"
CHUNKED = b"%s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: loc", id="half a head"),
        pytest.param(POST % b"/healthz", id="a slow body where none is taken"),
        pytest.param(CHUNKED % b"GET /healthz", id="a slow body of no length"),
        pytest.param(CHUNKED % b"GET /static/app.js", id="a slow body for a file"),
        pytest.param(POST % b"/login", id="a slow login"),
        pytest.param(POST % b"/api/search", id="a slow body without a token"),
        pytest.param(GET % b"/static/app.css" * 40, id="files that are not read"),
        pytest.param(GET % b"/api/films" * 3, id="refusals that are not read"),
        pytest.param(GET % b"/?token=guess" * 3, id="guesses that are not read"),
    ],
)
def test_who_shows_no_token_cannot_keep_the_others_out(library: Library, said: bytes) -> None:
    with served(library, ServeConfig(port=0, token=TOKEN)) as url, contextlib.ExitStack() as stack:
        clients = attack(url, stack, said)
        for headers, path in ((BEARER, "/api/search?q=a&k=1"), ({}, "/healthz"), ({}, "/"), (BEARER, "/api/films")):
            assert httpx.get(url + path, headers=headers, timeout=30).status_code == 200
        if b"guess" not in said:
            assert httpx.post(f"{url}/login", json={"token": TOKEN}, timeout=30).status_code == 204
        assert len(clients) == MANY


@pytest.mark.parametrize("said", [POST % b"/api/search", GET % b"/static/app.css" * 200, GET % b"/media/1" * 60])
def test_nor_can_who_needs_none(library: Library, said: bytes) -> None:
    """On this machine alone, without a token: those who stop reading make room for those who ask."""
    with served(library, ServeConfig(port=0, requests=16)) as url, contextlib.ExitStack() as stack:
        attack(url, stack, said, many=24)
        for path in ("/healthz", "/"):
            assert httpx.get(url + path, timeout=30).status_code == 200
        for path in (
            "/api/search?q=a&k=1",
            "/api/films",
        ):  # once what they asked for has filled what they have room for
            until(lambda path=path: httpx.get(url + path, timeout=30).status_code == 200)


def test_who_has_stopped_reading_makes_room_for_who_asks(library: Library, tmp_path: Path) -> None:
    config = ServeConfig(port=0, requests=2, stall_seconds=600)
    with (
        of_a_big_film(library, tmp_path) as ours,
        running(ours, config) as (server, url),
        opened(url) as first,
        opened(url) as second,
    ):
        for number, client in enumerate((first, second), start=1):
            client.sendall(GET % b"/media/1")
            until(lambda number=number: stalled_in(server) == number)
        assert httpx.get(f"{url}/api/films", timeout=30).status_code == 200
        until(lambda: is_closed(first))  # which has waited longest
        assert not is_closed(second)


def stalled_in(server: Server) -> int:
    """How many of a server's clients take nothing of their answers."""
    return sum(one.stalled_since is not None for one in list(server.server_state.connections))


def test_who_waits_longest_of_the_address_with_most_makes_room(library: Library) -> None:
    with (
        served(library, ServeConfig(port=0, token=TOKEN, connections=8)) as url,
        contextlib.ExitStack() as stack,
        httpx.Client(base_url=url, headers=BEARER, timeout=20) as owner,
        owner.stream("GET", "/api/events") as stream,
    ):
        assert stream.status_code == 200
        lone = stack.enter_context(opened(url, "127.0.0.3"))
        lone.sendall(b"GET / HT")
        crowd = [stack.enter_context(opened(url, "127.0.0.2")) for _ in range(30)]
        late = stack.enter_context(opened(url, "127.0.0.4"))
        late.sendall(GET % b"/healthz")
        assert b"200 OK" in late.recv(1 << 16)
        assert owner.get("/healthz").status_code == 200
        until(lambda: sum(is_closed(one) for one in crowd) >= len(crowd) - 6)
        assert not is_closed(crowd[-1])
        assert not is_closed(lone)
        assert next(stream.iter_text())  # a request that was let in goes on


def test_an_address_has_so_many_connections_and_this_machine_and_the_proxies_any_number(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened_and_left(config: ServeConfig) -> int:
        with served(library, config) as url, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(opened(url, "127.0.0.2")) for _ in range(12)]
            with opened(url, "127.0.0.3") as last:  # all before it have been dealt with when it is answered
                last.sendall(GET % b"/healthz")
                assert b"200 OK" in last.recv(1 << 16)
            return sum(not is_closed(client) for client in clients)

    assert opened_and_left(ServeConfig(port=0, connections_each=5)) == 12
    monkeypatch.setattr(protocol, "is_local", lambda host: False)
    assert opened_and_left(ServeConfig(port=0, connections_each=5)) == 5
    assert opened_and_left(ServeConfig(port=0, connections_each=5, proxies=("127.0.0.0/30",))) == 12


@pytest.mark.parametrize(
    "asked", [GET % b"/static/app.css" * 500, GET % b"/static/search.js" * 4 + CLOSING % b"/static/search.js"]
)
def test_who_reads_nothing_and_has_shown_no_token_is_dropped_soon(
    library: Library, asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it while the server writes, or while it closes what it wrote."""
    true = protocol.PatientProtocol.connection_made

    def cramped(self: protocol.PatientProtocol, transport: Any) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
        true(self, transport)

    monkeypatch.setattr(
        protocol.PatientProtocol, "connection_made", cramped
    )  # or the system takes all there is to write
    config = ServeConfig(port=0, token=TOKEN, read_seconds=0.5, stall_seconds=600)
    with running(library, config) as (server, url), opened(url) as client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.sendall(asked)
        until(lambda: server.server_state.connections)
        until(lambda: not server.server_state.connections)


def test_a_refusal_is_heard_though_a_body_comes_after_it(guarded_url: str) -> None:
    head = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1500\r\n\r\n"
    with opened(guarded_url) as client:
        client.sendall(head)
        heard = client.recv(1 << 16)
        client.sendall(b" " * 1500 + CLOSING % b"/healthz")
        while more := client.recv(1 << 16):
            heard += more
    assert heard.startswith(b"HTTP/1.1 401")
    assert b"HTTP/1.1 200" in heard
    assert raw(guarded_url, head, b" ", pause=0.1).count(b"HTTP/1.1") == 1  # and closed when the rest does not come


def test_heads_are_bounded_in_bytes_and_lines(server_url: str) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    end = b"Connection: close\r\n\r\n"
    assert raw(server_url, head + b"a: b\r\n" * 100 + end).startswith(b"HTTP/1.1 200")
    assert raw(server_url, head + b"a: b\r\n" * 200 + end).startswith(b"HTTP/1.1 400")
    assert raw(server_url, head + b"a: " + b"b" * 150_000 + b"\r\n" + end).startswith(b"HTTP/1.1 200")
    sentence = quote("\U0001f3ac" * 10_000)  # the longest in any script
    assert raw(
        server_url, b"GET /api/search?k=1&q=%s HTTP/1.1\r\nHost: localhost\r\n%s" % (sentence.encode(), end)
    ).startswith(b"HTTP/1.1 200")
    pipelined = GET % b"/healthz" + head + b"a:b\n" * 60_000 + b"\n"
    answers = raw(server_url, pipelined)
    assert (answers.count(b"HTTP/1.1 200"), answers.count(b"HTTP/1.1 400")) == (1, 1)
    body = b"[" + b"\n" * 1_000 + b"]"
    post = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    assert raw(server_url, post % len(body) + end + body).startswith(b"HTTP/1.1 422")


def test_no_more_connections_than_files_can_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [1_024, 1_024]
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(server.resource, "setrlimit", lambda _, new: limits.__setitem__(slice(None), new))
    assert server._room(1_024) == 384
    limits[1] = 4_096
    assert server._room(1_024) == 1_024
    assert limits[0] == 2 * 1_024 + 256


def test_a_client_that_leaves_is_not_read_to(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    true = files.FileAnswer._read
    monkeypatch.setattr(files.FileAnswer, "_read", lambda *given: read.append(given[1]) or true(*given))
    with of_a_big_film(library, tmp_path) as ours, served(ours, ServeConfig(port=0)) as url:
        with opened(url) as client:
            client.sendall(GET % b"/media/1")
            assert client.recv(1_000)
        until(lambda: httpx.get(f"{url}/metrics").text.count("in_progress 1.0\n"))
    assert len(read) < BIG / files._CHUNK / 2
