"""The page as it is sent: its modules and its style sheets joined into a file of each kind, named by what they hold."""

import hashlib
import re
from pathlib import Path

STATIC = Path(__file__).parent / "static"
MAIN = "app.js"
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
_IMPORT = re.compile(r'^import (?:(\{[^}]*\}|\* as \w+) from )?"\./([\w.-]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+|[\[{][\w, ]+[\]}])", re.MULTILINE)
_OTHER = re.compile(r"^(?:import|export)\b.*|\bimport\(", re.MULTILINE)
_REMARK = re.compile(r"^[ \t]*(?://.*|/\*(?:[^*]|\*(?!/))*\*/[ \t]*)\n", re.MULTILINE)
_SHEET = re.compile(r'^ *<link rel="stylesheet" href="static/([\w.-]+)" />\n', re.MULTILINE)


class Page:
    """The page, ready to be sent."""

    def __init__(self, folder: Path = STATIC) -> None:
        """Of the modules, style sheets and index.html in a folder."""
        html = (folder / "index.html").read_text()
        sheets = _SHEET.findall(html)
        style = _REMARK.sub("", "".join((folder / name).read_text() for name in sheets)).encode()
        script = joined(folder, MAIN.removesuffix(".js")).encode()
        self.files = {_named(style, "css"): (style, "text/css"), _named(script, "js"): (script, "text/javascript")}
        """What the files are called below static/, with their bytes and types."""
        css, js = self.files
        html = _SHEET.sub("", html, count=len(sheets) - 1).replace(f"static/{sheets[-1]}", f"static/{css}")
        self.html = html.replace(f"static/{MAIN}", f"static/{js}").encode()


def joined(folder: Path, main: str) -> str:
    """A module and all that it imports, as one module without its comments; each keeps its names to itself.

    It understands what the page's modules use: imports by name or of all names from files beside, first in a line,
    and exported functions, classes and constants.

    Raises:
        ValueError: A module says something else, or modules import each other in a circle.
    """
    done: dict[str, str] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"{name}.js: imports itself by way of {', '.join(above)}")
        if name in done:
            return
        text = _REMARK.sub("", (folder / f"{name}.js").read_text())
        for _, other in _IMPORT.findall(text):
            add(other, (*above, name))
        names = [name for _, given in _EXPORT.findall(text) for name in re.findall(r"\w+", given)]
        text = _EXPORT.sub(r"\1 \2", _IMPORT.sub(_taken, text))
        if left := _OTHER.search(text):
            raise ValueError(f"{name}.js: cannot be joined, because of {left[0]!r}")
        done[name] = f"const ${name} = (() => {{\n{text}return {{ {', '.join(names)} }};\n}})();\n"

    add(main, ())
    return "".join(done.values())


def _taken(found: re.Match[str]) -> str:
    names, module = found.groups()
    if names is None:
        return ""
    given = names.removeprefix("* as ") if names.startswith("*") else names.replace(" as ", ": ")
    return f"const {given} = ${module};\n"


def _named(content: bytes, kind: str) -> str:
    return f"page-{hashlib.blake2b(content, digest_size=8).hexdigest()}.{kind}"
