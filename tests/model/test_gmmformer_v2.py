"""GMMFormer v2 against the published system's numbers, its simplest form, and inputs of odd sizes."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.config import ModelConfig, TrainConfig
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.evaluation import evaluate
from gmmformer.model import GMMFormerV2, QueryBatch, VideoBatch, load_model, read_published, similarity
from gmmformer.model.attention import gaussian_windows, layout, pad
from gmmformer.model.checkpoints import published_name
from gmmformer.model.gmmformer_v2 import WIDTHS
from gmmformer.model.losses import matching, pairs_diverse, triplet
from gmmformer.model.scoring import branch_scores
from gmmformer.presets import PRESETS
from gmmformer.training import learning_rate, optimiser_for

SMALL = ModelConfig(
    network="v2", feature_dim=24, query_dim=20, hidden=32, max_desc_l=12, temperature=0.09, input_drop=0.0, drop=0.0
)
INERT = ("frame_encoder.layer2.bias", "clip_encoder.layer2.bias")
"""They change nothing that the network makes: the same number is added to all windows before the softmax over these."""


@pytest.fixture(scope="session")
def reference_v2(reference: Path) -> Path:
    """Numbers made with the published GMMFormer v2."""
    return reference.parent / "reference_v2"


def ours_of(path: Path) -> dict[str, torch.Tensor]:
    saved = np.load(path)
    return {str(published_name(name, "v2")): torch.from_numpy(saved[name]).float() for name in saved.files}


def loaded(path: Path, config: ModelConfig = SMALL) -> GMMFormerV2:
    model = GMMFormerV2(config).eval()
    model.load_state_dict(ours_of(path), strict=True)
    return model


@pytest.fixture(scope="session")
def initial_v2(reference_v2: Path, device: str) -> GMMFormerV2:
    return loaded(reference_v2 / "initial.npz").to(device)


def videos_of(saved, clips="clips", frames="frames", mask="frame_mask") -> VideoBatch:
    there = saved[mask] > 0
    return VideoBatch(
        torch.from_numpy(saved[clips]), torch.from_numpy(saved[frames][there]), torch.from_numpy(there.sum(1))
    )


def queries_of(saved, tokens="tokens", mask="token_mask") -> QueryBatch:
    there = saved[mask] > 0
    return QueryBatch(torch.from_numpy(saved[tokens][there]), torch.from_numpy(there.sum(1)))


def assert_as_published(ours: torch.Tensor, published: np.ndarray) -> None:
    error = np.abs(ours.detach().cpu().numpy() - published) / np.maximum(1, np.abs(published))
    assert ours.shape == published.shape
    assert error.max() <= 1e-5


def assert_scores_as_published(queries: torch.Tensor, videos, saved) -> None:
    clip, frame = branch_scores(queries, videos.clips), branch_scores(queries, videos.frames)
    for name, found in (("clip", clip), ("frame", frame)):
        assert_as_published(found.cosine, saved[f"{name}_scores"])
        assert_as_published(found.raw, saved[f"{name}_scores_raw"])


def test_every_reference_window(reference_v2):
    windows = np.load(reference_v2 / "windows.npz")
    assert len(windows.files) == 8
    for name in windows.files:
        length, width = name[1:].split("_w")
        assert_as_published(gaussian_windows([float(width)], int(length))[0], windows[name])


def test_the_whole_network_as_published(initial_v2, reference_v2):
    saved = np.load(reference_v2 / "forward.npz")
    queries, videos = initial_v2.embed_query(queries_of(saved)), initial_v2.embed_video(videos_of(saved))
    assert_as_published(queries, saved["query"])
    assert_as_published(videos.clips, saved["clip_embeddings"])
    assert_as_published(videos.frames, saved["frame_embeddings"])
    assert_scores_as_published(queries, videos, saved)
    scores = similarity(queries, initial_v2.stored(videos), initial_v2.groups)
    assert_as_published(scores, saved["retrieval_scores"])


def test_videos_as_long_as_the_network_sees_longer_and_of_one_row(initial_v2, reference_v2):
    saved, short = (dict(np.load(reference_v2 / f"forward_{name}.npz")) for name in ("long", "short"))
    queries, videos = initial_v2.embed_query(queries_of(saved)), initial_v2.embed_video(videos_of(saved))
    assert_as_published(videos.clips, saved["clip_embeddings"])
    for video in (0, 3):
        assert_as_published(videos.frames[video], saved[f"frame_embeddings_{video}"])
    assert_scores_as_published(queries, videos, saved)
    frame = branch_scores(queries, videos.frames).cosine
    assert (frame[17:19, 0] < 0).all(), "128 rows, so no floor"
    assert torch.equal(frame[17:19, 3], torch.zeros(2)), "one row, so the noughts behind it are best"
    short["frame_mask"] = np.arange(60) < np.array([[60], [1]])
    cut = initial_v2.embed_video(videos_of(short))
    assert_as_published(cut.clips, short["clip_embeddings"])
    assert_scores_as_published(queries, cut, short)
    assert torch.equal(branch_scores(queries, cut.frames).cosine[17:19], torch.zeros(2, 2))
    assert_as_published(similarity(queries, initial_v2.stored(cut), initial_v2.groups), short["retrieval_scores"])


def rows_of(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.cat([some[:length] for some, length in zip(x, lengths, strict=True)])


def test_each_step_of_a_mixture_as_published(initial_v2, reference_v2):
    saved = np.load(reference_v2 / "block.npz")
    for kind, block, windows in (("clip", initial_v2.clip_encoder, range(8)), ("frame", initial_v2.frame_encoder, [6])):
        x = torch.from_numpy(saved[f"{kind}_input"])
        mask = saved["frame_mask"] if kind == "frame" else np.ones(x.shape[:2])
        lengths = torch.from_numpy((mask > 0).sum(1))
        place, there = layout(lengths, x.device), torch.from_numpy(mask > 0)
        rows = x[there]
        seen = block.windows(rows, place, block.positions)
        for window in windows:
            assert_as_published(seen[window], saved[f"{kind}_window{window}"][mask > 0])
        summaries = block.summaries(seen, place, initial_v2.token)
        assert_as_published(summaries.transpose(0, 1), saved[f"{kind}_tokens"])
        logits = block.layer2(F.relu(block.layer1(summaries)))
        assert_as_published(logits.transpose(0, 1), saved[f"{kind}_logits"])
        assert_as_published(block.weights(summaries, place).T, saved[f"{kind}_weights"][mask > 0])
        assert_as_published(block(rows, place, initial_v2.token), saved[f"{kind}_output"][mask > 0])
    lengths = torch.from_numpy((saved["query_mask"] > 0).sum(1))
    rows, place = (
        torch.from_numpy(saved["query_input"])[torch.from_numpy(saved["query_mask"] > 0)],
        layout(lengths, torch.device("cpu")),
    )
    found = initial_v2.query_encoder(rows, place, place.whole.longest)[0]
    assert_as_published(found, saved["query_output"][saved["query_mask"] > 0])


def test_the_names_and_shapes_of_a_checkpoint(reference_v2):
    presets = json.loads((reference_v2 / "presets.json").read_text())
    for name in ("tvr", "activitynet", "charades"):
        published, ours = presets["info"][name], PRESETS[f"{name}-v2"]
        width, words = (3072, 768) if name == "tvr" else (1024, 1024)
        with torch.device("meta"):
            model = GMMFormerV2(ModelConfig(**vars(ours.network), feature_dim=width, query_dim=words))
        shapes = {key: list(weight.shape) for key, weight in model.state_dict().items()}
        assert sum(weight.numel() for weight in model.parameters()) == published["parameters"]
        assert (len(shapes), not list(model.buffers())) == (published["tensors"], True)
        assert len(model.decayed()) == presets["info"]["decayed_tensors"]
        assert len(shapes) - len(model.decayed()) == presets["info"]["undecayed_tensors"]
        if name == "tvr":
            assert shapes == {published_name(key, "v2"): shape for key, shape in presets["shapes_tvr"].items()}


def test_the_presets_are_the_published_ones(reference_v2):
    presets = json.loads((reference_v2 / "presets.json").read_text())
    for name in ("tvr", "activitynet", "charades"):
        theirs, ours = presets["info"][name]["config"], PRESETS[f"{name}-v2"]
        network, train = ours.network, ours.train
        assert network.temperature == theirs["sft_factor"]
        assert (network.hidden, network.heads) == (theirs["hidden_size"], theirs["n_heads"])
        assert (network.map_size, network.max_ctx_l, network.max_desc_l) == tuple(
            theirs[key] for key in ("map_size", "max_ctx_l", "max_desc_l")
        )
        assert (network.input_drop, network.drop) == (theirs["input_drop"], theirs["drop"])
        assert (network.clip_weight, network.frame_weight) == (theirs["clip_scale_w"], theirs["frame_scale_w"])
        factors = (train.clip_nce_weight, train.video_nce_weight, train.diversity_weight, train.matching_weight)
        assert list(factors) == theirs["loss_factor"]
        assert [train.diversity_delta, train.diversity_alpha, 1] == theirs["neg_factor"]
        assert (train.lr, train.warmup, train.weight_decay) == (
            theirs["lr"],
            theirs["lr_warmup_proportion"],
            theirs["wd"],
        )
        assert (train.margin, train.hard_pool_size) == (theirs["margin"], theirs["hard_pool_size"])
        assert train.hard_negative_start_epoch == theirs["hard_negative_start_epoch"]
        assert (train.batch_size, train.epochs, train.seed) == (theirs["batchsize"], theirs["n_epoch"], theirs["seed"])
        assert ours.feature == theirs["visual_feature"]


@pytest.mark.parametrize("name", ["tvr", "activitynet"])
def test_the_initial_weights_of_a_seed_are_the_published_ones(reference_v2, name):
    sums = json.loads((reference_v2 / "presets.json").read_text())["info"][name]["seed_9527"]
    width, words = (3072, 768) if name == "tvr" else (1024, 1024)
    torch.manual_seed(9527)
    weights = GMMFormerV2(ModelConfig(network="v2", feature_dim=width, query_dim=words)).state_dict()
    assert len(sums) == 4
    for theirs, (total, spread) in sums.items():
        found = weights[str(published_name(theirs, "v2"))].double()
        assert found.sum().item() == pytest.approx(total, abs=1e-6)
        assert found.std().item() == pytest.approx(spread, abs=1e-6)


def test_what_decays_is_what_decayed(reference_v2):
    saved = json.loads((reference_v2 / "decay.json").read_text())
    decayed, others = (set(saved[name]) for name in ("decayed", "not_decayed"))
    model = GMMFormerV2(SMALL)
    assert model.decayed() == {published_name(name, "v2") for name in decayed}
    assert set(model.state_dict()) - model.decayed() == {published_name(name, "v2") for name in others}


CONFIG = TrainConfig(
    margin=0.1,
    hard_pool_size=1,
    clip_nce_weight=0.05,
    video_nce_weight=0.04,
    diversity_weight=8e-5,
    matching_weight=0.09,
    diversity_delta=0.15,
    diversity_alpha=32.0,
)
TERMS = {"diversity": "query_diverse"}


def losses_of(model, queries, videos, labels, **settings):
    return model.objective(
        *model(queries, videos), labels, CONFIG, hard=True, generator=torch.Generator().manual_seed(0), **settings
    )


def batches(reference_v2: Path):
    """The batches that the published losses are of, by name."""
    forward, training = np.load(reference_v2 / "forward.npz"), np.load(reference_v2 / "training.npz")
    found = {"losses": (queries_of(forward), videos_of(forward), torch.from_numpy(forward["labels"]))}
    for which in range(3):
        found[f"training_{which}"] = step_of(training, which)
    tokens = [found[name][0] for name in ("losses", "training_0", "training_1")]
    lengths = torch.cat([some.lengths for some in tokens])[:49]
    queries = QueryBatch(torch.cat([some.tokens for some in tokens])[: int(lengths.sum())], lengths)
    videos = videos_of({name: forward[name][:2] for name in ("clips", "frames", "frame_mask")})
    found["many"] = (queries, videos, (torch.arange(49) >= 40).long())
    return found


def step_of(training, which: int):
    videos = videos_of(
        training, f"clip_video_features_{which}", f"frame_video_features_{which}", f"videos_mask_{which}"
    )
    queries = queries_of(training, f"text_feat_{which}", f"text_mask_{which}")
    return queries, videos, torch.from_numpy(training[f"labels_{which}"])


def test_every_term_as_published(initial_v2, reference_v2):
    published = json.loads((reference_v2 / "losses.json").read_text())
    assert published["config"]["loss_factor"] == [0.05, 0.04, 8e-5, 0.09]
    of = {"losses": published["losses"], **published["more_losses"]}
    found = batches(reference_v2)
    assert of.keys() == found.keys()
    for name, batch in found.items():
        terms = losses_of(initial_v2, *batch)
        assert tuple(terms) == initial_v2.losses
        for term, value in terms.items():
            assert value.item() == pytest.approx(of[name][TERMS.get(term, term)], rel=1e-5), (name, term)


def test_gradients_as_published(reference_v2):
    published = json.loads((reference_v2 / "losses.json").read_text())
    whole = np.load(reference_v2 / "gradients.npz")
    model = loaded(reference_v2 / "initial.npz")
    batch = batches(reference_v2)["losses"]
    losses_of(model, *batch)["total"].backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    inert = {name for name in gradients if name in INERT}
    for theirs, norm in published["grad_norms_total"].items():
        if (ours := published_name(theirs, "v2")) not in inert and norm > 1e-4:
            assert gradients[ours].norm().item() == pytest.approx(norm, rel=1e-5), theirs
    for theirs in whole.files:
        np.testing.assert_allclose(gradients[published_name(theirs, "v2")].numpy(), whole[theirs], atol=3e-6)
    groups = {"query": "query_", "clip": "clip_", "frame": "frame_"}
    for term, norms in published["grad_norms_by_group"].items():
        ours = {"query_diverse": "diversity"}.get(term, term)
        model.zero_grad()
        losses_of(model, *batch)[ours].backward()
        for group, begins in groups.items():
            own = [
                parameter.grad.norm()
                for name, parameter in model.named_parameters()
                if name.startswith(begins) and "pool" not in name and parameter.grad is not None
            ]
            found = torch.stack(own).norm().item() if own else 0.0
            assert found == pytest.approx(norms[group], rel=1e-5, abs=1e-6), (term, group)


def test_the_draws_of_negatives_have_the_published_mean(initial_v2, reference_v2):
    published = json.loads((reference_v2 / "losses.json").read_text())["mean_of_2000_draws"]
    queries, videos, labels = batches(reference_v2)["losses"]
    encoded, embedded = initial_v2(queries, videos)
    own = labels[:, None] == torch.arange(6)
    generator = torch.Generator().manual_seed(1)
    for kind, hard, pool in (("random_negatives", False, 1), ("hard_pool_3", True, 3)):
        config = TrainConfig(margin=0.1, hard_pool_size=pool)
        for name, vectors in (("clip_scores", embedded.clips), ("frame_scores", embedded.frames)):
            scores = branch_scores(encoded[:, 0], vectors).cosine.detach()
            draws = [triplet(scores, own, config, hard, generator).item() for _ in range(2000)]
            assert np.mean(draws) == pytest.approx(published[kind][name], abs=0.005)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 999))
def test_matching_is_the_best_of_all_assignments(counts, clips, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = [video for video, count in enumerate(counts) for _ in range(count)]
    x = torch.randn(len(labels), 3, generator=generator, dtype=torch.float64)
    y = torch.randn(len(counts), clips, 3, generator=generator, dtype=torch.float64)
    cosines, picked = F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).flatten(0, 1).T, []
    for video, count in enumerate(counts):
        own = cosines[[n for n, label in enumerate(labels) if label == video]][:, video * clips : (video + 1) * clips]
        if count > 1:
            own = own if count <= clips else own.T
            picked += max(
                (
                    [own[i, j].item() for i, j in enumerate(order)]
                    for order in permutations(range(own.shape[1]), len(own))
                ),
                key=sum,
            )
    expected = 1 - sum(picked) / len(picked) if picked else 0.0
    order = torch.randperm(len(labels), generator=generator)  # a video's sentences need not stand together
    found = matching(x[order].requires_grad_(), y, torch.tensor(labels)[order])
    assert found.item() == pytest.approx(expected, abs=1e-9)
    found.backward()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 999))
def test_pairs_are_drawn_apart_as_by_hand(counts, seed):
    labels = [video for video, count in enumerate(counts) for _ in range(count)]
    x = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit, total = F.normalize(x, dim=-1), 0.0
    for n in range(len(labels)):
        for k in range(len(labels)):
            if n != k and labels[n] == labels[k]:
                cosine = (unit[n] @ unit[k]).item()
                total += (1 + cosine) * np.log1p(np.exp(5 * (cosine + 0.15)))
    found = pairs_diverse(x, torch.tensor(labels), 0.15, 5.0)
    assert found.item() == pytest.approx(total / len(labels), abs=1e-9)


def test_twelve_steps_as_published(reference_v2):
    published = np.load(reference_v2 / "training.npz")
    model = loaded(reference_v2 / "initial.npz").train()
    config = TrainConfig(**{**vars(CONFIG), "lr": 3e-4, "warmup": 0.1, "epochs": 4})
    optimiser = optimiser_for(model, config)
    for step in range(12):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, 12, config)
        loss = losses_of(model, *step_of(published, step % 3))["total"]
        optimiser.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
        optimiser.step()
        assert loss.item() == pytest.approx(published["losses"][step], rel=1e-5), step
        assert norm == pytest.approx(published["grad_norms"][step], rel=1e-5), step
    without_gradient = (*INERT, "query_encoder.layers.0.key.bias", "windows.layers.0.key.bias", "ca.key.bias")
    for name, weight in ours_of(reference_v2 / "trained.npz").items():
        if not name.endswith(without_gradient):
            allowed = 5e-5 if name == "clip_encoder.windows.layers.3.layer1.weight" else 3e-6
            assert (model.state_dict()[name] - weight).abs().max() <= allowed, name


def published_checkpoint(reference_v2: Path, path: Path, **settings) -> Path:
    """The trained weights as a file of the published system's form."""
    saved = np.load(reference_v2 / "minitvr_weights_f16.npz")
    config = json.loads((reference_v2 / "minitvr.json").read_text())["config"]
    config = {"input_drop": 0.2, "drop": 0.2, "loss_factor": [0.05, 0.04, 8e-5, 0.09], **config, **settings}
    config = {name: value for name, value in config.items() if value is not None}
    weights = {name: torch.from_numpy(saved[name]).float() for name in saved.files}
    torch.save({"config": config, "epoch": 2, "model_val": None, "state_dict": weights, "optimizer": {}}, path)
    return path


