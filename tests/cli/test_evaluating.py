"""`evaluate --report` and `compare`: what they write and say, and one sentence for what they cannot use."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gmmformer.cli import main
from gmmformer.data import Collection, simulate
from gmmformer.demo.render import render_films
from gmmformer.demo.world import plan_films
from gmmformer.evaluation import evaluate, metrics_of
from gmmformer.evaluation.comparing import Ranking, compare
from gmmformer.model import load_model

SMALL = "--hidden 16 --heads 2 --map-size 4 --max-ctx-l 16 --max-desc-l 8 --batch-size 10 --device cpu --workers 0"


@pytest.fixture(scope="module")
def runs(tiny_collection, tmp_path_factory) -> Path:
    """Two runs of different seeds."""
    out = tmp_path_factory.mktemp("runs")
    start = ["train", "--data", str(tiny_collection.root), "--collection", "tiny", *SMALL.split(), "--epochs", "1"]
    for seed in ("1", "2"):
        assert main([*start, "--seed", seed, "--out", str(out / f"seed-{seed}"), "--baselines", "none", "--json"]) == 0
    return out


def evaluating(model: Path, collection: Collection, *more: object) -> list[str]:
    start = ["evaluate", model, "--data", collection.root, "--collection", "tiny", "--device", "cpu", "--workers", "0"]
    return [str(word) for word in (*start, *more)]


def comparing(*words: object) -> list[str]:
    return ["compare", *map(str, words), "--device", "cpu", "--workers", "0"]


def test_a_report_is_three_files_and_warns_of_the_split_that_chose(runs, tiny_collection, tmp_path, capsys):
    report = tmp_path / "new" / "report"
    asked = evaluating(runs / "seed-1", tiny_collection, "--split", "val", "--report", report)
    assert main(asked) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report {report / 'report.html'}"
    assert {path.name for path in report.iterdir()} == {"report.html", "report.json", "report.md"}
    told = json.loads((report / "report.json").read_text())
    metrics = evaluate(load_model(runs / "seed-1"), tiny_collection, "val").metrics
    assert told["metrics"]["SumR"]["value"] == pytest.approx(metrics.sum_recall)
    assert set(told["beside"]) == {"ridge", "chance"}
    (warning,) = told["warnings"]
    assert "of the split val: they chose the epoch" in warning
    assert warning.split(":")[0] in (report / "report.html").read_text()
    assert told["about"]["epoch_chosen_on"] == "val"
    assert "seed 1," in told["about"]["training"] + ","
    again = evaluating(runs / "seed-1" / "best", tiny_collection, "--report", report, "--json")
    assert main(again) == 0  # over the old one; the test split chose nothing
    assert json.loads((report / "report.json").read_text())["warnings"] == []
    assert main(evaluating(runs / "seed-1", tiny_collection, "--split", "train", "--report", report, "--json")) == 0
    (warning,) = json.loads((report / "report.json").read_text())["warnings"]
    assert "the model learned from them" in warning


def test_a_copy_of_the_split_that_chose_is_told_too(runs, tiny_collection, tmp_path):
    shutil.copytree(tiny_collection.root / "tiny", tmp_path / "tiny")
    text = tmp_path / "tiny" / "TextData"
    lines = (text / "tinyval.caption.txt").read_text().splitlines(keepends=True)
    (text / "tinyreported.caption.txt").write_text("".join(lines[:5]))
    collection = Collection.open(tmp_path, "tiny")
    asked = evaluating(runs / "seed-1", collection, "--split", "reported", "--report", tmp_path / "r", "--json")
    assert main(asked) == 0
    (warning,) = json.loads((tmp_path / "r" / "report.json").read_text())["warnings"]
    assert warning.startswith("5 of the 5 sentences reported on are of the split val")


def test_frames_of_films_stand_in_the_report(runs, tmp_path, capsys):
    simulate(tmp_path, name="tiny", videos=(4, 3, 3), feature_dim=16, query_dim=12)
    collection = Collection.open(tmp_path, "tiny")
    render_films(plan_films(3, seed=1), tmp_path / "films", workers=1)
    films = sorted((tmp_path / "films").glob("*.mp4"))
    for video, film in zip(collection.captions("test").video_ids[:2], films, strict=False):
        film.rename(film.with_name(f"{video}.mp4"))
    asked = evaluating(runs / "seed-1", collection, "--report", tmp_path / "r", "--films", tmp_path / "films")
    assert main(asked) == 0
    page = (tmp_path / "r" / "report.html").read_text()
    worst = json.loads((tmp_path / "r" / "report.json").read_text())["worst"]
    there = set(collection.captions("test").video_ids[:2])
    shown = sum((one["video"] in there) + (one["found"]["video"] in there) for one in worst)
    assert page.count("data:image/jpeg") == shown > 0


def test_several_right_videos(runs, tiny_collection, tmp_path, capsys):
    captions = tiny_collection.captions("test")
    everything = {caption_id: list(captions.video_ids) for caption_id in captions.caption_ids}
    (tmp_path / "right.json").write_text(json.dumps(everything))
    asked = evaluating(runs / "seed-1", tiny_collection, "--relevant", tmp_path / "right.json", "--json")
    assert main([*asked, "--report", str(tmp_path / "r")]) == 0
    assert json.loads(capsys.readouterr().out)["R@1"] == 100
    assert "with several right videos" in (tmp_path / "r" / "report.md").read_text()


def test_runs_and_their_ranks_compare_alike(runs, tiny_collection, tmp_path, capsys):
    assert main(comparing(runs / "seed-1", runs / "seed-2", "--json")) == 0
    (found,) = json.loads(capsys.readouterr().out)["differences"]
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        out = tmp_path / str(seed) / "ranks.jsonl"
        assert main(evaluating(runs / f"seed-{seed}", tiny_collection, "--ranks", out)) == 0
    files = [tmp_path / "1" / "ranks.jsonl", tmp_path / "2" / "ranks.jsonl"]
    capsys.readouterr()
    assert main(comparing(*files, "--json")) == 0
    (again,) = json.loads(capsys.readouterr().out)["differences"]
    assert again["metrics"] == found["metrics"]
    assert main(comparing(tmp_path / "1", files[1], "--json")) == 0  # a folder of such files
    assert json.loads(capsys.readouterr().out)["differences"][0]["metrics"] == found["metrics"]
    expected = [metrics_of(Ranking.read(file).ranks, 8).sum_recall for file in files]
    gap = found["metrics"]["SumR"]
    assert [gap["first"], gap["second"]] == pytest.approx(expected)
    assert gap["difference"] == pytest.approx(expected[1] - expected[0])
    assert gap["interval"][0] <= gap["difference"] <= gap["interval"][1]
    assert main(comparing(*files)) == 0
    said = capsys.readouterr().out
    assert f"{gap['interval'][0]:.1f} to {gap['interval'][1]:.1f}" in said or "95 % interval" in said
    assert "one run each, so it tells of other videos but not of other trainings" in said


def test_a_folder_of_runs_is_one_system(runs, capsys):
    assert main(comparing(runs, runs / "seed-1", runs / "seed-2", "--json")) == 0
    one, two = json.loads(capsys.readouterr().out)["differences"]
    assert one["runs"] == two["runs"] == [2, 1]
    assert one["metrics"]["SumR"]["difference"] == pytest.approx(-two["metrics"]["SumR"]["difference"])
    assert "2 and 1 runs" in one["words"]


def ranking(name: str, ranks: list[int], videos: str = "aabbcc") -> Ranking:
    ids = tuple(f"{video}#{number}" for number, video in enumerate(videos))
    return Ranking(name=name, caption_ids=ids, videos=tuple(videos), ranks=np.array(ranks))


def test_differences_are_said_in_words_that_can_be_quoted():
    worse, better = ranking("A", [200, 300] * 3), ranking("B", [1, 2] * 3)
    (found,) = compare({"A": [worse], "B": [better]})
    told = "one run each, so it tells of other videos but not of other trainings"
    over = f"(6 sentences of 3 videos, {told})"
    assert found.in_words() == f"B is better than A by 350.0 SumR, 95 % interval 350.0 to 350.0 {over}"
    (found,) = compare({"B": [better], "A": [worse]})
    assert found.in_words() == f"B is better than A by 350.0 SumR, 95 % interval 350.0 to 350.0 {over}"
    (found,) = compare({"B": [better], "A": [better, better]})
    assert found.in_words() == (
        "A and B cannot be told apart: they differ by +0.0 SumR, 95 % interval 0.0 to 0.0 "
        "(6 sentences of 3 videos, 1 and 2 runs, too few for an interval that is wide enough)"
    )
    (found,) = compare({"B": [better] * 5, "A": [worse] * 6})
    assert found.in_words().endswith("5 and 6 runs)")


def test_sentences_may_come_in_another_order():
    one = ranking("A", [1, 2, 3, 4, 5, 6])
    turned = Ranking(name="B", caption_ids=one.caption_ids[::-1], videos=one.videos[::-1], ranks=one.ranks[::-1])
    (found,) = compare({"A": [one], "B": [turned]})
    assert all(gap.difference == 0 and gap.interval == (0, 0) for gap in found.metrics.values())


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "holds no ranks"),
        ("{}\n", "line 1: not what gmmformer evaluate --ranks writes"),
        ('{"caption_id": "a#1", "video": "a", "rank": 0}\n', "a number of 1 or more"),
        ('{"caption_id": "a#1", "video": "a", "rank": true}\n', "a number of 1 or more"),
        ('{"caption_id": "a#1", "video": "a", "rank": 1}\n' * 2, "line 2: not what"),
        ("[1]\n", "line 1"),
        ("x\n", "line 1"),
    ],
)
def test_files_that_are_no_ranks(tmp_path, refused, lines, said):
    good = '{"caption_id": "a#1", "video": "a", "rank": 2}\n'
    (tmp_path / "good.jsonl").write_text(good)
    (tmp_path / "bad.jsonl").write_text(lines)
    refused(["compare", tmp_path / "good.jsonl", tmp_path / "bad.jsonl"], "bad.jsonl", said)


def test_what_cannot_be_compared(tmp_path, refused, runs):
    for name, sentence in (("a", "a#1"), ("b", "a#2")):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"caption_id": "{sentence}", "video": "a", "rank": 2}}\n')
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    refused(["compare", a, b], "b.jsonl ranks other sentences than", "a.jsonl")
    refused(["compare", a], "takes two systems or more")
    refused(["compare", a, a], "is there twice")
    refused(["compare", a, b, "--data", tmp_path], "go with models, and files of ranks say all")
    refused(["compare", a, tmp_path / "missing.jsonl"], "missing.jsonl: cannot be read")
    shutil.copytree(runs / "seed-1" / "best", tmp_path / "model")
    refused(["compare", tmp_path / "model", a], "--data is missing", "does not say on what to evaluate it")


def test_what_a_report_cannot_use(runs, tiny_collection, tmp_path, refused):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    refused(evaluating(runs / "seed-1", tiny_collection, "--report", tmp_path / "file"), "file: cannot be written")
    refused(evaluating(runs / "seed-1", tiny_collection, "--films", tmp_path), "--films goes with --report")
    report = ("--report", tmp_path / "r")
    refused(evaluating(runs / "seed-1", tiny_collection, *report, "--films", tmp_path / "no"), "no: cannot be read")
    asked = evaluating(runs / "seed-1", tiny_collection, *report, "--films", tmp_path / "empty")
    refused(asked, "empty: none of its 0 films is a video of the split")
    refused(evaluating(runs / "seed-1", tiny_collection, "--relevant", tmp_path / "no.json"), "no.json: cannot be read")
    assert not (tmp_path / "r" / "report.json").exists()
