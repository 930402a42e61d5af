"""Who is let in, what is let in, and what every answer tells the browser."""

import http.client
import json
import socket
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.datastructures import Headers
from tests_web_helpers import raw, served

from gmmformer.errors import InputError
from gmmformer.search import Library, choose_encoders
from gmmformer.web import ServeConfig
from gmmformer.web.security import Tokens

TOKEN = "open sesame"
BEARER = {"authorization": f"Bearer {TOKEN}"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def test_an_open_address_needs_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "films.example.org"):
        with pytest.raises(
            InputError, match="everybody who can reach this address could see the films; give a --token"
        ):
            ServeConfig(host=host)
        assert ServeConfig(host=host, token="x").host == host
    for host in ("127.0.0.1", "localhost", "::1", "127.3.2.1"):
        ServeConfig(host=host)
    for token in ("", " ", "a\n", "é"):
        with pytest.raises(InputError, match="--token"):
            ServeConfig(token=token)
    with pytest.raises(InputError, match="--port 70000 must be"):
        ServeConfig(port=70_000)


@pytest.mark.parametrize(
    "address",
    ["/", "/healthz", "/static/app.js", "/api/search?q=a", "/api/search", "/nope", "/media/999", "/docs", "/metrics"],
)
def test_every_answer_is_made_safe(client: httpx.Client, address: str) -> None:
    headers = client.get(address).headers
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers
    assert headers["cache-control"]


def test_pages_of_the_server_keep_to_the_policy(client: httpx.Client) -> None:
    for page in ("/", "/docs"):
        text = client.get(page).text
        assert "<style" not in text
        assert " style=" not in text
        assert "<script>" not in text
        assert " onclick" not in text
        assert "//" not in text.replace("http://www.w3.org", "").split("<body")[0].split("<head>")[1]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:1", True),
        ("[::1]:9", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("localhost:8000@evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("10.0.0.1", False),
        ("", False),
        ("localhost:8000:9", False),
        ("localhost/x", False),
        ("\xff", False),
    ],
)
def test_foreign_names_are_refused(server_url: str, host: str, allowed: bool) -> None:
    head = b"GET /api/library HTTP/1.1\r\nHost: " + host.encode("latin-1") + b"\r\nConnection: close\r\n\r\n"
    status = int(raw(server_url, head).split()[1])
    assert status == 200 if allowed else status in (400, 421)


