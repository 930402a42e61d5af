import filecmp
import shutil
import time

import numpy as np
import pytest

from gmmformer.data import Collection, check_collection, simulate
from gmmformer.data.world import SIZES
from gmmformer.errors import InputError

SMALL = {"videos": (60, 5, 20), "feature_dim": 48, "query_dim": 40}


def moments_of(collection):
    lines = (collection.root / collection.name / "moments.tsv").read_text().splitlines()
    return {line.split("\t")[0]: tuple(map(int, line.split("\t")[1:])) for line in lines}


def test_the_layout(tmp_path):
    made = simulate(tmp_path, seed=3, **SMALL)
    assert made.videos == {"train": 60, "val": 5, "test": 20}
    assert made.sentences == {"train": 300, "val": 25, "test": 100}
    collection = Collection.open(tmp_path, "tvr")
    assert (collection.feature, collection.frames.rows) == ("i3d_resnet", made.rows)
    moments = moments_of(collection)
    seen = set()
    for split, count in made.sentences.items():
        captions = collection.captions(split)
        assert len(captions.caption_ids) == count
        seen |= set(captions.video_ids)
        for caption_id, sentence, video in zip(
            captions.caption_ids, captions.sentences, captions.video_of_query, strict=True
        ):
            start, stop, rows = moments[caption_id]
            assert 0 <= start < stop <= rows
            assert len(collection.frames.features_of(captions.video_ids[video])) == rows >= 20
            assert collection.text.tokens_of(caption_id).shape == (len(sentence.split()), 40)
    assert len(seen) == 85
    assert len(moments) == 425
    report = check_collection(tmp_path, "tvr")
    assert report.problems == ()


def test_a_sentence_names_what_its_moment_shows(tmp_path):
    """Without noise a moment's rows are sums of concepts, and the named ones among them."""
    simulate(tmp_path, difficulty=0.0, **SMALL)
    collection = Collection.open(tmp_path, "tvr")
    captions, moments = collection.captions("train"), moments_of(collection)
    words = sorted({word for sentence in captions.sentences for word in sentence.split() if word.startswith("concept")})
    named = np.array([[word in sentence.split() for word in words] for sentence in captions.sentences], dtype=float)
    assert (named.sum(axis=1) == 3).all()
    means = np.stack(
        [
            collection.frames.features_of(caption_id.split("#")[0])[slice(*moments[caption_id][:2])].mean(axis=0)
            for caption_id in captions.caption_ids
        ]
    )
    directions = np.linalg.lstsq(named, means, rcond=None)[0]
    own = (named @ directions * means).sum(axis=1)
    others = (np.roll(named, 7, axis=0) @ directions * means).sum(axis=1)
    assert (own > others).mean() > 0.95


def test_the_same_seed_gives_the_same_files_and_another_does_not(tmp_path, monkeypatch):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(tmp_path / name, seed=seed, **SMALL)
        time.sleep(1 - time.time() % 1)  # the next is made in another second
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) == 9
    same, different, errors = filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", map(str, files), shallow=False)
    assert (len(same), different, errors) == (9, [], [])
    assert not filecmp.cmp(tmp_path / "a" / files[0], tmp_path / "c" / files[0], shallow=False)
    for file in ("tvr/FeatureData/i3d_resnet/feature.bin", "tvr/moments.tsv", "tvr/TextData/tvrval.caption.txt"):
        assert not filecmp.cmp(tmp_path / "a" / file, tmp_path / "c" / file, shallow=False)


def test_many_blocks_and_few_have_the_same_scenes(tmp_path, monkeypatch):
    simulate(tmp_path / "few", difficulty=0.0, **SMALL)
    monkeypatch.setattr("gmmformer.data.simulation._BLOCK_BYTES", 7 * 48 * 4)
    simulate(tmp_path / "many", difficulty=0.0, **SMALL)
    few, many = (Collection.open(tmp_path / name, "tvr") for name in ("few", "many"))
    assert few.frames.rows == many.frames.rows
    for video in few.captions("val").video_ids:
        a, b = few.frames.features_of(video), many.frames.features_of(video)
        assert abs((a - b).mean()) < 0.05
        assert np.linalg.norm(a - b, axis=1).max() < 0.3 * np.sqrt(2) * 2
        assert np.linalg.norm(a, axis=1).mean() > 1


@pytest.mark.parametrize("like", sorted(SIZES))
def test_every_collection_can_be_imitated(tmp_path, like):
    made = simulate(tmp_path, like=like, videos=8, feature_dim=8, query_dim=8)
    sizes = SIZES[like]
    assert made.videos["test"] == max(1, round(8 * sizes.videos["test"] / sizes.videos["train"]))
    assert made.sentences["train"] == round(8 * sizes.sentences["train"])
    assert check_collection(tmp_path, like).usable


def test_published_sizes():
    assert round(17435 * SIZES["tvr"].sentences["train"]) == 87175
    assert round(4430 * SIZES["activitynet"].sentences["test"]) == 15753
    assert round(1334 * SIZES["charades"].sentences["test"]) == 3720


def test_a_split_of_no_videos_is_not_written(tmp_path):
    simulate(tmp_path, videos=(6, 2, 0), feature_dim=8, query_dim=8)
    with pytest.raises(InputError, match="known: train, val"):
        Collection.open(tmp_path, "tvr").captions("zzz")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"like": "tvrr"}, "did you mean 'tvr'"),
        ({"videos": 0}, "--videos 0 must be at least 1"),
        ({"videos": (0, 0, 0)}, "one must be at least 1"),
        ({"videos": (3, -1, 0)}, "must not be negative"),
        ({"difficulty": 1.5}, "--difficulty 1.5"),
        ({"seed": -1}, "--seed -1"),
        ({"feature_dim": 0}, "--feature-dim 0"),
        ({"concepts": 3}, "--concepts 3"),
    ],
)
def test_wrong_arguments_write_nothing(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        simulate(tmp_path / "out", **{**SMALL, **options})
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "tvr").mkdir()
    with pytest.raises(InputError, match="exists already"):
        simulate(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["tvr"]
    assert list((tmp_path / "tvr").iterdir()) == []


def test_too_small_a_disk_is_seen_before_writing(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match="are free; take fewer --videos"):
        simulate(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gmmformer.data.simulation._write_features", full)
    with pytest.raises(InputError, match="the disk is full"):
        simulate(tmp_path, **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_the_end(tmp_path):
    calls = []
    made = simulate(tmp_path, progress=lambda *call: calls.append(call), **SMALL)
    assert ("text features", 425, 425) in calls
    assert calls[-1] == ("features", made.rows, made.rows)
