import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from gmmformer.data import TextFeatures
from gmmformer.errors import InputError

IDS = [f"v{n // 5}#enc#{n % 5}" for n in range(50)]


def tokens_for(index, dim=6):
    return np.random.default_rng(index).normal(size=(1 + index % 4, dim)).astype(np.float32)


@pytest.fixture(params=["plain", "compressed", "float64", "float16", "user block", "big-endian"])
def path(request, tmp_path):
    path = tmp_path / "roberta_tvr_query_feat.hdf5"
    dtype = {"float64": "<f8", "float16": "<f2", "big-endian": ">f4"}.get(request.param, "<f4")
    with h5py.File(path, "w", userblock_size=512 if request.param == "user block" else 0) as file:
        for index, caption_id in enumerate(IDS):
            compression = "gzip" if request.param == "compressed" else None
            file.create_dataset(caption_id, data=tokens_for(index).astype(dtype), compression=compression)
    return path


def same(text, times=2):
    for _ in range(times):
        for index, caption_id in enumerate(IDS):
            tokens = text.tokens_of(caption_id)
            assert tokens.dtype == np.float32
            np.testing.assert_allclose(tokens, tokens_for(index), atol=2e-3)
    return True


def test_every_storage_is_read(path):
    text = TextFeatures.open(path)
    assert text.dim == 6
    assert same(text)


def test_the_first_and_the_second_reading_agree_to_the_bit(path):
    text = TextFeatures.open(path)
    with h5py.File(path) as file:
        for caption_id in IDS:
            first, second = text.tokens_of(caption_id), text.tokens_of(caption_id)
            np.testing.assert_array_equal(first, second)
            np.testing.assert_array_equal(first, file[caption_id][()].astype(np.float32))


def test_threads_and_copies(path):
    text = TextFeatures.open(path)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, [text] * 8))
    assert len(pickle.dumps(text)) < 500
    assert same(pickle.loads(pickle.dumps(text)))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(tmp_path, method):
    path = tmp_path / "text.hdf5"
    with h5py.File(path, "w") as file:
        for index, caption_id in enumerate(IDS):
            file[caption_id] = tokens_for(index)
    text = TextFeatures.open(path)
    text.tokens_of(IDS[0])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        shape = pool.submit(text.tokens_of, IDS[3]).result().shape
    assert shape == (4, 6)
    assert same(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "are missing"),
        (np.zeros((3, 5), np.float32), r"have shape \(3, 5\), not \(tokens, 6\)"),
        (np.zeros(6, np.float32), r"have shape \(6,\)"),
        (np.zeros((1, 3, 6), np.float32), r"have shape \(1, 3, 6\)"),
        (np.zeros((0, 6), np.float32), r"have shape \(0, 6\)"),
        (np.float32(1), r"have shape \(\)"),
        (np.array([b"a"]), "are of type .S1, not float32"),
        ("group", "are not a dataset"),
    ],
)
def test_what_is_wrong_names_the_caption(tmp_path, data, message):
    path = tmp_path / "text.hdf5"
    with h5py.File(path, "w") as file:
        file["a#0"] = np.ones((2, 6), np.float32)
        if isinstance(data, str):
            file.create_group("b#0")
        elif data is not None:
            file["b#0"] = data
    text = TextFeatures.open(path)
    for _ in range(2):
        with pytest.raises(InputError, match=f"caption 'b#0' {message}") as error:
            text.tokens_of("b#0")
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert text.tokens_of("a#0").shape == (2, 6)


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(InputError, match="missing"):
        TextFeatures.open(tmp_path / "text.hdf5")
    (tmp_path / "text.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        TextFeatures.open(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "text.hdf5", "w"):
        pass
    with pytest.raises(InputError, match="holds no"):
        TextFeatures.open(tmp_path / "text.hdf5")
