"""The objective against the published system's numbers and against plain loops in float64."""

import json
from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.config import TrainConfig
from gmmformer.model import VideoEmbeddings, objective
from gmmformer.model.losses import nce, query_diverse, triplet

BATCHES = st.lists(st.integers(1, 4), min_size=1, max_size=5)
"""Sentences of each video of a batch."""


LABELS = torch.tensor([0, 0, 1, 2, 2])


def labels_of(counts: list[int]) -> list[int]:
    return [video for video, count in enumerate(counts) for _ in range(count)]


def own_of(labels: list[int], videos: int) -> torch.Tensor:
    return torch.tensor(labels)[:, None] == torch.arange(videos)


def random_scores(counts: list[int], seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * (2 * torch.rand(sum(counts), len(counts), generator=generator, dtype=torch.float64) - 1)


def lse(values) -> float:
    return log(sum(exp(value) for value in values))


def plain_nce(s: np.ndarray, labels: list[int]) -> float:
    queries, videos = s.shape
    to_video = [lse(s[n]) - s[n, labels[n]] for n in range(queries)]
    to_query = [lse(s[:, b]) - lse(s[n, b] for n in range(queries) if labels[n] == b) for b in range(videos)]
    return sum(to_video) / queries + sum(to_query) / videos


def plain_hardest_triplet(s: np.ndarray, labels: list[int], margin: float) -> float:
    queries, videos = s.shape
    if videos == 1:
        return 0.0
    total = 0.0
    for n in range(queries):
        worst = max(s[n, b] for b in range(videos) if b != labels[n])
        total += max(0.0, margin + worst - s[n, labels[n]]) / queries
    for b in range(videos):
        own = [s[n, b] for n in range(queries) if labels[n] == b]
        worst = max(s[n, b] for n in range(queries) if labels[n] != b)
        total += max(0.0, margin + worst - sum(own) / len(own)) / videos
    return total


def plain_diverse(x: np.ndarray, labels: list[int], delta: float, alpha: float) -> float:
    unit = x / np.sqrt((x * x).sum(1, keepdims=True))
    total = 0.0
    for n in range(len(x)):
        others = [k for k in range(len(x)) if labels[k] == labels[n] and k != n]
        total += log(1 + sum(exp(alpha * (unit[n] @ unit[k] + delta)) for k in others))
    return total / len(x)


def test_every_term_as_published(reference, forward):
    published = json.loads((reference / "losses.json").read_text())
    asked = published["config"]
    config = TrainConfig(
        margin=asked["margin"],
        hard_pool_size=asked["hard_pool_size"],
        clip_nce_weight=asked["loss_factor"][0],
        video_nce_weight=asked["loss_factor"][1],
        diversity_weight=asked["loss_factor"][2],
        diversity_delta=asked["neg_factor"][0],
        diversity_alpha=float(asked["neg_factor"][1]),
    )
    found = objective(
        torch.from_numpy(forward["query"])[:, None],
        VideoEmbeddings(torch.from_numpy(forward["clip_embeddings"]), torch.from_numpy(forward["video_embedding"])),
        torch.from_numpy(forward["labels"]),
        config,
        hard=True,
        generator=torch.Generator().manual_seed(0),
    )
    theirs = published["losses"]
    theirs["diversity"] = theirs.pop("query_diverse")
    assert theirs.keys() == found._asdict().keys()
    for name, value in found._asdict().items():
        assert abs(value.item() - theirs[name]) <= 1e-5 * max(1, abs(theirs[name])), name


@settings(deadline=None)
@given(BATCHES, st.integers(0, 999))
def test_nce(counts, seed):
    labels, scores = labels_of(counts), random_scores(counts, seed, 5)
    found = nce(scores, own_of(labels, len(counts))).item()
    assert found == pytest.approx(plain_nce(scores.numpy(), labels), abs=1e-9)


@settings(deadline=None)
@given(BATCHES, st.integers(0, 999), st.floats(0, 1))
def test_triplet_with_the_hardest(counts, seed, margin):
    labels, scores = labels_of(counts), random_scores(counts, seed)
    config = TrainConfig(margin=margin, hard_pool_size=1)
    found = triplet(scores, own_of(labels, len(counts)), config, True, torch.Generator()).item()
    assert found == pytest.approx(plain_hardest_triplet(scores.numpy(), labels, margin), abs=1e-9)


@settings(deadline=None)
@given(BATCHES, st.integers(0, 999), st.floats(-0.5, 0.5), st.floats(1, 32))
def test_query_diverse(counts, seed, delta, alpha):
    labels = labels_of(counts)
    x = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = query_diverse(x, torch.tensor(labels), delta, alpha).item()
    assert found == pytest.approx(plain_diverse(x.numpy(), labels, delta, alpha), rel=1e-9, abs=1e-9)


def test_random_negatives_are_other_videos_each_as_likely_as_the_other():
    counts = [2, 1, 3]
    labels, scores = labels_of(counts), random_scores(counts, 5)
    own, s = own_of(labels, 3), scores.numpy()
    generator = torch.Generator().manual_seed(0)
    # with so wide a margin relu is the identity, and the mean over many draws is the mean over all negatives
    config = TrainConfig(margin=10.0)
    drawn = [triplet(scores, own, config, False, generator).item() for _ in range(1500)]
    to_video = [10 + np.mean([s[n, b] for b in range(3) if b != labels[n]]) - s[n, labels[n]] for n in range(6)]
    to_query = []
    for b in range(3):
        is_own = np.array(labels) == b
        to_query.append(10 + s[~is_own, b].mean() - s[is_own, b].mean())
    assert np.mean(drawn) == pytest.approx(np.mean(to_video) + np.mean(to_query), abs=0.04)
    assert len({round(value, 9) for value in drawn}) > 100


def test_hard_negatives_are_drawn_from_the_pool_of_the_best_scoring():
    # one sentence per video; each sentence likes the videos after its own in turn: 0.9, 0.8, 0.7, 0.6
    scores = torch.zeros(5, 5, dtype=torch.float64)
    for n in range(5):
        for k, score in enumerate((0.0, 0.9, 0.8, 0.7, 0.6)):
            scores[n, (n + k) % 5] = score
    own, generator = torch.eye(5, dtype=torch.bool), torch.Generator().manual_seed(0)
    to_query = 1.9  # each column's highest, always

    def drawn(pool: int) -> list[float]:
        config = TrainConfig(margin=1.0, hard_pool_size=pool)
        return [triplet(scores, own, config, True, generator).item() - to_query for _ in range(300)]

    assert drawn(1) == pytest.approx([1.9] * 300)
    assert np.mean(drawn(2)) == pytest.approx(1.85, abs=0.02)
    assert min(drawn(2)) == pytest.approx(1.8)
    assert np.mean(drawn(3)) == pytest.approx(1.8, abs=0.02)
    assert np.mean(drawn(20)) == pytest.approx(1.75, abs=0.02)  # more than there are: all four


def test_a_positive_is_never_a_negative():
    # own scores so high that the loss would show them
    counts = [3, 2]
    own = own_of(labels_of(counts), 2)
    scores = torch.where(own, 1.0, -1.0).double()
    for hard in (False, True):
        for seed in range(30):
            generator = torch.Generator().manual_seed(seed)
            assert triplet(scores, own, TrainConfig(margin=0.5), hard, generator).item() == 0


@settings(deadline=None, max_examples=8)
@given(BATCHES, st.booleans(), st.integers(0, 99))
def test_gradients_are_finite_and_those_of_the_loss(counts, hard, seed):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(sum(counts), 2, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    clips = torch.randn(len(counts), 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    video = torch.randn(len(counts), 4, generator=generator, dtype=torch.float64, requires_grad=True)

    def loss(queries: torch.Tensor, clips: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        return objective(
            queries,
            VideoEmbeddings(clips, video),
            torch.tensor(labels_of(counts)),
            TrainConfig(diversity_alpha=4.0),
            hard=hard,
            generator=torch.Generator().manual_seed(seed),
        ).total

    assert torch.isfinite(loss(queries, clips, video))
    assert torch.autograd.gradcheck(loss, (queries, clips, video), eps=1e-7, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("hard", [False, True])
def test_one_video_has_no_negatives(hard):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(3, 1, 4, generator=generator, requires_grad=True)
    videos = VideoEmbeddings(
        torch.randn(1, 2, 4, generator=generator, requires_grad=True),
        torch.randn(1, 4, generator=generator, requires_grad=True),
    )
    losses = objective(
        queries, videos, torch.zeros(3, dtype=torch.int64), TrainConfig(), hard=hard, generator=generator
    )
    assert losses.clip_triplet.item() == losses.video_triplet.item() == 0
    assert losses.clip_nce.item() == pytest.approx(0, abs=1e-6)
    losses.total.backward()
    for leaf in (queries, *videos):
        assert torch.isfinite(leaf.grad).all()


def test_sentences_alone_in_their_videos_add_nothing_to_the_diversity():
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = query_diverse(x, torch.arange(3), 0.15, 32.0)
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.any()


def test_very_unlike_scores_do_not_overflow():
    counts = [1, 2]
    scores = torch.tensor([[800.0, -800.0], [-800.0, 800.0], [0.0, -800.0]], requires_grad=True)
    loss = nce(scores, own_of(labels_of(counts), 2))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()


def test_the_total_weighs_its_terms():
    generator = torch.Generator().manual_seed(3)
    queries = torch.randn(5, 2, 4, generator=generator)
    videos = VideoEmbeddings(torch.randn(3, 2, 4, generator=generator), torch.randn(3, 4, generator=generator))
    config = TrainConfig(clip_nce_weight=2.0, video_nce_weight=3.0, diversity_weight=5.0)
    found = objective(queries, videos, LABELS, config, hard=True, generator=generator)
    assert found.total.item() == pytest.approx(
        2 * found.clip_nce.item()
        + found.clip_triplet.item()
        + 3 * found.video_nce.item()
        + found.video_triplet.item()
        + 5 * found.diversity.item(),
        rel=1e-6,
    )
    alone = [objective(queries[:, [one]], videos, LABELS, config, hard=True, generator=generator) for one in (0, 1)]
    assert found.diversity == alone[1].diversity != alone[0].diversity  # that of the second encoding
    assert found[:4] == alone[0][:4] != alone[1][:4]
