import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.config import ModelConfig
from gmmformer.model import l2_normalise, pool_segments, segment_edges, video_batch
from gmmformer.model.pooling import concatenated_ranges


def plain_segments(rows, segments):
    """Row by row in float64, as the contract words it."""
    count = len(rows)
    edges = [min(round(i / segments * count), count - 1) for i in range(segments + 1)]
    means = []
    for start, stop in itertools.pairwise(edges):
        chosen = rows[start:stop] if stop > start else rows[start : start + 1]
        means.append(sum(row.astype(np.float64) for row in chosen) / len(chosen))
    return np.array(means)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=5),
    segments=st.sampled_from([1, 2, 7, 8, 32, 40, 128]),
    seed=st.integers(0, 99),
)
def test_a_batch_equals_a_plain_loop(lengths, segments, seed):
    rows = np.random.default_rng(seed).normal(size=(sum(lengths), 3)).astype(np.float32)
    pooled = pool_segments(rows, np.array(lengths), segments)
    assert pooled.shape == (len(lengths), segments, 3)
    assert pooled.dtype == np.float32
    for video, own in zip(pooled, np.split(rows, np.cumsum(lengths)[:-1]), strict=True):
        np.testing.assert_allclose(video, plain_segments(own, segments), atol=1e-5)
        edges = segment_edges(len(own), segments)
        assert edges.tolist() == [min(round(i / segments * len(own)), len(own) - 1) for i in range(segments + 1)]


def test_float64_stays_float64():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_allclose(pool_segments(rows, np.array([50]), 8)[0], plain_segments(rows, 8), rtol=1e-14)


def test_a_hand_written_table():
    rows = np.arange(5, dtype=np.float32)[:, None]
    # edges of 5 rows in 4: 0, 1.25, 2.5 (half to even: 2), 3.75, 5 -> 0, 1, 2, 4, 4
    assert segment_edges(5, 4).tolist() == [0, 1, 2, 4, 4]
    assert pool_segments(rows, np.array([5]), 4)[0, :, 0].tolist() == [0, 1, 2.5, 4]


def test_no_videos_and_read_only_rows():
    assert pool_segments(np.empty((0, 3), np.float32), np.empty(0, np.int64), 4).shape == (0, 4, 3)
    rows = np.ones((4, 3), np.float32)
    rows.flags.writeable = False
    assert pool_segments(rows, np.array([4]), 2).tolist() == [[[1, 1, 1], [1, 1, 1]]]


def test_concatenated_ranges_of_nothing():
    assert concatenated_ranges(np.array([3, 4]), np.array([0, 0])).tolist() == []


def test_normalising_adds_to_the_norm_and_can_work_in_place():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [3e-5, 4e-5]])
    expected = np.array([[3 / 5.00001, 4 / 5.00001], [0, 0], [3 / 6, 4 / 6]])
    np.testing.assert_allclose(l2_normalise(x), expected, rtol=1e-12)
    assert l2_normalise(x, out=x) is x
    np.testing.assert_allclose(x, expected, rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 5, 31, 32, 33, 40, 41, 64, 100, 127, 128, 129, 300])
def test_the_published_sampling(reference, count):
    with np.load(reference / "sampling.npz") as arrays:
        x, clips, frames = (arrays[f"{kind}_{count}"] for kind in ("x", "clips", "frames"))
    ours = l2_normalise(pool_segments(x, np.array([count]), 32)[0])
    assert (abs(ours - clips) <= 1e-5 * np.maximum(1, abs(clips))).all()
    ours = video_batch([x], ModelConfig(feature_dim=6, query_dim=1)).frames.numpy()
    assert ours.shape == frames.shape
    assert (abs(ours - frames) <= 1e-5 * np.maximum(1, abs(frames))).all()
