"""The command `serve`: what it serves, and what it refuses before it does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import gmmformer.web
from gmmformer.cli.serving import serve
from gmmformer.demo import run as demo
from gmmformer.errors import InputError


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Collects what would be served."""
    calls: list[tuple[Any, Any]] = []

    def collect(library: Any, config: Any, *, ready: Any) -> None:
        calls.append((library.folder, config))
        ready("http://127.0.0.1:8000/")

    monkeypatch.setattr(gmmformer.web, "serve", collect, raising=False)
    monkeypatch.delenv("GMMFORMER_TOKEN", raising=False)
    return calls


def test_a_library_is_served(
    library_folder: Path, served: list[tuple[Any, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve(library_folder, port=1234, allow_host=("films.example.org",)) == 0
    ((folder, config),) = served
    assert (folder, config.port, config.token) == (library_folder, 1234, None)
    assert config.goes_by("films.example.org")
    assert capsys.readouterr().out == "serving at http://127.0.0.1:8000/\n"


def test_an_open_address_is_refused_before_anything_is_loaded(served: list[tuple[Any, Any]]) -> None:
    with pytest.raises(InputError, match="give a --token"):
        serve(Path("nowhere"), host="0.0.0.0")
    assert not served


def test_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name the library to serve"):
        serve()
    with pytest.raises(InputError, match="library"):
        serve(tmp_path)


def test_the_demo_is_made_if_it_is_missing(
    library_folder: Path, served: list[tuple[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def run_demo(out: Path, **_: Any) -> Any:
        made.append(out)
        (tmp_path / "library").symlink_to(library_folder)
        return SimpleNamespace(library=tmp_path / "library")

    monkeypatch.setattr(demo, "run_demo", run_demo)
    for _ in range(2):
        assert serve(tmp_path, demo=True, token="sixteen letters!") == 0
    assert made == [tmp_path]
    assert [folder for folder, _ in served] == [tmp_path / "library"] * 2
    assert served[0][1].token == "sixteen letters!"
