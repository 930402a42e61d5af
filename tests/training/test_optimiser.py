"""BERT's Adam and its schedule against a plain loop and against the published system, step by step."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.config import ModelConfig, TrainConfig
from gmmformer.model import GMMFormer, QueryBatch, VideoBatch, objective, read_published
from gmmformer.training import BertAdam, learning_rate, optimiser_for


def plain_update(p, g, m, v, *, lr, clip_norm, weight_decay):
    """One step of one tensor in float64."""
    norm = np.sqrt((g * g).sum())
    if norm > clip_norm:
        g = g * (clip_norm / norm)
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - lr * (m / (np.sqrt(v) + 1e-6) + weight_decay * p), m, v


@settings(deadline=None, max_examples=30)
@given(
    shapes=st.lists(st.sampled_from([(3,), (2, 4), (1,), ()]), min_size=1, max_size=4),
    seed=st.integers(0, 999),
    scale=st.sampled_from([1e-4, 1.0, 100.0]),
    weight_decay=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_bert_adam_is_a_plain_loop(shapes, seed, scale, weight_decay):
    rng = np.random.default_rng(seed)
    expected = [rng.standard_normal(shape) for shape in shapes]
    moments = [[np.zeros(shape), np.zeros(shape)] for shape in shapes]
    params = [torch.tensor(p, requires_grad=True) for p in expected]
    optimiser = BertAdam(params, 1.0, weight_decay=weight_decay, clip_norm=0.5)
    for step in range(5):
        rate = 0.1 / (step + 1)
        optimiser.param_groups[0]["lr"] = rate
        for index, p in enumerate(params):
            gradient = scale * rng.standard_normal(shapes[index])
            p.grad = torch.tensor(gradient)
            expected[index], *moments[index] = plain_update(
                expected[index], gradient, *moments[index], lr=rate, clip_norm=0.5, weight_decay=weight_decay
            )
        optimiser.step()
    for p, plain in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), plain, rtol=1e-4, atol=1e-6)


def test_there_is_no_bias_correction():
    p = torch.zeros(1, requires_grad=True)
    p.grad = torch.tensor([0.5])
    BertAdam([p], 1.0, weight_decay=0.0).step()
    assert p.item() == pytest.approx(-(0.1 * 0.5) / (np.sqrt(0.001 * 0.25) + 1e-6), rel=1e-4)


def test_each_tensor_is_clipped_by_itself():
    large, small = (torch.zeros(2, requires_grad=True) for _ in range(2))
    large.grad, small.grad = torch.tensor([30.0, 40.0]), torch.tensor([0.3, 0.4])
    BertAdam([large, small], 1.0, clip_norm=1.0).step()
    torch.testing.assert_close(large.grad, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(small.grad, torch.tensor([0.3, 0.4]))


def test_a_tensor_without_a_gradient_stays():
    used, unused = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimiser = BertAdam([used, unused], 0.1)
    used.grad = torch.ones(2)
    optimiser.step()
    assert torch.equal(unused, torch.ones(2))
    assert not torch.equal(used, torch.ones(2))


def test_a_closure_is_called():
    p = torch.ones(2, requires_grad=True)
    optimiser = BertAdam([p], 0.1)

    def closure() -> float:
        optimiser.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss.item()

    assert optimiser.step(closure) == 2
    assert optimiser.step() is None
    assert p.max().item() < 1


def test_the_state_goes_on_where_it_was():
    def gradients():
        return (torch.tensor([x, -x]) for x in (0.3, 0.7, -0.2, 0.9))

    whole = torch.ones(2, requires_grad=True)
    optimiser = BertAdam([whole], 0.1)
    for g in gradients():
        whole.grad = g
        optimiser.step()
    parts = torch.ones(2, requires_grad=True)
    first = BertAdam([parts], 0.1)
    for number, g in enumerate(gradients()):
        if number == 2:
            second = BertAdam([parts], 0.5)
            second.load_state_dict(first.state_dict())
            first = second
        parts.grad = g
        first.step()
    assert torch.equal(whole, parts)


def test_what_decays():
    with torch.device("meta"):
        model = GMMFormer(ModelConfig(feature_dim=3072, query_dim=768))
    decayed, others = optimiser_for(model, TrainConfig(weight_decay=0.02)).param_groups
    assert (len(decayed["params"]), len(others["params"])) == (76, 117)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.02, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed_names = {names[id(p)] for p in decayed["params"]}
    assert {"query_input.positions.weight", "query_pool.score.weight", "frame_pool.score.weight"} <= decayed_names
    assert not any("norm" in name or name.endswith("bias") for name in decayed_names)
    assert len(decayed_names | {names[id(p)] for p in others["params"]}) == 193


@settings(deadline=None)
@given(st.integers(2, 500), st.floats(0.001, 0.9))
def test_the_schedule(total, warmup):
    config = TrainConfig(lr=2.0, warmup=warmup)
    rates = [learning_rate(step, total, config) for step in range(total + 1)]
    assert rates[0] == 0
    assert rates[-1] == 0
    assert all(0 <= rate <= 2 for rate in rates)
    top = int(np.argmax(rates))
    assert abs(top / total - warmup) <= 1 / total
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    for step in range(0, total + 1, max(1, total // 7)):
        x = step / total
        by_hand = x / warmup if x < warmup else max((x - 1) / (warmup - 1), 0)
        assert rates[step] == pytest.approx(2.0 * by_hand, abs=1e-12)


def test_without_warm_up_it_falls_from_the_start():
    config = TrainConfig(lr=1.0, warmup=0.0)
    assert [learning_rate(step, 4, config) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_twelve_steps_as_published(reference):
    published = np.load(reference / "training.npz")
    config = TrainConfig(
        lr=3e-4,
        warmup=0.1,
        epochs=4,
        margin=0.1,
        hard_pool_size=1,
        clip_nce_weight=0.05,
        video_nce_weight=0.04,
        diversity_weight=0.001,
        diversity_delta=0.15,
        diversity_alpha=32.0,
    )
    checkpoint = read_published(reference / "initial.ckpt")
    model = GMMFormer(ModelConfig(**{**vars(checkpoint.config), "window": "batch"})).train()
    model.load_state_dict(checkpoint.state_dict)
    optimiser = optimiser_for(model, config)
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        which = step % 3
        frames, text = (published[f"{name}_{which}"] > 0 for name in ("videos_mask", "text_mask"))
        videos = VideoBatch(
            torch.from_numpy(published[f"clip_video_features_{which}"]),
            torch.from_numpy(published[f"frame_video_features_{which}"][frames]),
            torch.from_numpy(frames.sum(1)),
        )
        queries = QueryBatch(torch.from_numpy(published[f"text_feat_{which}"][text]), torch.from_numpy(text.sum(1)))
        labels = torch.from_numpy(published[f"labels_{which}"])
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, 12, config)
        encoded, embeddings = model(queries, videos)
        loss = objective(encoded, embeddings, labels, config, hard=True, generator=generator).total
        optimiser.zero_grad()
        loss.backward()
        norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters()])).item()
        optimiser.step()
        assert loss.item() == pytest.approx(published["losses"][step], rel=1e-3 if step else 1e-5), step
        assert norm == pytest.approx(published["grad_norms"][step], rel=1e-3), step
    for name, weight in read_published(reference / "trained.ckpt").state_dict.items():
        allowed = 1e-4 if name.endswith("key.bias") else 3e-6
        assert (model.state_dict()[name] - weight).abs().max() <= allowed, name
