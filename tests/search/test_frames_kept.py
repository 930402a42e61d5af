"""Libraries of GMMFormer v2, which scores by frames too: what is kept of them, and scores like those of `evaluate`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests_search_helpers import Words

from gmmformer.cli import main
from gmmformer.config import ModelConfig
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.model import GMMFormerV2, VectorGroup, load_model, similarity
from gmmformer.search import Library, ModelEmbedder
from gmmformer.search.embedding import DualEmbedder, MixedEmbedder, condensed
from gmmformer.search.engines.ann import index_of

GROUPS = (VectorGroup(8, 0.7), VectorGroup(32, 0.3))


@pytest.fixture(scope="module")
def model(tiny_collection: Collection) -> ModelEmbedder:
    """An untrained GMMFormer v2 of the tiny collection's widths, whose scores of frames are often below 0."""
    torch.manual_seed(3)
    config = ModelConfig(
        network="v2",
        feature_dim=tiny_collection.frames.dim,
        query_dim=Words.dim,
        hidden=64,
        heads=2,
        map_size=8,
        max_ctx_l=32,
    )
    return ModelEmbedder(GMMFormerV2(config), Words(), frames_a_clip=4)


def films(count: int, dim: int) -> dict[str, np.ndarray]:
    """Features of films of one row to more than the network sees at once."""
    drawn = np.random.default_rng(4)
    return {
        f"film-{number:02d}": drawn.normal(size=(rows, dim)).astype(np.float32)
        for number, rows in enumerate([1, 2, 7, 8, 9, 31, 32, *drawn.integers(1, 33, count - 7).tolist()])
    }


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_scores_are_those_of_the_network(model: ModelEmbedder, tmp_path: Path, dtype: str) -> None:
    made, sentences = films(40, model.feature_dim), ["a dog", "a boat at night", "somebody opens a door", "z"]
    queries = torch.from_numpy(model.embed_sentences(sentences))
    stored = model.model.encode_video(list(made.values()))
    expected = similarity(queries, stored, model.model.groups).numpy()
    with Library.create(tmp_path / "library", model, store=dtype) as library:
        for name, rows in made.items():
            library.add_film(name, rows)
        for row, hits in zip(expected, library.search_vectors(queries.numpy(), len(made)), strict=True):
            found = {hit.film.path: hit.score for hit in hits}
            assert found.keys() == made.keys()
            allowed = 1e-5 if dtype == "float32" else 4e-3
            np.testing.assert_allclose([found[name] for name in made], row, atol=allowed, rtol=0)
            for hit in hits:
                assert hit.clip_scores.max() == pytest.approx(hit.score, abs=1e-5)
    lengths = torch.tensor([len(rows) for rows in made.values()])
    best = torch.einsum("qd,vfd->qvf", queries, stored[:, 8:]).amax(-1)
    assert (best[:, lengths < 32] >= 0).all()


