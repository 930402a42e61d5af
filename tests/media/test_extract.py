"""What an extraction leaves on disk, with films that are cheap to "decode": the bytes of a film are its features."""

import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmmformer.config import DecodeConfig
from gmmformer.data import Collection, FrameFeatures, check_collection
from gmmformer.demo.encoders import ShapeWords
from gmmformer.errors import InputError
from gmmformer.files import locked
from gmmformer.media.annotations import Annotation
from gmmformer.media.decoding import FilmEnd
from gmmformer.media.extract import ExtractReport, extract
from gmmformer.media.featurise import FilmFeatures
from gmmformer.media.report import read_film_records

DIM = 4


class ByteFrames:
    """Stands where an encoder is asked for; `Bytes` makes the features."""

    name = "hub/bytes"
    identity = "bytes-1"
    dim = DIM
    size = 8
    needs_previous = False

    def encode(self, images: Any, previous: Any = None) -> np.ndarray:
        raise AssertionError


class Bytes:
    """A source: a row for each byte of a film, at half seconds; films of b"broken..." fail."""

    def __init__(self) -> None:
        self.decoded: list[Path] = []
        self.during: Callable[[Path], None] = lambda film: None

    def __call__(
        self, films: Iterable[Path], encoder: Any, settings: DecodeConfig, *, on_frames: Callable[[int], None]
    ) -> Iterator[FilmFeatures | FilmEnd]:
        for film in films:
            self.decoded.append(film)
            data = film.read_bytes()
            self.during(film)
            if data.startswith(b"broken"):
                yield FilmEnd(path=film, reason="is broken")
                continue
            rows = np.frombuffer(data, np.uint8).astype(np.float32)[:, None] * np.arange(1, DIM + 1, dtype=np.float32)
            on_frames(len(rows))
            warning = "is odd" if data.startswith(b"odd") else None
            yield FilmFeatures(film, rows, np.arange(len(rows)) / 2, len(rows) / 2, warning)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    (folder / "trip").mkdir(parents=True)
    for name in ("a.mp4", "b.mkv", "trip/a.mp4"):
        (folder / name).write_bytes(f"content of {name}".encode())
    return folder


@pytest.fixture
def run(tmp_path: Path, films: Path) -> Callable[..., tuple[ExtractReport, Bytes]]:
    def extract_films(
        given: Any = None, *, source: Bytes | None = None, out: Path = tmp_path / "out", **more: Any
    ) -> tuple[ExtractReport, Bytes]:
        source = source or Bytes()
        report = extract(
            given or [films],
            out,
            "mine",
            frames=more.pop("frames", ByteFrames()),
            text=ShapeWords(),
            source=source,
            **more,
        )
        return report, source

    return extract_films


def arrays(folder: Path) -> dict[str, Any]:
    """Every file of a collection by its name, HDF5 files by their content."""
    import h5py

    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".hdf5":
            found[str(path.relative_to(folder))] = path.read_bytes()
        elif path.suffix == ".hdf5":
            with h5py.File(path) as file:
                content: dict[str, list[list[float]]] = {}
                file.visititems(
                    lambda name, item, content=content: (
                        content.update({name: item[()].tolist()}) if isinstance(item, h5py.Dataset) else None
                    )
                )
            found[str(path.relative_to(folder))] = content
    return found


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*")}


ABOUT = [
    Annotation(video="b", sentence="a cat sits", start=1.0, end=3.0, split="train"),
    Annotation(video="trip/a", sentence="a dog runs", split="val"),
    Annotation(video="films/a.mp4", sentence="two birds", start=0.0, end=100.0, split="test"),
    Annotation(video="nothing", sentence="about no film", split="test"),
]


