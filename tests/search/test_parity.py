"""Searching a library made from a collection ranks as `evaluate` does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests_search_helpers import index_split, ranked, rebuild

from gmmformer.data import Collection
from gmmformer.evaluation.evaluating import embed_queries, embed_videos, evaluate
from gmmformer.evaluation.ranking import TIE, metrics_of
from gmmformer.model import load_model
from gmmformer.search import Library, ModelEmbedder


@pytest.fixture(scope="module")
def world(minitvr: Path) -> tuple[Collection, ModelEmbedder]:
    """The reference's collection with the published model."""
    return Collection.open(minitvr, "tvr"), ModelEmbedder(load_model(minitvr / "published.ckpt", window="full"))


def queries_of(model: ModelEmbedder, collection: Collection) -> torch.Tensor:
    with torch.no_grad():
        return embed_queries(model.model, collection, "test")


def ranks_of(library: Library, collection: Collection, queries: np.ndarray) -> np.ndarray:
    """The rank of each sentence's own video in the search result, ties against us."""
    captions = collection.captions("test")
    ranks = []
    for query, (films, scores) in enumerate(ranked(library, queries, len(captions.video_ids))):
        own = scores[films.index(captions.video_ids[captions.video_of_query[query]])]
        ranks.append(int((np.array(scores) >= own - TIE).sum()))
    return np.array(ranks)


@pytest.mark.parametrize("engine", ["exact", "ann"])
@pytest.mark.parametrize("dtype", ["float32", "bf16", "int8"])
def test_every_query_ranks_as_evaluate_says(
    world: tuple[Collection, ModelEmbedder], tmp_path: Path, engine: str, dtype: str
) -> None:
    collection, model = world
    if engine == "ann":
        pytest.importorskip("faiss")
    measured = evaluate(model.model, collection, "test", top=10)
    with Library.create(tmp_path / "library", model, store=dtype, engine=engine) as library:
        assert index_split(library, collection, "test") == len(measured.captions.video_ids)
        assert index_split(library, collection, "test") == 0
        rebuild(library)
        queries = queries_of(model, collection).numpy()
        found = ranks_of(library, collection, queries)
        if dtype == "float32":
            np.testing.assert_array_equal(found, measured.ranks)
            top = ranked(library, queries, 10)
            scores = np.array([some for _, some in top])
            np.testing.assert_allclose(scores, measured.top.scores.numpy(), atol=1e-6)
        videos = len(measured.captions.video_ids)
        difference = np.array(metrics_of(found, videos).recall) - np.array(measured.metrics.recall)
        assert np.abs(difference).max() <= (0 if dtype == "float32" else 1.0)


@pytest.mark.parametrize("dtype", ["float32", "bf16", "int8"])
def test_engines_agree(world: tuple[Collection, ModelEmbedder], tmp_path: Path, dtype: str) -> None:
    pytest.importorskip("faiss")
    collection, model = world
    queries = queries_of(model, collection).numpy()
    with Library.create(tmp_path / "library", model, store=dtype, engine="exact") as library:
        index_split(library, collection, "test")
        rebuild(library)
        with Library.open(tmp_path / "library", model, engine="ann") as other:
            for exact, ann in zip(ranked(library, queries, 10), ranked(other, queries, 10), strict=True):
                assert exact[0] == ann[0]
                np.testing.assert_allclose(exact[1], ann[1], atol=1e-6)


def test_exact_engine_finds_what_a_straight_product_finds(
    world: tuple[Collection, ModelEmbedder], tmp_path: Path
) -> None:
    collection, model = world
    ids = collection.captions("test").video_ids
    fused = torch.empty(len(ids), model.clips, model.dim)
    with torch.inference_mode():
        embed_videos(model.model, collection, "test", fused)
    queries = queries_of(model, collection)
    straight = torch.einsum("qd,vcd->qvc", queries.double(), fused.double()).amax(-1)
    with Library.create(tmp_path / "library", model, store="float32", engine="exact") as library:
        index_split(library, collection, "test")
        for row, (films, scores) in zip(straight, ranked(library, queries.numpy(), 5), strict=True):
            best = row.sort(descending=True, stable=True)
            np.testing.assert_allclose(scores, best.values[:5].numpy(), atol=1e-6)
            assert abs(row[ids.index(films[0])] - best.values[0]) < 1e-6


def test_windows_depend_on_their_film_alone(world: tuple[Collection, ModelEmbedder], tmp_path: Path) -> None:
    """A film that fits one window gets the embedding of `evaluate`, whatever it is indexed beside."""
    collection, model = world
    ids = collection.captions("test").video_ids
    fused = torch.empty(len(ids), model.clips, model.dim)
    with torch.inference_mode():
        embed_videos(model.model, collection, "test", fused)
    for index in (0, 7, len(ids) - 1):
        rows = collection.frames.features_of(ids[index])
        if len(rows) <= model.window_rows:
            torch.testing.assert_close(model.embed_windows([rows])[0], fused[index], atol=1e-6, rtol=0)
