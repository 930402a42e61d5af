"""Clients that mean no good, over real sockets: slow ones, many at once, such as send without end or never read.

What of them the server bears by itself, on this machine; those from elsewhere are the proxy's: test_behind_nginx.
"""

import contextlib
import json
import logging
import socket
from pathlib import Path
from urllib.parse import quote

import pytest
from tests_web_helpers import BEARER, BIG, TOKEN, of_a_big_film, opened, patient, raw, running, served, until

from gmmformer.search import Library
from gmmformer.web import ServeConfig, files, guard, server

POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n\r\n{"
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_bodies_that_are_too_large(locked_url: str) -> None:
    big = json.dumps({"queries": ["x" * 1_000_000]}).encode()
    kind = {"content-type": "application/json", **BEARER}
    told = patient.post(f"{locked_url}/api/search", content=big, headers=kind)
    assert (told.status_code, told.headers["content-type"]) == (413, "application/problem+json")
    assert patient.post(f"{locked_url}/login", content=b" " * 8_193, headers=kind).status_code == 413
    chunked = patient.post(f"{locked_url}/login", content=iter([b" " * 5_000] * 2), headers=kind)
    assert chunked.status_code == 413
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for lie in (b"Content-Length: 99999999999999999999\r\n", b"Content-Length: 9000\r\n"):
        assert raw(locked_url, head + lie + b"\r\n").split()[1] == b"413"
    for nonsense in (
        b"Content-Length: -1\r\n",
        b"Content-Length: x\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
    ):
        assert raw(locked_url, head + nonsense + b"\r\n").split()[1] == b"400"


def test_an_endless_body_is_cut_off_while_it_comes(locked_url: str) -> None:
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1400\r\n" + b" " * 0x1400 + b"\r\n"
    assert raw(locked_url, head, chunk, chunk).split()[1] == b"413"
    with socket.create_connection(("127.0.0.1", int(locked_url.rpartition(":")[2]))) as connection:
        connection.sendall(head)
        with pytest.raises(ConnectionError):
            connection.sendall(chunk * 100_000)


def test_a_slow_body_is_given_up(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.3)
    with served(library, ServeConfig(port=0, token=TOKEN)) as url:
        body = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        assert raw(url, body, b" ", b" ", pause=0.1).split()[1] == b"408"


def test_a_client_that_reads_nothing_of_a_film_gives_its_place_up(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "STALL_SECONDS", 0.3)
    with of_a_big_film(library, tmp_path) as ours, served(ours, ServeConfig(port=0)) as url, opened(url) as client:
        client.sendall(GET % b"/media/1")
        until(lambda: "stopped reading" in caplog.text)
        until(lambda: "in_progress 1.0\n" in patient.get(f"{url}/metrics").text)  # the one that asks


def test_who_takes_nothing_of_an_answer_is_cut_off_when_the_server_ends(library: Library, tmp_path: Path) -> None:
    with of_a_big_film(library, tmp_path) as ours, contextlib.ExitStack() as ends:
        server, url = ends.enter_context(running(ours, ServeConfig(port=0)))
        server.config.timeout_graceful_shutdown = 1
        with opened(url) as client:
            client.sendall(GET % b"/media/1")
            until(lambda: server.server_state.tasks)
            (connection,) = server.server_state.connections
            ends.close()
            assert connection.transport.get_write_buffer_size() == 0
            assert not server.server_state.connections


def test_more_requests_than_allowed_are_turned_away(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS", 2)
    with served(library, ServeConfig(port=0)) as url:
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                stream = stack.enter_context(patient.stream("GET", f"{url}/api/events"))
                assert stream.status_code == 200
            refused = patient.get(f"{url}/api/films")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            assert patient.get(f"{url}/healthz").status_code == 200  # it is there; the page says what is the matter
        until(lambda: patient.get(f"{url}/api/films").status_code == 200)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: loc", POST % b"/login"])
def test_up_to_its_connections_it_answers_beyond_them_it_says_so_and_recovers(
    library: Library, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 12)
    with served(library, ServeConfig(port=0, token=TOKEN)) as url:
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                crowd = [stack.enter_context(opened(url)) for _ in range(10)]
                for client in crowd:
                    client.sendall(said)
                assert status_of(url) == 200  # it is the eleventh
                crowd += [stack.enter_context(opened(url)) for _ in range(30)]
                assert status_of(url) == 503
            until(lambda: status_of(url) == 200)


def status_of(url: str) -> int:
    return patient.get(f"{url}/api/search?q=a&k=1", headers=BEARER).status_code


def test_who_shows_no_token_takes_no_place_of_those_who_do(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "REQUESTS", 1)
    slow = (POST % b"/login", POST % b"/api/search", GET % b"/static/app.css" * 40, GET % b"/api/films" * 3)
    with served(library, ServeConfig(port=0, token=TOKEN)) as url, contextlib.ExitStack() as stack:
        for said in slow * 10:
            client = stack.enter_context(opened(url))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                client.sendall(said)
        for path in ("/api/search?q=a&k=1", "/api/films"):
            assert patient.get(url + path, headers=BEARER).status_code == 200
        assert patient.post(f"{url}/login", json={"token": TOKEN}).status_code == 204


def test_a_refusal_is_heard_though_a_body_comes_after_it(locked_url: str) -> None:
    head = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1500\r\n\r\n"
    with opened(locked_url) as client:
        client.sendall(head)
        heard = client.recv(1 << 16)
        client.sendall(b" " * 1500 + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while more := client.recv(1 << 16):
            heard += more
    assert heard.startswith(b"HTTP/1.1 401")
    assert b"HTTP/1.1 200" in heard


def test_what_stops_being_http_while_it_is_answered_is_no_error_of_ours(
    locked_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with opened(locked_url) as client:
        client.sendall(head)
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 401")
        client.sendall(b"no chunk\r\n")
        with contextlib.suppress(ConnectionError):
            while client.recv(1 << 16):
                pass
    assert patient.get(f"{locked_url}/healthz").status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_heads_are_bounded(server_url: str) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    end = b"Connection: close\r\n\r\n"
    assert raw(server_url, head + b"a: b\r\n" * 100 + end).startswith(b"HTTP/1.1 200")
    assert raw(server_url, head + b"a: " + b"b" * 150_000 + b"\r\n" + end).startswith(b"HTTP/1.1 200")
    assert raw(server_url, head + b"a: " + b"b" * 400_000 + b"\r\n" + end).split()[1:2] in ([b"400"], [])
    sentence = quote("\U0001f3ac" * 10_000)  # the longest in any script
    assert raw(
        server_url, b"GET /api/search?k=1&q=%s HTTP/1.1\r\nHost: localhost\r\n%s" % (sentence.encode(), end)
    ).startswith(b"HTTP/1.1 200")
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
        until(lambda: patient.get(f"{url}/metrics").text.count("in_progress 1.0\n"))
    assert len(read) < BIG / files._CHUNK / 2