def test_the_collection_is_whole(run, films, tmp_path):
    report, source = run(annotations=ABOUT)
    folder = tmp_path / "out" / "mine"
    assert report.folder == folder
    assert report.feature == "bytes"
    assert source.decoded == [films / "a.mp4", films / "b.mkv", films / "trip/a.mp4"]
    assert [record.video for record in report.records] == ["a", "b", "trip/a"]
    assert tuple(read_film_records(folder / "FeatureData" / "bytes")) == report.records
    check = check_collection(tmp_path / "out", "mine")
    assert check.problems == ()
    collection = Collection.open(tmp_path / "out", "mine")
    assert collection.frames.video_ids == ("a", "b", "trip/a")
    for record, film in zip(report.records, source.decoded, strict=True):
        data = np.frombuffer(film.read_bytes(), np.uint8).astype(np.float32)
        assert record.film == film
        assert record.rows == len(data)
        assert record.duration == len(data) / 2
        expected = data[:, None] * np.arange(1, DIM + 1)
        np.testing.assert_array_equal(collection.frames.features_of(record.video), expected)
        np.testing.assert_array_equal(collection.frames.seconds_of(record.video), np.arange(len(data)) / 2)
    assert collection.captions("train").sentences == ("a cat sits",)
    assert collection.captions("test").video_ids == ("a",)
    (expected,) = ShapeWords().encode(["a dog runs"])
    np.testing.assert_array_equal(collection.text.tokens_of("trip/a#enc#0"), expected)
    assert report.text.sentences == {"train": 1, "val": 1, "test": 1}
    assert report.text.without_film == ("nothing",)
    assert (report.decoded, report.failures, report.warnings) == (3, (), ())
    assert report.frames == sum(record.rows for record in report.records)
    assert report.film_seconds == sum(record.duration for record in report.records)
    assert (folder / "failures.jsonl").read_text() == ""
    assert {path.name for path in folder.iterdir()} == {".lock", "FeatureData", "TextData", "failures.jsonl"}
    assert [path.name for path in (folder / "FeatureData").iterdir()] == ["bytes"]


def test_done_again_it_does_nothing(run, tmp_path):
    run(annotations=ABOUT)
    before = stamps(tmp_path / "out")
    time.sleep(0.02)
    report, source = run(annotations=ABOUT)
    assert source.decoded == []
    assert stamps(tmp_path / "out") == before
    assert (report.decoded, report.frames, len(report.records)) == (0, 0, 3)
    assert report.text.sentences == {"train": 1, "val": 1, "test": 1}
    assert "3 were there already" in report.table()


def test_only_what_changed_is_decoded_and_the_result_is_as_from_nothing(run, films, tmp_path):
    run(annotations=ABOUT)
    (films / "b.mkv").write_bytes(b"b changed")
    (films / "trip/a.mp4").rename(films / "trip/z.mp4")
    (films / "a.mp4").rename(films / "moved.mp4")
    (films / "new.mp4").write_bytes(b"new")
    about = [*ABOUT[:1], Annotation(video="new", sentence="it is new", split="test")]
    report, source = run(annotations=about)
    assert source.decoded == [films / "b.mkv", films / "new.mp4"]
    assert [record.video for record in report.records] == ["b", "moved", "new", "trip/z"]
    run(annotations=about, out=tmp_path / "fresh")
    assert arrays(tmp_path / "out") == arrays(tmp_path / "fresh")
    (films / "b.mkv").unlink()
    report, source = run()
    assert source.decoded == []
    assert [record.video for record in report.records] == ["moved", "new", "trip/z"]
    assert FrameFeatures.open(tmp_path / "out/mine/FeatureData/bytes").video_ids == ("moved", "new", "trip/z")


def test_other_sentences_do_not_touch_the_features(run, tmp_path):
    run(annotations=ABOUT)
    before = stamps(tmp_path / "out/mine/FeatureData/bytes")
    run(annotations=ABOUT[:1])
    assert stamps(tmp_path / "out/mine/FeatureData/bytes") == before
    assert [path.name for path in (tmp_path / "out/mine/TextData").glob("*.txt")] == ["minetrain.caption.txt"]
    assert check_collection(tmp_path / "out", "mine").problems == ()


