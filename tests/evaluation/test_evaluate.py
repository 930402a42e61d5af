"""Evaluation from files to numbers: the published ones, and by hand on a small collection."""

import json
from contextlib import suppress

import numpy as np
import pytest
import torch

from gmmformer.config import ModelConfig
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.evaluation import (
    NotFiniteError,
    evaluate,
    evaluate_vectors,
    metrics_of,
    metrics_table,
    plot_curves,
    ranks,
)
from gmmformer.evaluation import evaluate as evaluate_function
from gmmformer.model import GMMFormer, VectorGroup, load_model, similarity

PUBLISHED = {
    ("batch", "val"): (4.67, 21.00, 37.67, 100.00),
    ("batch", "test"): (3.25, 13.75, 23.50, 100.00),
    ("full", "val"): (4.67, 21.00, 37.67, 100.00),
    ("full", "test"): (3.25, 13.50, 23.50, 100.00),
}


@pytest.fixture(scope="module")
def minitvr_collection(minitvr) -> Collection:
    return Collection.open(minitvr, "tvr")


@pytest.fixture(scope="module")
def model(tiny_collection) -> GMMFormer:
    torch.manual_seed(0)
    config = ModelConfig(
        feature_dim=16, query_dim=12, hidden=16, heads=2, map_size=4, max_ctx_l=16, max_desc_l=8, drop=0.5
    )
    model = GMMFormer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("window", "split"), sorted(PUBLISHED))
def test_a_published_checkpoint_scores_as_published(minitvr, minitvr_collection, tmp_path, window, split):
    model = load_model(minitvr / "published.ckpt", window=window)
    found = evaluate(model, minitvr_collection, split)
    assert tuple(round(value, 2) for value in found.metrics.recall) == PUBLISHED[window, split]
    model.save_pretrained(tmp_path / "converted")
    again = evaluate(load_model(tmp_path / "converted"), minitvr_collection, split, workers=2)
    assert np.array_equal(again.ranks, found.ranks)


def test_every_number_is_that_of_the_whole_score_matrix(tiny_collection, model):
    model.eval()
    captions = tiny_collection.captions("val")
    with torch.no_grad():
        queries = torch.cat([model.embed_query(b) for b in tiny_collection.query_batches("val", model.config)])
        (videos,) = [model.embed_video(b) for b in tiny_collection.video_batches("val", model.config)]
        whole = similarity(queries, model.stored(videos))
    found = evaluate(model, tiny_collection, "val", top=3)
    expected = ranks(whole.numpy(), captions.video_of_query)
    assert np.array_equal(found.ranks, expected)
    assert found.metrics == metrics_of(expected, 8)
    np.testing.assert_allclose(found.scores, whole.numpy()[np.arange(len(whole)), captions.video_of_query], atol=1e-6)
    best = whole.sort(dim=1, descending=True)
    assert found.top.videos.tolist() == best.indices[:, :3].tolist()
    torch.testing.assert_close(found.top.scores, best.values[:, :3])


def test_evaluation_leaves_the_model_as_it_was(tiny_collection, model):
    for training in (True, False):
        model.train(training)
        evaluate(model, tiny_collection, "val")
        assert model.training is training
        with suppress(InputError):
            evaluate(model, tiny_collection, "no such split")
        assert model.training is training


