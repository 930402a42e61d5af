"""The network against the published system's numbers, against its simplest form, and on inputs of odd sizes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmmformer.config import ModelConfig
from gmmformer.model import GMMFormer, QueryBatch, VideoBatch, VideoEmbeddings, similarity
from gmmformer.model.attention import Dropout, by_length, gaussian_windows, layout, pad
from gmmformer.model.layers import MixtureBlock
from gmmformer.model.scoring import branch_scores, video_scores

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=7)


def with_window(model: GMMFormer, window: str) -> GMMFormer:
    other = GMMFormer(ModelConfig(**{**vars(model.config), "window": window})).eval()
    other.load_state_dict(model.state_dict())
    return other


def assert_as_published(ours, reference: np.ndarray) -> None:
    error = np.abs(ours.detach().cpu().numpy() - reference) / np.maximum(1, np.abs(reference))
    assert ours.shape == reference.shape
    assert error.max() <= 1e-5


def assert_same(ours: VideoEmbeddings, theirs: VideoEmbeddings) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_every_reference_window(reference):
    windows = np.load(reference / "windows.npz")
    assert len(windows.files) == 18
    for name in windows.files:
        length, width = name[1:].split("_w")
        assert_as_published(gaussian_windows([float(width)], int(length))[0], windows[name])


def test_windows_of_any_width_over_any_number_of_positions_are_shares_of_their_largest():
    for positions in (*range(1, 40), 128):
        windows = gaussian_windows([0.01, 0.1, 0.5, 10.0], positions)
        assert torch.isfinite(windows).all()
        assert torch.equal(windows.amax(-1), torch.ones(4, positions))
        assert (windows >= 0).all()


def test_no_window_is_ones():
    assert torch.equal(gaussian_windows([None], 3), torch.ones(1, 3, 3))


def test_queries_as_published(initial_model, reference_queries, forward):
    assert_as_published(initial_model.embed_query(reference_queries), forward["query"])


def test_videos_as_published(initial_model, reference_videos, forward):
    # the reference's longest video fills max_ctx_l, so that both windows cover the same positions
    for window in ("batch", "full"):
        found = with_window(initial_model, window).embed_video(reference_videos())
        assert_as_published(found.clips, forward["clip_embeddings"])
        assert_as_published(found.video, forward["video_embedding"])


def test_scores_as_published(initial_model, reference_queries, reference_videos, forward):
    queries, videos = initial_model.embed_query(reference_queries), initial_model.embed_video(reference_videos())
    clip, video = branch_scores(queries, videos.clips), video_scores(queries, videos.video)
    for ours, name in (
        (clip.cosine, "clip_scores"),
        (clip.raw, "clip_scores_raw"),
        (video.cosine, "video_scores"),
        (video.raw, "video_scores_raw"),
    ):
        assert_as_published(ours, forward[name])
    assert_as_published(
        similarity(queries, initial_model.stored(videos)), 0.7 * forward["clip_scores"] + 0.3 * forward["video_scores"]
    )


def test_window_batch_follows_the_longest_of_the_batch_as_published(initial_model, reference_videos, reference):
    short = np.load(reference / "forward_short.npz")
    found = with_window(initial_model, "batch").embed_video(reference_videos(short["videos"]))
    assert_as_published(found.clips, short["clip_embeddings"])
    assert_as_published(found.video, short["video_embedding"])


def test_window_full_depends_on_the_video_alone(initial_model, reference_videos, forward, reference):
    short = np.load(reference / "forward_short.npz")
    found = initial_model.embed_video(reference_videos(short["videos"]))
    assert_as_published(found.clips, forward["clip_embeddings"][short["videos"]])
    assert_as_published(found.video, forward["video_embedding"][short["videos"]])
    assert np.abs(found.video.detach().numpy() - short["video_embedding"]).max() > 1e-4  # not so with window="batch"


@settings(deadline=None, max_examples=25)
@given(lengths=LENGTHS, data=st.data(), seed=st.integers(0, 99))
def test_a_video_is_embedded_alike_in_any_company(make_model, make_videos, lengths, data, seed):
    model = make_model()
    batch = make_videos(model.config, lengths, seed)
    together = model.embed_video(batch)
    chosen = data.draw(st.permutations(range(len(lengths))))[: data.draw(st.integers(1, len(lengths)))]
    rows = batch.frames.split(lengths)
    some = VideoBatch(batch.clips[chosen], torch.cat([rows[k] for k in chosen]), batch.lengths[chosen])
    assert_same(model.embed_video(some), VideoEmbeddings(together.clips[chosen], together.video[chosen]))


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=7), data=st.data(), seed=st.integers(0, 99))
def test_a_sentence_is_embedded_alike_in_any_company(make_model, make_queries, lengths, data, seed):
    model = make_model()
    batch = make_queries(model.config, lengths, seed)
    together = model.embed_query(batch)
    chosen = data.draw(st.permutations(range(len(lengths))))[: data.draw(st.integers(1, len(lengths)))]
    rows = batch.tokens.split(lengths)
    some = QueryBatch(torch.cat([rows[k] for k in chosen]), batch.lengths[chosen])
    torch.testing.assert_close(model.embed_query(some), together[chosen], rtol=1e-5, atol=1e-5)


def test_the_length_groups_of_a_batch_do_not_show(make_model, make_videos, monkeypatch):
    model = make_model()
    batch = make_videos(model.config, [3, 12, 1, 7, 7, 2, 11])
    expected = model.embed_video(batch)
    for groups in (1, 2, 7, 50):
        monkeypatch.setattr("gmmformer.model.gmmformer.LENGTH_GROUPS", groups)
        assert_same(model.embed_video(batch), expected)


def test_one_video_of_one_frame_and_one_sentence_of_one_token(make_model, make_videos, make_queries):
    model = make_model()
    queries, videos = model(make_queries(model.config, [1]), make_videos(model.config, [1]))
    assert videos.clips.shape == (1, 4, 16)
    assert videos.video.shape == (1, 16)
    assert queries.shape == (1, 1, 16)
    assert -1 <= similarity(queries[:, 0], model.stored(videos)).item() <= 1


def test_a_video_of_one_frame_is_that_frame_s_attention_on_itself(make_model, make_videos):
    # softmax over one key is 1: the window and the logits have no say
    model = make_model()
    batch = make_videos(model.config, [1])
    hidden = model.frame_input(batch.frames, torch.tensor([0]))
    for block in model.frame_encoder:
        parts = [part.norm(part.output(part.value(hidden)) + hidden) for part in block.windows]
        hidden = torch.stack(parts).mean(0)
    torch.testing.assert_close(model.embed_video(batch).video, hidden)


def test_no_videos_and_no_sentences(make_model, make_videos, make_queries):
    # a process of a data-parallel run may get none of a short last batch, and must still have gradients
    model = make_model().train()
    queries, videos = model(make_queries(model.config, []), make_videos(model.config, []))
    assert queries.shape == (0, 1, 16)
    assert videos.clips.shape == (0, 4, 16)
    assert videos.video.shape == (0, 16)
    (queries.sum() + videos.clips.sum() + videos.video.sum()).backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_the_longest_that_fits(make_model, make_videos, make_queries):
    for window in ("full", "batch"):
        model = make_model(window=window)
        queries, videos = model(make_queries(model.config, [6, 6]), make_videos(model.config, [12, 12]))
        assert torch.isfinite(similarity(queries[:, 0], model.stored(videos))).all()


def test_size_at_tvr_s_dimensions():
    with torch.device("meta"):
        model = GMMFormer(ModelConfig(feature_dim=3072, query_dim=768))
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(12.85e6, rel=1e-3)
    assert len(list(model.parameters())) == 76 + 117


def test_initialisation():
    torch.manual_seed(0)
    model = GMMFormer(ModelConfig(feature_dim=64, query_dim=64, hidden=64))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.35), name
            assert abs(module.weight.mean().item()) < 0.01, name
        if isinstance(module, torch.nn.Linear) and module.bias is not None:
            assert not module.bias.any(), name
        if isinstance(module, torch.nn.LayerNorm):
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
            assert not module.bias.any(), name
            assert module.eps == 1e-5


@pytest.fixture(scope="module")
def simplest() -> ModuleType:
    """benchmarks/simplest.py: padded batches, four attentions in turn, torch's own layers."""
    path = Path(__file__).parents[2] / "benchmarks" / "simplest.py"
    spec = importlib.util.spec_from_file_location("simplest_form", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=LENGTHS, tokens=st.lists(st.integers(1, 6), min_size=1, max_size=7), seed=st.integers(0, 99))