def test_films_that_fail_are_named_and_their_sentences_left_out(run, films, tmp_path):
    (films / "b.mkv").write_bytes(b"broken by us")
    (films / "odd.mp4").write_bytes(b"odd one")
    (films / "bad\n.mp4").write_bytes(b"broken too")
    report, _ = run(annotations=ABOUT)
    bad = [(films / "b.mkv", "is broken"), (films / "bad\n.mp4", "is broken")]
    assert list(report.failures) == bad
    assert list(report.warnings) == [(films / "odd.mp4", "is odd")]
    lines = (tmp_path / "out/mine/failures.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"film": str(film), "reason": reason} for film, reason in bad]
    assert report.text.sentences == {"val": 1, "test": 1}
    assert report.text.without_film == ("b", "nothing")
    assert check_collection(tmp_path / "out", "mine").problems == ()
    assert "bad\\n.mp4: is broken" in report.table()
    (films / "b.mkv").write_bytes(b"mended")
    report, source = run(annotations=ABOUT)
    assert source.decoded == [films / "b.mkv", films / "bad\n.mp4"]
    assert report.text.sentences == {"train": 1, "val": 1, "test": 1}
    assert len((tmp_path / "out/mine/failures.jsonl").read_text().splitlines()) == 1


def test_when_all_fail_there_is_no_collection_to_mistake_for_one(run, films, tmp_path):
    for film in films.rglob("*.m*"):
        film.write_bytes(b"broken " + film.name.encode())
    report, _ = run(annotations=ABOUT)
    assert report.records == ()
    assert len(report.failures) == 3
    assert not (tmp_path / "out/mine/FeatureData/bytes").exists()
    assert len((tmp_path / "out/mine/failures.jsonl").read_text().splitlines()) == 3


def test_a_film_that_grows_while_it_is_read_fails(run, films):
    def grow(film: Path) -> None:
        if film.name == "b.mkv":
            with film.open("ab") as file:
                file.write(b"more")

    source = Bytes()
    source.during = grow
    report, _ = run(source=source)
    ((film, reason),) = report.failures
    assert film == films / "b.mkv"
    assert "changed while it was being read" in reason
    report, source = run()
    assert source.decoded == [films / "b.mkv"]
    assert report.failures == ()


def test_films_of_the_same_content_are_decoded_once(run, films, tmp_path):
    shutil.copy(films / "a.mp4", films / "twin.mp4")
    report, source = run()
    assert len(source.decoded) == 3
    features = FrameFeatures.open(tmp_path / "out/mine/FeatureData/bytes")
    assert features.video_ids == ("a", "b", "trip/a", "twin")
    np.testing.assert_array_equal(features.features_of("twin"), features.features_of("a"))
    assert (report.decoded, len(report.records)) == (3, 4)
    (films / "twin.mp4").write_bytes(b"broken")
    shutil.copy(films / "twin.mp4", films / "other.mp4")
    report, _ = run()
    assert [film.name for film, _ in report.failures] == ["other.mp4", "twin.mp4"]


def test_names_that_collide_stay_apart(films, run):
    (films / "a.mkv").write_bytes(b"another suffix")
    twin = films.parent / "more"
    twin.mkdir()
    for name in ("a.mp4", "a.mkv"):
        (twin / name).write_bytes(b"in another folder " + name.encode())
    report, _ = run([films, twin, films / "b.mkv", films / "trip"])
    assert [(record.video, record.film) for record in report.records] == [
        ("a", films / "a.mkv"),
        ("a.mp4", films / "a.mp4"),
        ("b", films / "b.mkv"),
        ("trip/a", films / "trip/a.mp4"),
        ("a.mkv", twin / "a.mkv"),
        ("a.mp4~2", twin / "a.mp4"),
    ]


ODD = ["-dash.mp4", "two  spaces .mp4", "#hash#.mp4", 'it\'s "x".mp4', "new\nline.mp4", "\u732b.mp4", "caf\xe9.mp4"]
ODD += ["100%.mp4", "back\\slash.mp4", "a.b.c.mp4", "$x$.mp4", "..mp4", "'}.mp4", os.fsdecode(b"\xff\xfe.mp4")]


def test_odd_names(run, films, tmp_path):
    odd = []
    for name in ODD:
        odd.append(tmp_path / "odd" / "fol der" / name)
        odd[-1].parent.mkdir(parents=True, exist_ok=True)
        odd[-1].write_bytes(os.fsencode(name))
    about = [Annotation(video=film.name, sentence="x") for film in odd[:-1] if "\\" not in film.name]
    report, _ = run(odd, annotations=about)
    assert [record.film for record in report.records] == odd
    assert report.failures == ()
    assert len({record.video for record in report.records}) == len(odd)
    assert report.text.without_film == ()
    assert check_collection(tmp_path / "out", "mine").problems == ()
    features = FrameFeatures.open(tmp_path / "out/mine/FeatureData/bytes")
    for record in report.records:
        expected = np.frombuffer(os.fsencode(record.film.name), np.uint8)
        np.testing.assert_array_equal(features.features_of(record.video)[:, 0], expected)
    json.dumps(report.as_dict())
    report.table().encode()
    _, source = run(odd, annotations=about)
    assert source.decoded == []


def test_links_are_films_under_their_own_names(run, films, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    (store / "4f2a.mp4").write_bytes(b"content elsewhere")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "holiday.mp4").symlink_to(store / "4f2a.mp4")
    (linked / "holiday2.mp4").symlink_to(store / "4f2a.mp4")
    (linked / "loop").symlink_to(linked)
    (linked / "loop.mp4").symlink_to(linked / "loop.mp4")
    (linked / "gone.mp4").symlink_to(linked / "nowhere")
    about = [Annotation(video="holiday", sentence="we swim"), Annotation(video="holiday2.mp4", sentence="we eat")]
    report, source = run([linked], annotations=about)
    assert len(source.decoded) == 1
    assert [(record.video, record.film) for record in report.records] == [
        ("holiday", linked / "holiday.mp4"),
        ("holiday2", linked / "holiday2.mp4"),
    ]
    assert report.text.without_film == ()


def test_relative_names_are_found_again_from_anywhere(run, films, monkeypatch):
    monkeypatch.chdir(films.parent)
    first, _ = run(["films"])
    assert [record.film for record in first.records] == [films / "a.mp4", films / "b.mkv", films / "trip/a.mp4"]
    monkeypatch.chdir(films)
    _, source = run(["."])
    assert source.decoded == []


def test_splits_are_drawn_by_video_where_none_is_given(run, films, tmp_path):
    about = []
    for number in range(20):
        (films / f"f{number}.mp4").write_bytes(str(number).encode())
        about += [Annotation(video=f"f{number}", sentence=f"{word} thing") for word in ("one", "another")]
    report, _ = run(annotations=about, seed=3)
    assert report.text.sentences == {"train": 32, "val": 4, "test": 4}
    collection = Collection.open(tmp_path / "out", "mine")
    assert {split: len(collection.captions(split).video_ids) for split in ("train", "val", "test")} == {
        "train": 16,
        "val": 2,
        "test": 2,
    }
    before = collection.captions("test").video_ids
    run(annotations=about, seed=4)
    assert Collection.open(tmp_path / "out", "mine").captions("test").video_ids != before


@pytest.mark.parametrize(
    ("about", "problem"),
    [
        ([Annotation(video="a.mp4", sentence="x")], "2 films fit"),
        ([Annotation(video="b", sentence="x", split="val"), Annotation(video="trip/a", sentence="y")], "no split"),
        (
            [Annotation(video="b", sentence="x", split="val"), Annotation(video="b.mkv", sentence="y", split="test")],
            "'b.mkv' is in 'val' and in 'test'",
        ),
        ([Annotation(video="nothing", sentence="x")], "none of the 1 sentences"),
    ],
)
def test_sentences_that_cannot_be_used_are_refused_before_decoding(run, tmp_path, about, problem):
    source = Bytes()
    with pytest.raises(InputError, match=problem):
        run(annotations=about, source=source)
    assert source.decoded == []
    assert not (tmp_path / "out/mine/FeatureData").exists()


def test_other_settings_on_the_same_folder_are_refused(run, tmp_path):
    run()
    before = stamps(tmp_path / "out")

    class Other(ByteFrames):
        identity = "bytes-2"

    with pytest.raises(InputError, match=r"extracted with fps 1\.0, now it would be 2\.0; give another --feature"):
        run(decode=DecodeConfig(fps=2.0))
    with pytest.raises(InputError, match="encoder bytes-1, now it would be bytes-2"):
        run(frames=Other())
    assert stamps(tmp_path / "out") == before
    report, source = run(decode=DecodeConfig(fps=2.0), feature="faster")
    assert len(source.decoded) == 3
    assert report.feature == "faster"


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "a b", "a#b", "caf\udcff"])
def test_names_that_lead_elsewhere_are_refused(films, tmp_path, name):
    arguments = {"frames": ByteFrames(), "text": ShapeWords(), "source": Bytes()}
    with pytest.raises(InputError, match="--collection"):
        extract([films], tmp_path / "out", name, **arguments)
    with pytest.raises(InputError, match="--feature"):
        extract([films], tmp_path / "out", "mine", feature=name, **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["films.jsonl", "extraction.json"])
