"""A library of real films, small enough to be made for each test run, and a server of it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from gmmformer.config import DecodeLimits
from gmmformer.demo.render import render_film
from gmmformer.demo.world import plan_films
from gmmformer.search import Library, choose_encoders
from gmmformer.web import ServeConfig
from tiny_models import untrained

sys.path.insert(0, str(Path(__file__).parent))

from tests_web_helpers import (
    FILMS,
    MARKED_UP,
    OLD_FILM,
    TOKEN,
    patient,
    served,
    with_sound_and_time_code,
    write_old_film,
)


@pytest.fixture(scope="session")
def films_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten films, nine of them of the demo: one has HTML for a name, an AVI is not for browsers, the others have sound.

    And a broken one.
    """
    folder = tmp_path_factory.mktemp("films")
    (folder / "shapes").mkdir()
    shortest = sorted(plan_films(40, seed=3), key=lambda plan: plan.duration)[: FILMS + 1]
    for plan in shortest[:-1]:
        render_film(plan, folder / "mute.mp4")
        with_sound_and_time_code(folder / "mute.mp4", folder / "shapes" / f"{plan.name}.mp4")
    (folder / "mute.mp4").unlink()
    render_film(shortest[-1], folder / MARKED_UP)
    write_old_film(folder / OLD_FILM)
    (folder / "broken.mp4").write_bytes(b"this is no film" * 100)
    return folder


@pytest.fixture(scope="session")
def library_folder(films_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of those films; its model is untrained, and kept in it."""
    folder = tmp_path_factory.mktemp("libraries")
    model = untrained(folder / "model", seed=7)
    library = Library.create(folder / "library", choose_encoders(model))
    library.add([films_folder], limits=DecodeLimits(decoders=1))
    library.close()
    return folder / "library"


@pytest.fixture(scope="session")
def library(library_folder: Path) -> Iterator[Library]:
    """That library, open; read it, do not change it."""
    with Library.open(library_folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def server_url(library: Library) -> Iterator[str]:
    """The address of a server of that library, without a slash at the end."""
    with served(library, ServeConfig(port=0)) as url:
        yield url


@pytest.fixture
def client(server_url: str) -> Iterator[httpx.Client]:
    """A client of it."""
    with patient.Client(base_url=server_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def locked_url(library: Library) -> Iterator[str]:
    """The address of one that wants TOKEN."""
    with served(library, ServeConfig(port=0, token=TOKEN)) as url:
        yield url


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests share the machine."""
    if os.environ.get("OMP_NUM_THREADS") == "1":
        torch.set_num_threads(1)
