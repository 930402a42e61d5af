import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gmmformer.errors import InputError
from gmmformer.search.vectors import DTYPES, STRETCH, Dtype, Records, VectorFormat
from type_checks import unchecked


def drawn(windows: int, clips: int, dim: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.9 * F.normalize(torch.randn(windows, clips, dim, generator=generator), dim=-1)


def unit(queries: int, dim: int, seed: int) -> np.ndarray:
    return F.normalize(torch.randn(queries, dim, generator=torch.Generator().manual_seed(seed)), dim=-1).numpy()


def each_score(form: VectorFormat, queries: np.ndarray, records: Records, at: np.ndarray) -> np.ndarray:
    """The score of every clip, and not only of the best."""
    scores = np.empty((len(queries), len(at), form.clips), dtype=np.float32)
    np.testing.assert_array_equal(form.score(queries, records, at, scores=scores), scores.max(-1, initial=-np.inf))
    return scores


@pytest.mark.parametrize(("dtype", "size", "off"), [("float32", 4, 0.0), ("bf16", 2, 2**-8), ("int8", 1, 0.5 / 127)])
def test_what_is_stored_comes_back(dtype: Dtype, size: int, off: float) -> None:
    form = VectorFormat(dtype=dtype, clips=4, dim=32)
    vectors = drawn(5, 4, 32)
    records = form.encode(vectors)
    assert records.vectors.shape == (5, form.vector_bytes) == (5, 4 * 32 * size)
    assert records.heads.shape == (5, form.head_bytes)
    largest = 2 * vectors.abs().amax(-1, keepdim=True)
    assert ((form.decode(records) - vectors).abs() <= off * 1.01 * largest).all()


@pytest.mark.parametrize("clips", [1, 2, 3, 4, 5, 7, 32])
def test_int8_is_finer_the_more_alike_neighbours_are(clips: int) -> None:
    form = VectorFormat(dtype="int8", clips=clips, dim=64)
    still, steps = drawn(20, 1, 64), 0.02 * drawn(20, clips, 64, seed=1)
    errors = []
    for vectors in (drawn(20, clips, 64), still + steps.cumsum(1)):
        error = (form.decode(form.encode(vectors)) - vectors).abs()
        assert (error <= 0.51 / 127 * 3 * vectors.abs().amax()).all()
        errors.append(float(error.mean()))
    assert errors[1] < errors[0] / 3 or clips == 1


def test_an_error_of_one_clip_does_not_add_to_that_of_the_next() -> None:
    form = VectorFormat(dtype="int8", clips=32, dim=64)
    vectors = drawn(50, 1, 64) + 0.1 * drawn(50, 32, 64, seed=1).cumsum(1)
    error = (form.decode(form.encode(vectors)) - vectors).pow(2).mean((0, 2)).sqrt()
    assert error[0::4].mean() > error[2::4].mean() > error[1::2].mean()


def test_int8_keeps_zeros_and_tiny_vectors() -> None:
    form = VectorFormat(dtype="int8", clips=2, dim=32)
    vectors = torch.stack([torch.zeros(2, 32), torch.full((2, 32), 1e-4)])
    torch.testing.assert_close(form.decode(form.encode(vectors)), vectors, atol=2e-6, rtol=0)


@given(
    st.sampled_from(DTYPES),
    st.integers(1, 9),
    st.sampled_from([1, 3, 8, 32]),
    st.sampled_from([5, 32, 48, 64, 384]),
    st.integers(0, 4),
    st.integers(0, 99),
)
def test_scores_are_those_of_what_is_decoded(
    dtype: Dtype, queries: int, clips: int, dim: int, each: int, seed: int
) -> None:
    form = VectorFormat(dtype=dtype, clips=clips, dim=dim, frames=each * clips)
    records = form.encode(drawn(7, form.vectors, dim, seed))
    wanted, decoded = unit(queries, dim, seed + 1), form.decode(records).double()
    products = torch.einsum("qd,wcd->qwc", torch.from_numpy(wanted).double(), decoded).numpy()
    exact = products[..., :clips] + (products[..., clips:].max(-1, keepdims=True) if each else 0)
    for at in (np.arange(7), np.arange(2, 5), np.array([5, 2, 3, 2])):
        np.testing.assert_allclose(each_score(form, wanted, records, at), exact[:, at], atol=2e-6, rtol=0)
        np.testing.assert_allclose(form.score(wanted, records, at), exact[:, at].max(-1), atol=2e-6, rtol=0)


@given(
    st.sampled_from(DTYPES),
    st.integers(1, 5),
    st.sampled_from([1, 2, 4, 5, 6, 8, 11, 32]),
    st.sampled_from([5, 64]),
    st.integers(0, 4),
    st.integers(0, 99),
)
def test_a_stretch_is_scored_without_the_rest_of_its_window(
    dtype: Dtype, queries: int, clips: int, dim: int, each: int, seed: int
) -> None:
    form = VectorFormat(dtype=dtype, clips=clips, dim=dim, frames=each * clips)
    records = form.encode(drawn(7, form.vectors, dim, seed))
    wanted, firsts = unit(queries, dim, seed), np.arange(0, clips, STRETCH)
    at = np.full(len(firsts), seed % 7)
    every = wanted @ form.decode(records)[at[0]].numpy().T
    best = np.stack([every[:, first : min(first + STRETCH + 1, clips)].max(axis=1) for first in firsts], axis=1)
    if each:
        rows = [slice(clips + first * each, clips + (first + STRETCH) * each + 1) for first in firsts]
        if clips <= STRETCH + 1:
            rows = [slice(clips, None) for _ in firsts]
        best += np.stack([every[:, some].max(axis=1) for some in rows], axis=1)
    np.testing.assert_allclose(form.score(wanted, records, at, firsts), best, atol=1e-6, rtol=0)


def test_where_a_compiled_loop_cannot_be_kept_it_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    form, compiler = VectorFormat(dtype="int8", clips=4, dim=32), numba.njit
    records, query, at = form.encode(drawn(3, 4, 32)), unit(1, 32, 1), np.arange(3)
    kept = form.score(query, records, at)
    anew: list[object] = []

    def nowhere(*given: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        anew.append(given)
        return compiler(*given, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    monkeypatch.delitem(sys.modules, "gmmformer.search.kernels")
    np.testing.assert_array_equal(form.score(query, records, at), kept)
    assert anew


def test_scores_are_read_from_a_mapped_file(tmp_path: Path) -> None:
    form = VectorFormat(dtype="int8", clips=32, dim=64)
    records = form.encode(drawn(9, 32, 64))
    (tmp_path / "vectors").write_bytes(records.vectors.tobytes())
    mapped = np.memmap(tmp_path / "vectors", dtype=np.uint8, mode="c", shape=records.vectors.shape)
    query, at = unit(1, 64, 1), np.array([8, 0])
    part = each_score(form, query, Records(np.asarray(mapped), records.heads), at)
    np.testing.assert_array_equal(part, each_score(form, query, records, at))


def test_an_unknown_dtype_is_refused() -> None:
    with unchecked(), pytest.raises(InputError, match="did you mean 'int8'"):
        VectorFormat(dtype="int", clips=1, dim=1)  # type: ignore[arg-type]
