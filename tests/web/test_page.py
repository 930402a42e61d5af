"""The page as it is sent: one script and one style sheet at first, small, and kept by browsers for ever."""

import gzip
import re
from pathlib import Path

import httpx
import pytest

from gmmformer.search import Library
from gmmformer.web.page import STATIC, Page, joined


def names(html: str, kinds: str = 'rel="stylesheet" href|src') -> list[str]:
    return re.findall(rf'(?:{kinds})="(static/[^"]+\.(?:css|js))"', html)


def test_the_page_needs_one_script_and_one_sheet_which_never_change(client: httpx.Client) -> None:
    html = client.get("/")
    sheet, script = names(html.text)
    (later,) = names(html.text, "data-later href")
    for name, kind in ((sheet, "text/css"), (later, "text/css"), (script, "text/javascript")):
        answer = client.get(f"/{name}")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].startswith(kind)
        assert client.head(f"/{name}").status_code == 200
        assert client.post(f"/{name}").status_code == 405
    assert html.headers["cache-control"] == "no-cache"
    assert client.get("/", headers={"if-none-match": html.headers["etag"]}).status_code == 304


def test_a_change_changes_the_name(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="static/a.css" />\n<link rel="stylesheet" href="static/b.css" />\n'
        '<script type="module" src="static/app.js"></script>\n'
    )
    for name, text in {"a.css": "p {}\n", "b.css": "b {}\n", "app.js": "go();\n"}.items():
        (tmp_path / name).write_text(text)
    before = Page(tmp_path)
    assert names(before.html.content.decode()) == [f"static/{name}" for name in before.files]
    assert next(file.content for file in before.files.values()) == b"p {}\nb {}\n"
    (tmp_path / "b.css").write_text("b { color: red }\n")
    after = Page(tmp_path)
    assert [one in before.files for one in after.files] == [False, True]


def test_sizes_follow_the_letters_that_somebody_likes() -> None:
    wrong = [
        f"{sheet.name}: {line.strip()}"
        for sheet in sorted(STATIC.glob("*.css"))
        for line in sheet.read_text().splitlines()
        if "shadow" not in line and any(float(pixels) > 3 for pixels in re.findall(r"([\d.]+)px", line))
    ]
    assert wrong == []


def test_what_a_cold_browser_takes_is_small(client: httpx.Client) -> None:
    taken = 0
    for address in ["/", *(f"/{name}" for name in names(client.get("/").text))]:
        with client.stream("GET", address, headers={"accept-encoding": "gzip, br"}) as answer:
            assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("br", "Accept-Encoding")
            taken += len(b"".join(answer.iter_raw()))
        plain = client.get(address, headers={"accept-encoding": "br;q=0, identity"})
        assert "content-encoding" not in plain.headers
    assert taken < 35_000


def test_answers_are_compressed_and_films_are_not(client: httpx.Client, library: Library) -> None:
    asked = {"accept-encoding": "gzip"}
    with client.stream("GET", "/api/search", params={"q": "a circle"}, headers=asked) as answer:
        packed = b"".join(answer.iter_raw())
    plain = client.get("/api/search", params={"q": "a circle"}, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert re.sub(rb'"seconds":[^,]*', b"", gzip.decompress(packed)) == re.sub(rb'"seconds":[^,]*', b"", plain.content)
    assert len(packed) < 0.5 * len(plain.content)
    film = library.store.films()[0]
    for address in (f"/media/{film.id}", f"/api/films/{film.id}/thumbnail"):
        answer = client.get(address, headers=asked)
        assert "content-encoding" not in answer.headers
        assert int(answer.headers["content-length"]) == len(answer.content)


def test_modules_are_joined_with_their_names_to_themselves(tmp_path: Path) -> None:
    modules = {
        "main": 'import "./side.js";\nimport {\n  one,\n  two as other,\n} from "./low.js";\n'
        'import * as all from "./mid.js";\n',
        "mid": 'import { one } from "./low.js";\nexport async function three() {}\nexport class Four {}\n'
        "export const [FIVE, SIX] = [5, 6];\n",
        "low": "export const one = 1;\nexport function two() {}\nconst kept = 0;\n",
        "side": "// Said of it.\n/**\n * More,\n * even **this**.\n */\nconst kept = 1; // kept\n",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.js").write_text(text)
    text, later = joined(tmp_path, "main")
    assert later == ""
    assert re.findall(r"^const \$(\w+) = \(\(\) => \{$", text, re.MULTILINE) == ["side", "low", "mid", "main"]
    assert re.findall(r"^return .*$", text, re.MULTILINE) == [
        "return {  };",
        "return { one, two };",
        "return { three, Four, FIVE, SIX };",
        "return {  };",
    ]
    assert "const $side = (() => {\nconst kept = 1; // kept\n" in text
    assert "const {\n  one,\n  two: other,\n} = $low;\nconst all = $mid;\n" in text


def test_what_is_imported_later_is_a_script_of_its_own(tmp_path: Path) -> None:
    modules = {
        "app": 'import { low } from "./low.js";\nconst get = () => import("./late.js");\n',
        "low": "export const low = 1;\n",
        "late": 'import { low } from "./low.js";\nimport { own } from "./own.js";\nexport const late = low + own;\n',
        "own": "export const own = 2;\n",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.js").write_text(text)
    (tmp_path / "a.css").write_text("p {}\n")
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="static/a.css" />\n<script type="module" src="static/app.js"></script>\n'
    )
    page = Page(tmp_path)
    _, first, later = page.files
    assert names(page.html.content.decode())[1] == f"static/{first}"
    script, rest = (page.files[name].content.decode() for name in (first, later))
    assert re.findall(r"^const \$(\w+) = \(\(\) => \{$", script, re.MULTILINE) == ["low", "app"]
    assert "const get = () => $rest().then(({ $late }) => $late);\n" in script
    assert f'import("./{later}"' in script
    assert script.endswith("export { $low, $app };\n")
    assert rest.startswith(f'import {{ $low, $app }} from "./{first}";\n')
    assert re.findall(r"^const \$(\w+)", rest, re.MULTILINE) == ["own", "late"]
    (tmp_path / "own.js").write_text("export const own = 3;\n")
    assert not {first, later} & set(Page(tmp_path).files)


@pytest.mark.parametrize(
    "text",
    [
        "export default 1;\n",
        "export let one = 1;\n",
        'export { one } from "./low.js";\n',
        'import one from "./low.js";\n',
        'import { one } from "https://elsewhere.example/low.js";\n',
        "const one = await import(name);\n",
    ],
)
def test_what_cannot_be_joined_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "main.js").write_text(text)
    with pytest.raises(ValueError, match=r"main\.js: cannot be joined, because of "):
        joined(tmp_path, "main")


def test_modules_that_import_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "main.js").write_text('import "./low.js";\n')
    (tmp_path / "low.js").write_text('import "./main.js";\n')
    with pytest.raises(ValueError, match=r"main\.js: imports itself by way of main, low"):
        joined(tmp_path, "main")
