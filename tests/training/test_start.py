"""A run that begins where the features are: what it scores before it learns, and that nothing worse is kept."""

import json
import signal

import pytest
import torch
import torch.nn.functional as F

from gmmformer.config import ModelConfig
from gmmformer.errors import InputError
from gmmformer.evaluation import Metrics, baselines, evaluate, levelled
from gmmformer.model import GMMFormer, Start, load_model
from gmmformer.presets import PRESETS
from gmmformer.training import resume, train
from gmmformer.training.loop import lead
from gmmformer.training.processes import seed_step
from made_collections import plain, write_concepts

WIDE, DIM, HIDDEN = 20, 12, 16


def start_of(generator: torch.Generator) -> Start:
    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    basis = torch.linalg.qr(drawn(DIM, DIM))[0]
    return Start(0.1 * drawn(WIDE), 0.1 * drawn(DIM), drawn(WIDE, DIM), basis, sentence_spread=1.0, frame_spread=5.0)


def test_the_score_to_begin_with_is_the_map_s_own():
    generator = torch.Generator().manual_seed(3)
    config = ModelConfig(feature_dim=WIDE, query_dim=DIM, hidden=HIDDEN, heads=2, map_size=6, max_ctx_l=6)
    model, start = GMMFormer(config).eval(), start_of(generator)
    model.begin_at(start)
    videos = [torch.randn(6, WIDE, generator=generator) for _ in range(3)]
    sentences = [torch.randn(1, DIM, generator=generator) for _ in range(4)]

    def unit(rows: torch.Tensor) -> torch.Tensor:
        return levelled(F.normalize(rows, dim=1))

    queries = F.normalize(torch.cat([unit(rows) for rows in sentences]) - start.sentence, dim=1)
    frames = [(unit(rows) - start.frame) @ start.weight for rows in videos]
    clip = torch.stack([(queries @ F.normalize(rows, dim=1).T).amax(1) for rows in frames], 1)
    video = torch.stack([queries @ F.normalize(F.normalize(rows, dim=1).mean(0), dim=0) for rows in frames], 1)
    stored = model.encode_video([rows.numpy() for rows in videos])
    found = (model.encode_query([rows.numpy() for rows in sentences]) @ stored.flatten(0, 1).T).view(4, 3, 6).amax(2)
    # the sum of two parts has its maximum where the first has, as the second is one number a video
    torch.testing.assert_close(found, 0.7 * clip + 0.3 * video, atol=0.02, rtol=0)


def test_a_narrow_network_keeps_the_sentences_first_directions():
    generator = torch.Generator().manual_seed(4)
    model = GMMFormer(ModelConfig(feature_dim=WIDE, query_dim=DIM, hidden=4, heads=2, map_size=2, max_ctx_l=4)).eval()
    start = start_of(generator)._replace(sentence=torch.zeros(DIM))
    start = start._replace(basis=torch.linalg.qr(torch.cat([torch.ones(DIM, 1), start.basis[:, 1:]], 1))[0][:, 1:])
    model.begin_at(start)
    kept, lost = start.basis[:, :3].T.numpy(), start.basis[:, 3:].T.numpy()
    kept_vectors = model.encode_query([row[None] for row in kept])
    torch.testing.assert_close(kept_vectors @ kept_vectors.T, torch.eye(3), atol=0.05, rtol=0)
    both = model.encode_query([(row + lost[0])[None] for row in kept])
    torch.testing.assert_close(both, kept_vectors, atol=0.05, rtol=0)


@pytest.fixture
def settings(make_settings, tmp_path):
    more = make_settings(
        {"hidden": 32, "map_size": 8}, {"start": "features", "lr": 1e-9, "epochs": 2, "batch_size": 24}
    )
    return more | {"collection": write_concepts(tmp_path / "data", plain)}


def test_a_run_begins_at_least_as_good_as_ridge_and_keeps_that(settings, tmp_path):
    end = train(path=tmp_path / "run", **settings)
    assert end.best_epoch is None
    collection = settings["collection"]
    found = evaluate(load_model(tmp_path / "run"), collection, "val").metrics
    assert found == end.metrics
    assert found.sum_recall == end.best_sum_recall
    assert found.sum_recall == baselines(collection, "val").metrics["ridge"].sum_recall == 400
    random = train(path=tmp_path / "random", **settings | {"start": "random"})
    assert random.best_sum_recall < 300
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0] == {"kind": "start", **found.as_dict()}


def test_a_start_is_given_up_for_what_is_better_by_more_than_chance(settings, tmp_path, monkeypatch):
    sums = iter([300.0, 300 + lead(1), 300.5 + lead(1), 310 + lead(1), 301.0 + lead(1)])

    def found(*_: object, **__: object) -> object:
        recall = (next(sums) / 4,) * 4
        metrics = Metrics(recall=recall, median_rank=1.0, mean_reciprocal_rank=1.0, queries=1, videos=1)
        return type("Found", (), {"metrics": metrics})()

    monkeypatch.setattr("gmmformer.training.loop.evaluate", found)
    end = train(path=tmp_path / "run", **settings | {"epochs": 4})
    assert (end.best_epoch, end.best_sum_recall) == (2, 310 + lead(1))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["best"] for line in lines if line["kind"] == "epoch"] == [False, True, True, False]


def test_an_interrupted_run_still_knows_its_start(settings, tmp_path, monkeypatch):
    def seed(number: int, at: int, rank: int) -> torch.Generator:
        if at == 4:
            signal.raise_signal(signal.SIGINT)
        return seed_step(number, at, rank)

    whole = train(path=tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr("gmmformer.training.loop.seed_step", seed)
        assert train(path=tmp_path / "run", **settings).stopped == "interrupted"
    end = resume(tmp_path / "run")
    assert (end.best_epoch, end.metrics) == (None, whole.metrics)
    files = [(run / "best" / "model.safetensors").read_bytes() for run in (tmp_path / "whole", tmp_path / "run")]
    assert files[0] == files[1]


def test_another_network_says_that_it_cannot(settings, tmp_path, monkeypatch):
    from gmmformer.model import Network

    monkeypatch.setattr(GMMFormer, "begin_at", Network.begin_at)
    with pytest.raises(InputError, match="--start features"):
        train(path=tmp_path / "run", **settings)


def test_published_presets_begin_as_published():
    assert {name for name, preset in PRESETS.items() if preset.train.start != "random"} == {"few"}
