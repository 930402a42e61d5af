"""How sure metrics are: against draws by hand, and against simulations whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from gmmformer.evaluation import RECALL_AT, bootstrap, metrics_of
from gmmformer.evaluation.bootstrap import COLUMNS, intervals, mean_intervals, resampled

SUMR = COLUMNS.index("SumR")


def test_a_resample_is_the_metrics_of_the_videos_that_were_drawn(monkeypatch):
    rng = np.random.default_rng(3)
    videos = rng.permutation(np.repeat([7, 3, 900, 12], [3, 1, 5, 2]))
    runs = rng.integers(1, 120, (3, 11))
    names = np.unique(videos)
    drawn = rng.integers(0, 4, (40, 4))
    monkeypatch.setattr(
        bootstrap,
        "_drawn_videos",
        lambda *_: iter([(0, np.stack([np.bincount(row, minlength=4) for row in drawn]).astype(np.float32))]),
    )
    monkeypatch.setattr(bootstrap, "_drawn_runs", lambda *_: np.full((40, 3), 1 / 3))
    (found,) = resampled([runs], videos, resamples=40)
    for values, row in zip(found, drawn, strict=True):
        queries = np.concatenate([np.flatnonzero(videos == names[video]) for video in row])
        expected = [list(metrics_of(run[queries], 200).as_dict().values())[: len(COLUMNS)] for run in runs]
        np.testing.assert_allclose(values, np.mean(expected, axis=0), rtol=1e-6)


def test_blocks_and_names_of_videos_do_not_matter_and_the_seed_does(monkeypatch):
    rng = np.random.default_rng(0)
    ranks, videos = rng.integers(1, 50, 60), np.repeat(np.arange(20), 3)
    expected = intervals(ranks, videos, resamples=100)
    assert expected != intervals(ranks, videos, resamples=100, seed=1)
    monkeypatch.setattr(bootstrap, "_BLOCK_NUMBERS", 60 * 7)
    assert intervals(ranks, videos + 10**9, resamples=100).keys() == expected.keys()
    found, again = ([tuple(one) for one in intervals(ranks, v, resamples=100).values()] for v in (videos, videos + 5))
    assert found == again


def test_means_are_drawn_as_metrics_are():
    rng = np.random.default_rng(1)
    ranks, videos = rng.integers(1, 200, 300), rng.integers(0, 80, 300)
    columns = np.column_stack([*(100.0 * (ranks <= k) for k in RECALL_AT), 1 / ranks])
    expected = intervals(ranks, videos)
    for found, name in zip(mean_intervals(columns, videos), [*COLUMNS[:4], "MRR"], strict=True):
        assert found == pytest.approx(expected[name])


def test_ends_are_moved_for_skewness_as_an_independent_library_moves_them():
    values = np.exp(1.5 * np.random.default_rng(8).normal(size=40))
    ((low, high),) = mean_intervals(values[:, None], np.arange(40), resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1), method="BCa")
    expected, plain = theirs.confidence_interval, np.quantile(theirs.bootstrap_distribution, [0.025, 0.975])
    close = 0.02 * (expected.high - expected.low)
    assert abs(low - expected.low) < close
    assert abs(high - expected.high) < 3 * close
    assert low - plain[0] > 2 * close  # which is not the middle of the draws


def test_what_cannot_vary_does_not():
    assert intervals(np.ones(12, np.int64), np.repeat(np.arange(4), 3))["SumR"] == (400, 400)
    assert intervals(np.array([3]), np.array([0]))["MedR"] == (3, 3)


def simulated(rng: np.random.Generator, videos: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of one to seven sentences a video, whose difficulty is mostly the video's, and their videos."""
    counts = rng.integers(1, 8, videos)
    hard = np.repeat(rng.normal(size=videos), counts)
    log_rank = 2.3 + 1.2 * hard + 0.6 * rng.normal(size=len(hard)) + shift
    return np.clip(np.exp(log_rank), 1, 2000).astype(np.int64), np.repeat(np.arange(videos), counts)


def per_query(ranks: np.ndarray) -> np.ndarray:
    """Whose means the recalls, SumR and MRR are."""
    recall = 100.0 * (ranks[:, None] <= RECALL_AT)
    return np.column_stack([recall, recall.sum(1), 1 / ranks])


def test_an_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(9527)
    large, _ = simulated(rng, 1_000_000)
    truth, times = per_query(large).mean(0), 1_000
    held, blind = np.zeros(6), 0
    for _ in range(times):
        ranks, videos = simulated(rng, 300)
        values, seed = per_query(ranks), int(rng.integers(2**31))
        low, high = np.array(mean_intervals(values, videos, resamples=400, seed=seed)).T
        held += (low <= truth) & (truth <= high)
        sentences = np.arange(len(ranks))
        ((low, high),) = mean_intervals(values[:, 4:5], sentences, resamples=100) if seed % 5 == 0 else [(0, 400)]
        blind += not low <= truth[4] <= high
    assert ((held / times >= 0.93) & (held / times <= 0.97)).all(), held / times
    assert blind > 0.15 * times / 5  # where sentences are drawn one by one, as if they were independent


def test_so_does_that_of_a_median_which_moves_in_whole_steps():
    rng = np.random.default_rng(4)
    truth, times = np.median(simulated(rng, 400_000)[0]), 150
    held = 0
    for _ in range(times):
        ranks, videos = simulated(rng, 150)
        low, high = intervals(ranks, videos, resamples=300, seed=int(rng.integers(2**31)))["MedR"]
        held += low <= truth <= high
    assert 0.93 <= held / times <= 0.99, held / times


def test_the_interval_of_a_difference_of_seeds_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    own, gain, between, times, runs = 0.5, 0.3, 0.15, 400, 8
    held = 0

    def system(log_rank: np.ndarray, level: float) -> np.ndarray:
        levels = level + between * rng.normal(size=(runs, 1))
        noise = own * rng.normal(size=(runs, len(log_rank)))
        return np.clip(np.exp(log_rank + levels + noise), 1, 2000).astype(np.int64)

    def videos_of(count: int) -> tuple[np.ndarray, np.ndarray]:
        videos = np.repeat(np.arange(count), 4)
        return 3.0 + rng.normal(size=count)[videos] + 0.5 * rng.normal(size=4 * count), videos

    log_rank, _ = videos_of(20_000)
    sums = [
        [metrics_of(run, 2000).sum_recall for _ in range(25) for run in system(log_rank, level)] for level in (0, -gain)
    ]
    truth = np.mean(sums[1]) - np.mean(sums[0])
    for _ in range(times):
        log_rank, videos = videos_of(120)
        first, second = system(log_rank, 0), system(log_rank, -gain)
        a, b = resampled([first, second], videos, resamples=300, seed=int(rng.integers(2**31)), medians=False)
        low, high = np.quantile(b[:, SUMR] - a[:, SUMR], [0.025, 0.975])
        held += low <= truth <= high
    assert 0.93 <= held / times <= 0.97, held / times
