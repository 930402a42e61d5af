"""Headers that are malformed, empty, said twice, not ASCII or huge: an answer, and never that the server failed."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests_web_helpers import BEARER, TOKEN, raw, served

from gmmformer.search import Library
from gmmformer.web import ServeConfig, guard

READ = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Expect",
    "Forwarded",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Last-Event-ID",
    "Origin",
    "Range",
    "Referer",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-HTTP-Method-Override",
]
"""What the server, or what it is made of, looks at."""
NASTY = [
    b"",
    b" ",
    b"\t",
    b",",
    b",,;;==",
    b"=",
    b"\xff\xfe",
    "Film Æ 片".encode(),
    b"http://[::1",
    b"http://[::1]:99999999",
    b"http://[v1.x]",
    b"http://]",
    b"http://localhost:\xb2",
    b"http://@:",
    b"//",
    b"[::1",
    b"[::1]:x",
    b"[" * 1_000,
    b"null",
    b"-1",
    b"9" * 5_000,
    b"1e9",
    b"NaN",
    "٣".encode(),
    b"bytes=",
    b"bytes=-",
    b"bytes=--1",
    b"bytes=9-1",
    b"bytes=0-" + b"9" * 400,
    b"bytes=" + b"0-1," * 500,
    b"bytes=\xb2-",
    b"Bearer",
    b"Bearer \xff",
    b"bearer " + b"x" * 10_000,
    b'a="\\',
    b'a="\\400\\777"; b',
    b"%s=%%00; =; ;; x" % guard.Tokens(TOKEN).cookie_name.encode(),
    b"$Version=1; a=b",
    b"Mon, 99 Foo 99999 99:99:99 GMT",
    b"Thu, 01 Jan 1970 00:00:00 +9999",
    b"Sat, 31 Dec 99999999999 23:59:59 GMT",
    b"application/json; charset=nope",
    b"application/json; charset*=x''%ff; =",
    b"multipart/form-data",
    b"multipart/form-data; boundary=" + b"x" * 500,
    b"application/x-www-form-urlencoded",
    b"application/\xff+json",
    b"chunked, chunked",
    b"gzip",
    b"websocket",
    b"1.2.3.4, [::1, :::::, 999.1.1.1:99999999999999",
    b"unix:\xff",
    b"x" * 60_000,
]
BODY = b'{"queries": ["a"], "token": "a guess"}'
NO_HTTP = b"Invalid HTTP request received."
"""What uvicorn says in plain text to what never comes so far as to be a request."""
PATHS = [
    b"/",
    b"/static/app.js",
    b"/api/films/1/thumbnail?t=1",
    b"/media/1",
    b"/login",
    b"/api/search",
    b"/openapi.json",
]


@pytest.fixture(scope="module")
def url(library: Library) -> Iterator[str]:
    """The address of a server that wants TOKEN, believes the proxy that asks, and has little patience."""
    with (
        pytest.MonkeyPatch.context() as patch,
        served(library, ServeConfig(port=0, token=TOKEN, proxies=("127.0.0.1",))) as address,
    ):
        patch.setattr(guard, "BODY_SECONDS", 1.0)
        yield address


def ask(url: str, path: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """The answer to a request with all that is right, and these headers instead or, where the name is there, beside."""
    post = path in (b"/login", b"/api/search")
    headers = {b"host": b"localhost", b"connection": b"close", b"authorization": BEARER["authorization"].encode()}
    if post:
        headers |= {b"content-type": b"application/json", b"content-length": b"%d" % len(BODY)}
    names = {name.lower() for name, _ in extra} - {b"connection"}
    said = [*((name, value) for name, value in headers.items() if name not in names), *extra]
    head = b"".join(b"%s: %s\r\n" % pair for pair in said)
    return raw(url, b"%s %s HTTP/1.1\r\n%s\r\n%s" % (b"POST" if post else b"GET", path, head, BODY * post))


def is_right(answer: bytes) -> bool:
    """Whether it blames the client, if anybody, as the server says such things; nothing is for what was cut off."""
    head = answer.partition(b"\r\n\r\n")[0]
    if not answer or head[9:10] in (b"2", b"3") or answer.endswith(NO_HTTP):
        return True
    return head[9:10] == b"4" and b"application/problem+json" in head


@pytest.mark.parametrize("name", READ)
def test_no_header_breaks_the_server(url: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    header = name.encode()
    for number, value in enumerate(NASTY):
        path = PATHS[number % len(PATHS)]
        for said in ([(header, value)], [(header, value), (header, NASTY[-1 - number])]):
            answer = ask(url, path, *said)
            assert is_right(answer), (path, said, answer[:300])
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "origin", ["http://[::1", "http://]", "http://[::1]:x", "http://localhost:\xb2", "//localhost", "localhost", ""]
)
def test_a_malformed_origin_is_another_site(url: str, path: bytes, origin: str) -> None:
    """Also for who shows no token."""
    for extra in ([], [(b"Authorization", b"")]):
        answer = ask(url, path, (b"Origin", origin.encode("latin-1")), *extra)
        assert answer.startswith(b"HTTP/1.1 403 "), answer[:300]
        assert b"Another site must not ask for this." in answer


def test_all_origins_that_are_said_must_be_the_servers_own(url: str) -> None:
    own = (b"Origin", b"http://localhost:8000")
    assert ask(url, b"/api/films", own).startswith(b"HTTP/1.1 200")
    assert ask(url, b"/api/films", own, (b"Origin", b"http://evil.example")).startswith(b"HTTP/1.1 403")


@settings(max_examples=150, suppress_health_check=list(HealthCheck), print_blob=True)
@given(
    path=st.sampled_from(PATHS),
    headers=st.lists(
        st.tuples(
            st.sampled_from([name.encode() for name in READ]),
            st.sampled_from(NASTY) | st.binary(max_size=40).map(lambda made: made.translate(None, b"\r\n\0")),
        ),
        max_size=4,
    ),
)
@example(path=b"/", headers=[(b"If-Modified-Since", b"0 0 0 0 0")])
def test_no_headers_together_break_the_server(url: str, path: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    answer = ask(url, path, *headers)
    assert is_right(answer), answer[:300]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"9" * 6_000,
        b'{"token": 1e999}',
        b'{"token": NaN}',
        b'{"token": "\\ud800", "queries": ["\\udfff"]}',
        b'{"token": null, "queries": null}',
        b'{"token": "a", "token": ["b"], "queries": [[]]}',
        b'{"token": "' + b"x" * 5_000 + b'"}',
        "null".encode("utf-16"),
    ],
)
@pytest.mark.parametrize("path", [b"/login", b"/api/search", b"/api/cut", b"/api/export?format=csv"])
def test_no_body_breaks_the_server(url: str, path: bytes, body: bytes) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer %s\r\n"
    kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    answer = raw(url, head % (path, TOKEN.encode()) + kind % len(body) + body)
    assert answer[9:12] in (b"400", b"413", b"415", b"422", b"429"), answer[:300]
    assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"/?token=%ff%00&q",
        b"/?token",
        b"/?%ff=%",
        b"//[::1",
        b"http://[::1",
        b"http://evil.example/x",
        b"/%",
        b"?",
        b"/#x",
        b"/\\",
        b"/static/" + b"a" * 5_000,
        b"/static/%00",
        b"/api/films/%ff",
        b"/api/films/" + b"9" * 5_000,
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"CONNECT", b"BREW", b"POST"])
def test_no_address_breaks_the_server(url: str, method: bytes, target: bytes) -> None:
    head = b"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: %s\r\n\r\n"
    answer = raw(url, head % (method, target, BEARER["authorization"].encode()))
    assert is_right(answer), answer[:300]
