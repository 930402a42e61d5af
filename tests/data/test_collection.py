import shutil
import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from gmmformer.config import ModelConfig, RunConfig
from gmmformer.cores import read_ahead
from gmmformer.data import Collection
from gmmformer.data.resident import ResidentSplit, bytes_of, resident
from gmmformer.errors import InputError

CONFIG = ModelConfig(feature_dim=16, query_dim=12, hidden=8, heads=2, map_size=8, max_ctx_l=40, max_desc_l=12)


@pytest.fixture
def broken(tiny_collection, tmp_path):
    """A copy that may be damaged."""
    shutil.copytree(tiny_collection.root / "tiny", tmp_path / "tiny")
    return tmp_path


def tensors(batches):
    return [torch.cat([part.flatten() for part in flat(batch)]).tolist() for batch in batches]


def flat(batch):
    return (
        [batch]
        if isinstance(batch, torch.Tensor)
        else [t for part in batch if not isinstance(part, int) for t in flat(part)]
    )


def training(collection, order, **options):
    return list(collection.training_batches("train", CONFIG, order=order, **options))


def test_the_reference_collection(minitvr):
    collection = Collection.open(minitvr, "tvr")
    assert collection.feature == "i3d_resnet"
    assert (collection.frames.rows, collection.frames.dim, collection.text.dim) == (23913, 48, 40)
    sizes = {split: collection.captions(split) for split in ("train", "val", "test")}
    assert [len(captions.video_ids) for captions in sizes.values()] == [300, 60, 80]
    assert [len(captions.caption_ids) for captions in sizes.values()] == [1500, 300, 400]
    for line in (minitvr / "tvr" / "moments.tsv").read_text().splitlines()[::50]:
        caption_id, _, _, rows = line.split("\t")
        assert len(collection.frames.features_of(caption_id.split("#")[0])) == int(rows)
    with h5py.File(collection.text.path) as file:
        np.testing.assert_array_equal(file["val_000000#enc#0"][()], collection.text.tokens_of("val_000000#enc#0"))


def test_evaluation_batches_follow_the_file(tiny_collection):
    captions = tiny_collection.captions("test")
    videos = list(tiny_collection.video_batches("test", CONFIG, batch_size=3))
    assert [len(batch.lengths) for batch in videos] == [3, 3, 2]
    lengths = [min(len(tiny_collection.frames.features_of(video)), 40) for video in captions.video_ids]
    assert torch.cat([batch.lengths for batch in videos]).tolist() == lengths
    queries = list(tiny_collection.query_batches("test", CONFIG, batch_size=7))
    lengths = [min(len(tiny_collection.text.tokens_of(caption)), 12) for caption in captions.caption_ids]
    assert torch.cat([batch.lengths for batch in queries]).tolist() == lengths


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(tiny_collection, workers):
    order = np.random.default_rng(0).permutation(24)
    assert tensors(training(tiny_collection, order, batch_size=5, workers=workers)) == tensors(
        training(tiny_collection, order, batch_size=5, workers=0)
    )
    for batches in (tiny_collection.video_batches, tiny_collection.query_batches):
        alone = tensors(batches("val", CONFIG, batch_size=3))
        assert alone == tensors(batches("val", CONFIG, batch_size=3, workers=workers))
        assert len(alone) > 2


def test_training_batches_hold_all_sentences_of_their_videos(tiny_collection):
    captions = tiny_collection.captions("train")
    order = np.random.default_rng(1).permutation(24)
    batches = training(tiny_collection, order, batch_size=7)
    assert [batch.batch_videos for batch in batches] == [7, 7, 7, 3]
    for k, batch in enumerate(batches):
        videos = order[7 * k : 7 * k + 7]
        assert batch.labels.dtype == torch.int64
        expected = [
            (n, query) for n, video in enumerate(videos) for query in np.flatnonzero(captions.video_of_query == video)
        ]
        assert batch.labels.tolist() == [n for n, _ in expected]
        lengths = [min(len(tiny_collection.text.tokens_of(captions.caption_ids[query])), 12) for _, query in expected]
        assert batch.queries.lengths.tolist() == lengths
        first = tiny_collection.text.tokens_of(captions.caption_ids[expected[0][1]])[0]
        np.testing.assert_allclose(batch.queries.tokens[0], first / (np.linalg.norm(first) + 1e-5), atol=1e-6)
        lengths = [min(len(tiny_collection.frames.features_of(captions.video_ids[video])), 40) for video in videos]
        assert batch.videos.lengths.tolist() == lengths


