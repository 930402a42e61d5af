"""Sentences in each published format, to the files that training reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmmformer.data import Collection, check_collection
from gmmformer.data.writing import write_row_names
from gmmformer.demo.encoders import ShapeWords
from gmmformer.errors import InputError
from gmmformer.media.annotations import Annotation, read_captions_files
from gmmformer.media.report import FilmRecord
from gmmformer.media.text_data import check_annotations, write_text_data

ROWS = {"first": 10, "second": 6, "trip/third": 4}


@pytest.fixture
def collection(tmp_path: Path) -> tuple[Path, list[FilmRecord]]:
    """The features of three films at two rows per second, the first of 5 s."""
    folder = tmp_path / "root/mine/FeatureData/tiny"
    folder.mkdir(parents=True)
    rows = sum(ROWS.values())
    np.ones((rows, 2), dtype="<f4").tofile(folder / "feature.bin")
    (folder / "shape.txt").write_text(f"{rows} 2")
    write_row_names(folder, ROWS)
    np.save(folder / "times.npy", np.concatenate([np.arange(count) / 2 for count in ROWS.values()]))
    return folder, [
        FilmRecord(name, Path(f"/films/{name}.mp4"), name * 2, count, count / 2) for name, count in ROWS.items()
    ]


@pytest.fixture
def write(tmp_path: Path, collection: tuple[Path, list[FilmRecord]]) -> Any:
    features, records = collection

    def written(annotations: list[Annotation], seed: int = 1, records: list[FilmRecord] = records) -> Any:
        folder = tmp_path / "root/mine"
        return write_text_data(folder, "mine", annotations, records, features, ShapeWords(), seed)

    return written


FORMATS = {
    "jsonl": '{"video": "first", "sentence": "a cat", "start": 1, "end": 2.4}\n'
    '{"video": "trip/third.mp4", "sentence": "a dog"}\n',
    "csv": 'video,sentence,start,end\nfirst,"a cat",1,2.4\ntrip/third.mp4,a dog,,\n',
    "activitynet": json.dumps(
        {
            "first": {"duration": 5.0, "timestamps": [[1, 2.4]], "sentences": ["a cat"]},
            "third": {"duration": 2.0, "timestamps": [[0, 9]], "sentences": ["a dog"]},
        }
    ),
    "charades": "first 1 2.4##a cat\nthird 0.0 9##a dog\n",
    "tvr": '{"vid_name": "first", "duration": 5, "ts": [1, 2.4], "desc": "a cat", "desc_id": 7}\n'
    '{"vid_name": "third", "duration": 2, "ts": [0, 9], "desc": "a dog", "desc_id": 8}\n',
    "qvhighlights": '{"qid": 1, "query": "a cat", "duration": 5, "vid": "first", "relevant_windows": [[1, 2.4]]}\n'
    '{"qid": 2, "query": "a dog", "duration": 2, "vid": "third"}\n',
}
MOMENTS = {"jsonl": 1, "csv": 1, "activitynet": 2, "charades": 2, "tvr": 2, "qvhighlights": 1}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("told", [True, False])
def test_each_published_format_to_a_collection(tmp_path, write, format, told):  # noqa: A002
    """SPLIT=FILE for a file of each split, the format given or told from the content."""
    path = tmp_path / "captions=of some.kind"
    path.write_text(FORMATS[format])
    second = tmp_path / "second.jsonl"
    second.write_text('{"video": "second", "sentence": "a bird sings"}\n')
    annotations = read_captions_files([f"train={path}"], format if told else "auto")
    annotations += read_captions_files([f"test={second}"])
    report = write(annotations)
    assert report.sentences == {"train": 2, "test": 1}
    assert report.without_film == ()
    assert check_collection(tmp_path / "root", "mine").problems == ()
    found = Collection.open(tmp_path / "root", "mine")
    train = found.captions("train")
    assert train.caption_ids == ("first#enc#0", "trip/third#enc#0")
    assert train.sentences == ("a cat", "a dog")
    assert found.captions("test").sentences == ("a bird sings",)
    for sentence, name in zip(train.sentences, train.caption_ids, strict=True):
        np.testing.assert_array_equal(found.text.tokens_of(name), ShapeWords().encode([sentence])[0])
    moments = (tmp_path / "root/mine/TextData/moments.tsv").read_text().splitlines()
    # Rows are at 0, 0.5, 1, ... s: 1 s to 2.4 s are rows 2 to 4, and a moment longer than its film is all of it.
    assert moments == ["first#enc#0\t2\t5\t10", "trip/third#enc#0\t0\t4\t4"][: MOMENTS[format]]


def timed(video: str, start: float, end: float, **more: object) -> Annotation:
    return Annotation(video=video, sentence="x", start=float(start), end=float(end), **more)


def test_moments_of_one_second_alone_are_counted(write):
    (remark,) = write([timed("first", 0, 3), timed("first", 2, 2), timed("third", 1, 1)]).remarks
    assert remark.startswith("2 of 3 moments end at the second at which they begin, such as one of 'first' at 2 s")


def test_moments_that_the_film_does_not_have_are_counted_and_the_worst_is_named(write):
    report = write(
        [
            timed("first", 0, 3.9),
            timed("first", 4, 5.5),  # as published ones are rounded
            timed("first", 2, 82.5, duration=82.5),
            timed("third", 400, 410),
            Annotation(video="third", sentence="x", duration=2.4),
        ]
    )
    beyond, longer = report.remarks
    assert beyond.startswith("2 of 4 moments end after their film does, 1 of them begin after it")
    assert "the worst: 'third' at 400 to 410 s, in a film of 2.0 s" in beyond
    assert "milliseconds" not in beyond
    assert longer.startswith("1 films are not as long as the annotations say; the worst: 'first', 82.5 s")
    assert write([timed("first", 0, 5), timed("third", 1, 2.5)]).remarks == ()


def test_a_moment_among_several_that_the_film_does_not_have(write):
    (remark,) = write([timed("first", 0, 4, windows=((0.0, 4.0), (30.0, 31.0)))]).remarks
    assert "'first' at 0 to 31 s" in remark


def test_milliseconds_are_told_where_it_is_plain(write):
    (remark,) = write([timed("first", 1000, 4000), timed("third", 500, 1900), timed("first", 0, 3000)]).remarks
    assert remark.startswith("3 of 3 moments")
    assert remark.endswith("they look like milliseconds")


def test_a_film_found_by_another_spelling_is_told(write):
    (remark,) = write([Annotation(video="FIRST.avi", sentence="x")]).remarks
    assert remark.startswith("1 videos of the captions are taken for films whose names differ")
    assert "'FIRST.avi' for 'first." in remark


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [(0, 0, (0, 1)), (1.2, 1.3, (3, 4)), (4.9, 5, (9, 10)), (50, 60, (9, 10)), (0, 5, (0, 10))],
)
def test_a_moment_has_at_least_one_row_of_its_film(tmp_path, write, start, end, rows):
    write([Annotation(video="first", sentence="x", start=float(start), end=float(end))])
    assert (tmp_path / "root/mine/TextData/moments.tsv").read_text() == f"first#enc#0\t{rows[0]}\t{rows[1]}\t10\n"


def test_sentences_are_numbered_within_their_film_in_the_order_given(tmp_path, write):
    about = [("first", "one"), ("second", "two"), ("first.mp4", "three"), ("first", "four")]
    report = write([Annotation(video=video, sentence=sentence, split="val") for video, sentence in about])
    assert report.sentences == {"val": 4}
    text = (tmp_path / "root/mine/TextData/mineval.caption.txt").read_text()
    assert text == "first#enc#0 one\nsecond#enc#0 two\nfirst#enc#1 three\nfirst#enc#2 four\n"


def test_it_is_written_again_only_when_something_changed(tmp_path, write, collection):
    _, records = collection
    mark = tmp_path / "root/mine/TextData/moments.tsv"
    about = [Annotation(video="first", sentence="one", start=0.0, end=1.0), Annotation(video="second", sentence="two")]

    def rewritten(*arguments: Any) -> bool:
        before = mark.stat().st_ino, mark.stat().st_mtime_ns
        write(*arguments)
        return (mark.stat().st_ino, mark.stat().st_mtime_ns) != before

    write(about)
    assert not rewritten(about)
    assert rewritten([*about, Annotation(video="first", sentence="more")])
    assert rewritten(about)
    assert rewritten([about[0], Annotation(video="second", sentence="2")])
    assert rewritten([Annotation(video="first", sentence="one", start=0.0, end=2.0)])
    assert rewritten(about)
    assert rewritten(about, 1, [records[0]._replace(fingerprint="another"), *records[1:]])


def test_sentences_without_a_film_are_left_out_and_named(tmp_path, write, collection):
    _, records = collection
    about = [Annotation(video=name, sentence=name) for name in ("first", "nowhere", "second", "nowhere")]
    report = write(about, 1, records[1:])
    assert report.without_film == ("first", "nowhere")
    assert report.sentences == {"train": 1}
    assert Collection.open(tmp_path / "root", "mine").captions("train").video_ids == ("second",)


FILMS = [Path("films/first.mp4"), Path("films/second.mp4")]


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        (["train", None], r"'second' has no split, others have one"),
        ([None, "test"], r"'first' has no split"),
        (["train", "test", "val"], "'first' is in 'train' and in 'val'"),
    ],
)
def test_mixed_splits_are_refused(splits, problem):
    videos = ("first", "second", "first")
    about = [Annotation(video=video, sentence="x", split=split) for video, split in zip(videos, splits, strict=False)]
    with pytest.raises(InputError, match=problem):
        check_annotations(about, FILMS)


def test_one_split_for_some_sentences_of_a_film_is_the_split_of_all():
    check_annotations(
        [Annotation(video="first", sentence="x", split="val"), Annotation(video="first", sentence="y")], FILMS
    )


def test_sentences_about_other_films_are_refused():
    with pytest.raises(InputError, match=r"none of the 1 sentences .* name 'third', the films are called 'first.mp4'"):
        check_annotations([Annotation(video="third", sentence="x")], FILMS)
    check_annotations([], FILMS)
