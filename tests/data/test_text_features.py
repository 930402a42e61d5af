import multiprocessing
import pickle
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

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


def claim_too_much(file: h5py.File) -> None:
    file.create_dataset("b#0", shape=(10**9, 6), chunks=(10, 6), dtype="<f4")  # 24 GB, of which nothing is there


def inflate(file: h5py.File) -> None:
    made = file.create_dataset(
        "b#0", shape=(2, 6), maxshape=(None, None), chunks=(2, 6), dtype="<f4", compression="gzip"
    )
    made.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**30), 1))


def lie_elsewhere(file: h5py.File) -> None:
    path = Path(file.filename).with_name("secret")
    path.write_bytes(np.ones(12, np.float32).tobytes())
    file.create_dataset("b#0", shape=(2, 6), dtype="<f4", external=[(str(path), 0, 48)])


def other_file(file: h5py.File) -> str:
    path = Path(file.filename).with_name("other.hdf5")
    with h5py.File(path, "w") as other:
        other["b#0"] = np.ones((2, 6), np.float32)
        other["inside/b#0"] = np.ones((2, 6), np.float32)
    return str(path)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 6), "<f4")
    layout[:] = h5py.VirtualSource(other_file(file), "b#0", (2, 6))
    file.create_virtual_dataset("b#0", layout)


ODD = {
    "a huge shape": (claim_too_much, "have shape"),
    "a chunk that inflates to 1 GiB": (inflate, "in pieces that no sentence needs"),
    "bytes of another file": (lie_elsewhere, "lie in another file"),
    "a dataset of another file": (virtual, "lie in another file"),
    "a link to another file": (lambda file: file.update({"b#0": h5py.ExternalLink(other_file(file), "b#0")}), "a link"),
    "a link in a circle": (lambda file: file.update({"b#0": h5py.SoftLink("/b#0")}), "a link"),
    "a link to nothing": (lambda file: file.update({"b#0": h5py.SoftLink("/c")}), "a link"),
    "text": (lambda file: file.update({"b#0": ["a", "b"]}), "are of type object"),
    "references": (lambda file: file.create_dataset("b#0", data=[file.ref], dtype=h5py.ref_dtype), "are of type"),
    "pairs": (lambda file: file.update({"b#0": np.zeros((2, 6), "f4,f4")}), "are of type"),
    "complex numbers": (lambda file: file.update({"b#0": np.zeros((2, 6), complex)}), "are of type complex128"),
    "nothing at all": (lambda file: file.update({"b#0": h5py.Empty("f4")}), "not float32"),
    "a type": (lambda file: file.update({"b#0": np.dtype("f4")}), "are not a dataset"),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ODD))
def test_odd_and_hostile_datasets_are_named(tmp_path, kind):
    make, message = ODD[kind]
    path = tmp_path / "text.hdf5"
    with h5py.File(path, "w") as file:
        file["a#0"] = np.ones((2, 6), np.float32)
        make(file)
    text = TextFeatures.open(path)
    with pytest.raises(InputError, match=f"caption 'b#0' .*{message}") as error:
        text.tokens_of("b#0")
    assert str(error.value).isprintable()
    assert text.tokens_of("a#0").shape == (2, 6)


def test_a_link_in_the_middle_of_a_name_leads_nowhere(tmp_path):
    path = tmp_path / "text.hdf5"
    with h5py.File(path, "w") as file:
        file["a#0"] = np.ones((2, 6), np.float32)
        file["g"] = h5py.ExternalLink(other_file(file), "inside")
    with pytest.raises(InputError, match="are a link to elsewhere"):
        TextFeatures.open(path).tokens_of("g/b#0")


def test_numbers_too_large_for_float32_become_infinite_in_silence(tmp_path):
    with h5py.File(tmp_path / "text.hdf5", "w") as file:
        file["a#0"] = np.full((2, 6), 1e300)
    assert np.isinf(TextFeatures.open(tmp_path / "text.hdf5").tokens_of("a#0")).all()


def test_flipped_bits_anywhere_are_harmless_or_told(tmp_path):
    seed = 0
    for libver in ("earliest", "latest"):
        path = tmp_path / f"{libver}.hdf5"
        with h5py.File(path, "w", libver=libver) as file:
            for index, caption_id in enumerate(IDS[:8]):
                file.create_dataset(caption_id, data=tokens_for(index), compression="gzip" if index % 2 else None)
        whole = path.read_bytes()
        rng = np.random.default_rng(seed)
        told = 0
        for turn in range(150):
            data = bytearray(whole)
            for place in rng.integers(0, len(data) if turn % 2 else 1000, 1 + turn % 5):
                data[place] ^= 1 << rng.integers(8)
            damaged = tmp_path / f"{turn}.hdf5"
            damaged.write_bytes(data)
            try:
                text = TextFeatures.open(damaged)
                faults = [found for found in map(text.tokens_or_fault, IDS[:8]) if isinstance(found, str)]
            except InputError as error:
                faults = [str(error)]
            assert all(fault.isprintable() and len(fault) < 300 for fault in faults), (seed, libver, turn)
            told += bool(faults)
        assert told > 20


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