def test_the_simplest_form_gives_the_same_values_and_gradients(
    simplest, make_model, make_videos, make_queries, lengths, tokens, seed
):
    ours = make_model(seed).double()
    theirs = simplest.SimplestGMMFormer(ours.config).double()
    theirs.load_state_dict(ours.state_dict())
    videos, queries = make_videos(ours.config, lengths, seed), make_queries(ours.config, tokens, seed)
    videos = VideoBatch(videos.clips.double(), videos.frames.double(), videos.lengths)
    queries = QueryBatch(queries.tokens.double(), queries.lengths)
    results = []
    for model in (ours, theirs):
        encoded, embedded = model(queries, videos)
        (encoded.square().sum() + embedded.clips.pow(3).sum() + embedded.video.pow(3).sum()).backward()
        results.append((encoded, *embedded, {name: p.grad for name, p in model.named_parameters()}))
    for mine, other in zip(*(found[:3] for found in results), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)
    for name, gradient in results[0][3].items():
        scale = max(1.0, results[1][3][name].abs().max().item())
        torch.testing.assert_close(gradient / scale, results[1][3][name] / scale, rtol=0, atol=1e-9, msg=name)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9), groups=st.integers(1, 5))
def test_laid_out_rows_come_back(lengths, groups):
    sizes = torch.tensor(lengths)
    order, rows = by_length(sizes)
    assert sizes[order].tolist() == sorted(lengths)
    place = layout(sizes[order], torch.device("cpu"), groups)
    values = torch.arange(1.0, sum(lengths) + 1)[:, None]
    parts = torch.split(values, [group.rows for group in place.groups])
    for group, packed in ((place.whole, values), *zip(place.groups, parts, strict=True)):
        laid_out = pad(packed, group)
        assert torch.equal(laid_out.flatten(0, 1)[group.cells], packed)
        first = torch.arange(group.longest)
        if group.padding is not None:
            first = first.minimum((~group.padding).sum(-1) - 1)  # the last row of a sequence again and again
            assert torch.equal(laid_out.squeeze(-1), laid_out[..., 0].gather(1, first))
    assert sum(group.rows for group in place.groups) == sum(lengths)
    sequences = torch.arange(len(lengths)).repeat_interleave(sizes)
    assert sequences[rows].tolist() == order.repeat_interleave(sizes[order]).tolist()
    assert place.position.tolist() == [k for length in sorted(lengths) for k in range(length)]