@pytest.mark.parametrize(("skip", "rank", "world"), [(0, 0, 1), (2, 0, 1), (0, 1, 3), (3, 2, 5)])
def test_batches_of_what_is_kept_in_memory_are_those_of_the_disk(tiny_collection, skip, rank, world):
    order, config = np.random.default_rng(4).permutation(24), replace(CONFIG, max_ctx_l=16)
    options = {"batch_size": 7, "order": order, "skip": skip, "rank": rank, "world": world}
    kept = ResidentSplit(tiny_collection, "train", config, torch.device("cpu"), workers=1)
    theirs = list(tiny_collection.training_batches("train", config, **options))
    ours = list(kept.training_batches(**options))
    assert len(ours) == len(theirs) == 4 - skip
    assert [batch.batch_videos for batch in ours] == [batch.batch_videos for batch in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(flat(mine), flat(other), strict=True))
        assert [part.shape for part in flat(mine)] == [part.shape for part in flat(other)]


def test_what_is_kept_takes_no_more_memory_than_was_said(tiny_collection):
    kept = ResidentSplit(tiny_collection, "train", CONFIG, torch.device("cpu"))
    taken = sum(part.nbytes for part in vars(kept).values() if isinstance(part, torch.Tensor))
    assert 0.5 * bytes_of(tiny_collection, "train", CONFIG) <= taken <= bytes_of(tiny_collection, "train", CONFIG)


def test_a_split_is_kept_where_there_is_room_for_it(tiny_collection, monkeypatch):
    size, free = bytes_of(tiny_collection, "train", CONFIG), []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[-1], 2**40))
    monkeypatch.setattr(ResidentSplit, "__init__", lambda *_, workers: None)

    def decided(wanted, device):
        return resident(tiny_collection, RunConfig(resident=wanted), CONFIG, torch.device(device)) is not None

    assert [decided(wanted, "cpu") for wanted in ("auto", "yes", "no")] == [False, True, False]
    for room, kept in ((2 * size, True), (2 * size - 1, False)):
        free.append(room)
        assert [decided(wanted, "cuda") for wanted in ("auto", "yes", "no")] == [kept, True, False]


def test_captions_that_are_not_grouped_by_video(broken):
    path = broken / "tiny" / "TextData" / "tinytrain.caption.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(np.random.default_rng(0).permutation(lines)) + "\n")
    collection = Collection.open(broken, "tiny")
    captions = collection.captions("train")
    (batch,) = training(collection, np.arange(24), batch_size=24)
    expected = [len(collection.text.tokens_of(captions.caption_ids[query])) for query in captions.queries_by_video]
    assert batch.queries.lengths.tolist() == [min(length, 12) for length in expected]
    assert batch.labels.tolist() == captions.video_of_query[captions.queries_by_video].tolist()


def test_skipping_leaves_the_first_batches_out_unread(tiny_collection, monkeypatch):
    order = np.random.default_rng(2).permutation(24)
    whole = tensors(training(tiny_collection, order, batch_size=5))
    read = []
    original = tiny_collection.frames.views_of
    monkeypatch.setattr(tiny_collection.frames, "views_of", lambda videos: read.extend(videos) or original(videos))
    assert tensors(training(tiny_collection, order, batch_size=5, skip=3)) == whole[3:]
    assert sorted(read) == sorted(tiny_collection.captions("train").video_ids[video] for video in order[15:])
    assert training(tiny_collection, order, batch_size=5, skip=5) == []


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_shares_of_all_processes_make_the_batch(tiny_collection, world):
    order = np.random.default_rng(3).permutation(24)
    whole = training(tiny_collection, order, batch_size=11)
    shares = [training(tiny_collection, order, batch_size=11, rank=rank, world=world) for rank in range(world)]
    for k, batch in enumerate(whole):
        parts = [share[k] for share in shares]
        for field in ("clips", "frames", "lengths"):
            assert torch.equal(torch.cat([getattr(part.videos, field) for part in parts]), getattr(batch.videos, field))
        assert torch.equal(torch.cat([part.queries.tokens for part in parts]), batch.queries.tokens)
        assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
        assert {part.batch_videos for part in parts} == {batch.batch_videos}


