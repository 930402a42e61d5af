"""The page as it is sent: its style sheets and its modules joined into two files each, named by what they hold."""

import functools
import hashlib
import re
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import brotli

STATIC = Path(__file__).parent / "static"
MAIN = "app.js"
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_IMPORT = re.compile(r'^import (?:(\{[^}]*\}|\* as \w+) from )?"\./([\w.-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+|[\[{][\w, ]+[\]}])", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*|\bimport\(", re.MULTILINE)
_LATER = re.compile(r'\bimport\("\./([\w.-]+)\.js"\)')
_FIRST, _REST = "\0first", "\0rest"
"""Stand for the scripts' names, which follow from what is in both."""
_ASK = f"""let $failed = 0;
const $rest = () => import("./{_REST}" + ($failed ? "?" + $failed : "")).catch((error) => {{
  $failed += 1;
  throw error;
}});
"""
"""Browsers remember that an address could not be imported; another is asked for then."""
_REMARK = re.compile(r"^[ \t]*(?://.*|/\*(?:[^*]|\*(?!/))*\*/[ \t]*)\n", re.MULTILINE)
_SHEETS = [
    re.compile(rf'^ *<link {how} href="static/([\w.-]+)" />\n', re.MULTILINE)
    for how in ('rel="stylesheet"', "data-later")
]
"""Those that the page begins with, and those that a module asks for when it comes."""


class Sent(NamedTuple):
    """A file of the page."""

    content: bytes
    packed: bytes
    """The same, compressed by Brotli as far as it goes."""
    kind: str


class Page:
    """The page, ready to be sent."""

    def __init__(self, folder: Path = STATIC) -> None:
        """Of the modules, style sheets and index.html in a folder."""
        html = (folder / "index.html").read_text()
        script, later = joined(folder, MAIN.removesuffix(".js"))
        js, rest = (f"page-{_digest(text)}" for text in (script + later, later + script))
        names = {_FIRST: f"{js}.js", _REST: f"{rest}.js"}
        self.files: dict[str, Sent] = {}
        """What the files are called below static/, and what they are."""
        for sheet in _SHEETS:
            sheets = sheet.findall(html)
            style = _REMARK.sub("", "".join((folder / name).read_text() for name in sheets))
            if style:
                name = f"page-{_digest(style)}.css"
                self.files[name] = _sent(style, "text/css")
                html = _with_one(html, sheet, sheets[-1]).replace(f"static/{sheets[-1]}", f"static/{name}")
        self.files[f"{js}.js"] = _sent(_named(script, names), "text/javascript")
        if later:
            self.files[f"{rest}.js"] = _sent(_named(later, names), "text/javascript")
        self.html = _sent(html.replace(f"static/{MAIN}", f"static/{js}.js"), "text/html")


@functools.cache
def page() -> Page:
    """The page, made once for a process."""
    return Page()


def joined(folder: Path, main: str) -> tuple[str, str]:
    """A module and all that it imports, as one without comments; each keeps its names to itself.

    What is imported as `import("./name.js")` goes into a second one, with all that only it needs.

    It understands what the page's modules use: imports by name or of all names from files beside, first in a line,
    imports while they run, and exported functions, classes and constants.

    Raises:
        ValueError: A module says something else, or modules import each other in a circle.
    """
    first: dict[str, str] = {}
    rest: dict[str, str] = {}
    wanted = _add(folder, main, first, ())
    while wanted:
        name = wanted.pop()
        if name not in first and name not in rest:
            wanted |= _add(folder, name, rest, (), first)
    if not rest:
        return "".join(first.values()), ""
    shared = ", ".join(f"${name}" for name in first)
    given = ", ".join(f"${name}" for name in rest)
    return (
        "".join([_ASK, *first.values(), f"export {{ {shared} }};\n"]),
        "".join([f'import {{ {shared} }} from "./{_FIRST}";\n', *rest.values(), f"export {{ {given} }};\n"]),
    )


def _add(folder: Path, name: str, to: dict[str, str], above: tuple[str, ...], had: Container[str] = ()) -> set[str]:
    """Put a module after those that it imports, but for those that are there; which modules they want later."""
    if name in above:
        raise ValueError(f"{name}.js: imports itself by way of {', '.join(above)}")
    if name in to or name in had:
        return set()
    text = _REMARK.sub("", (folder / f"{name}.js").read_text())
    wanted = set(_LATER.findall(text))
    for _, other in _IMPORT.findall(text):
        wanted |= _add(folder, other, to, (*above, name), had)
    names = [name for _, given in _EXPORT.findall(text) for name in re.findall(r"\w+", given)]
    text = _EXPORT.sub(r"\1 \2", _IMPORT.sub(_taken, text))
    text = _LATER.sub(r"$rest().then(({ $\1 }) => $\1)", text)
    if left := _OTHER.search(text):
        raise ValueError(f"{name}.js: cannot be joined, because of {left[0]!r}")
    to[name] = f"const ${name} = (() => {{\n{text}return {{ {', '.join(names)} }};\n}})();\n"
    return wanted


def _with_one(html: str, sheet: re.Pattern[str], last: str) -> str:
    """With one alone of the links to style sheets of a kind."""
    return sheet.sub(lambda found: found[0] if found[1] == last else "", html)


def _taken(found: re.Match[str]) -> str:
    names, module = found.groups()
    if names is None:
        return ""
    given = names.removeprefix("* as ") if names.startswith("*") else names.replace(" as ", ": ")
    return f"const {given} = ${module};\n"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _named(text: str, names: dict[str, str]) -> str:
    for sign, name in names.items():
        text = text.replace(sign, name)
    return text


def _sent(text: str, kind: str) -> Sent:
    return Sent(text.encode(), brotli.compress(text.encode(), quality=11), kind)
