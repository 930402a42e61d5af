"""Searching by a picture that is sent, and by a moment of the library, over HTTP."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from tests_web_helpers import patient, served

import tiny_encoders
from gmmformer.config import DecodeLimits
from gmmformer.errors import InputError
from gmmformer.media.frames import frame_at
from gmmformer.search import Library, Spot, choose_encoders, search_like
from gmmformer.web import ServeConfig

PNG, JPEG = {"content-type": "image/png"}, {"content-type": "image/jpeg"}


@pytest.fixture(scope="module")
def seeing(films_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A library of the films of shapes, made with a tiny CLIP."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("seeing")
    clip = tiny_encoders.tiny_clip(folder / "tiny-clip")
    with Library.create(folder / "library", choose_encoders(f"zero-shot:{clip}"), store="float32") as library:
        library.add([films_folder / "shapes"], limits=DecodeLimits(decoders=1))
        yield library


@pytest.fixture(scope="module")
def asked(seeing: Library) -> Iterator[httpx.Client]:
    with served(seeing, ServeConfig(port=0)) as url, patient.Client(base_url=url) as client:
        yield client


def still(film: str, second: float, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(frame_at(film, second, size=None).image).save(data, kind)
    return data.getvalue()


def test_a_picture_that_is_sent_finds_its_film(asked: httpx.Client, seeing: Library) -> None:
    films = seeing.store.films()
    for film in films[:3]:
        answer = asked.post("/api/like?k=2&moments=2", content=still(film.path, 4.5), headers=PNG)
        assert answer.status_code == 200
        best = answer.json()["hits"][0]
        assert (best["film"], best["word"], best["strength"]) == (film.path, None, None)
        assert best["start"] <= 4.5 <= best["end"]
        assert best["strip"]["scores"]
        assert answer.json()["query"] == ""
    data = still(films[0].path, 4.5, "JPEG")
    said = asked.post("/api/like", params={"q": "a star", "words": 0.3, "k": 3}, content=data, headers=JPEG).json()
    hits = search_like(seeing, [data], 3, sentence="a star", words=0.3)
    assert [hit["film"] for hit in said["hits"]] == [hit.film.path for hit in hits]
    assert said["query"] == "a star"


def test_more_like_a_moment_comes_page_by_page(asked: httpx.Client, seeing: Library) -> None:
    film, *others = seeing.store.films()
    every = [hit.film.path for hit in search_like(seeing, [Spot(film.id, 2.5)], 100, fold=False)]
    assert sorted(every) == sorted(other.path for other in others)
    whole, paged = [hit.film.path for hit in search_like(seeing, [Spot(film.id, 2.5)], 100)], []
    for skip in range(0, len(whole) + 3, 3):
        answer = asked.get("/api/like", params={"film": film.id, "second": 2.5, "k": 3, "skip": skip})
        paged += [hit["film"] for hit in answer.json()["hits"]]
    assert paged == whole


def test_what_is_no_picture_is_told_in_a_sentence(
    asked: httpx.Client, seeing: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data, gif, wide = io.BytesIO(), io.BytesIO(), io.BytesIO()
    Image.fromarray(noise).save(data, "JPEG")
    Image.fromarray(noise).save(gif, "GIF")
    Image.new("1", (70_000, 1_000)).save(wide, "PNG")
    for sent, told in (
        (b"no picture", "of no known kind"),
        (gif.getvalue(), "of no known kind"),
        (data.getvalue()[:900], "is no picture that can be read ("),
        (wide.getvalue(), "70000 by 1000 are more than 60,000,000 pixels"),
        (b"", "of no known kind"),
    ):
        answer = asked.post("/api/like", content=sent, headers=JPEG)
        assert (answer.status_code, told in answer.json()["detail"]) == (422, True), answer.text
    for refused, status, told in (
        (asked.post("/api/like", content=b"x", headers={"content-type": "text/plain"}), 415, "a JPEG, PNG or WebP"),
        (asked.post("/api/like", content=bytes(1_000_001), headers=JPEG), 413, "too large"),
        (asked.post("/api/like?words=2", content=data.getvalue(), headers=JPEG), 422, "words: "),
        (asked.get("/api/like?film=1&second=9999"), 422, "second: the film ends at"),
        (asked.get("/api/like?film=999&second=1"), 404, "nothing here"),
    ):
        assert (refused.status_code, told in refused.json()["detail"]) == (status, True), refused.text

    def blind(self: object) -> None:
        raise InputError("it has no picture side")

    monkeypatch.setattr(type(seeing.models.encoders), "frames", property(blind))
    refused = asked.post("/api/like", content=data.getvalue(), headers=JPEG)
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        "This library's model cannot look at pictures here; search by words, or by a moment.",
    )
    assert asked.get("/api/like?film=1&second=1").status_code == 200