def test_a_published_checkpoint_scores_as_published(reference_v2, minitvr, tmp_path):
    path = published_checkpoint(reference_v2, tmp_path / "published.ckpt")
    model, collection = load_model(path), Collection.open(minitvr, "tvr")
    assert isinstance(model, GMMFormerV2)
    expected = json.loads((reference_v2 / "minitvr.json").read_text())
    scores = np.load(reference_v2 / "minitvr_scores.npz")
    for split in ("val", "test"):
        found = evaluate(model, collection, split)
        assert [*found.metrics.recall, found.metrics.sum_recall] == pytest.approx(expected[split])
        place = {name: number for number, name in enumerate(found.captions.caption_ids)}
        videos = {name: number for number, name in enumerate(found.captions.video_ids)}
        sentences = [place[str(name)] for name in scores[f"{split}_sentences"]]
        columns = {videos[str(name)]: number for number, name in enumerate(scores[f"{split}_videos"])}
        own = [columns[int(found.captions.video_of_query[query])] for query in sentences]
        published = scores[f"{split}_scores"][np.arange(len(sentences)), own]
        np.testing.assert_allclose(found.scores[sentences], published, atol=1e-5)


def test_it_is_saved_and_loaded_as_what_it_is(reference_v2, tmp_path):
    model = load_model(published_checkpoint(reference_v2, tmp_path / "published.ckpt"))
    model.save_pretrained(tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    assert isinstance(again, GMMFormerV2)
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in again.state_dict().items())
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "GMMFormerV2.from_pretrained" in card
    assert "2405.13824" in card
    from gmmformer import GMMFormer

    with pytest.raises(InputError, match=r"of the network v2, not a GMMFormer; gmmformer\.load_model takes either"):
        GMMFormer.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sft_factor": None}, "has no 'sft_factor', the temperature that GMMFormer v2 mixes its windows by"),
        ({"sft_factor": 0.0}, "temperature 0.0 must be above 0"),
        ({"map_size": 16}, "clip_encoder.layer2"),
        ({"hidden_size": None}, "has no 'hidden_size'"),
    ],
)
def test_a_checkpoint_that_cannot_be_scored_is_refused(reference_v2, tmp_path, settings, said):
    path = published_checkpoint(reference_v2, tmp_path / "published.ckpt", **settings)
    with pytest.raises(InputError, match=said) as refused:
        read_published(path)
    assert str(path) in str(refused.value)


