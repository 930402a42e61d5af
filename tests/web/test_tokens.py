"""The server's token: who shows it is let in, who guesses is slowed down, who logs out is out."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from starlette.datastructures import Headers
from tests_web_helpers import BEARER, TOKEN, patient, served

from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.web import ServeConfig, app
from gmmformer.web.guard import FREE_HEADERS, FREE_LOGINS, GUESSES_A_MINUTE, LONGEST_WAIT, Tokens
from gmmformer.web.problems import ProblemError


@pytest.fixture
def fresh_url(library: Library, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of its own that wants TOKEN, that nobody has guessed at, and whose clock stands still."""
    monkeypatch.setattr(app, "Tokens", partial(Tokens, clock=lambda: 1_000.0))
    with served(library, ServeConfig(port=0, token=TOKEN)) as url:
        yield url


class Clock:
    """A time that passes when it is told to."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def tried(tokens: Tokens, given: str, host: str) -> int:
    """The status that an attempt to log in gets."""
    try:
        tokens.check(given, host)
    except ProblemError as error:
        return error.status
    return 204


def test_a_token_that_can_be_guessed_is_refused_with_a_way_to_make_another() -> None:
    for token in ("x", "open sesame", "x" * 15):
        with pytest.raises(InputError, match=f"has {len(token)} characters, which can be guessed") as refused:
            ServeConfig(token=token)
    command = str(refused.value).partition("prints: ")[2]
    made = subprocess.run(command.replace("python", sys.executable, 1), shell=True, capture_output=True, check=True)
    ServeConfig(token=made.stdout.decode().strip())


CLOSED = [
    "/api/search?q=a",
    "/api/films",
    "/api/library",
    "/media/1",
    "/api/films/1/thumbnail",
    "/metrics",
    "/openapi.json",
    "/nope",
    "/api/events",
]


@pytest.mark.parametrize("address", CLOSED)
def test_without_the_token_nothing_is_told(locked_url: str, address: str) -> None:
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer open sesam"},
        {"authorization": "Bearer open sesamee"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": f"{Tokens(TOKEN).cookie_name}={TOKEN}"},
        {"cookie": f"{Tokens(TOKEN).cookie_name}="},
        {"cookie": f"{Tokens(TOKEN).cookie_name}=;;;=\x7f"},
    ]
    for headers in wrong:
        answer = patient.get(locked_url + address, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["title"] == "Unauthorized"


def test_with_the_token_all_is(locked_url: str) -> None:
    for address in CLOSED[:-2]:
        assert patient.get(locked_url + address, headers=BEARER).status_code == 200
    assert patient.get(f"{locked_url}/nope", headers=BEARER).status_code == 404
    for address in ("/", "/healthz", "/static/app.js"):
        assert patient.get(locked_url + address).status_code == 200


def test_logging_in_leaves_a_cookie_that_is_not_the_token(locked_url: str) -> None:
    with patient.Client(base_url=locked_url) as browser:
        refused = browser.post("/login", json={"token": "guess"})
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
        answer = browser.post("/login", json={"token": TOKEN})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert TOKEN not in cookie
        assert browser.get("/api/films").status_code == 200
        assert browser.get("/api/library").json()["locked"]


def test_a_link_logs_in_and_leads_to_what_it_names(locked_url: str) -> None:
    sentence = "q=a+red%20circle%26&min_length=3"
    for address, wanted in (
        ("/?token={}", "./"),
        ("/?token={}&" + sentence, f"./?{sentence}"),
        (f"/?{sentence}&token={{}}", f"./?{sentence}"),
        ("/?view=library&%74oken={}&films=x&token=again", "./?view=library&films=x"),
        ("/openapi.json?token={}", "./openapi.json"),
        ("/nothing//evil.example/%2e%2e/x?token={}&a", "./x?a"),
        ("//evil.example?token={}", "./evil.example"),
    ):
        with patient.Client(base_url=locked_url) as browser:
            answer = browser.get(locked_url + address.format(TOKEN.replace(" ", "+")))
            assert (answer.status_code, answer.headers["location"]) == (303, wanted)
            assert "HttpOnly" in answer.headers["set-cookie"]
            assert answer.headers["cache-control"] == "no-store"
            assert browser.get("/api/library").status_code == 200
    with patient.Client(base_url=locked_url) as browser:
        refused = browser.get("/?token=guess&q=a")
        assert (refused.status_code, refused.headers["location"]) == (303, "./?q=a")
        assert "set-cookie" not in refused.headers
        assert browser.get("/api/library").status_code == 401
        assert browser.post("/login", json={"token": TOKEN}).status_code == 204


def test_a_server_without_a_token_takes_one_out_of_the_address_too(client: httpx.Client) -> None:
    answer = client.get("/?q=a&token=a-habit")
    assert (answer.status_code, answer.headers["location"]) == (303, "./?q=a")
    assert "set-cookie" not in answer.headers
    assert client.post("/logout").status_code == 204
    assert not client.get("/api/library").json()["locked"]


def test_logging_out_ends_the_session_also_for_a_cookie_that_was_kept(locked_url: str) -> None:
    with patient.Client(base_url=locked_url) as browser, patient.Client(base_url=locked_url) as other:
        for one in (browser, other):
            assert one.post("/login", json={"token": TOKEN}).status_code == 204
        kept = dict(browser.cookies)
        foreign = browser.post("/logout", headers={"origin": "https://evil.example"})
        assert (foreign.status_code, browser.get("/api/films").status_code) == (403, 200)
        answer = browser.post("/logout")
        assert (answer.status_code, answer.headers["clear-site-data"]) == (204, '"cache"')
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert not browser.cookies
        assert browser.get("/api/films").status_code == 401
        assert patient.get(f"{locked_url}/api/films", cookies=kept).status_code == 401
        assert browser.post("/logout").status_code == 204
        assert other.get("/api/films").status_code == 200


def test_a_cookie_of_another_server_or_time_is_worth_nothing() -> None:
    clock = Clock()
    ours, theirs = Tokens("a", clock), Tokens("b", clock)
    cookie = theirs.open_session(secure=True)
    assert cookie.endswith("; Secure")
    assert ours.cookie_name != theirs.cookie_name
    shown = Headers({"cookie": f'json={{"a": [1, "b"]}}; x; {cookie.split(";")[0]}; other=1'})
    theirs.check_request(shown, "10.0.0.7")
    Tokens(None).check_request(Headers({}), "10.0.0.7")
    with pytest.raises(ProblemError):
        ours.check_request(shown, "10.0.0.7")
    clock.now += 30 * 24 * 3600 + 1
    with pytest.raises(ProblemError):
        theirs.check_request(shown, "10.0.0.7")


def test_who_guesses_is_slowed_down_and_noted_without_the_guess(
    fresh_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with patient.Client(base_url=fresh_url) as guessing:
        answers = [guessing.post("/login", json={"token": f"guess number {n}"}) for n in range(30)]
        right = guessing.post("/login", json={"token": TOKEN})
        link = guessing.get("/", params={"token": TOKEN})
    heard = [answer for answer in answers if answer.status_code == 401]
    assert len(heard) == FREE_LOGINS
    assert {answer.status_code for answer in answers} == {401, 429}
    assert 1 <= int(answers[-1].headers["retry-after"]) <= LONGEST_WAIT
    assert "too many wrong tokens" in answers[-1].json()["detail"]
    assert right.status_code == 429
    assert (link.status_code, "set-cookie" in link.headers) == (303, False)
    noted = [record.getMessage() for record in caplog.records if record.name == "gmmformer.web"]
    assert noted == [f"wrong token from 127.0.0.1: number {n} of late" for n in range(1, len(heard) + 1)]
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert patient.get(f"{fresh_url}/api/films", headers=BEARER).status_code == 200  # at the page only


def test_guesses_in_headers_are_slowed_down_too_but_shut_nobody_out(fresh_url: str) -> None:
    with patient.Client(base_url=fresh_url) as client:
        assert client.get("/api/library", headers=BEARER).status_code == 200
        guesses = [client.get("/api/films", headers={"authorization": f"Bearer guess {n}"}) for n in range(60)]
        assert {answer.status_code for answer in guesses} == {401, 429}
        assert sum(answer.status_code == 401 for answer in guesses) == FREE_HEADERS
        assert client.get("/api/library", headers=BEARER).status_code == 200
        assert client.get("/api/films").status_code == 401
        assert client.post("/login", json={"token": TOKEN}).status_code == 204


def test_each_wrong_token_of_an_address_costs_more_than_the_one_before() -> None:
    clock = Clock()
    tokens = Tokens(TOKEN, clock)
    assert [tried(tokens, "guess", "2001:db8::1") for _ in range(FREE_LOGINS)] == [401] * FREE_LOGINS
    assert tried(tokens, TOKEN, "2001:db8::ffff") == 429  # the same network, whichever address
    assert tried(tokens, TOKEN, "2001:db8:0:1::1") == 204
    for seconds in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        clock.now += seconds - 0.01
        assert tried(tokens, TOKEN, "2001:db8::1") == 429
        clock.now += 0.02
        assert tried(tokens, "guess", "2001:db8::1") == 401
    clock.now += 60.01
    assert tried(tokens, TOKEN, "2001:db8::1") == 204
    assert tried(tokens, "guess", "2001:db8::1") == 401  # forgiven
    assert tried(tokens, TOKEN, "2001:db8::1") == 204


def test_an_address_is_as_good_as_new_after_a_while() -> None:
    clock = Clock()
    tokens = Tokens(TOKEN, clock)
    for _ in range(FREE_LOGINS * 3):
        assert tried(tokens, "a slip of the finger", "10.0.0.7") == 401
        clock.now += 901


def test_many_addresses_together_have_so_many_guesses_too_and_the_owner_still_gets_in() -> None:
    clock = Clock()
    tokens = Tokens(TOKEN, clock)
    statuses = [tried(tokens, "guess", f"10.0.{n // 256}.{n % 256}") for n in range(2 * GUESSES_A_MINUTE)]
    assert statuses == [401] * GUESSES_A_MINUTE + [429] * GUESSES_A_MINUTE
    assert tried(tokens, TOKEN, "10.9.9.9") == 429
    assert tried(tokens, TOKEN, "127.0.0.1") == tried(tokens, TOKEN, "::1") == 204
    clock.now += 60.01
    assert tried(tokens, TOKEN, "10.9.9.9") == 204


def test_what_is_remembered_of_strangers_is_bounded() -> None:
    clock = Clock()
    tokens = Tokens(TOKEN, clock)
    for n in range(12_000):
        clock.now += 1
        tried(tokens, "guess", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    for _ in range(12_000):
        tokens.open_session(secure=False)
    assert len(tokens._logins._of) <= 10_000
    assert len(tokens._sessions) <= 10_000
