"""Who is let in, what is let in, and what every answer tells the browser."""

import http.client
import json
import logging
import threading

import httpx
import pytest
from tests_web_helpers import patient, raw, served

from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.web import ServeConfig

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
        assert ServeConfig(host=host, token="x" * 16).host == host
    for host in ("127.0.0.1", "localhost", "::1", "127.3.2.1"):
        ServeConfig(host=host)
    for token in ("", " ", "a\n", "é"):
        with pytest.raises(InputError, match="--token"):
            ServeConfig(token=token)
    with pytest.raises(InputError, match="--port 70000 must be"):
        ServeConfig(port=70_000)
    for proxy in ("proxy.example", "10.0.0.1/8", ""):
        with pytest.raises(InputError, match=f"--proxy {proxy}: give an address"):
            ServeConfig(proxies=(proxy,))


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/healthz",
        "/static/app.js",
        "/api/search?q=a",
        "/api/search",
        "/nope",
        "/media/999",
        "/openapi.json",
        "/metrics",
    ],
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


def test_the_page_keeps_to_the_policy(client: httpx.Client) -> None:
    text = client.get("/").text
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
        assert b'"films"' not in answer


def test_names_that_were_allowed(library: Library) -> None:
    config = ServeConfig(
        host="0.0.0.0", port=0, token="t" * 16, allow_hosts=("films.example.org", "other.example:8443")
    )
    with served(library, config) as url:
        for host, status in (
            ("films.example.org", 200),
            ("Other.Example", 200),
            ("10.0.0.7:80", 200),
            ("[fe80::1]", 200),
            ("evil.example", 421),
        ):
            assert patient.get(f"{url}/healthz", headers={"host": host}).status_code == status


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
    assert client.get("/openapi.json", headers=followed).status_code == 200
    assert client.post("/api/search", json=body, headers=followed).status_code == 403
    assert client.get("/openapi.json", headers={**followed, "sec-fetch-dest": "iframe"}).status_code == 403
    plain = client.post("/api/search", content=json.dumps(body), headers={"content-type": "text/plain"})
    assert plain.status_code in (415, 422)
    assert "access-control-allow-origin" not in client.options("/api/search").headers


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
        f"/openapi.json/{parameter}",
        f"//{parameter}",
    ):
        head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        answer = raw(server_url, head)
        assert int(answer.split()[1]) in (400, 404, 405, 422)
        assert b"root:" not in answer
        assert b"Traceback" not in answer
    with patient.Client(base_url=server_url) as client:
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

    monkeypatch.setattr(library.store, "film", fail)
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


def test_what_is_no_http_is_refused_in_words_of_the_servers_own(server_url: str) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n: <script>\r\n\r\n",
    ):
        head, _, words = raw(server_url, nonsense).partition(b"\r\n\r\n")
        assert head.split()[1] == b"400"
        assert b"text/plain" in head
        assert words == b"Invalid HTTP request received."
    assert raw(server_url, b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n").split()[1] in (b"400", b"421")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_who_goes_on_to_no_http_is_told_so_once_and_without_an_error_of_ours(
    server_url: str, caplog: pytest.LogCaptureFixture, method: bytes
) -> None:
    log = logging.getLogger("uvicorn.error")
    log.addHandler(caplog.handler)
    try:
        sent = method + b" / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nand so on\r\n\r\n"
        answer = raw(server_url, sent, timeout=20)
    finally:
        log.removeHandler(caplog.handler)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert (b"Invalid HTTP request received." in answer) == (method == b"GET")
    assert [record.getMessage() for record in caplog.records] == []


def test_smuggled_headers(server_url: str) -> None:
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    second = b"GET /api/films HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert b'"films"' not in raw(server_url, head + b"0\r\n\r\n" + second)
    connection = http.client.HTTPConnection(server_url.removeprefix("http://"))
    connection.request("GET", "/healthz", headers={"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "evil.example"})
    assert connection.getresponse().status == 200
    connection.close()


def test_many_at_once_are_all_answered(server_url: str) -> None:
    statuses: list[int] = []

    def ask(number: int) -> None:
        with patient.Client(base_url=server_url) as client:
            statuses.extend(
                client.get("/api/search", params={"q": f"{number} {turn}"}).status_code for turn in range(5)
            )

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