def test_no_gradient_comes_from_a_cell_that_is_no_row():
    group = layout(torch.tensor([2, 3, 1]), torch.device("cpu")).whole
    rows = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    pad(rows, group).square().sum().backward()
    assert torch.equal(rows.grad, 2 * rows.detach())


@pytest.mark.parametrize("drop", [0.0, 0.4])
@pytest.mark.parametrize(("lengths", "groups"), [([1, 2, 2, 4], 2), ([3, 3], 1)])
def test_the_gradients_that_are_written_out(drop, lengths, groups):
    torch.manual_seed(3)
    block = MixtureBlock(hidden=4, heads=2, drop=drop, windows=2).double().train()
    place = layout(torch.tensor(lengths), torch.device("cpu"), groups)
    windows = gaussian_windows([None, 5.0], max(lengths)).double()
    names, values = zip(*block.named_parameters(), strict=True)

    def mixed(rows, *parameters):
        torch.manual_seed(4)  # each time the same are dropped
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (rows, place, windows))

    rows = torch.randn(sum(lengths), 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mixed, (rows, *(torch.randn_like(value).requires_grad_() for value in values)))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_dropout(share):
    torch.manual_seed(0)
    dropout = Dropout(share)
    x = torch.ones(401, 501)
    dropped = dropout(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(share, abs=0.004)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - share)), rtol=1e-4, atol=0)
    assert torch.equal(dropout.eval()(x), x)


def test_dropout_drops_each_element_by_itself():
    torch.manual_seed(0)
    dropped = Dropout(0.5)(torch.ones(4000, 8)) == 0
    assert torch.corrcoef(dropped.double().T).fill_diagonal_(0).abs().max() < 0.08


def test_dropout_s_gradient_passes_where_the_value_did():
    torch.manual_seed(0)
    x = torch.randn(37, 3, requires_grad=True)
    dropped = Dropout(0.3)(x)
    dropped.sum().backward()
    torch.testing.assert_close(x.grad * x, dropped)


def test_training_draws_and_evaluation_does_not(make_model, make_videos):
    model = make_model(drop=0.3, input_drop=0.3)
    batch = make_videos(model.config, [5, 2])
    assert torch.equal(model.embed_video(batch).video, model.embed_video(batch).video)
    model.train()
    assert not torch.equal(model.embed_video(batch).video, model.embed_video(batch).video)


def test_a_bfloat16_pass_is_near_the_float32_one(initial_model, reference_videos, reference_queries):
    expected = similarity(initial_model.encode_query(reference_queries), initial_model.encode_video(reference_videos()))
    with torch.autocast("cpu", torch.bfloat16):
        encoded, embedded = initial_model(reference_queries, reference_videos())
    found = similarity(encoded[:, 0], initial_model.stored(embedded))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)
