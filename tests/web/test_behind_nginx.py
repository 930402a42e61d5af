"""Behind a real nginx, with the configuration that docs/serve.md gives."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from tests_web_helpers import BEARER, TOKEN, of_a_big_film, opened, patient, raw, running, until

from gmmformer.search import Library
from gmmformer.web import ServeConfig, Server, app
from gmmformer.web.guard import Tokens

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"
NAME = {"host": "films.example.org"}
BELOW = """
    location /films/ { proxy_pass http://127.0.0.1:8000/; }
    location = /films/api/events { proxy_pass http://127.0.0.1:8000/api/events; proxy_buffering off; }
    location /films/media/ { proxy_pass http://127.0.0.1:8000/media/; proxy_buffering off; }
"""
"""What the page says about a path, written out."""


def snippet(language: str) -> str:
    """The one piece of that language on the page about the server."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


@contextlib.contextmanager
def nginx(folder: Path, server: str, address: str) -> Iterator[str]:
    """An nginx of this test's own, as an ordinary process, before the server at that address."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up("tests behind nginx skipped: apt-get install nginx-light")
    with socket.socket() as free:  # nginx takes over the socket itself, so that nobody else can have its port
        free.bind(("127.0.0.1", 0))
        free.listen(64)
        port = free.getsockname()[1]
        server = server.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
        server = server.replace("127.0.0.1:8000", address.removeprefix("http://"))
        server = server.replace("/var/log/nginx/films.log", str(folder / "films.log"))
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        kept = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
        user = "user root;\n" if os.geteuid() == 0 else ""  # else its worker is nobody, who may not write there
        (folder / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n{user}"
            f"events {{ worker_connections 1024; }}\nhttp {{ {kept}\n{server}\n}}\n"
        )
        environment = {**os.environ, "NGINX": f"{free.fileno()};"}
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        process = subprocess.Popen(command, pass_fds=[free.fileno()], env=environment)
    try:
        until(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/healthz"))
        assert process.poll() is None, (folder / "error.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        return patient.get(url, headers=NAME).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def proxied(library: Library, folder: Path) -> Iterator[str]:
    """The address of an nginx before a server that wants TOKEN."""
    config = ServeConfig(port=0, token=TOKEN, allow_hosts=("films.example.org",), proxies=("127.0.0.1",))
    with running(library, config) as (_, url), nginx(folder, with_path(snippet("nginx")), url) as address:
        yield address


def with_path(server: str) -> str:
    """The server of the page, with what it says about a path beside the rest."""
    head, _, end = server.rstrip().rpartition("}")
    return f"{head}{BELOW}}}{end}"


@pytest.mark.parametrize("base", ["", "/films"])
def test_page_search_and_files(proxied: str, base: str) -> None:
    with patient.Client(base_url=f"{proxied}{base}/", headers={**NAME, **BEARER}) as client:
        page = client.get("")
        assert page.status_code == 200
        for address in re.findall(r'(?:href|src)="([^":]+)"', page.text):
            assert client.get(address, follow_redirects=True).status_code == 200, address
        assert client.get("api/search", params={"q": "a star", "k": 2}).json()["hits"]
        longest = quote("\U0001f3ac" * 10_000)  # longer than httpx lets a query be
        head = f"GET {base}/api/search?k=1&q={longest} HTTP/1.1\r\nHost: films.example.org\r\nConnection: close\r\n"
        assert raw(proxied, f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode()).startswith(b"HTTP/1.1 200")
        icon = client.get("favicon.ico", follow_redirects=True)
        assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
        assert "/api/search" in client.get("openapi.json").json()["paths"]


@pytest.mark.parametrize("base", ["", "/films"])
def test_login_by_a_link_leaves_no_token_in_the_address_or_the_log(proxied: str, base: str, folder: Path) -> None:
    with patient.Client(headers={**NAME, "x-forwarded-proto": "https"}) as client:
        answer = client.get(f"{proxied}{base}/?token={TOKEN.replace(' ', '+')}&q=sentence", follow_redirects=True)
        assert str(answer.url) == f"{proxied}{base}/?q=sentence"
        assert client.get(f"{proxied}{base}/api/library").json()["locked"]
        assert client.post(f"{proxied}{base}/logout").status_code == 204
        assert client.get(f"{proxied}{base}/api/library").status_code == 401
    assert "Secure" not in answer.history[0].headers["set-cookie"]  # nginx says how it was asked, not the client
    until(lambda: f'"GET {base}/api/library" 401' in (folder / "films.log").read_text())
    logged = (folder / "films.log").read_text() + (folder / "error.log").read_text()
    assert "sesame" not in logged
    assert "sentence" not in logged


@pytest.mark.parametrize("base", ["", "/films"])
def test_events_come_as_they_happen(proxied: str, base: str) -> None:
    with patient.stream("GET", f"{proxied}{base}/api/events", headers={**NAME, **BEARER}) as stream:
        seen = ""
        for text in stream.iter_text():
            seen += text
            if "event: library" in seen and "event: activity" in seen:
                break
        else:
            pytest.fail("the stream ended")


@pytest.mark.parametrize("base", ["", "/films"])
def test_ranges_and_downloads_that_are_cut_off(proxied: str, base: str) -> None:
    with patient.Client(base_url=f"{proxied}{base}/", headers={**NAME, **BEARER}) as client:
        whole = client.get("media/1")
        part = client.get("media/1", headers={"range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, whole.content[1000:2000])
        assert part.headers["content-range"] == f"bytes 1000-1999/{len(whole.content)}"
        assert client.get("media/1", headers={"range": f"bytes={len(whole.content)}-"}).status_code == 416
        assert client.get("media/1", headers={"if-none-match": whole.headers["etag"]}).status_code == 304
        with client.stream("GET", "media/1") as cut_off:
            next(cut_off.iter_raw(1_000))
        until(lambda: "in_progress 1.0\n" in client.get("metrics").text)


def test_bodies_are_bounded_and_refusals_pass_through(proxied: str) -> None:
    kind = {**NAME, **BEARER, "content-type": "application/json"}
    assert patient.post(f"{proxied}/api/search", content=b" " * 1_200_000, headers=kind).status_code == 413
    large = b'{"queries": ["a"]}' + b" " * 900_000
    assert patient.post(f"{proxied}/api/search", content=large, headers=kind).status_code == 200
    del kind["authorization"]
    assert patient.post(f"{proxied}/api/search", content=large, headers=kind).status_code == 401
    assert patient.post(f"{proxied}/healthz", content=b"x", headers=NAME).status_code == 413
    assert patient.get(f"{proxied}/healthz", headers={"host": "evil.example"}).status_code == 421


def test_who_asks_is_who_the_proxy_says_and_nobody_else(
    library: Library, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client says of itself is overwritten by nginx, and not believed where no proxy is named."""
    monkeypatch.setattr(app, "Tokens", partial(Tokens, clock=lambda: 1_000.0))
    config = ServeConfig(port=0, token=TOKEN, allow_hosts=("films.example.org",), proxies=("127.0.0.1",))
    claim = {**NAME, "x-forwarded-for": "203.0.113.9"}
    server = snippet("nginx").replace("X-Forwarded-For $remote_addr", "X-Forwarded-For 198.51.100.7")
    with running(library, config) as (_, url), nginx(tmp_path, server, url) as address:
        for _ in range(8):
            patient.post(f"{address}/login", json={"token": "a guess"}, headers=claim)
        assert patient.post(f"{address}/login", json={"token": TOKEN}, headers=claim).status_code == 429
        assert patient.post(f"{url}/login", json={"token": TOKEN}).status_code == 204
    assert {record.getMessage().split()[3] for record in caplog.records} == {"198.51.100.7:"}
    caplog.clear()
    with running(library, ServeConfig(port=0, token=TOKEN)) as (_, url):
        forged = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
        assert patient.post(f"{url}/login", json={"token": "a guess"}, headers=forged).status_code == 401
        cookie = patient.post(f"{url}/login", json={"token": TOKEN}, headers=forged).headers["set-cookie"]
    assert "Secure" not in cookie
    assert {record.getMessage().split()[3] for record in caplog.records} == {"127.0.0.1:"}


HEAD = b"%s HTTP/1.1\r\nHost: films.example.org\r\n"
TOKEN_HEAD = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
MANY = 260
"""More than the server has places for requests."""


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: fil", id="half a head"),
        pytest.param(HEAD % b"POST /login" + b"Content-Length: 2000\r\n\r\n{", id="a slow login"),
        pytest.param(HEAD % b"POST /api/search" + b"Content-Length: 2000\r\n\r\n{", id="a slow body"),
        pytest.param(
            HEAD % b"POST /api/search" + TOKEN_HEAD + b"Content-Length: 2000\r\n\r\n{", id="a slow body with the token"
        ),
        pytest.param((HEAD % b"GET /static/app.css" + b"\r\n") * 40, id="files that are not read"),
        pytest.param(HEAD % b"GET /media/1" + TOKEN_HEAD + b"\r\n", id="a film that is not read, with the token"),
    ],
)
def test_slow_and_idle_clients_do_not_hinder_who_has_the_token(big: tuple[Server, str], said: bytes) -> None:
    """Who stands at the same address may be one too many there; who comes from another is not."""
    server, address = big
    with contextlib.ExitStack() as stack:
        for _ in range(MANY):
            client = stack.enter_context(opened(address))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                client.sendall(said)
        other = httpx.HTTPTransport(local_address="127.0.0.2")
        with patient.Client(transport=other, base_url=address, headers={**NAME, **BEARER}) as client:
            for _ in range(3):
                assert client.get("/api/search?q=a&k=1").status_code == 200
                assert client.get("/").status_code == 200
            assert client.get("/media/1", headers={"range": "bytes=0-99"}).status_code == 206
            assert client.post("/login", json={"token": TOKEN}).status_code == 204
        until(lambda: len(server.server_state.connections) < 40)  # the rest is nginx's
    until(lambda: len(server.server_state.connections) < 8)


@pytest.fixture(scope="module")
def big(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server of a film that is more than all buffers on the way, and the address of an nginx before it."""
    folder = tmp_path_factory.mktemp("big")
    config = ServeConfig(port=0, token=TOKEN, allow_hosts=("films.example.org",), proxies=("127.0.0.1",))
    with (
        of_a_big_film(library, folder) as ours,
        running(ours, config) as (server, url),
        nginx(folder, snippet("nginx"), url) as address,
    ):
        yield server, address
