"""Windows read where they lie and windows copied score the same, and the copied ones hold no memory."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tests_search_helpers import Plain, drawn_film, held_of, put, unit_queries

from gmmformer.search import Library, snapshot
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.vectors import DTYPES, STRETCH, Dtype

WIDE = Plain(dim=96, clips=32)


def some_library(folder: Path, dtype: Dtype, films: int, monkeypatch: pytest.MonkeyPatch) -> Library:
    """In several parts."""
    monkeypatch.setattr("gmmformer.search.writer.PART_BYTES", films // 3 * WIDE.clips * WIDE.dim)
    library = Library.create(folder, WIDE, store=dtype)
    for first in range(0, films, films // 8):
        put(library, [drawn_film(first + seed, embedder=WIDE) for seed in range(films // 8)])
    return library


def scattered(state: Snapshot) -> np.ndarray:
    return np.sort(np.random.default_rng(1).choice(len(state.windows), len(state.windows) // 4, replace=False))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_what_is_copied_scores_as_what_is_read_where_it_lies(
    dtype: Dtype, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with some_library(tmp_path / "library", dtype, 320, monkeypatch) as library:
        here = library.store.snapshot()
        assert len(here.parts) >= 3
        assert sum(here._near.values()) == len(here.windows)
        monkeypatch.setattr(snapshot, "NEAR_BYTES", int(share * len(here.windows)) * here.format.vector_bytes)
        put(library, [drawn_film(1_000, embedder=WIDE)])
        there = library.store.snapshot()
        assert sum(there._near.values()) == int(share * len(here.windows))
        queries, slots = unit_queries(5, WIDE.dim), scattered(here)
        firsts = np.random.default_rng(2).integers(0, WIDE.clips // STRETCH, len(slots)) * STRETCH
        for asked in (queries, queries[:1]):
            for begin in (firsts, None):
                expected = here.score(asked, slots, begin)
                np.testing.assert_array_equal(there.score(asked, slots, begin), expected)
        np.testing.assert_array_equal(there.clip_scores(queries[0], slots), here.clip_scores(queries[0], slots))
        np.testing.assert_array_equal(there.fused(slots), here.fused(slots))
        every = np.arange(len(here.windows))
        np.testing.assert_array_equal(there.score(queries, every), here.score(queries, every))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says what a mapping holds")
@pytest.mark.parametrize("dtype", DTYPES)
def test_scattered_windows_hold_no_more_than_the_near_ones(
    dtype: Dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with some_library(tmp_path / "library", dtype, 2_400, monkeypatch) as library:
        held, state = [], library.store.snapshot()
        size = len(state.windows) * state.format.vector_bytes
        for near in (0, size // 3):
            monkeypatch.setattr(snapshot, "NEAR_BYTES", near)
            vars(state).pop("_near", None)
            for _ in range(3):
                state.score(unit_queries(1, WIDE.dim), scattered(state))
                state.clip_scores(unit_queries(1, WIDE.dim)[0], scattered(state)[:7])
                state.fused(scattered(state))
            held.append(held_of(library.folder.glob("*-vectors.bin")))
        assert held[0] == 0
        assert 0 < held[1] < 0.6 * size
        state.score(unit_queries(1, WIDE.dim), np.arange(len(state.windows)))
        assert held_of(library.folder.glob("*-vectors.bin")) > 0.9 * size
