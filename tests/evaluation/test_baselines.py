"""What a model is measured against: baselines on collections made so that it is known who must win."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from gmmformer.cli import main
from gmmformer.errors import InputError
from gmmformer.evaluation import Linear, baselines, chance, evaluate, levelled, metrics_of, ranks, verdict
from gmmformer.model import load_model
from made_collections import DIM, mirrored, plain, write_concepts

linear, module = sys.modules[Linear.__module__], sys.modules[baselines.__module__]
TRAIN = (
    "--hidden 32 --heads 2 --map-size 8 --max-ctx-l 16 --max-desc-l 4 --batch-size 24 --lr 0.005 --drop 0 "
    "--input-drop 0 --device cpu --workers 0 --precision float32"
)


def training(root: Path, out: Path, more: str) -> list[str]:
    return ["train", "--data", str(root), "--collection", "made", "--out", str(out), *TRAIN.split(), *more.split()]


def test_ridge_is_told_where_it_wins_and_the_last_line_says_so(tmp_path, capsys):
    collection = write_concepts(tmp_path, plain)
    assert main(training(tmp_path, tmp_path / "run", "--epochs 1")) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows["ridge"][0] == "100.00"
    assert float(rows["model"][0]) < 100
    assert lines[-1].startswith("the model (SumR ")
    assert "is not better than ridge (400.00) on the same features: give it more captions than the 72" in lines[-1]
    assert main(["evaluate", str(tmp_path / "run"), "--data", str(tmp_path), "--collection", "made", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["baselines"]["ridge"]["R@1"] == 100
    assert "is not better than ridge" in found["verdict"]
    metrics = evaluate(load_model(tmp_path / "run"), collection, "test").metrics
    assert found["verdict"] == verdict(metrics, baselines(collection, "test").metrics, collection)


def test_where_the_model_wins_nothing_is_said(tmp_path, capsys):
    write_concepts(tmp_path, mirrored)
    assert main(training(tmp_path, tmp_path / "run", "--epochs 30")) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert float(rows["ridge"][4]) < 290 < 350 < float(rows["model"][4])  # chance is 233
    assert lines[-1].startswith("chance")


def test_the_end_of_training_as_json(tmp_path, capsys):
    write_concepts(tmp_path, plain)
    assert main(training(tmp_path, tmp_path / "run", "--epochs 1 --json")) == 0
    ended = json.loads(capsys.readouterr().out)
    assert list(ended["baselines"]) == ["ridge"]
    assert main(["train", "--resume", str(tmp_path / "run"), "--json", "--baselines", "none"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == ended | {"baselines": {}, "verdict": ""}


def test_zero_shot_is_the_dual_encoder_s_best_frame_by_the_sentence_s_last_vector(tmp_path):
    collection = write_concepts(tmp_path / "dual", plain, encoders=("dual", "dual"))
    found = baselines(collection, "test").metrics
    assert list(found) == ["zero-shot", "ridge"]
    assert found["zero-shot"].recall == (100, 100, 100, 100)
    line = verdict(chance(12, 12), found, collection)
    assert "not better than zero-shot (400.00) and ridge (400.00)" in line
    assert "index --with zero-shot:dual" in line
    opposite = write_concepts(tmp_path / "opposite", plain, ("dual", "dual"), sign=-1)
    assert baselines(opposite, "test").metrics["zero-shot"].median_rank == 12
    for number, encoders in enumerate((("one", "other"), None)):
        other = write_concepts(tmp_path / str(number), plain, encoders=encoders)
        assert list(baselines(other, "test").metrics) == ["ridge"]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_ridge_is_the_closed_form_whatever_the_blocks(tiny_collection, monkeypatch):
    def rows(video: str) -> np.ndarray:
        return unit(tiny_collection.frames.features_of(video).astype(np.float64))

    def sentences(split: str) -> np.ndarray:
        ids = tiny_collection.captions(split).caption_ids
        return unit(np.stack([unit(tiny_collection.text.tokens_of(name).astype(np.float64)).mean(0) for name in ids]))

    captions, asked = tiny_collection.captions("train"), tiny_collection.captions("val")
    frames = [rows(video) for video in captions.video_ids]
    means = [sentences("train")[captions.video_of_query == video].mean(0) for video in range(len(frames))]
    x, y = np.concatenate(frames), np.repeat(means, [len(each) for each in frames], axis=0)
    square = np.cov(x.T, bias=True)
    penalty = 0.1 * np.trace(square) / len(square) * np.eye(len(square))
    weight = np.linalg.solve(square + penalty, (x - x.mean(0)).T @ (y - y.mean(0)) / len(x))
    queries = unit(sentences("val") - y.mean(0))
    best = [(queries @ unit((rows(video) - x.mean(0)) @ weight).T).max(1) for video in asked.video_ids]
    expected = metrics_of(ranks(np.stack(best, 1), asked.video_of_query), 8)
    monkeypatch.setattr(linear, "_STRENGTHS", (0.1,))
    assert baselines(tiny_collection, "val").metrics == {"ridge": expected}
    for name, value in (("_BATCH", 3), ("_BLOCK", 2), ("_SCORE_BYTES", 5 * 4 * 8), ("_HELD_OUT", 2)):
        monkeypatch.setattr(linear, name, value)
        assert baselines(tiny_collection, "val", workers=1).metrics == {"ridge": expected}


def test_the_strength_is_chosen_on_training_videos(tmp_path, monkeypatch):
    loud = np.random.default_rng(1).standard_normal((4, DIM))

    def amid_noise(rng: np.random.Generator, concept: np.ndarray, number: int) -> np.ndarray:
        return concept + 2 * rng.standard_normal(4) @ loud

    collection, found = write_concepts(tmp_path, amid_noise), {}
    for strengths in ((1e-4,), (1e3,), (1e3, 1e-4)):
        monkeypatch.setattr(linear, "_STRENGTHS", strengths)
        found[strengths] = baselines(collection, "test").metrics["ridge"].sum_recall
    assert found[1e3, 1e-4] == found[1e-4,] > found[1e3,]


def test_what_is_left_out_and_why(tmp_path, monkeypatch, capsys):
    collection = write_concepts(tmp_path, plain)
    assert baselines(collection, "test", which="none") == ({}, ())
    found = baselines(collection, "train")
    assert found == ({}, ("ridge is left out: it would be measured on train, which it learns from",))
    monkeypatch.setattr(module, "MOST_READ", 1)
    assert "say --baselines all" in baselines(collection, "test").left_out[0]
    assert list(baselines(collection, "test", which="all").metrics) == ["ridge"]
    path = tmp_path / "made" / "TextData" / "madetrain.caption.txt"
    path.write_text("train0#enc#0 a thing\nnowhere#enc#0 a thing\n")
    run = training(tmp_path, tmp_path / "run", "--epochs 1 --train-split val --baselines none")
    assert main(run) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("chance")
    evaluating = ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path), "--collection", "made"]
    assert main([*evaluating, "--baselines", "all"]) == 0  # what is wrong with training features is no fault of a model
    assert "ridge is left out: " in (last := capsys.readouterr().out.splitlines()[-1])
    assert "'nowhere'" in last


def test_one_video_to_learn_from(tmp_path):
    collection = write_concepts(tmp_path, plain)
    (tmp_path / "made" / "TextData" / "madetrain.caption.txt").write_text("train0#enc#0 a thing\n")
    assert baselines(collection, "test").metrics["ridge"].queries == 12


def test_the_model_s_own_split_must_be_there(tmp_path):
    with pytest.raises(InputError, match="there is no such split"):
        baselines(write_concepts(tmp_path, plain, encoders=("dual", "dual")), "nowhere")


def test_a_start_is_no_map_where_the_features_find_more_by_themselves(tmp_path):
    one_space = write_concepts(tmp_path / "dual", plain, ("dual", "dual"))
    (tmp_path / "dual" / "made" / "TextData" / "madetrain.caption.txt").write_text(
        "".join(f"train{number}#enc#0 a thing\n" for number in range(4))
    )
    start = Linear(one_space, prepare=levelled).start("train")
    assert np.array_equal(start.weight, np.eye(DIM))
    opposite = write_concepts(tmp_path / "opposite", plain, ("dual", "dual"), sign=-1)
    assert np.diag(Linear(opposite, prepare=levelled).start("train").weight).sum() < 0
    other = write_concepts(tmp_path / "other", plain)
    assert not np.array_equal(Linear(other, prepare=levelled).start("train").weight, np.eye(DIM))
