"""What a report says, against tables by hand, and that its pages need nothing but themselves."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from gmmformer.config import ModelConfig
from gmmformer.data import Collection, read_moments, read_right_videos
from gmmformer.errors import InputError
from gmmformer.evaluation import Evaluation, evaluate, evaluate_vectors, metrics_of, rank_videos, ranks
from gmmformer.evaluation.findings import findings, overlap_of
from gmmformer.evaluation.page import as_html, as_markdown, tables
from gmmformer.model import GMMFormer, VectorGroup


@pytest.fixture(scope="module")
def found(tiny_collection) -> Evaluation:
    torch.manual_seed(0)
    sizes = {"hidden": 16, "heads": 2, "map_size": 4, "max_ctx_l": 16, "max_desc_l": 8}
    return evaluate(GMMFormer(ModelConfig(feature_dim=16, query_dim=12, **sizes)), tiny_collection, "val")


@pytest.fixture(scope="module")
def told(found, tiny_collection) -> dict:
    moments = read_moments(tiny_collection, "val")
    return findings(found, tiny_collection, "val", model="<b>odd & 'name'</b>", moments=moments, warnings=["mind <it>"])


def made(folder: Path, moments: str = "") -> Collection:
    """A collection of two videos, a of 10 rows and b of 4, with three sentences."""
    import h5py

    features = folder / "made" / "FeatureData" / "f"
    text = folder / "made" / "TextData"
    for place in (features, text):
        place.mkdir(parents=True)
    np.ones((14, 3), np.float32).tofile(features / "feature.bin")
    names = {"a": [f"a_{row}" for row in range(10)], "b": [f"b_{row}" for row in range(4)]}
    (features / "shape.txt").write_text("14 3")
    (features / "id.txt").write_text(" ".join(names["a"] + names["b"]))
    (features / "video2frames.txt").write_text(str(names))
    (text / "madetest.caption.txt").write_text("a#enc#0 one two\na#enc#1 one two three\nb#enc#0 one\n")
    with h5py.File(text / "roberta_made_query_feat.hdf5", "w") as file:
        for caption_id in ("a#enc#0", "a#enc#1", "b#enc#0"):
            file[caption_id] = np.ones((2, 3), np.float32)
    (folder / "made" / "moments.tsv").write_text(moments)
    return Collection.open(folder, "made")


def test_moments_are_laid_over_the_known_ones_by_hand():
    scores = np.array([[0.9, 0.1, 0.1, 0.1], [0.1, 0.9, 0.8, 0.1], [0.1, 0.1, 0.1, 0.9]])
    found = overlap_of(scores, np.array([[0, 2], [1, 3], [-1, -1]]), np.array([8, 8, 8]))
    assert found.found[:2].tolist() == [[0, 2], [2, 6]]
    assert found.iou[:2] == pytest.approx([1.0, 1 / 5])
    assert np.isnan(found.iou[2])
    assert overlap_of(scores[:1], np.array([[6, 8]]), np.array([8])).iou == [0]


def test_the_shares_of_moments_are_those_of_the_field(tmp_path):
    collection = made(tmp_path, "a#enc#0\t0\t2\t10\na#enc#1\t3\t7\t10\nb#enc#0\t0\t4\t4\n")
    moments = read_moments(collection, "test")
    assert moments.tolist() == [[0, 2], [3, 7], [0, 4]]
    queries = torch.eye(3)
    stored = torch.tensor([[[1.0, 0.2, 0.5], [0, 0, 0.1]], [[0.2, 0.9, 0.3], [0.4, 0, 0.0]]])
    evaluation = evaluate_vectors(queries, stored, collection.captions("test"), (VectorGroup(2, 1.0),))
    assert evaluation.ranks.tolist() == [1, 2, 2]
    told = findings(evaluation, collection, "test", model="m", moments=moments)
    by = told["by"]["share of the video that the moment takes"]
    assert [(group["which"], group["sentences"]) for group in by] == [
        ("0 to 0.2", 1),
        ("0.2 to 0.4", 1),
        ("0.4 to 1", 1),
    ]
    assert [group["metrics"]["R@1"]["value"] for group in by] == [100, 0, 0]
    assert [group["which"] for group in told["by"]["length of the video"]] == ["4 rows", "10 rows"]
    assert [group["which"] for group in told["by"]["length of the sentence"]] == ["1 word", "2 words", "3 words"]
    assert [worst["caption_id"] for worst in told["worst"]] == ["a#enc#1", "b#enc#0"]
    assert told["worst"][0]["found"] == {"video": "b", "score": pytest.approx(0.9), "rows": 4, "moment": [0, 2]}
    assert told["metrics"]["R@1"]["value"] == pytest.approx(100 / 3)
    assert told["moments"]["sentences"] == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a#enc#0\t2", "line 1: 'a#enc#0.t2' is not caption id"),
        ("a#enc#0\t-1\t2", "is not caption id"),
        ("a#enc#0\t3\t3", "rows 3 to 3 are no moment of a video of 10 rows"),
        ("b#enc#0\t0\t5\t10", "rows 0 to 5 are no moment of a video of 4 rows"),
        ("a#enc#0\t0\t1\na#enc#0\t0\t1", "line 2: caption 'a#enc#0' is there twice"),
    ],
)
def test_moments_that_are_none(tmp_path, line, said):
    with pytest.raises(InputError, match=re.escape(said).replace(r"\.t", ".+")):
        read_moments(made(tmp_path, line), "test")


def test_moments_may_be_unknown(tmp_path):
    collection = made(tmp_path, "other#0\t0\tx\n")
    assert read_moments(collection, "test") is None
    (tmp_path / "made" / "moments.tsv").write_text("b#enc#0\t1\t2\n")
    assert read_moments(collection, "test").tolist() == [[-1, -1], [-1, -1], [1, 2]]
    (tmp_path / "made" / "moments.tsv").unlink()
    assert read_moments(collection, "test") is None


def test_the_rank_of_several_right_videos_is_that_of_the_best(tmp_path):
    collection = made(tmp_path)
    captions = collection.captions("test")
    (tmp_path / "right.json").write_text('{"a#enc#1": ["b", "a", "b"], "b#enc#0": ["a"]}')
    right = read_right_videos(tmp_path / "right.json", captions)
    assert right.tolist() == [[0, 0], [1, 1], [1, 0], [2, 0]]
    stored = torch.tensor([[[1.0, 0.2, 0.5]], [[0.2, 0.9, 0.3]]])
    evaluation = evaluate_vectors(torch.eye(3), stored, captions, (VectorGroup(1, 1.0),), right=right)
    assert evaluation.ranks.tolist() == [1, 1, 1]
    assert findings(evaluation, collection, "test", model="m", right=right)["several_right"] == 1


def test_right_videos_in_blocks_are_those_of_the_whole_matrix(monkeypatch):
    rng = np.random.default_rng(2)
    monkeypatch.setattr("gmmformer.evaluation.ranking._BLOCK_BYTES", 2000)
    stored = torch.from_numpy(rng.integers(-2, 3, (40, 2, 3)).astype(np.float32))
    queries = torch.eye(3)[rng.integers(0, 3, 30)]
    own = torch.from_numpy(rng.integers(0, 40, 30))
    pairs = {(query, int(video)) for query, video in enumerate(own)} | set(
        zip(rng.integers(0, 30, 50).tolist(), rng.integers(0, 40, 50).tolist(), strict=True)
    )
    right = torch.tensor(sorted(pairs))
    found = rank_videos(queries, stored, own, (VectorGroup(2, 1.0),), right=right)
    scores = torch.einsum("qd,vcd->qvc", queries, stored).amax(-1).numpy()
    for query in range(30):
        mine = [video for asked, video in pairs if asked == query]
        best = max(scores[query, mine])
        assert found[query] == 1 + sum(scores[query, video] >= best for video in range(40) if video not in mine)
    assert torch.equal(
        rank_videos(queries, stored, own, (VectorGroup(2, 1.0),)), torch.from_numpy(ranks(scores, own.numpy()))
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "holds no object"),
        ('{"a#enc#0": ["a"]', "cannot be read"),
        ('{"a#enc#9": ["a"]}', "caption 'a#enc#9': the split has no such caption"),
        ('{"a#enc#0": "a"}', "'a' is no list of videos"),
        ('{"a#enc#0": []}', "is no list of videos"),
        ('{"a#enc#0": ["A"]}', "the split has no video 'A'; it is written 'A', what is there is written 'a'"),
        ('{"a#enc#0": [["a"]]}', "is no list of videos"),
    ],
)
def test_right_videos_that_are_none(tmp_path, text, said):
    (tmp_path / "right.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(said)):
        read_right_videos(tmp_path / "right.json", made(tmp_path).captions("test"))


def test_a_report_says_what_the_evaluation_found(found, told, tiny_collection):
    assert json.loads(json.dumps(told)) == told
    expected = metrics_of(found.ranks, 8).as_dict()
    for name, value in told["metrics"].items():
        assert value["value"] == pytest.approx(expected[name])
        assert value["low"] <= value["value"] <= value["high"]
    for groups in told["by"].values():
        assert sum(group["sentences"] for group in groups) == len(found.ranks)
    assert told["curve"]["recall"][-1] == 100
    assert [worst["rank"] for worst in told["worst"]] == sorted(found.ranks.tolist(), reverse=True)[:20]
    assert set(told["about"]) >= {"machine", "torch", "gmmformer", "python"}


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "data", "srcset", "xlink:href")]


def test_the_page_needs_nothing_but_itself(told):
    page = as_html(told, lambda video, share: b"\xff\xd8" if video.endswith("1") else None)
    seen = Seen()
    seen.feed(page)
    assert not {"script", "link", "iframe", "object", "base"} & set(seen.tags)
    assert seen.links
    assert all(link.startswith("data:image/jpeg;base64,") for link in seen.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    assert "<b>odd" not in page
    assert "&lt;b&gt;odd &amp;" in page
    assert "mind &lt;it&gt;" in page
    assert "prefers-color-scheme: dark" in page
    assert seen.tags.count("svg") == 4


def test_markdown_and_html_hold_the_same_tables(told):
    markdown, page = as_markdown(told), as_html(told)
    names = [table.title for table in tables(told)]
    assert names[0] == "How well it finds"
    for table in tables(told):
        assert f"## {table.title}" in markdown
        assert f"<h2>{table.title}</h2>" in page
    for row in markdown.splitlines():
        assert row.count("|") in (0, 3, 5, 9, 10), row
    value = told["metrics"]["SumR"]
    assert f"{value['value']:.1f}<br>{value['low']:.1f} to {value['high']:.1f}" in markdown
    assert f"{value['value']:.1f}<small>{value['low']:.1f} to {value['high']:.1f}</small>" in page
    assert "not of other trainings" in page


def test_a_report_of_a_perfect_model_has_no_worst(tmp_path):
    collection = made(tmp_path)
    queries = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    stored = torch.tensor([[[1.0, 0, 0]], [[0, 1.0, 0]]])
    evaluation = evaluate_vectors(queries, stored, collection.captions("test"), (VectorGroup(1, 1.0),))
    told = findings(evaluation, collection, "test", model="m")
    assert told["worst"] == []
    assert told["moments"] is None
    assert "Every sentence finds its video first." in as_html(told)
    assert as_markdown(told)
