"""What the README and docs/ say can be typed: every command, import, link and picture is there."""

import ast
import functools
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from gmmformer import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Page and text of all fenced blocks of a language."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [
            (page.name, block) for block in re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        ]
    return found


def commands() -> list[tuple[str, list[str]]]:
    """Page and words of every call of gmmformer in a block of commands."""
    found = []
    for page, block in blocks("sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "gmmformer" in words[:1]:
                end = next((place for place, word in enumerate(words) if word in ("|", "<", ">", "&&")), len(words))
                found.append((page, words[1:end]))
    return found


def noted(function: Callable[..., int], called: list[str]) -> Callable[..., int]:
    """A function of the same signature that only notes that it was called."""

    @functools.wraps(function)
    def note(*_: object, **__: object) -> int:
        called.append(function.__name__)
        return 0

    return note


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_commands_are_understood(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    stubs = {name: noted(function, called) for name, function in cli.COMMANDS.items()}
    monkeypatch.setattr(cli, "COMMANDS", stubs)
    monkeypatch.setattr(cli, "train", stubs["train"])
    assert cli.main(words) == 0, page
    assert called == [words[0].replace("-", "_")]


def test_the_pages_have_commands() -> None:
    assert {words[0] for _, words in commands()} == set(cli.COMMANDS) - {"demo"}  # `make demo` is that


@pytest.mark.parametrize(("page", "block"), blocks("python"))
def test_python_imports_what_there_is(page: str, block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gmmformer"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page}: {node.module} has no {alias.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert anchor in slugs, f"{page.name}: {target}"
