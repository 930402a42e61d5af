import os
import pickle

import numpy as np
import pytest

from gmmformer.data import FrameFeatures
from gmmformer.errors import InputError

MATRIX = np.arange(14, dtype=np.float32).reshape(7, 2)
NAMES = ["a_0", "a_1", "b_0", "b_1", "b_2", "c_0", "d_0"]


def write(folder, videos, names=NAMES, matrix=MATRIX, encoding="utf-8"):
    (folder / "feature.bin").write_bytes(matrix.astype("<f4").tobytes())
    (folder / "shape.txt").write_text(f"{matrix.shape[0]} {matrix.shape[1]}\n")
    (folder / "id.txt").write_bytes(" ".join(names).encode(encoding))
    (folder / "video2frames.txt").write_text(str(videos), encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, {"a": ["a_0", "a_1"], "b": ["b_0", "b_1", "b_2"], "c": ["c_0"], "d": ["d_0"]})


def test_rows_of_a_published_file_are_slices(folder):
    frames = FrameFeatures.open(folder)
    assert (frames.rows, frames.dim, frames.video_ids) == (7, 2, ("a", "b", "c", "d"))
    assert [frames.rows_of(video) for video in "abcd"] == [slice(0, 2), slice(2, 5), slice(5, 6), slice(6, 7)]
    features = frames.features_of("b")
    np.testing.assert_array_equal(features, MATRIX[2:5])
    features += 1
    np.testing.assert_array_equal(frames.features_of("b"), MATRIX[2:5])
    assert "a" in frames
    assert "z" not in frames


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\t ", "  "])
def test_any_white_space_between_names(folder, separator):
    (folder / "id.txt").write_text(separator.join(NAMES) + separator, newline="")
    assert FrameFeatures.open(folder).rows_of("d") == slice(6, 7)


def test_odd_orders(tmp_path):
    videos = {
        "c": ["c_0"],  # not where the last one ended
        "a": ["a_1", "a_0"],  # backwards
        "b": ["b_0", "b_1", "b_2"],
        "both": ["a_0", "b_2", "a_0"],  # shared and repeated rows
        "prefix": ["a_0", "a_1", "b_0", "b"],  # 'b' is the beginning of a name, not a name
        "empty": [],
    }
    frames = FrameFeatures.open(write(tmp_path, videos))
    assert frames.rows_of("c") == slice(5, 6)
    assert frames.rows_of("b") == slice(2, 5)
    assert frames.rows_of("a").tolist() == [1, 0]
    np.testing.assert_array_equal(frames.features_of("both"), MATRIX[[0, 4, 0]])
    np.testing.assert_array_equal(np.concatenate(frames.views_of(["a", "b"])), MATRIX[[1, 0, 2, 3, 4]])
    with pytest.raises(InputError, match=r"'prefix' names the row 'b', which is not in id.txt"):
        frames.rows_of("prefix")
    with pytest.raises(InputError, match="'empty' has no rows"):
        frames.rows_of("empty")
    with pytest.raises(InputError, match=r"no entry for video 'z'.*check-data"):
        frames.features_of("z")
    with pytest.raises(InputError, match=r"'Empty', what is there is written 'empty'"):
        frames.features_of("Empty")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_beyond_ascii(tmp_path, encoding):
    names = ["é_0", "é_1", "ü_0", "x", "y", "z", "à"]
    frames = FrameFeatures.open(
        write(tmp_path, {"ü": ["ü_0"], "é": ["é_0", "é_1"], "à": ["à", "x"]}, names, encoding=encoding)
    )
    np.testing.assert_array_equal(frames.features_of("é"), MATRIX[:2])
    np.testing.assert_array_equal(frames.features_of("ü"), MATRIX[2:3])
    np.testing.assert_array_equal(frames.features_of("à"), MATRIX[[6, 3]])


def test_a_copy_in_another_process_maps_the_file_again(folder):
    np.save(folder / "times.npy", np.arange(7.0))
    frames = FrameFeatures.open(folder)
    pickled = pickle.dumps(frames)
    assert len(pickled) < 2000
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.features_of("b"), MATRIX[2:5])
    assert again.seconds_of("c").tolist() == [5.0]


def test_seconds(folder):
    assert FrameFeatures.open(folder).seconds_of("b") is None
    np.save(folder / "times.npy", np.arange(7) * 1.5)
    assert FrameFeatures.open(folder).seconds_of("b").tolist() == [3.0, 4.5, 6.0]


def damage(name, content):
    def apply(folder):
        (folder / name).write_bytes(content)

    return apply


def remove(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (
            lambda folder: os.truncate(folder / "feature.bin", 55),
            "feature.bin",
            "has 55 bytes, but shape.txt says 7 x 2",
        ),
        (damage("shape.txt", b"8 2"), "feature.bin", "has 56 bytes, but shape.txt says 8 x 2"),
        (damage("shape.txt", b"14 1"), "id.txt", "holds 7 names, but shape.txt says 14 rows"),
        (damage("shape.txt", b"7"), "shape.txt", "two whole numbers"),
        (damage("shape.txt", b"7 -2"), "shape.txt", "two whole numbers"),
        (damage("shape.txt", b"0 2"), "shape.txt", "two whole numbers"),
        (damage("id.txt", b"a_0 a_1"), "id.txt", "holds 2 names, but shape.txt says 7 rows"),
        (damage("id.txt", b""), "id.txt", "holds 0 names"),
        (damage("video2frames.txt", b"{'a': [open('x')]}"), "video2frames.txt", "holds code"),
        (damage("times.npy", b"no array"), "times.npy", "not a readable NumPy array"),
        (damage("times.npy", b"PK\x03\x04 half an archive"), "times.npy", "not a readable NumPy array"),
        (
            damage("times.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (7,)}"),
            "times.npy",
            "not a",
        ),
        (lambda folder: np.save(folder / "times.npy", np.zeros(6)), "times.npy", "one float64 for each of the 7 rows"),
        (
            lambda folder: np.save(folder / "times.npy", np.zeros(7, int)),
            "times.npy",
            "one float64 for each of the 7 rows",
        ),
        (remove("feature.bin"), "feature.bin", "missing"),
        (remove("shape.txt"), "shape.txt", "missing"),
        (remove("id.txt"), "id.txt", "missing"),
        (remove("video2frames.txt"), "video2frames.txt", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_on_opening(folder, change, file, message):
    change(folder)
    with pytest.raises(InputError, match=message) as error:
        FrameFeatures.open(folder)
    assert str(folder / file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        FrameFeatures.open(tmp_path / "i3d")