def test_a_constant_model_finds_nothing(tiny_collection, model):
    constant = GMMFormer(model.config)
    with torch.no_grad():
        for parameter in constant.parameters():
            parameter.zero_()
    found = evaluate(constant, tiny_collection, "val")
    assert (found.ranks == 8).all()
    assert found.metrics.recall == (0.0, 0.0, 100.0, 100.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize(("part", "what"), [("query_input", "sentence 'val_"), ("clip_input", "video 'val_")])
def test_a_model_that_makes_no_numbers_is_told_by_what_it_fails_on(tiny_collection, model, part, what, value):
    broken = GMMFormer(model.config)
    broken.load_state_dict(model.state_dict())
    with torch.no_grad():
        getattr(broken, part).linear.weight[0, 0] = value
        getattr(broken, part).norm.weight.fill_(value)
    with pytest.raises(NotFiniteError, match=rf"the model makes NaN or infinity of {what}.*; take another model"):
        evaluate(broken, tiny_collection, "val")


def test_vectors_that_are_no_numbers_name_their_video(tiny_collection):
    captions = tiny_collection.captions("val")
    queries = torch.eye(len(captions.caption_ids), 40)
    fused, groups = torch.zeros(len(captions.video_ids), 3, 40), (VectorGroup(3, 1.0),)
    assert evaluate_vectors(queries, fused, captions, groups).metrics.queries == len(queries)
    fused[5, 2, 7] = torch.nan
    with pytest.raises(NotFiniteError, match=rf"video '{captions.video_ids[5]}'"):
        evaluate_vectors(queries, fused, captions, groups)
    queries[3, 0] = torch.inf
    with pytest.raises(NotFiniteError, match=rf"sentence '{captions.caption_ids[3]}'"):
        evaluate_vectors(queries, fused, captions, groups)


def test_many_videos_lie_in_a_mapped_file(tiny_collection, model, monkeypatch):
    expected = evaluate(model, tiny_collection, "val")
    monkeypatch.setitem(evaluate_function.__globals__, "_RESIDENT_BYTES", 10)
    found = evaluate(model, tiny_collection, "val")
    assert np.array_equal(found.ranks, expected.ranks)
    assert found.metrics == expected.metrics


def test_the_size_of_the_batches_does_not_matter_with_window_full(tiny_collection, model, monkeypatch):
    expected = evaluate(model, tiny_collection, "val")
    monkeypatch.setitem(evaluate_function.__globals__, "VIDEO_BATCH", 3)
    monkeypatch.setitem(evaluate_function.__globals__, "QUERY_BATCH", 1)
    found = evaluate(model, tiny_collection, "val")
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert np.array_equal(found.ranks, expected.ranks)


def test_what_is_written_of_the_ranks(tiny_collection, model, tmp_path):
    found = evaluate(model, tiny_collection, "val", top=2)
    found.write_ranks(tmp_path / "ranks.jsonl")
    records = [json.loads(line) for line in (tmp_path / "ranks.jsonl").read_text().splitlines()]
    captions = tiny_collection.captions("val")
    assert [record["caption_id"] for record in records] == list(captions.caption_ids)
    assert [record["rank"] for record in records] == found.ranks.tolist()
    for record in records:
        assert record["video"] == record["caption_id"].partition("#")[0]
        assert len(record["top"]) == 2
        assert record["top"][0]["score"] >= record["top"][1]["score"]
        assert (record["rank"] == 1) <= (record["top"][0]["video"] == record["video"])
        assert all(0 <= best["clip"] < 4 for best in record["top"])
    with pytest.raises(InputError, match="cannot be written"):
        found.write_ranks(tmp_path / "nowhere" / "ranks.jsonl")


def test_the_numbers_as_one_object(tiny_collection, model):
    numbers = evaluate(model, tiny_collection, "val").as_dict()
    assert list(numbers) == ["R@1", "R@5", "R@10", "R@100", "SumR", "MedR", "MRR", "queries", "videos", "seconds"]
    assert json.loads(json.dumps(numbers)) == numbers


@pytest.mark.parametrize(("width", "part"), [("feature_dim", "i3d_resnet"), ("query_dim", "hdf5")])
def test_features_of_another_width(tiny_collection, model, width, part):
    other = GMMFormer(ModelConfig(**{**vars(model.config), width: 99}))
    with pytest.raises(InputError, match=rf"{part}: has features of .* dims, but the model takes 99"):
        evaluate(other, tiny_collection, "val")


def test_a_table_and_curves(tiny_collection, model, tmp_path):
    numbers = evaluate(model, tiny_collection, "val").metrics
    lines = metrics_table({"a": numbers, "longer": numbers}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["R@1", "R@5", "R@10", "R@100", "SumR", "MedR", "MRR"]
    plot_curves([{"epoch": 0, "total": 1.0, **numbers.as_dict()}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
