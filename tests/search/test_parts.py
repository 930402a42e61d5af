"""Mapped parts: what is copied of them is what lies there, and holds no memory."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tests_search_helpers import held_of

from gmmformer.errors import InputError
from gmmformer.search.parts import MappedPart

WIDTH, RECORDS = 12_288, 6_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A part of 74 MB."""
    np.random.default_rng(9527).integers(0, 256, (RECORDS, WIDTH), dtype=np.uint8).tofile(tmp_path / "part.bin")
    return tmp_path / "part.bin"


def test_copies_are_what_lies_there(path: Path) -> None:
    part, generator = MappedPart(path, RECORDS, WIDTH), np.random.default_rng(1)
    for count in (0, 1, 300):
        at = generator.integers(0, RECORDS, count)
        np.testing.assert_array_equal(part.copied(at), part.rows[at])
    np.testing.assert_array_equal(part.copied(np.array([RECORDS - 1])), part.rows[-1:])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says what a mapping holds")
def test_copies_hold_nothing_of_the_file(path: Path) -> None:
    part = MappedPart(path, RECORDS, WIDTH)
    part.copied(np.arange(RECORDS))
    assert held_of([path]) == 0
    part.rows.max()
    assert held_of([path]) > 0.9 * path.stat().st_size


def test_parts_without_bytes_need_no_file(tmp_path: Path) -> None:
    for records, width in ((0, 5), (5, 0), (0, 0)):
        part = MappedPart(tmp_path / "none.bin", records, width)
        assert part.rows.shape == (records, width)
        assert part.copied(np.arange(records)).shape == (records, width)


def test_a_file_cut_off_while_it_is_open_is_one_sentence(path: Path) -> None:
    part = MappedPart(path, RECORDS, WIDTH)
    os.truncate(path, 10 * WIDTH - 1)
    assert part.copied(np.array([3])).shape == (1, WIDTH)
    with pytest.raises(InputError, match=r"part\.bin: record 9 cannot be read"):
        part.copied(np.array([0, 9]))


def test_the_file_is_closed_with_the_last_who_uses_it(path: Path) -> None:
    part = MappedPart(path, RECORDS, WIDTH)
    rows, file = part.rows, part.file
    assert os.fstat(file).st_size == RECORDS * WIDTH
    del part
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
    assert rows[-1].sum() > 0  # the mapping has its own
