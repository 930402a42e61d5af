"""What the README and docs/ say can be typed: every command, import, link and picture is there."""

import ast
import functools
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gmmformer import Collection, GMMFormer, InputError, cli, simulate, train
from gmmformer.demo.encoders import ShapeWords
from gmmformer.demo.render import render_films
from gmmformer.demo.world import plan_films
from gmmformer.search import IndexReport
from gmmformer.training import TrainingEnd
from tiny_models import untrained

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


def test_the_first_steps_work_as_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = GMMFormer.from_pretrained(untrained(Path("runs/mine"), seed=5))
    render_films(plan_films(3, seed=3), Path("FILMS"), workers=1)
    next(Path("FILMS").glob("*.mp4")).rename("FILMS/trip.mp4")
    simulate(Path("ROOT"), like="tvr", videos=(12, 4, 4), feature_dim=24, query_dim=16)
    wide, deep = model.config.feature_dim, model.config.query_dim
    given = {"frames_a": np.ones((5, wide)), "frames_b": np.ones((9, wide)), "tokens": np.ones((3, deep))}
    page = (ROOT / "docs/python-api.md").read_text(encoding="utf-8").partition("## First steps")[2]
    lines = page.split("```python\n")[1].split("```")[0].splitlines()
    said = {}
    for line in filter(None, lines):
        try:
            said[line] = eval(line, given)
        except SyntaxError:
            exec(line, given)
    scores, hits, both, facts, recall = [
        value for value in said.values() if not isinstance(value, TrainingEnd | IndexReport)
    ]
    assert scores.shape == (1, 2)
    assert not scores.requires_grad
    assert len({hit.film.path for hit in hits}) == 3
    assert [len({hit.film.path for hit in some}) for some in both] == [3, 3]
    assert facts[:2] == (3, True)
    assert min(facts[2]) > 1
    assert len(recall) == 4
    with pytest.raises(InputError, match=f"trained on those of {re.escape(ShapeWords.name)}.*has no text encoder"):
        model.encode_query(["a dog"])
    model.words = ShapeWords().encode
    assert model.encode_query(["a dog", "a red square"]).shape == (2, model.config.hidden)
    with pytest.raises(InputError, match="epocks: there is no such setting; did you mean 'epochs'"):
        train(Collection.open("ROOT", "tvr"), "runs/other", epocks=3)
    with pytest.raises(TypeError, match="top_k"):
        given["lib"].search("a dog", top_k=3)


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
