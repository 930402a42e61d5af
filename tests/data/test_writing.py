import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gmmformer.data import FrameFeatures
from gmmformer.data.captions import TextFeatures, read_captions
from gmmformer.data.writing import video_id, write_captions, write_row_names, write_tokens

ODD = ["plain", "my%20trip/day%20%232", "-dash", "caf\xe9", "\xdf\xff", "a.mp4", "b~2", "%0A", "_1", "_1_0", "{}[],:"]


def write_features(folder: Path, rows_of: dict[str, int]) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    rows = sum(rows_of.values())
    matrix = np.arange(rows * 2, dtype="<f4").reshape(rows, 2)
    matrix.tofile(folder / "feature.bin")
    (folder / "shape.txt").write_text(f"{rows} 2")
    write_row_names(folder, rows_of)
    return matrix


def test_row_names_are_read_back_for_any_video_id(tmp_path: Path) -> None:
    rows_of = {name: number + 1 for number, name in enumerate(ODD)}
    matrix = write_features(tmp_path, rows_of)
    features = FrameFeatures.open(tmp_path)
    assert features.video_ids == tuple(ODD)
    start = 0
    for name, rows in rows_of.items():
        np.testing.assert_array_equal(features.features_of(name), matrix[start : start + rows])
        start += rows


def test_the_files_are_as_published(tmp_path: Path) -> None:
    write_row_names(tmp_path, {"a": 2, "b": 1})
    assert (tmp_path / "id.txt").read_text() == "a_0 a_1 b_0"
    assert (tmp_path / "video2frames.txt").read_text() == "{'a': ['a_0', 'a_1'], 'b': ['b_0']}"


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(NAMES, NAMES)
@example("a b", "a%20b")
@example("\u200b", "\x85")
@example("d\xe9j\xe0 vu", "d\xe9j\xe0_vu")
def test_a_video_id_is_one_plain_word_and_another_name_has_another(name: str, other: str) -> None:
    made = video_id(name)
    assert made.split() == [made]
    assert made.encode("latin-1").split() == [made.encode("latin-1")]
    assert not re.search(r"[#'\"\\\s]", made)
    assert (video_id(other) == made) == (other == name)


def test_letters_are_kept_and_what_latin_1_lacks_is_encoded() -> None:
    assert video_id("caf\xe9-1_2.x") == "caf\xe9-1_2.x"
    assert video_id("\u732b\n") == "%E7%8C%AB%0A"


def test_captions_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    write_captions(path, ["caf\xe9#enc#0", "b/c#enc#0"], ["a  cat\nsits", "\u732b # sits"])
    captions = read_captions(path)
    assert captions.caption_ids == ("caf\xe9#enc#0", "b/c#enc#0")
    assert captions.sentences == ("a cat sits", "\u732b # sits")
    assert captions.video_ids == ("caf\xe9", "b/c")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tokens_are_read_back_whatever_the_folders_in_their_names(tmp_path: Path, dtype: type) -> None:
    names = ["caf\xe9#enc#0", "trip/day/1#enc#0", "trip/day/1#enc#1", "trip/day#enc#0", "a.b#enc#0"]
    tokens = [np.random.default_rng(seed).random((seed + 1, 3)).astype(dtype) for seed in range(len(names))]
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        write_tokens(file, names, tokens)
    text = TextFeatures.open(tmp_path / "t.hdf5")
    for name, array in zip(names, tokens, strict=True):
        found = text.tokens_of(name)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array.astype(np.float32))


def test_tokens_that_do_not_lie_in_a_row_are_written_right(tmp_path: Path) -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        write_tokens(file, ["a#0", "b#0"], [matrix.T, matrix[::2]])
    with h5py.File(tmp_path / "t.hdf5") as file:
        np.testing.assert_array_equal(file["a#0"], matrix.T)
        np.testing.assert_array_equal(file["b#0"], matrix[::2])