def test_v2_has_no_window_of_the_batch():
    with pytest.raises(InputError, match="--window batch: GMMFormer v2 has one form of its windows"):
        ModelConfig(network="v2", feature_dim=3, query_dim=3, window="batch")


def simplest(model: GMMFormerV2, block, x: torch.Tensor) -> torch.Tensor:
    """A mixture over one sequence, in float64, step by step, padded to all positions."""
    rows, positions = len(x), block.positions
    padded = torch.cat([x, x.new_zeros(positions - rows, x.shape[1])])
    mask = torch.arange(positions) < rows

    def layer(own, query, keys, window, heads=model.config.heads):
        parts = []
        q, k, v = own.query(query), own.key(keys), own.value(keys)
        width = q.shape[1] // heads
        for head in range(heads):
            some = slice(head * width, (head + 1) * width)
            logits = q[:, some] @ k[:, some].T / width**0.5
            logits = logits * window + (1 - mask.double()) * -10000
            parts.append(logits.softmax(-1) @ v[:, some])
        y = own.norm1(query + torch.cat(parts, 1))
        return own.norm2(y + own.layer2(F.relu(own.layer1(y))))

    windows = gaussian_windows(WIDTHS, positions).double()
    seen = [layer(own, padded, padded, window) for own, window in zip(block.windows.layers, windows, strict=True)]
    found = [layer(block.ca, model.token[0], some, torch.ones(1, positions)) for some in seen]
    logits = torch.stack([block.layer2(F.relu(block.layer1(one)))[0] for one in found])
    weights = (logits / block.temperature).softmax(0)
    return sum(weight[:, None] * some for weight, some in zip(weights, seen, strict=True))[:rows]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