def test_a_damaged_or_foreign_folder_is_named(run, tmp_path, damage):
    run()
    path = tmp_path / "out/mine/FeatureData/bytes" / damage
    path.write_text("{")
    with pytest.raises(InputError, match=damage):
        run()
    path.unlink()
    with pytest.raises(InputError, match=damage):
        run()


def test_folders_without_films_are_an_error(tmp_path, run):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("x")
    with pytest.raises(InputError, match="no film"):
        run([tmp_path / "empty"])


def test_two_at_once_is_refused(run, tmp_path):
    run()
    before = stamps(tmp_path / "out")
    with (
        locked(tmp_path / "out/mine", "extracting"),
        pytest.raises(InputError, match="this process itself is extracting"),
    ):
        run()
    assert stamps(tmp_path / "out") == before
    run()


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Sets how large a file this process may write."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("room", [12_000, 40_000], ids=["one film", "all of them"])
def test_a_full_disk_leaves_everything_as_it_was(run, films, tmp_path, small_files, room):
    """Each film takes 25 kB, all of them together 50 kB, so that films or the whole do not fit."""
    run()
    old = {name: data for name, data in arrays(tmp_path / "out").items() if name != ".lock"}
    for number in range(3):
        (films / f"{number}.mp4").write_bytes(bytes([number + 1]) * 1024)
    small_files(room)
    with pytest.raises(InputError, match="nothing was changed") as caught:
        run()
    small_files(resource.RLIM_INFINITY)
    assert "\n" not in str(caught.value)
    now = arrays(tmp_path / "out")
    assert {name: now[name] for name in old} == old
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".part")]
    kept = list((tmp_path / "out").rglob("*.npz"))
    _, source = run()
    assert len(source.decoded) == 3 - len(kept)
    run(out=tmp_path / "fresh")
    assert arrays(tmp_path / "out") == arrays(tmp_path / "fresh")