def test_an_index_finds_what_looking_at_all_of_it_finds(model: ModelEmbedder, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("gmmformer.search.engines.exact.FEW", 10)
    queries = model.embed_sentences(["a dog", "a boat at night", "somebody opens a door"])
    with Library.create(tmp_path / "library", model, engine="ann") as library:
        for name, rows in films(60, model.feature_dim).items():
            library.add_film(name, rows)
        with library.writing() as into:
            into.update_engine(anew=True)
        assert index_of(library.store) is not None
        found = library.search_vectors(queries, 5)
    with Library.open(tmp_path / "library", model, engine="exact") as library:
        for ours, theirs in zip(found, library.search_vectors(queries, 5), strict=True):
            assert [hit.film.path for hit in ours] == [hit.film.path for hit in theirs]
            assert [hit.score for hit in ours] == [hit.score for hit in theirs]


def test_it_is_mixed_with_a_dual_encoder(model: ModelEmbedder, tmp_path: Path) -> None:
    class Square(Words):
        dim = model.feature_dim

    dual = DualEmbedder(Square(), identity="letters-1", clips=8, window_rows=32)
    mixed = MixedEmbedder(model, dual, 0.25)
    rows = list(films(10, model.feature_dim).values())
    queries = mixed.embed_sentences(["a dog"])
    vectors = mixed.embed_windows(rows)
    assert vectors.shape == (10, 40, 64 + model.feature_dim)
    both = torch.einsum("d,wvd->wv", torch.from_numpy(queries[0]), vectors)
    first = torch.from_numpy(model.embed_sentences(["a dog"])[0])
    second = torch.from_numpy(dual.embed_sentences(["a dog"])[0])
    own, other = model.embed_windows(rows) @ first, dual.embed_windows(rows) @ second
    expected = (0.75 * own[:, :8] + 0.25 * other).amax(1) + 0.75 * own[:, 8:].amax(1)
    torch.testing.assert_close(both[:, :8].amax(1) + both[:, 8:].amax(1), expected, atol=1e-5, rtol=0)


@given(st.lists(st.integers(1, 32), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 99))
def test_what_is_kept_stands_for_all_frames(lengths: list[int], each: int, seed: int) -> None:
    drawn = torch.Generator().manual_seed(seed)
    stored = F.normalize(torch.randn(len(lengths), 40, 6, generator=drawn), dim=-1)
    for video, rows in enumerate(lengths):
        stored[video, 8 + rows :] = 0
    kept = condensed(stored, GROUPS, 8 * each)
    assert kept.shape == (len(lengths), 8 + 8 * each, 6)
    assert torch.equal(kept[:, :8], 0.7 * stored[:, :8])
    for video, rows in enumerate(lengths):
        frames, own = 0.3 * stored[video, 8 : 8 + rows], kept[video, 8:]
        lengths_of = own.norm(dim=-1)
        assert ((lengths_of < 1e-6) | ((lengths_of - 0.3).abs() < 1e-6)).all()
        assert (lengths_of[-1] < 1e-6) == (rows < 32), "a nought stands for all behind the end"
        if rows < 8 * each or each == 4:
            same = (frames[:, None] - own).norm(dim=-1).amin(1) < 1e-6
            assert same.all(), "each of so few is kept as it is"
        near = own @ frames.T / 0.09
        assert (near.amax(1)[lengths_of > 0.1] > 0).all(), "a mean is near one of its own"


def test_by_default_as_many_frames_as_clips_are_kept(model: ModelEmbedder, tmp_path: Path) -> None:
    usual = ModelEmbedder(model.model, model.text)
    assert (usual.frames, model.frames) == (8, 32)
    Library.create(tmp_path / "library", usual).close()
    with pytest.raises(InputError, match="belongs to the model"):
        Library.open(tmp_path / "library", model)
    with Library.open(tmp_path / "library", usual) as library:
        assert library.settings.format.vectors == 16


def test_the_command_line_takes_it_all_the_way(
    tiny_collection: Collection, model: ModelEmbedder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.model.save_pretrained(tmp_path / "model")
    library, data = str(tmp_path / "library"), ["--data", str(tiny_collection.root), "--collection", "tiny"]
    assert main(["index", library, *data, "--model", str(tmp_path / "model"), "--frames-a-clip", "2"]) == 0
    assert isinstance(load_model(tmp_path / "library" / "model"), GMMFormerV2)
    assert main(["library", library, "info"]) == 0
    assert main(["library", library, "verify"]) == 0
    with Library.open(library) as opened:
        assert opened.settings.format.vectors == 8 + 16
    assert "scores by clips alone" not in capsys.readouterr().err


def test_more_frames_of_a_model_without_any_are_refused(
    tiny_collection: Collection, tiny_model: ModelEmbedder, tmp_path: Path, refused: Callable[..., str]
) -> None:
    tiny_model.model.save_pretrained(tmp_path / "model")
    asked = ["index", tmp_path / "library", "--data", tiny_collection.root, "--collection", "tiny"]
    model = ["--model", tmp_path / "model", "--frames-a-clip"]
    refused([*asked, *model, "2"], "--frames-a-clip 2", "scores by clips alone")
    refused([*asked, *model, "0"], "--frames-a-clip 0")
    assert not (tmp_path / "library").exists()
