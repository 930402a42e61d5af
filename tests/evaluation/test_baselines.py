"""What a model is measured against: baselines on collections made so that it is known who must win."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from gmmformer.cli import main
from gmmformer.data import Collection
from gmmformer.data.writing import write_captions, write_row_names, write_tokens
from gmmformer.errors import InputError
from gmmformer.evaluation import baselines, chance, evaluate, metrics_of, ranks, verdict
from gmmformer.model import load_model

module = sys.modules[baselines.__module__]
DIM, CONCEPTS, ROWS = 24, 12, 6
TRAIN = (
    "--hidden 32 --heads 2 --map-size 8 --max-ctx-l 16 --max-desc-l 4 --batch-size 24 --lr 0.005 --drop 0 "
    "--input-drop 0 --device cpu --workers 0 --precision float32"
)
Row = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


def write(root: Path, row_of: Row, encoders: tuple[str, str] | None = None, sign: float = 1.0) -> Collection:
    """Videos of one concept each, amid noise, and a sentence of two tokens, the last of them a word for the concept.

    With `encoders` the word is the concept's own vector, or the opposite, by `sign`.
    """
    rng = np.random.default_rng(0)
    concepts, words = (np.linalg.qr(rng.standard_normal((DIM, CONCEPTS)))[0].T for _ in range(2))
    words = words if encoders is None else sign * concepts
    text, features = root / "made" / "TextData", root / "made" / "FeatureData" / "f"
    text.mkdir(parents=True)
    features.mkdir(parents=True)
    rows, lengths = [], {}
    with h5py.File(text / "roberta_made_query_feat.hdf5", "w") as file:
        for split, times in {"train": 6, "val": 1, "test": 1}.items():
            videos = {f"{split}{number}": number % CONCEPTS for number in range(times * CONCEPTS)}
            ids = [f"{video}#enc#0" for video in videos]
            write_captions(text / f"made{split}.caption.txt", ids, ["a thing"] * len(ids))
            write_tokens(file, ids, [np.stack([words[0], words[concept]]) for concept in videos.values()])
            for video, concept in videos.items():
                lengths[video] = ROWS
                rows += [row_of(rng, concepts[concept], n) + 0.02 * rng.standard_normal(DIM) for n in range(ROWS)]
    matrix = np.array(rows, "<f4")
    (features / "feature.bin").write_bytes(matrix.tobytes())
    (features / "shape.txt").write_text(f"{len(matrix)} {DIM}")
    write_row_names(features, lengths)
    for folder, name in zip((features, text), encoders or (), strict=False):
        (folder / "extraction.json").write_text(json.dumps({"name": name, "fps": 1.0}))
    return Collection.open(root, "made")


def mirrored(rng: np.random.Generator, concept: np.ndarray, number: int) -> np.ndarray:
    """A frame that no linear map can tell: on one side of zero as often as on the other."""
    return (-1) ** number * concept


def plain(rng: np.random.Generator, concept: np.ndarray, number: int) -> np.ndarray:
    return concept


def training(root: Path, out: Path, more: str) -> list[str]:
    return ["train", "--data", str(root), "--collection", "made", "--out", str(out), *TRAIN.split(), *more.split()]


def test_ridge_is_told_where_it_wins_and_the_last_line_says_so(tmp_path, capsys):
    collection = write(tmp_path, plain)
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
    write(tmp_path, mirrored)
    assert main(training(tmp_path, tmp_path / "run", "--epochs 30")) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert float(rows["ridge"][4]) < 290 < 350 < float(rows["model"][4])  # chance is 233
    assert lines[-1].startswith("chance")


def test_the_end_of_training_as_json(tmp_path, capsys):
    write(tmp_path, plain)
    assert main(training(tmp_path, tmp_path / "run", "--epochs 1 --json")) == 0
    ended = json.loads(capsys.readouterr().out)
    assert list(ended["baselines"]) == ["ridge"]
    assert main(["train", "--resume", str(tmp_path / "run"), "--json", "--baselines", "none"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == ended | {"baselines": {}, "verdict": ""}


def test_zero_shot_is_the_dual_encoder_s_best_frame_by_the_sentence_s_last_vector(tmp_path):
    collection = write(tmp_path / "dual", plain, encoders=("dual", "dual"))
    found = baselines(collection, "test").metrics
    assert list(found) == ["zero-shot", "ridge"]
    assert found["zero-shot"].recall == (100, 100, 100, 100)
    line = verdict(chance(12, 12), found, collection)
    assert "not better than zero-shot (400.00) and ridge (400.00)" in line
    assert "index --with zero-shot:dual" in line
    opposite = write(tmp_path / "opposite", plain, ("dual", "dual"), sign=-1)
    assert baselines(opposite, "test").metrics["zero-shot"].median_rank == 12
    for number, encoders in enumerate((("one", "other"), None)):
        other = write(tmp_path / str(number), plain, encoders=encoders)
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
    monkeypatch.setattr(module, "_STRENGTHS", (0.1,))
    assert baselines(tiny_collection, "val").metrics == {"ridge": expected}
    for name, value in (("_BATCH", 3), ("_BLOCK", 2), ("_SCORE_BYTES", 5 * 4 * 8), ("_HELD_OUT", 2)):
        monkeypatch.setattr(module, name, value)
        assert baselines(tiny_collection, "val", workers=1).metrics == {"ridge": expected}


def test_the_strength_is_chosen_on_training_videos(tmp_path, monkeypatch):
    loud = np.random.default_rng(1).standard_normal((4, DIM))

    def amid_noise(rng: np.random.Generator, concept: np.ndarray, number: int) -> np.ndarray:
        return concept + 2 * rng.standard_normal(4) @ loud

    collection, found = write(tmp_path, amid_noise), {}
    for strengths in ((1e-4,), (1e3,), (1e3, 1e-4)):
        monkeypatch.setattr(module, "_STRENGTHS", strengths)
        found[strengths] = baselines(collection, "test").metrics["ridge"].sum_recall
    assert found[1e3, 1e-4] == found[1e-4,] > found[1e3,]


def test_what_is_left_out_and_why(tmp_path, monkeypatch, capsys):
    collection = write(tmp_path, plain)
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
    collection = write(tmp_path, plain)
    (tmp_path / "made" / "TextData" / "madetrain.caption.txt").write_text("train0#enc#0 a thing\n")
    assert baselines(collection, "test").metrics["ridge"].queries == 12


def test_the_model_s_own_split_must_be_there(tmp_path):
    with pytest.raises(InputError, match="there is no such split"):
        baselines(write(tmp_path, plain, encoders=("dual", "dual")), "nowhere")
