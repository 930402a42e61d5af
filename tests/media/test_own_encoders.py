"""Encoders of the user's own: named package.module:factory, remembered, and run only at the user's word."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gmmformer.cli import main
from gmmformer.config import ModelConfig, Running
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.media.encoders import dual_encoder, frame_encoder, text_encoder
from gmmformer.model import GMMFormer
from gmmformer.search import Library, choose_encoders

PAGE = Path(__file__).parents[2] / "docs" / "films.md"
NUMBERS = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module where it can be imported; its name."""
    monkeypatch.syspath_prepend(tmp_path / "code")

    def write(text: str) -> str:
        name = f"own_{next(NUMBERS)}"
        (tmp_path / "code").mkdir(exist_ok=True)
        (tmp_path / "code" / f"{name}.py").write_text(text)
        return name

    return write


def test_the_example_of_the_docs_runs(
    films_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The module and the commands of the page, as they are printed there; the first in a process of its own."""
    text = PAGE.read_text(encoding="utf-8").partition("### Your own")[2]
    code = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    commands = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "colours.py").write_text(code)
    (tmp_path / "FILMS").symlink_to(films_folder)
    captions = [
        {"video": name, "sentence": words, "split": split}
        for name, words, split in (("a", "red", "train"), ("b", "blue", "val"), ("c", "grey", "test"))
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(caption) + "\n" for caption in captions))
    monkeypatch.chdir(tmp_path)
    export, *lines = (shlex.split(line, comments=True) for line in commands.splitlines())
    assert export == ["export", "PYTHONPATH=.:$PYTHONPATH"]
    assert all(line[0] == "gmmformer" for line in lines)
    first, *others = (line[1:] for line in lines)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", os.environ.get("PYTHONPATH", "")]))
    subprocess.run([sys.executable, "-m", "gmmformer", *first], check=True, timeout=240)
    monkeypatch.syspath_prepend(tmp_path)
    for words in others:
        assert main(words) == 0, words
    origin = Collection.open(tmp_path / "data", "mine").origin()
    assert (origin.video_encoder, origin.text_encoder) == ("colours:Frames", "colours:Words")
    assert "holds 3 films" in capfd.readouterr().out
    assert main(["search", "library", "red"]) == 2
    assert "--trust-encoder" in capfd.readouterr().err


def test_what_a_file_names_is_not_imported(module: Callable[[str], str], tmp_path: Path) -> None:
    name = module(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    config = ModelConfig(feature_dim=8, query_dim=8, hidden=8, heads=2, map_size=4, max_ctx_l=8)
    torch.manual_seed(0)
    for role in ("video_encoder", "text_encoder"):
        GMMFormer(ModelConfig(**{**vars(config), role: f"{name}:frames"})).save_pretrained(tmp_path / role)
        with pytest.raises(InputError, match=r"a file alone does not get run; add --trust-encoder"):
            choose_encoders(tmp_path / role)
        assert main(["index", str(tmp_path / "lib"), str(tmp_path), "--model", str(tmp_path / role)]) == 2
    assert not (tmp_path / "ran").exists()
    assert name not in sys.modules
    with pytest.raises(InputError, match="has nothing to call"):
        choose_encoders(tmp_path / "text_encoder", running=Running(trust_encoder=True))
    assert (tmp_path / "ran").exists()


def test_what_a_library_names_is_not_imported(module: Callable[[str], str], tmp_path: Path) -> None:
    name = module(WORDS)
    config = ModelConfig(feature_dim=8, query_dim=2, hidden=8, heads=2, map_size=4, max_ctx_l=8)
    torch.manual_seed(0)
    GMMFormer(config).save_pretrained(tmp_path / "model")
    encoders = choose_encoders(tmp_path / "model", text_encoder=f"{name}:Words", films=False)
    with Library.create(tmp_path / "library", encoders) as library:
        assert library.search("anything") == []
    del sys.modules[name]
    with pytest.raises(InputError, match=r"its encoder own_\d+:Words is Python code"):
        Library.open(tmp_path / "library").search("anything")
    assert name not in sys.modules
    with Library.open(tmp_path / "library", running=Running(trust_encoder=True)) as library:
        assert library.search("anything") == []


WORDS = """
import numpy as np

class Words:
    name, identity, dim = __name__ + ":Words", "words-1", 2

    def __init__(self, running):
        assert running.device

    def encode(self, sentences):
        return [np.ones((1, 2), np.float32) for _ in sentences]

class Lacking:
    name, identity = __name__ + ":Lacking", "words-1"

    def __init__(self, running):
        pass

    encode = Words.encode

class Misnamed(Words):
    name = "words"

number = 7
"""


def test_what_cannot_be_made_is_told(module: Callable[[str], str]) -> None:
    name, failing = module(WORDS), module("import nothing_of_this_name\n")
    for make, factory, problem in (
        (text_encoder, "no_module_of_this_name:Words", "no_module_of_this_name cannot be imported"),
        (text_encoder, f"{failing}:Words", "No module named 'nothing_of_this_name'"),
        (text_encoder, f"{name}:Gone", "has nothing to call of the name 'Gone'"),
        (text_encoder, f"{name}:number", "has nothing to call of the name 'number'"),
        (text_encoder, f"{name}:Lacking", "is no TextEncoder; it lacks dim"),
        (text_encoder, f"{name}:Misnamed", "own name is 'words'"),
        (frame_encoder, f"{name}:Words", "is no FrameEncoder; it lacks needs_previous, size"),
        (dual_encoder, f"{name}:Words", "is no DualEncoder"),
    ):
        with pytest.raises(InputError, match=re.escape(problem)):
            make(factory)
