import json
import os
import shutil

import h5py
import numpy as np
import pytest

from gmmformer.data import check_collection, simulate

FEATURES = "tiny/FeatureData/i3d_resnet"
TEXT = "tiny/TextData"


@pytest.fixture
def root(tiny_collection, tmp_path):
    shutil.copytree(tiny_collection.root / "tiny", tmp_path / "tiny")
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def set_row(root, row, value):
    path = root / FEATURES / "feature.bin"
    values = np.memmap(path, dtype="<f4", mode="r+", shape=(path.stat().st_size // 64, 16))
    values[row] = value
    values.flush()


def set_text(root, caption_id, tokens):
    with h5py.File(root / TEXT / "roberta_tiny_query_feat.hdf5", "a") as file:
        del file[caption_id]
        if tokens is not None:
            file[caption_id] = tokens


def test_a_clean_collection(tiny_collection):
    calls = []
    report = check_collection(tiny_collection.root, "tiny", progress=lambda *call: calls.append(call))
    assert report.usable
    assert report.problems == ()
    assert (report.feature, report.rows, report.dim, report.text_dim) == (
        "i3d_resnet",
        tiny_collection.frames.rows,
        16,
        12,
    )
    assert [(split.split, split.videos, split.sentences) for split in report.splits] == [
        ("train", 24, 120),
        ("val", 8, 40),
        ("test", 8, 40),
    ]
    lengths = [len(tiny_collection.frames.features_of(v)) for v in tiny_collection.captions("val").video_ids]
    assert report.splits[1].rows == (min(lengths), np.median(lengths), max(lengths))
    tokens = [len(s.split()) for s in tiny_collection.captions("val").sentences]
    assert report.splits[1].tokens == (min(tokens), np.median(tokens), max(tokens))
    assert report.table().endswith("no problems")
    assert ("features", report.rows, report.rows) in calls
    assert ("text features", 200, 200) in calls


DAMAGE = [
    (lambda r: os.truncate(r / FEATURES / "feature.bin", 100), "feature.bin", "has 100 bytes, but shape.txt says", ""),
    (lambda r: (r / FEATURES / "feature.bin").unlink(), "feature.bin", "missing", ""),
    (lambda r: (r / FEATURES / "shape.txt").write_text("x"), "shape.txt", "must hold 'ROWS DIM'", ""),
    (lambda r: (r / FEATURES / "shape.txt").write_text("9 16"), "id.txt", "names, but shape.txt says 9 rows", ""),
    (lambda r: (r / FEATURES / "video2frames.txt").write_text("f()"), "video2frames.txt", "holds code", ""),
    (lambda r: (r / FEATURES / "video2frames.txt").unlink(), "video2frames.txt", "cannot be read", ""),
    (
        lambda r: edit(r / FEATURES / "video2frames.txt", "'val_000003'", "'x'"),
        "video2frames.txt",
        "videos of val are missing",
        "val_000003",
    ),
    (
        lambda r: edit(r / FEATURES / "video2frames.txt", "'val_000003_4'", "'x'"),
        "video2frames.txt",
        "rows that are not in id.txt",
        "val_000003 (x)",
    ),
    (
        lambda r: edit(r / FEATURES / "video2frames.txt", "{", "{'e': [], "),
        "video2frames.txt",
        "videos without rows",
        "e",
    ),
    (
        lambda r: edit(r / FEATURES / "video2frames.txt", "'val_000003'", "'val_000004'"),
        "video2frames.txt",
        "video is there more than once",
        "val_000004",
    ),
    (
        lambda r: edit(r / FEATURES / "id.txt", "train_000001_3 ", "train_000001_2 "),
        "id.txt",
        "row name is there more than once",
        "train_000001_2",
    ),
    (lambda r: set_row(r, 7, np.nan), "feature.bin", "NaN", "row 7 (train_000000_7)"),
    (lambda r: set_row(r, 7, -np.inf), "feature.bin", "NaN, infinity", "row 7 (train_000000_7)"),
    (lambda r: np.save(r / FEATURES / "times.npy", np.zeros(3)), "times.npy", "one float64 for each", ""),
    (
        lambda r: set_text(r, "val_000001#enc#2", None),
        "query_feat.hdf5",
        "text features are missing",
        "val_000001#enc#2",
    ),
    (
        lambda r: set_text(r, "val_000001#enc#2", np.zeros((3, 5), np.float32)),
        "query_feat.hdf5",
        "have shape (3, 5)",
        "val_000001#enc#2",
    ),
    (lambda r: set_text(r, "val_000001#enc#2", np.full((3, 12), np.nan)), "query_feat.hdf5", "NaN", "val_000001#enc#2"),
    (
        lambda r: (r / TEXT / "roberta_tiny_query_feat.hdf5").write_bytes(b"?"),
        "query_feat.hdf5",
        "cannot be read as HDF5",
        "",
    ),
    (
        lambda r: edit(r / TEXT / "tinyval.caption.txt", "val_000001#enc#2 ", "\n"),
        "tinyval.caption.txt",
        "empty caption line",
        "line 8",
    ),
    (
        lambda r: edit(r / TEXT / "tinyval.caption.txt", "#enc#2 ", "#enc#1 "),
        "tinyval.caption.txt",
        "is there twice",
        "line 3",
    ),
    (lambda r: (r / TEXT / "tinyval.caption.txt").write_bytes(b""), "tinyval.caption.txt", "there is no caption", ""),
    (lambda r: [path.unlink() for path in (r / TEXT).glob("*.txt")], "TextData", "no caption file", ""),
    (lambda r: shutil.rmtree(r / "tiny/FeatureData"), "FeatureData", "no such folder", ""),
    (lambda r: shutil.copytree(r / FEATURES, r / "tiny/FeatureData/b"), "FeatureData", "several kinds of features", ""),
]


@pytest.mark.parametrize(("damage", "file", "what", "record"), DAMAGE)
def test_every_damage_is_reported(root, damage, file, what, record):
    damage(root)
    report = check_collection(root, "tiny")
    assert not report.usable
    found = [problem for problem in report.problems if what in problem.what and file in problem.file]
    assert found, report.table()
    assert record in found[0].record
    assert all(problem.remedy for problem in report.problems)
    assert what in report.table()
    json.dumps(report.as_dict(), allow_nan=False)


def test_warnings_leave_a_collection_usable(root):
    shutil.copy(root / TEXT / "tinyval.caption.txt", root / TEXT / "tinydev.caption.txt")
    edit(root / FEATURES / "video2frames.txt", ", 'train_000000_9'", "")
    set_row(root, 3, 0)
    report = check_collection(root, "tiny")
    assert report.usable
    assert {problem.severity for problem in report.problems} == {"warning"}
    found = {problem.what: problem for problem in report.problems}
    assert found["videos of dev are also in val"].count == 8
    assert found["rows that no video has"].record == "row 9"
    assert found["rows of zeros"].record == "row 3 (train_000000_3)"


def test_all_is_collected_and_counted_not_raised_at_the_first(root):
    set_row(root, slice(5, 25), np.nan)
    edit(root / FEATURES / "video2frames.txt", "'val_000003'", "'x'")
    set_text(root, "test_000001#enc#2", None)
    os.truncate(root / FEATURES / "feature.bin", (root / FEATURES / "feature.bin").stat().st_size - 1)
    report = check_collection(root, "tiny")
    found = {problem.file.rpartition("/")[2] for problem in report.problems}
    assert found == {"feature.bin", "video2frames.txt", "roberta_tiny_query_feat.hdf5"}
    assert [problem.count for problem in report.problems if "NaN" in problem.what] == [20]
    assert "(20 times)" in report.table()


def test_nothing_there_at_all(tmp_path):
    report = check_collection(tmp_path, "tvr")
    assert not report.usable
    assert report.splits == ()
    assert report.rows is None
    assert "unknown" in report.table()


def test_nothing_is_written_into_the_data(tmp_path):
    simulate(tmp_path, videos=(4, 1, 1), feature_dim=8, query_dim=8)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    check_collection(tmp_path, "tvr")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