def test_a_mixture_is_its_simplest_form(lengths, seed):
    torch.manual_seed(seed)
    model = GMMFormerV2(
        ModelConfig(network="v2", feature_dim=5, query_dim=5, hidden=8, heads=2, map_size=3, max_ctx_l=9, drop=0.0)
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0, 0.4)
    model, x = model.double().eval(), torch.randn(sum(lengths), 8, dtype=torch.float64)
    place = layout(torch.tensor(sorted(lengths)), x.device, groups=3)
    found = model.frame_encoder(x, place, model.token)
    rows = torch.split(x, sorted(lengths))
    expected = torch.cat([simplest(model, model.frame_encoder, some) for some in rows])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # the windows are made in float32


def test_no_videos_and_no_sentences():
    # a process of a data-parallel run may get none of a short last batch, and must still have gradients
    model = GMMFormerV2(SMALL).train()
    nothing = torch.empty(0, dtype=torch.int64)
    queries, videos = model(
        QueryBatch(torch.empty(0, 20), nothing), VideoBatch(torch.empty(0, 32, 24), torch.empty(0, 24), nothing)
    )
    assert queries.shape == (0, 2, 32)
    assert [part.shape for part in videos] == [(0, 32, 32), (0, 128, 32)]
    (queries.sum() + videos.clips.sum() + videos.frames.sum()).backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_a_bfloat16_pass_is_near_the_float32_one(initial_v2, reference_v2):
    saved = np.load(reference_v2 / "forward.npz")
    queries, videos = queries_of(saved), videos_of(saved)
    expected = similarity(initial_v2.encode_query(queries), initial_v2.encode_video(videos), initial_v2.groups)
    with torch.autocast("cpu", torch.bfloat16):
        encoded, embedded = initial_v2(queries, videos)
    found = similarity(encoded[:, 0], initial_v2.stored(embedded), initial_v2.groups)
    assert (found - expected).abs().max() < 0.03


def test_a_video_does_not_depend_on_its_batch(initial_v2, reference_v2):
    saved = np.load(reference_v2 / "forward.npz")
    together, videos = initial_v2.embed_video(videos_of(saved)), videos_of(saved)
    starts = [0, *videos.lengths.cumsum(0).tolist()]
    for video in range(6):
        rows = videos.frames[starts[video] : starts[video + 1]]
        alone = initial_v2.embed_video(
            VideoBatch(videos.clips[video : video + 1], rows, videos.lengths[video : video + 1])
        )
        torch.testing.assert_close(alone.frames[0], together.frames[video], rtol=0, atol=3e-6)
        torch.testing.assert_close(alone.clips[0], together.clips[video], rtol=0, atol=3e-6)
        assert not together.frames[video, int(videos.lengths[video]) :].any()
    assert pad(torch.ones(4, 1), layout(torch.tensor([2, 2]), torch.device("cpu")).whole).shape == (2, 2, 1)
