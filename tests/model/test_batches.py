import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.config import ModelConfig
from gmmformer.errors import InputError
from gmmformer.model import l2_normalise, pool_segments, query_batch, video_batch
from type_checks import unchecked

CONFIG = ModelConfig(feature_dim=3, query_dim=2, hidden=8, heads=2, map_size=4, max_ctx_l=6, max_desc_l=5)


def features(*lengths, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, dim)).astype(np.float32) for length in lengths]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 99))
def test_videos_stay_themselves_in_any_company(lengths, seed):
    videos = features(*lengths, seed=seed)
    batch = video_batch(videos, CONFIG)
    assert batch.lengths.tolist() == [min(length, 6) for length in lengths]
    assert batch.clips.shape == (len(lengths), 4, 3)
    for video, clips, frames in zip(videos, batch.clips, batch.frames.split(batch.lengths.tolist()), strict=True):
        count = np.array([len(video)])
        np.testing.assert_allclose(clips, l2_normalise(pool_segments(video, count, 4)[0]), atol=1e-6)
        expected = video if len(video) <= 6 else pool_segments(video, count, 6)[0]
        np.testing.assert_allclose(frames, l2_normalise(expected), atol=1e-6)
        alone = video_batch([video], CONFIG)
        assert torch.equal(alone.clips[0], clips)
        assert torch.equal(alone.frames, frames)


def test_what_is_given_is_left_alone():
    videos = features(3, 9)
    kept = [video.copy() for video in videos]
    video_batch(videos, CONFIG)
    query_batch(features(3, dim=2), CONFIG)
    for video, copy in zip(videos, kept, strict=True):
        np.testing.assert_array_equal(video, copy)


def test_sentences_are_cut_and_normalised():
    sentences = features(3, 5, 9, dim=2)
    batch = query_batch(sentences, CONFIG)
    assert batch.lengths.tolist() == [3, 5, 5]
    assert batch.tokens.dtype == torch.float32
    np.testing.assert_allclose(batch.tokens[-5:], l2_normalise(sentences[2][:5]), atol=1e-6)


def test_double_and_half_precision_become_float32():
    video = features(4)[0]
    assert torch.equal(video_batch([video.astype(np.float64)], CONFIG).frames, video_batch([video], CONFIG).frames)
    assert video_batch([video.astype(np.float16)], CONFIG).clips.dtype == torch.float32


def test_nothing_gives_an_empty_batch_of_the_right_shape():
    batch = video_batch([], CONFIG)
    assert (batch.clips.shape, batch.frames.shape, batch.lengths.tolist()) == ((0, 4, 3), (0, 3), [])
    queries = query_batch([], CONFIG)
    assert (queries.tokens.shape, queries.lengths.tolist()) == ((0, 2), [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 6])
def test_values_that_are_not_finite_name_video_and_row(value, row):
    videos = features(3, 7, 2)
    videos[1][row, 1] = value
    with pytest.raises(InputError, match=f"video 'b': row {row} of its features holds NaN"):
        video_batch(videos, CONFIG, names=["a", "b", "c"])
    with pytest.raises(InputError, match="video 1 of the batch"):
        video_batch(videos, CONFIG)
    with pytest.raises(InputError, match="sentence 'x': row 1"):
        query_batch([np.array([[0, 0], [0, value]], np.float32)], CONFIG, names=["x"])


def test_another_width_is_refused():
    with pytest.raises(InputError, match=r"video 'b': its features have shape \(2, 4\).*rows of 3 numbers"):
        video_batch([np.ones((2, 3)), np.ones((2, 4))], CONFIG, names=["a", "b"])


@pytest.mark.parametrize("wrong", [np.ones(3), np.ones((1, 2, 3))])
def test_another_number_of_axes_is_refused(wrong):
    with unchecked(), pytest.raises(InputError, match="video 'b': its features have shape"):
        video_batch([np.ones((2, 3)), wrong], CONFIG, names=["a", "b"])


def test_a_video_without_rows_is_refused():
    with pytest.raises(InputError, match="video 'b': has no features"):
        video_batch([np.ones((2, 3)), np.ones((0, 3))], CONFIG, names=["a", "b"])
    with pytest.raises(InputError, match="sentence 0 of the batch: has no features"):
        query_batch([np.ones((0, 2))], CONFIG)