def test_a_full_disk_in_the_middle_of_the_sentences(run, films, tmp_path, small_files):
    run(annotations=ABOUT)
    old = arrays(tmp_path / "out")
    about = [Annotation(video="b", sentence=f"{n} " * 30, split="train") for n in range(40)]
    small_files(200_000)
    with pytest.raises(InputError, match="nothing was changed") as caught:
        run(annotations=about)
    small_files(resource.RLIM_INFINITY)
    assert "\n" not in str(caught.value)
    assert arrays(tmp_path / "out") == old
    run(annotations=about)
    assert check_collection(tmp_path / "out", "mine").problems == ()


KILLED = """
    import importlib.util, os, shutil, signal, sys
    from pathlib import Path
    spec = importlib.util.spec_from_file_location("helpers", sys.argv[1])
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    films, work = Path(sys.argv[2]), Path(sys.argv[3])
    EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir"}

    def run(out):
        source = helpers.Bytes()
        arguments = {"frames": helpers.ByteFrames(), "text": helpers.ShapeWords(), "source": source}
        helpers.extract([films], out, "mine", annotations=helpers.ABOUT, **arguments)
        return source.decoded

    def change():
        (films / "b.mkv").write_bytes(b"b changed")
        (films / "new.mp4").write_bytes(b"a new film")

    def killed_after(events, out):
        \"\"\"Whether the run was killed at that many events; it ends by itself if there are not so many.\"\"\"
        child = os.fork()
        if not child:
            left = events
            def count(event, arguments):
                nonlocal left
                if event in EVENTS and str(out) in str(arguments[0] if event != "os.rename" else arguments):
                    left -= 1
                    if left < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(count)
            try:
                run(out)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(9)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status in (0, signal.SIGKILL), status
        return status != 0

    before = work / "before"
    run(before)
    change()
    expected_new, expected_changed = work / "new", work / "changed"
    run(expected_new)
    shutil.copytree(before, expected_changed)
    run(expected_changed)
    assert helpers.arrays(expected_new) == helpers.arrays(expected_changed)
    for start in (None, before):
        events, decodings = 0, []
        while True:
            out = work / "out"
            shutil.rmtree(out, ignore_errors=True)
            if start:
                shutil.copytree(start, out)
            killed = killed_after(events, out)
            decoded = run(out)
            assert helpers.arrays(out) == helpers.arrays(expected_new), (start, events)
            left = [path for path in out.rglob(".*") if path.name not in (".lock", ".made-of")]
            assert not left, (start, events, left)
            if not killed:
                break
            decodings.append(len(decoded))
            events += 1
        assert decoded == []
        assert decodings == sorted(decodings, reverse=True), "what was decoded before the kill is not decoded again"
        print(events, *sorted(set(decodings)), flush=True)
"""


def test_killed_at_any_moment_the_same_command_completes_it(films, tmp_path):
    """SIGKILL before every move and removal of a file or folder, from nothing and over an older extraction."""
    (tmp_path / "work").mkdir()
    arguments = [sys.executable, "-c", textwrap.dedent(KILLED), __file__, str(films), str(tmp_path / "work")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = [[int(word) for word in line.split()] for line in done.stdout.splitlines()]
    assert [decodings for _, *decodings in counts] == [[0, 1, 2, 3, 4], [0, 1, 2]]
    assert all(events > 10 for events, *_ in counts)