def test_a_share_may_be_empty(tiny_collection):
    last = training(tiny_collection, np.arange(24), batch_size=23, rank=1, world=2)[-1]
    assert last.batch_videos == 1
    assert last.videos.clips.shape == (0, 8, 16)
    assert last.videos.frames.shape == (0, 16)
    assert last.queries.tokens.shape == (0, 12)
    assert last.labels.dtype == torch.int64
    assert len(last.labels) == 0


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("workers", [0, 2])
def test_nan_is_met_at_its_batch_and_names_the_video(broken, workers):
    collection = Collection.open(broken, "tiny")
    captions = collection.captions("train")
    rows = collection.frames.rows_of(captions.video_ids[9])
    values = np.memmap(
        broken / "tiny/FeatureData/i3d_resnet/feature.bin", dtype="<f4", mode="r+", shape=(collection.frames.rows, 16)
    )
    values[rows.start + 2, 5] = np.nan
    values.flush()
    batches = collection.training_batches("train", CONFIG, batch_size=4, order=np.arange(24), workers=workers)
    assert [next(batches).batch_videos for _ in range(2)] == [4, 4]
    with pytest.raises(InputError, match=f"video '{captions.video_ids[9]}': row 2 of its features holds NaN"):
        next(batches)


def test_missing_text_is_met_at_its_batch(broken):
    with h5py.File(broken / "tiny/TextData/roberta_tiny_query_feat.hdf5", "a") as file:
        del file["val_000003#enc#1"]
    with pytest.raises(InputError, match="caption 'val_000003#enc#1' are missing"):
        list(Collection.open(broken, "tiny").query_batches("val", CONFIG))


def test_a_video_without_features_is_met_before_any_batch(broken):
    edit(broken / "tiny/FeatureData/i3d_resnet/video2frames.txt", "'val_000003'", "'other'")
    collection = Collection.open(broken, "tiny")
    with pytest.raises(InputError, match=r"no entry for video 'val_000003'.*gmmformer check-data"):
        collection.video_batches("val", CONFIG)
    assert len(list(collection.video_batches("test", CONFIG))) == 1


def test_features_of_another_model_are_refused(tiny_collection):
    with pytest.raises(InputError, match="has features of 16 dims, but the model takes 17"):
        tiny_collection.video_batches("val", ModelConfig(feature_dim=17, query_dim=12))
    with pytest.raises(InputError, match="has features of 12 dims, but the model takes 13"):
        tiny_collection.query_batches("val", ModelConfig(feature_dim=16, query_dim=13))


def test_splits(tiny_collection):
    assert tiny_collection.captions("val") is tiny_collection.captions("val")
    with pytest.raises(InputError, match="did you mean 'train'") as error:
        tiny_collection.captions("trainn")
    assert "tinytrainn.caption.txt" in str(error.value)
    with pytest.raises(InputError, match="known: test, train, val"):
        tiny_collection.captions("xyz")


def test_which_features(broken):
    folder = broken / "tiny" / "FeatureData"
    shutil.copytree(folder / "i3d_resnet", folder / "clip")
    with pytest.raises(InputError, match=r"several kinds of features \(clip, i3d_resnet\).*--feature"):
        Collection.open(broken, "tiny")
    assert Collection.open(broken, "tiny", feature="clip").feature == "clip"
    with pytest.raises(InputError, match="did you mean 'clip'"):
        Collection.open(broken, "tiny", feature="clipp")
    (broken / "tiny").rename(broken / "tvr")
    text = broken / "tvr" / "TextData"
    (text / "roberta_tiny_query_feat.hdf5").rename(text / "roberta_tvr_query_feat.hdf5")
    assert Collection.open(broken, "tvr").feature == "i3d_resnet"


def test_missing_folders(broken):
    with pytest.raises(InputError, match="no such folder; ROOT/COLLECTION/FeatureData/FEATURE"):
        Collection.open(broken, "tvr")
    shutil.rmtree(broken / "tiny/FeatureData/i3d_resnet")
    with pytest.raises(InputError, match="holds no features"):
        Collection.open(broken, "tiny")


def test_reading_ahead_is_bounded_ordered_and_stops():
    made, before = [], threading.active_count()
    items = read_ahead(lambda n: made.append(n) or -n, range(100), workers=2)
    assert made == []
    assert [next(items) for _ in range(3)] == [0, -1, -2]
    items.close()
    assert max(made) <= 5
    assert threading.active_count() <= before + 2


def test_an_error_ahead_comes_at_its_place():
    def make(n):
        if n == 2:
            raise InputError("two")
        return n

    items = read_ahead(make, range(5), workers=3)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(InputError, match=r"^two$"):
        next(items)
