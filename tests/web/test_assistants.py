"""What assistants are answered, by the SDK's own client: in memory, by a process over stdio, and over HTTP."""

import asyncio
import base64
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from mcp.types import CallToolResult
from PIL import Image
from tests_web_helpers import BEARER, TOKEN, patient, served

from gmmformer.cli import main
from gmmformer.errors import InputError
from gmmformer.media.frames import probe
from gmmformer.media.subtitles import Line, Track
from gmmformer.search import Library, search_composed
from gmmformer.search.database import add_lines, has_lines
from gmmformer.search.lines import Said, keep
from gmmformer.web import ServeConfig, create_app, files
from gmmformer.web.assistants import MOST_SAID, assistant
from gmmformer.web.film_work import FilmWork
from gmmformer.web.server import Counters

LINES = ["Good morning, my dear.", "I had a terrible dream about a submarine", "full of cheese."]
NO_FILM = "is no film of the library; give the id or the path that search gives"
HELLO: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@pytest.fixture(scope="module")
def talking(library_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A copy of the library, in whose first film something is said in English, and 1,000 things in its second track."""
    folder = tmp_path_factory.mktemp("talking") / "library"
    shutil.copytree(library_folder, folder)
    with Library.open(folder) as library:
        lines = [Line(3.0 * place, 3.0 * place + 2, text) for place, text in enumerate(LINES)]
        many = [Line(0.01 * place, 0.01 * place + 0.005, f"Zeile {place}") for place in range(1_000)]
        tracks = [
            Track(kind="subtitles", name="film.en.srt", language="en", lines=lines),
            Track(kind="subtitles", name="film.de.srt", language="de", lines=many),
        ]
        with library.writing() as into, into.transaction() as connection:
            if not has_lines(connection):
                add_lines(connection)
            keep(connection, first(library), Said(tracks, "stamp"))
        yield library


@pytest.fixture(scope="module")
def work() -> Iterator[FilmWork]:
    made = FilmWork(Counters())
    yield made
    made.stop()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    return tmp_path / "clips"


@pytest.fixture
def server(talking: Library, work: FilmWork, clips: Path) -> MCPServer[Any]:
    return assistant(talking, work, clips)


def first(library: Library) -> int:
    """The id of a film that is an mp4."""
    return next(film.id for film in library if film.path.endswith(".mp4"))


def within(server: Any, asked: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    """What a client of a server gets."""

    async def ask() -> Any:
        async with Client(server, mode=mode) as client:
            return await asked(client)

    return asyncio.run(ask())


def call(server: Any, tool: str, **arguments: Any) -> CallToolResult:
    return within(server, lambda client: client.call_tool(tool, arguments))


def answer(server: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    result = call(server, tool, **arguments)
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content  # for clients that know text alone
    return result.structured_content


def refusal(server: Any, tool: str, **arguments: Any) -> str:
    """The one sentence that a call is refused with."""
    result = call(server, tool, **arguments)
    assert result.is_error, result.structured_content
    (content,) = result.content
    assert "\n" not in content.text
    assert "Error" not in content.text
    return content.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_assistant_is_told_what_there_is(server: MCPServer[Any], mode: str) -> None:
    tools = within(server, lambda client: client.list_tools(), mode).tools
    assert {tool.name: tool.annotations.read_only_hint for tool in tools} == {
        "search": True,
        "film": True,
        "contact_sheet": True,
        "cut": False,
    }
    assert all(tool.description and not tool.input_schema["additionalProperties"] for tool in tools)
    assert not any("  " in tool.description for tool in tools), "indented as in our code"
    assert "moments" in next(tool.output_schema for tool in tools if tool.name == "search")["properties"]
    (template,) = within(server, lambda client: client.list_resource_templates(), mode).resource_templates
    assert template.uri_template == "film://{id}"


def test_a_search_gives_what_the_library_finds(server: MCPServer[Any], talking: Library) -> None:
    found = answer(server, "search", sentence="a red circle", k=3, moments=2, within=["picture"], min_length=1)
    hits = [hit.to_dict() for hit in talking.search("a red circle", 3, moments=2, within=["picture"], min_length=1)]
    assert [(one["id"], one["film"], one["start"], one["end"]) for one in found["moments"]] == [
        (hit["id"], hit["film"], hit["start"], hit["end"]) for hit in hits
    ]
    assert found["films"] == len(talking)


def test_several_sentences_are_searched_for_together(server: MCPServer[Any], talking: Library) -> None:
    found = answer(server, "search", sentence="a circle", k=2, then=["a square"], also=["a star"], without=["rain"])
    hits = search_composed(talking, ["a circle", "a square"], 2, also=["a star"], without=["rain"])
    assert [(one["id"], one["parts"]) for one in found["moments"]] == [
        (hit.film.id, hit.to_dict()["parts"]) for hit in hits
    ]
    assert "look at the picture alone" in refusal(server, "search", sentence="x", then=["y"], within=["said"])


def test_what_is_said_is_found_and_says_why(server: MCPServer[Any], talking: Library) -> None:
    found = answer(server, "search", sentence='"full of cheese"')
    (moment,) = found["moments"]
    assert (moment["id"], moment["start"], moment["end"]) == (first(talking), 6.0, 8.0)
    assert moment["why"][0]["source"] == "said"
    assert moment["why"][0]["text"] == LINES[2]


def test_a_film_is_told_by_id_and_by_path_with_what_is_said_in_it(server: MCPServer[Any], talking: Library) -> None:
    film = talking.store.film(first(talking))
    told = answer(server, "film", film=film.id)
    assert told == answer(server, "film", film=film.path) == answer(server, "film", film=str(film.id))
    assert [(line["start"], line["end"], line["text"]) for line in told["said"]] == [
        (0.0, 2.0, LINES[0]),
        (3.0, 5.0, LINES[1]),
        (6.0, 8.0, LINES[2]),
    ]
    assert (told["film"], told["track"], told["trouble"]) == (film.path, "film.en.srt", None)
    assert [(track["name"], track["lines"]) for track in told["tracks"]] == [("film.en.srt", 3), ("film.de.srt", 1_000)]
    part = answer(server, "film", film=film.id, start=4, end=6)
    assert [line["text"] for line in part["said"]] == [LINES[1]]


def test_a_long_transcript_is_read_piece_by_piece(server: MCPServer[Any], talking: Library) -> None:
    lines, start = list[str](), 0.0
    while start is not None:
        told = answer(server, "film", film=first(talking), track="film.de.srt", start=start)
        assert len(told["said"]) <= MOST_SAID
        lines += [line["text"] for line in told["said"]]
        start = told["more_from"]
    assert lines == [f"Zeile {place}" for place in range(1_000)]


def test_a_film_is_a_resource_too(server: MCPServer[Any], talking: Library) -> None:
    film = first(talking)
    (content,) = within(server, lambda client: client.read_resource(f"film://{film}")).contents
    assert content.mime_type == "application/json"
    assert json.loads(content.text) == answer(server, "film", film=film)

    async def refused(client: Client) -> None:
        for other in ("999999", "x", "..%2F..%2Fetc%2Fpasswd", "9" * 5_000):
            with pytest.raises(MCPError, match=r"is no film of the library|Unknown resource"):
                await client.read_resource(f"film://{other}")

    within(server, refused)


def test_a_contact_sheet_shows_the_film_or_a_part_of_it(server: MCPServer[Any], talking: Library) -> None:
    film = talking.store.film(first(talking))
    sheets = []
    for part in ({}, {"start": 1.0, "end": 3.0, "pictures": 2}):
        image, told = call(server, "contact_sheet", film=film.id, **part).content
        assert image.mime_type == "image/jpeg"
        sheets.append(Image.open(io.BytesIO(base64.b64decode(image.data))))
        assert told.text.startswith(film.path)
    whole, two = sheets
    assert whole.width == 2 * two.width  # four beside each other, and two
    assert whole.height == 3 * two.height


def test_a_picture_that_cannot_be_decoded_stays_grey(
    server: MCPServer[Any], talking: Library, work: FilmWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = work.thumbnail

    async def sometimes(film: Any, second: float, height: int) -> bytes:
        if second > 2:
            raise InputError("damaged")
        return await real(film, second, height)

    monkeypatch.setattr(work, "thumbnail", sometimes)
    image, told = call(server, "contact_sheet", film=first(talking), start=0, end=4, pictures=2).content
    assert told.text.endswith("; 1 of them cannot be decoded")
    sheet = Image.open(io.BytesIO(base64.b64decode(image.data)))
    red, green, blue = sheet.getpixel((sheet.width - 40, 40))
    assert max(abs(value - 0xCC) for value in (red, green, blue)) < 8
    assert refusal(server, "contact_sheet", film=first(talking), start=3, end=4, pictures=2) == "damaged"


def test_a_clip_is_written_into_its_folder_and_replaces_none(
    server: MCPServer[Any], talking: Library, clips: Path
) -> None:
    names = []
    for _ in range(2):
        told = answer(server, "cut", film=first(talking), start=1, end=3)
        path = Path(told["file"])
        assert path.parent == clips.resolve()
        assert path.stat().st_size == told["bytes"]
        names.append(path.name)
    assert names[1] == f"{names[0].removesuffix('.mp4')}_2.mp4"
    assert 1.9 < probe(clips / names[0]).duration < 3.5
    assert sorted(path.name for path in clips.iterdir()) == sorted(names)  # nothing beside them


def test_a_link_in_the_folder_is_not_written_through(
    server: MCPServer[Any], talking: Library, clips: Path, tmp_path: Path
) -> None:
    told = Path(answer(server, "cut", film=first(talking), start=1, end=2)["file"])
    told.unlink()
    told.symlink_to(tmp_path / "elsewhere")
    assert Path(answer(server, "cut", film=first(talking), start=1, end=2)["file"]).name.endswith("_2.mp4")
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_and_a_folder_that_is_gone_are_told(
    server: MCPServer[Any], talking: Library, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(files, "ROOM", 1 << 60)
        assert "has no room for more clips" in refusal(server, "cut", film=first(talking), start=1, end=2)
    assert list(clips.iterdir()) == []
    clips.rmdir()
    assert "cannot be written" in refusal(server, "cut", film=first(talking), start=1, end=2)


def test_without_a_folder_nothing_can_be_cut(talking: Library, work: FilmWork) -> None:
    server = assistant(talking, work)
    assert "cut" not in {tool.name for tool in within(server, lambda client: client.list_tools()).tools}
    assert call(server, "cut", film=first(talking), start=1, end=2).is_error


FILM = object()
REFUSED = [
    ("search", {}, "sentence: Field required"),
    ("search", {"sentence": ""}, "sentence: String should have at least 1 character"),
    ("search", {"sentence": "  "}, "empty"),
    ("search", {"sentence": "x" * 10_001}, "at most 10000 characters"),
    ("search", {"sentence": "x", "k": 101}, "k: Input should be less than or equal to 100"),
    ("search", {"sentence": "x", "k": 10**30}, "k: "),
    ("search", {"sentence": "x", "moments": 0}, "moments: Input should be greater than or equal to 1"),
    ("search", {"sentence": "x", "within": ["smell"]}, "within.0: Input should be 'picture', 'said', 'written' or"),
    ("search", {"sentence": "x", "min_length": -1}, "min_length: "),
    ("search", {"sentence": "x", "K": 3}, "'K' is no parameter of search; known: also, k, "),
    ("film", {"film": 0}, NO_FILM),
    ("film", {"film": -1}, NO_FILM),
    ("film", {"film": 2**70}, NO_FILM),
    ("film", {"film": "/etc/passwd"}, NO_FILM),
    ("film", {"film": ""}, NO_FILM),
    ("film", {"film": "a\0b"}, NO_FILM),
    ("film", {"film": "../" * 2_000}, NO_FILM),
    ("film", {"film": FILM, "track": "../x.srt"}, "'../x.srt': is no track of "),
    ("film", {"film": FILM, "start": 5, "end": 5}, "end 5: must be after start 5"),
    ("contact_sheet", {"film": FILM, "start": 1e6}, "start: the film ends at "),
    ("contact_sheet", {"film": FILM, "pictures": 31}, "pictures: "),
    ("cut", {"film": FILM, "start": -1, "end": 2}, "start: Input should be greater than or equal to 0"),
    ("cut", {"film": FILM, "start": 3, "end": 2}, "end: must be after start."),
    ("cut", {"film": FILM, "start": 0, "end": 601}, "end: must be at most 600 s after start."),
    ("cut", {"film": FILM, "start": 0, "end": 1e300}, "end: "),
    ("cut", {"film": FILM, "start": "nan", "end": 2}, "start: "),
    ("cut", {"film": FILM, "start": 1, "end": 2, "out": "/tmp/x"}, "'out' is no parameter of cut"),
    ("cut", {"film": "/dev/zero", "start": 1, "end": 2}, NO_FILM),
]


def test_what_makes_no_sense_is_refused_in_one_sentence(server: MCPServer[Any], talking: Library, clips: Path) -> None:
    async def all_of_them(client: Client) -> None:
        for tool, given, told in REFUSED:
            arguments = {name: first(talking) if value is FILM else value for name, value in given.items()}
            result = await client.call_tool(tool, arguments)
            assert result.is_error, (tool, given)
            text = result.content[0].text
            assert told in text, (tool, given, text)
            assert len(text) < 400, (tool, given, text)
            assert not {"\n", "Traceback", "pydantic"} & {*text, *text.split()}, (tool, given, text)

    within(server, all_of_them)
    assert list(clips.iterdir()) == []


def test_a_film_that_has_changed_is_told_of_but_not_opened(work: FilmWork, talking: Library, tmp_path: Path) -> None:
    original = Path(talking.store.film(first(talking)).path)
    film = tmp_path / "film.mp4"
    shutil.copy(original, film)
    with Library.create(tmp_path / "library", talking.folder / "model") as library:
        library.add([film])
        film.write_bytes(b"something else")
        server = assistant(library, work, tmp_path)
        told = answer(server, "film", film=str(film))
        assert "has changed since it was indexed" in told["trouble"]
        assert refusal(server, "contact_sheet", film=str(film)) == told["trouble"]
        assert refusal(server, "cut", film=str(film), start=1, end=2) == told["trouble"]


def test_a_process_answers_over_stdio_and_says_nothing_else_there(talking: Library, tmp_path: Path) -> None:
    words = ["-m", "gmmformer", "mcp", str(talking.folder), "--clips", str(tmp_path / "clips")]
    process = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))

    async def asked(client: Client) -> None:
        found = await client.call_tool("search", {"sentence": "a red circle", "k": 1})
        (moment,) = found.structured_content["moments"]
        span = {"film": moment["id"], "start": moment["start"], "end": moment["end"]}
        assert (await client.call_tool("contact_sheet", span)).content[0].mime_type == "image/jpeg"
        clip = await client.call_tool("cut", span)
        assert Path(clip.structured_content["file"]).parent == tmp_path / "clips"

    within(process, asked, "legacy")


CHATTY = """
import os, subprocess, sys
import gmmformer.search
from gmmformer.cli import main
from gmmformer.errors import InputError

class Chatty:
    def __enter__(self):
        print("entered")
        return self

    def __exit__(self, *_):
        print("closed")

    @property
    def store(self):
        print("said")
        subprocess.run(["echo", "a child"])
        os.write(1, b"written")
        raise InputError("no more")

    @classmethod
    def open(cls, *_, **__):
        print("opened")
        return cls()

gmmformer.search.Library = Chatty
sys.exit(main(["mcp", "nowhere"]))
"""
NAMED = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


def test_nothing_else_is_on_stdout_whoever_prints(tmp_path: Path) -> None:
    asked = [
        "no json",
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": NAMED}),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json.dumps(HELLO | {"id": 2, "method": "tools/call", "params": {"name": "film", "arguments": {"film": 1}}}),
    ]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with (tmp_path / "stderr").open("w+") as errors:
        command = [sys.executable, "-c", CHATTY]
        with subprocess.Popen(command, text=True, stderr=errors, env=os.environ, **pipes) as process:
            process.stdin.write("\n".join([*asked, ""]))
            process.stdin.flush()
            answers = []
            while not answers or answers[-1].get("id") != 2:
                answers.append(json.loads(process.stdout.readline()))
            process.stdin.close()
            assert process.stdout.read() == ""
        assert process.returncode == 0
        errors.seek(0)
        told = errors.read()
    assert {one["jsonrpc"] for one in answers} == {"2.0"}
    assert answers[-1]["result"]["content"] == [{"type": "text", "text": "no more"}]
    for said in ("opened", "entered", "said", "a child", "written", "closed"):
        assert said in told
    assert "Traceback" not in told


def test_a_library_that_is_none_and_a_folder_that_cannot_be_are_refused(
    library_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for words, told in (
        (["mcp", str(tmp_path)], "library"),
        (["mcp", str(library_folder), "--clips", str(tmp_path / "file" / "clips")], "--clips"),
        (["mcp", str(library_folder), "--clips", str(tmp_path / "file")], "--clips"),
        (["serve", str(library_folder), "--clips", str(tmp_path)], "--clips goes with --mcp"),
    ):
        assert main(words) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert told in printed.err
        assert len(printed.err.splitlines()) == 1


# Over HTTP.


@pytest.fixture(scope="module")
def answering(talking: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that answers assistants who show TOKEN."""
    config = ServeConfig(port=0, token=TOKEN, mcp=True, clips=tmp_path_factory.mktemp("clips"))
    with served(talking, config) as url:
        yield url


def test_who_shows_the_token_is_answered_over_http(answering: str, talking: Library) -> None:
    async def asked() -> None:
        async with httpx2.AsyncClient(headers=BEARER, timeout=120) as http:
            for mode in ("auto", "legacy"):
                async with Client(streamable_http_client(f"{answering}/mcp", http_client=http), mode=mode) as client:
                    found = await client.call_tool("search", {"sentence": "a red circle", "k": 2})
                    assert len(found.structured_content["moments"]) == 2
                    cut = {"film": first(talking), "start": 1, "end": 2}
                    assert Path((await client.call_tool("cut", cut)).structured_content["file"]).exists()
                    assert (await client.call_tool("film", {"film": 999})).content[0].text == f"999: {NO_FILM}"

    asyncio.run(asked())


JSON = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def test_who_does_not_is_not(answering: str) -> None:
    def status(**headers: str) -> int:
        return int(patient.post(f"{answering}/mcp", json=HELLO, headers=JSON | headers).status_code)

    assert status(**BEARER) == 200
    assert status() == 401
    assert status(authorization="Bearer of bad news and more") == 401
    assert status(**BEARER, host="evil.example") == 421
    assert status(**BEARER, origin="https://evil.example") == 403
    with patient.Client(headers=JSON | BEARER) as client:
        for method in ("GET", "DELETE"):
            assert client.request(method, f"{answering}/mcp").status_code == 405
    assert patient.post(f"{answering}/mcp", content=b"{" * 2_000_000, headers=JSON | BEARER).status_code == 413
    assert patient.post(f"{answering}/mcp", content=b"no json", headers=JSON | BEARER).status_code == 400
    counted = patient.get(f"{answering}/metrics", headers=BEARER).text
    assert 'gmmformer_requests_total{method="POST",route="/mcp",status="200"}' in counted


def test_nobody_is_answered_where_it_was_not_asked_for(locked_url: str, library: Library) -> None:
    assert patient.post(f"{locked_url}/mcp", json=HELLO, headers=JSON | BEARER).status_code == 404
    with pytest.raises(InputError, match="--clips: is for assistants"):
        ServeConfig(clips="x")
    with pytest.raises(InputError, match="give a --token"):
        ServeConfig(host="0.0.0.0", mcp=True)
    assert "/mcp" not in create_app(library, ServeConfig(mcp=True)).openapi()["paths"]