def test_one_name_and_only_one(server_url: str) -> None:
    for head in (b"", b"Host: localhost\r\nHost: evil.example\r\n", b"Host: localhost\r\nHost: localhost\r\n"):
        answer = raw(server_url, b"GET / HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
        assert int(answer.split()[1]) in (400, 421)
        assert b"application/problem+json" in answer
        assert b"default-src 'none'" in answer


def test_names_that_were_allowed(library: Library) -> None:
    config = ServeConfig(host="0.0.0.0", port=0, token="t", allow_hosts=("films.example.org", "other.example:8443"))
    with served(library, config) as url:
        for host, status in (
            ("films.example.org", 200),
            ("Other.Example", 200),
            ("10.0.0.7:80", 200),
            ("[fe80::1]", 200),
            ("evil.example", 421),
        ):
            assert httpx.get(f"{url}/healthz", headers={"host": host}).status_code == status


def test_other_sites_cannot_ask(client: httpx.Client) -> None:
    body = {"queries": ["a"], "k": 1}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example:8000"},
        {"sec-fetch-site": "cross-site"},
    ):
        assert client.post("/api/search", json=body, headers=headers).status_code == 403
        assert client.get("/api/films", headers=headers).status_code == 403
    assert client.post("/api/search", json=body, headers={"origin": "http://localhost:8000"}).status_code == 200
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    assert client.get("/docs", headers=followed).status_code == 200
    assert client.post("/api/search", json=body, headers=followed).status_code == 403
    assert client.get("/docs", headers={**followed, "sec-fetch-dest": "iframe"}).status_code == 403
    plain = client.post("/api/search", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert plain.status_code in (415, 422)
    assert "access-control-allow-origin" not in client.options("/api/search").headers


CLOSED = [
    "/api/search?q=a",
    "/api/films",
    "/api/library",
    "/media/1",
    "/api/films/1/thumbnail",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/nope",
    "/api/events",
]


@pytest.mark.parametrize("address", CLOSED)
def test_without_the_token_nothing_is_told(guarded_url: str, address: str) -> None:
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer open sesam"},
        {"authorization": "Bearer open sesamee"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": f"{Tokens(TOKEN).cookie_name}={TOKEN}"},
        {"cookie": f"{Tokens(TOKEN).cookie_name}=;;;=\x7f"},
    ]
    for headers in wrong:
        answer = httpx.get(guarded_url + address, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["title"] == "Unauthorized"


def test_with_the_token_all_is(guarded_url: str) -> None:
    for address in CLOSED[:-2]:
        assert httpx.get(guarded_url + address, headers=BEARER).status_code == 200
    assert httpx.get(f"{guarded_url}/nope", headers=BEARER).status_code == 404
    for address in ("/", "/healthz", "/static/app.js"):
        assert httpx.get(guarded_url + address).status_code == 200


def test_logging_in_leaves_a_cookie_that_is_not_the_token(guarded_url: str) -> None:
    with httpx.Client(base_url=guarded_url) as browser:
        refused = browser.post("/login", json={"token": "guess"})
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
        answer = browser.post("/login", json={"token": TOKEN})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert TOKEN not in cookie
        assert browser.get("/api/films").status_code == 200


def test_a_link_logs_in_once(guarded_url: str) -> None:
    with httpx.Client(base_url=guarded_url) as browser:
        refused = browser.get("/", params={"token": "guess"})
        assert (refused.status_code, refused.headers["location"]) == (303, "/")
        assert "set-cookie" not in refused.headers
        answer = browser.get("/", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert browser.get("/api/library").status_code == 200


def test_a_cookie_of_another_token_is_worth_nothing() -> None:
    ours, theirs = Tokens("a"), Tokens("b")
    cookie = theirs.cookie(secure=True).split(";")[0]
    assert theirs.allow(Headers({"cookie": f'json={{"a": [1, "b"]}}; x; {cookie}; other=1'}))
    assert ours.cookie_name != theirs.cookie_name
    assert not ours.allow(Headers({"cookie": cookie}))
    assert theirs.cookie(secure=True).endswith("; Secure")
    assert Tokens(None).allow(Headers({}))


@pytest.mark.parametrize(
    "parameter",
    [
        "../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "..\\..\\app.py",
        "%00",
        "app.js%00.css",
        "....//....//etc/passwd",
    ],
)
def test_no_path_leads_out(server_url: str, parameter: str) -> None:
    for target in (
        f"/static/{parameter}",
        f"/media/{parameter}",
        f"/api/films/{parameter}",
        f"/docs/{parameter}",
        f"//{parameter}",
    ):
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        answer = raw(server_url, head)
        assert int(answer.split()[1]) in (400, 404, 405, 422)
        assert b"root:" not in answer
        assert b"Traceback" not in answer
    with httpx.Client(base_url=server_url) as client:
        for address in (
            f"/api/search?q=a&where={parameter}",
            f"/api/films?q={parameter}",
            f"/api/export?format={parameter}&m=1:0:1",
            f"/api/export?format=edl&m={parameter}",
        ):
            answer = client.get(address)
            assert answer.status_code in (200, 422)
            assert "root:" not in answer.text


def test_errors_say_nothing_of_the_inside(
    client: httpx.Client, library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError(f"secret in {library.folder}")

    monkeypatch.setattr(library, "film", fail)
    answer = client.get("/api/films/1")
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "Something went wrong in the server; its log says what.",
    }
    assert "secret in" in caplog.text
    monkeypatch.setattr(library, "embed", lambda sentences: fail())
    assert client.get("/api/search?q=a").json()["status"] == 500


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/nope", 404),
        ("DELETE", "/api/search", 405),
        ("PUT", "/login", 405),
        ("POST", "/media/1", 405),
        ("POST", "/static/app.js", 405),
        ("TRACE", "/", 405),
        ("GET", "/api/search/", 404),
    ],
)
def test_errors_are_problems(client: httpx.Client, method: str, address: str, status: int) -> None:
    answer = client.request(method, address)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


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
    begin = time.monotonic()
    assert raw(guarded_url, b"GET / HT") == b""
    assert raw(guarded_url) == b""
    drip = [b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 30]
    assert raw(guarded_url, *drip, pause=0.05) == b""
    body = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    assert raw(guarded_url, body, b" ", b" ", pause=0.1).split()[1] == b"408"
    assert time.monotonic() - begin < 15


def test_a_second_request_may_not_dawdle_either(guarded_url: str) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(guarded_url, whole, b"GET / HT", pause=0.1)
    assert answer.count(b"HTTP/1.1 200") == 1


def test_a_client_that_reads_nothing_is_dropped(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "big.mp4"
    path.write_bytes(bytes(30_000_000))
    status = path.stat()
    with Library.create(tmp_path / "own", choose_encoders(library.folder / "model")) as ours:
        rows = np.ones((5, ours.settings.feature_dim), dtype=np.float32)
        ours.add_film(str(path), rows, stamp=f"{status.st_size}-{status.st_mtime_ns}")
        with served(ours, ServeConfig(port=0, stall_seconds=0.4)) as url:
            port = int(url.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"GET /media/1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
                in_progress = ["2.0"]
                until = time.monotonic() + 10
                while not in_progress[-1].startswith("1.0"):  # the one that asks
                    assert time.monotonic() < until
                    time.sleep(0.05)
                    in_progress.append(httpx.get(f"{url}/metrics").text.rpartition("in_progress ")[2])


def test_what_is_no_http_is_answered_safely(server_url: str) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    ):
        answer = raw(server_url, nonsense)
        assert answer.split()[1] in (b"400", b"421")
        assert b"application/problem+json" in answer
        assert b"x-content-type-options" in answer
    assert raw(server_url, b"GET /" + b"a" * 400_000, b" HTTP/1.1\r\n\r\n").split()[1:2] in ([b"400"], [])


def test_smuggled_headers(server_url: str) -> None:
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    second = b"GET /api/films HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert b'"films"' not in raw(server_url, head + b"0\r\n\r\n" + second)
    connection = http.client.HTTPConnection(server_url.removeprefix("http://"), timeout=10)
    connection.request("GET", "/healthz", headers={"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "evil.example"})
    assert connection.getresponse().status == 200
    connection.close()


def test_more_requests_than_allowed_are_turned_away(library: Library) -> None:
    with served(library, ServeConfig(port=0, requests=2, streams=2)) as url:
        streams = [httpx.Client(timeout=10) for _ in range(2)]
        opened = [client.stream("GET", f"{url}/api/events") for client in streams]
        for one in opened:
            assert one.__enter__().status_code == 200
        refused = httpx.get(f"{url}/healthz")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        for one, client in zip(opened, streams, strict=True):
            one.__exit__(None, None, None)
            client.close()
        until = time.monotonic() + 10
        while httpx.get(f"{url}/healthz").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_many_at_once_are_all_answered(server_url: str) -> None:
    statuses: list[int] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=server_url, timeout=30) as client:
            statuses.extend(
                client.get("/api/search", params={"q": f"{number} {turn}"}).status_code for turn in range(5)
            )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
