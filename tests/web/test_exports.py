"""Moments for editing programs: what is written opens again, and holds the same frames, sound and time code."""

import csv
import io
import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import opentimelineio as otio
import pytest

from gmmformer.media.frames import FilmInfo, Sound
from gmmformer.search import Film
from gmmformer.search.windows import Timing
from gmmformer.web.exports import exported
from gmmformer.web.placing import Elsewhere, Picked, Wanted

RATES = [Fraction(text) for text in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60")]
STEREO = (Sound(2, 48_000),)
READERS = {"edl": "cmx_3600", "fcpxml": "fcpx_xml", "xml": "fcp_xml", "otio": "otio_json"}
PLAIN = Wanted()
NAMES = [
    "plain.mp4",
    "<b>&amp;\"'.mp4",
    "line\nbreak\x01.mp4",
    "日本語の映画.mkv",
    "\udcff\udcfe.mp4",
    "=HYPERLINK(1).mp4",
    "* FROM CLIP NAME: x.mp4",
    ".mp4",
    "x" * 200 + ".mp4",
]


def info(rate: Fraction | None, code: str | None = None, reel: str | None = None, sounds: Any = ()) -> FilmInfo:
    fixed: Any = {"path": Path("f"), "duration": None, "width": 640, "height": 360, "codec": "h264", "rotation": 0}
    return FilmInfo(
        **fixed, pixel_format="yuv420p", container="mov", rate=rate, timecode=code, reel=reel, sounds=sounds
    )


def drawn(film: FilmInfo | None, seed: int = 1, count: int = 30) -> list[Picked]:
    generator = random.Random(seed)
    moments = []
    for number in range(count):
        name = f"/films/{NAMES[number % len(NAMES)]}"
        start = round(generator.uniform(0, 7_000), 3)
        end = round(start + generator.uniform(0.2, 60), 3)
        moments.append(Picked(film_of(number + 1, name), start, end, f"query {number} \n<x>", info=film))
    return moments


def film_of(number: int, path: str, length: float = 8_000.0) -> Film:
    return Film(number, path, 100, Timing(0.5, 1.0, length), "1-1", "")


def reopened(data: bytes, kind: str, rate: Fraction = Fraction(25)) -> Any:
    """The timeline that OpenTimelineIO reads."""
    how = {"rate": float(rate)} if kind == "edl" else {}
    read = otio.adapters.read_from_string(data.decode(), READERS[kind], **how)
    return read if isinstance(read, otio.schema.Timeline) else read[0]


def video(data: bytes, kind: str, rate: Fraction = Fraction(25)) -> list[otio.schema.Clip]:
    return [clip for track in reopened(data, kind, rate).video_tracks() for clip in track.find_clips()]


def sound(data: bytes, kind: str, rate: Fraction = Fraction(25)) -> list[list[otio.schema.Clip | None]]:
    """The clips of each sound track; None for a gap."""
    tracks = reopened(data, kind, rate).audio_tracks()
    return [[item if isinstance(item, otio.schema.Clip) else None for item in track] for track in tracks]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["edl", "otio", "xml"])
def test_frames_are_the_nearest_to_the_seconds(kind: Any, rate: Fraction) -> None:
    moments = drawn(info(rate, sounds=STEREO))
    clips = video(exported(moments, kind, PLAIN), kind, rate)
    assert len(clips) == len(moments)
    for clip, moment in zip(clips, moments, strict=True):
        start, end = round(moment.start * rate), round(moment.end * rate)
        assert (clip.source_range.start_time.value, clip.source_range.duration.value) == pytest.approx(
            (start, end - start), abs=1e-6
        )
        assert clip.source_range.start_time.rate == pytest.approx(float(rate))


@pytest.mark.parametrize("rate", RATES)
def test_fcpxml_holds_those_frames_exactly(rate: Fraction) -> None:
    moments = drawn(info(rate, "10:00:00:00"))
    root = ElementTree.fromstring(exported(moments, "fcpxml", PLAIN))
    zero, record = Fraction(36_000 * round(rate)) / rate, 0
    assert {seconds(one, "frameDuration") for one in root.iter("format")} == {1 / rate}
    assert {seconds(one, "start") for one in root.iter("asset")} == {zero}
    for clip, moment in zip(root.findall(".//spine/asset-clip"), moments, strict=True):
        start, end = round(moment.start * rate), round(moment.end * rate)
        assert seconds(clip, "start") == zero + start / rate
        assert seconds(clip, "duration") == (end - start) / rate
        assert seconds(clip, "offset") == record / rate
        record += end - start


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate.denominator == 1])
def test_fcpxml_opens_again(rate: Fraction) -> None:
    """The adapter's reader counts frames in floating point and cuts off what is a hair less than a whole one."""
    moments = drawn(info(rate))
    clips = video(exported(moments, "fcpxml", PLAIN), "fcpxml")
    assert len(clips) == len(moments)
    for clip, moment in zip(clips, moments, strict=True):
        start, end = round(moment.start * rate), round(moment.end * rate)
        assert clip.source_range.start_time.value in (start, start - 1)
        assert clip.source_range.duration.value in (end - start, end - start - 1)


def seconds(element: ElementTree.Element, name: str) -> Fraction:
    return Fraction(str(element.get(name)).removesuffix("s"))


CODES = [
    # rate, first time code; the EDL's rate and time codes of 60.06 s to 62.1 s, worked out by hand
    ("24", "10:00:00:00", "NON-DROP", "24", "10:01:00:01", "10:01:02:02"),
    ("25", "10:00:00:00", "NON-DROP", "25", "10:01:00:02", "10:01:02:02"),
    ("30000/1001", "10:00:00:00", "NON-DROP", "29.97", "10:01:00:00", "10:01:02:01"),
    ("30000/1001", "10:00:00;00", "DROP", "29.97", "10:01:00;02", "10:01:02;03"),
    ("60000/1001", "10:00:00:00", "NON-DROP", "59.94", "10:01:00:00", "10:01:02:02"),
    ("60000/1001", "10:00:00;00", "DROP", "59.94", "10:01:00;04", "10:01:02;06"),
    ("12", "10:00:00:00", "NON-DROP", "24", "10:01:00:01", "10:01:02:02"),
]


@pytest.mark.parametrize(("rate", "code", "mode", "told", "first", "last"), CODES)
def test_time_codes_are_the_films_own(rate: str, code: str, mode: str, told: str, first: str, last: str) -> None:
    moment = Picked(film_of(1, "/films/a.mov"), 60.06, 62.1, info=info(Fraction(rate), code, "A001C002", STEREO))
    lines = exported([moment], "edl", PLAIN).decode().splitlines()
    assert lines[:2] == [f"TITLE: gmmformer moments {told} fps", f"FCM: {mode} FRAME"]
    assert lines[3].split()[:6] == ["001", "A001C002", "AA/V", "C", first, last]
    own = Fraction(rate)
    number = 36_000 * round(own) - {"DROP": 540 * 2 * round(own) // 30, "NON-DROP": 0}[mode]
    for kind in ("otio", "xml"):
        (clip,) = video(exported([moment], kind, PLAIN), kind)  # type: ignore[arg-type]
        assert clip.media_reference.available_range.start_time.value == number
        assert clip.source_range.start_time.value == number + round(60.06 * own)
    file = next(ElementTree.fromstring(exported([moment], "xml", PLAIN)).iter("file"))
    assert file.findtext("timecode/string") == code
    assert file.findtext("timecode/displayformat") == ("DF" if mode == "DROP" else "NDF")
    assert file.findtext("timecode/reel/name") == "A001C002"
    assert file.findtext("rate/timebase") == str(round(own))
    assert file.findtext("rate/ntsc") == str(own.denominator > 1).upper()


def test_an_edl_says_what_a_film_without_reel_or_sound_is() -> None:
    lines = exported([Picked(film_of(1, "/films/a.mov"), 1, 2, info=info(Fraction(25)))], "edl", PLAIN).decode()
    assert "001  AX       V     C        00:00:01:00 00:00:02:00 01:00:00:00 01:00:01:00" in lines
    assert "* FROM CLIP NAME: a.mov\n* SOURCE FILE: /films/a.mov\n" in lines


def test_a_reel_has_no_letters_that_an_edl_splits_at() -> None:
    picked = Picked(film_of(1, "/f.mov"), 1, 2, info=info(Fraction(25), reel="my reel;\n1" + "x" * 50))
    line = exported([picked], "edl", PLAIN).decode().splitlines()[3]
    assert line.split()[1:3] == ["my_reel__n1" + "x" * 21, "V"]


SOUNDS = [
    # sound streams; what an EDL calls them, and whether it says more of them
    ((), "V", 0),
    ((Sound(1, 48_000),), "B", 0),
    (STEREO, "AA/V", 0),
    ((Sound(1, 48_000),) * 4, "AA/V", 1),
    ((Sound(6, 48_000), Sound(2, 44_100)), "AA/V", 1),
]


@pytest.mark.parametrize(("sounds", "kinds", "more"), SOUNDS)
def test_sound_is_as_the_film_has_it(sounds: tuple[Sound, ...], kinds: str, more: int) -> None:
    moments = drawn(info(Fraction(25), sounds=sounds), count=3)
    edl = exported(moments, "edl", PLAIN).decode()
    assert [line.split()[2] for line in edl.splitlines() if line[:3].isdigit()] == [kinds] * 3
    assert edl.count("AUD  3  4") == more * 3
    tracks = sound(edl.encode(), "edl")
    assert [len(track) for track in tracks] == [3] * {"V": 0, "B": 1, "AA/V": 2}[kinds]
    channels = sum(one.channels for one in sounds)
    for kind, wanted in (("otio", len(sounds)), ("xml", channels)):
        data = exported(moments, kind, PLAIN)  # type: ignore[arg-type]
        tracks = sound(data, kind)
        assert len(tracks) == wanted
        pictures = [clip.source_range for clip in video(data, kind)]
        assert all([clip.source_range for clip in track if clip] == pictures for track in tracks)
    asset = next(ElementTree.fromstring(exported(moments, "fcpxml", PLAIN)).iter("asset"))
    told = [asset.get(name) for name in ("hasAudio", "audioSources", "audioChannels", "audioRate")]
    assert told == (
        ["1", str(len(sounds)), str(max(one.channels for one in sounds)), "48000"] if sounds else [None] * 4
    )


def test_sound_keeps_its_place_among_films_without_it() -> None:
    silent, loud = info(Fraction(25)), info(Fraction(25), sounds=STEREO)
    moments = [
        Picked(film_of(n, f"/f{n}.mov"), 1, 2 + n, info=one) for n, one in enumerate([silent, loud, silent, loud])
    ]
    for kind in ("otio", "xml"):
        pictures, *tracks = reopened(exported(moments, kind, PLAIN), kind).tracks  # type: ignore[arg-type]
        starts = [clip.trimmed_range_in_parent().start_time for clip in pictures]
        assert tracks
        for track in tracks:
            heard = [(clip.name, clip.trimmed_range_in_parent().start_time) for clip in track.find_clips()]
            assert heard == [("f1.mov", starts[1]), ("f3.mov", starts[3])]


def test_linked_clips_name_each_other() -> None:
    root = ElementTree.fromstring(exported(drawn(info(Fraction(25), sounds=STEREO), count=2), "xml", PLAIN))
    items = {str(item.get("id")): item for item in root.iter("clipitem")}
    assert sorted(items) == ["clipitem-1", "clipitem-1-1", "clipitem-1-2", "clipitem-2", "clipitem-2-1", "clipitem-2-2"]
    for name, item in items.items():
        links = [link.findtext("linkclipref") for link in item.findall("link")]
        assert links == [one for one in sorted(items) if one.startswith(name[: len("clipitem-1")])]
    assert [item.findtext("sourcetrack/trackindex") for item in items.values()] == [None, None, "1", "1", "2", "2"]


def test_sound_tracks_have_a_bound() -> None:
    moments = drawn(info(Fraction(25), sounds=(Sound(2, 48_000),) * 40), count=2)
    assert len(sound(exported(moments, "xml", PLAIN), "xml")) == 16
    assert len(sound(exported(moments, "otio", PLAIN), "otio")) == 8


@pytest.mark.parametrize("kind", ["edl", "xml", "otio"])
def test_handles_go_as_far_as_the_film(kind: Any) -> None:
    spans = [(10.0, 12.0), (0.4, 2.0), (97.0, 99.5), (0.0, 100.0)]
    moments = [Picked(film_of(1, "/f.mov", 100.0), *span, "a bird", info=info(Fraction(25))) for span in spans]
    clips = video(exported(moments, kind, Wanted(handles=1.0)), kind)
    assert [(clip.source_range.start_time.value, clip.source_range.end_time_exclusive().value) for clip in clips] == [
        (225, 325),
        (0, 75),
        (2_400, 2_500),
        (0, 2_500),
    ]
    marks = [clip.markers[0].marked_range.start_time.value for clip in clips]
    assert [clip.markers[0].name for clip in clips] == ["a bird"] * 4
    record = [90_000 + 25, 90_000 + 100 + 10, 90_000 + 175 + 25, 90_000 + 275]  # from one o'clock on
    assert marks == (record if kind == "edl" else [250, 10, 2_425, 0])


def test_handles_and_markers_in_fcpxml() -> None:
    moment = Picked(film_of(1, "/f.mov", 100.0), 10, 12, "a bird", note="the best", info=info(Fraction(25)))
    (clip,) = ElementTree.fromstring(exported([moment], "fcpxml", Wanted(handles=1.0))).iter("asset-clip")
    assert (seconds(clip, "start"), seconds(clip, "duration")) == (9, 4)
    marker = clip.find("marker")
    assert marker is not None
    assert (seconds(marker, "start"), seconds(marker, "duration")) == (10, 2)
    assert (marker.get("value"), marker.get("note"), clip.findtext("note")) == ("a bird", "the best", "the best")


def test_names_and_notes_come_through() -> None:
    moment = Picked(film_of(1, "/films/a.mov"), 1, 2, "a bird", "The bird", "slow it\ndown", info(Fraction(25)))
    for kind in ("otio", "xml", "fcpxml"):
        (clip,) = video(exported([moment], kind, PLAIN), kind)  # type: ignore[arg-type]
        assert (clip.name, clip.markers[0].name) == ("The bird", "a bird")
    (clip,) = video(exported([moment], "otio", PLAIN), "otio")
    assert clip.metadata["gmmformer"]["note"] == "slow it\\ndown"
    (item,) = ElementTree.fromstring(exported([moment], "xml", PLAIN)).iter("clipitem")
    assert (item.findtext("logginginfo/lognote"), item.findtext("file/name")) == ("slow it\\ndown", "a.mov")
    edl = exported([moment], "edl", PLAIN).decode()
    assert "* FROM CLIP NAME: a.mov\n" in edl
    assert "* COMMENT: The bird\n* COMMENT: slow it\\ndown\n* LOC: 01:00:00:00 GREEN   a bird\n" in edl


def test_films_are_named_as_they_are() -> None:
    moments = drawn(info(Fraction(25)))
    moments[1] = moments[1]._replace(film=moments[1].film._replace(path="/elsewhere/plain.mp4"))
    names = ["plain.mp4", "plain.mp4", "line\\nbreak\\x01.mp4", "日本語の映画.mkv", "\\udcff\\udcfe.mp4"]
    for kind in ("edl", "otio", "xml", "fcpxml"):
        clips = video(exported(moments, kind, PLAIN), kind)  # type: ignore[arg-type]
        assert [clip.name for clip in clips[:5]] == names
        if kind != "edl":
            urls = [clip.media_reference.target_url.replace("//localhost", "//") for clip in clips[:5]]
            assert urls[:2] == ["file:///films/plain.mp4", "file:///elsewhere/plain.mp4"]
            assert urls[4] == "file:///films/%FF%FE.mp4"


def test_films_of_several_rates_share_a_timeline() -> None:
    rates = [*[Fraction(25)] * 3, Fraction(12), None, None]
    moments = [Picked(film_of(n, f"/{n}.mov"), 10, 12, info=info(rate)) for n, rate in enumerate(rates)]
    for kind in ("edl", "otio", "xml", "fcpxml"):
        clips = video(exported(moments, kind, PLAIN), kind)  # type: ignore[arg-type]
        assert [clip.source_range.start_time.to_seconds() for clip in clips] == [10] * 6
        assert [clip.source_range.duration.to_seconds() for clip in clips] == [2] * 6
        own = [clip.source_range.start_time.rate for clip in clips]
        assert own == ([25] * 6 if kind == "edl" else [25, 25, 25, 12, 25, 25])
    assert exported([Picked(film_of(1, "/1.mov"), 1, 2)], "edl", PLAIN).startswith(b"TITLE: gmmformer moments 25 fps")


def test_a_moment_has_a_frame_at_least() -> None:
    short = [moment._replace(end=moment.start + 0.001) for moment in drawn(info(Fraction(24)))]
    for kind in ("edl", "otio", "xml"):
        clips = video(exported(short, kind, PLAIN), kind, Fraction(24))  # type: ignore[arg-type]
        assert {clip.source_range.duration.value for clip in clips} == {1}


@pytest.mark.parametrize(
    ("here", "there", "path", "url"),
    [
        ("/films", "/Volumes/Films", "/Volumes/Films/a b/1.mov", "file:///Volumes/Films/a%20b/1.mov"),
        ("/films/", "/", "/a b/1.mov", "file:///a%20b/1.mov"),
        ("/films/a b", "Z:\\Films\\", "Z:\\Films\\1.mov", "file:///Z:/Films/1.mov"),
        ("/", "\\\\server\\share", "\\\\server\\share\\films\\a b\\1.mov", "file://server/share/films/a%20b/1.mov"),
        ("/film", "/elsewhere", "/films/a b/1.mov", "file:///films/a%20b/1.mov"),
    ],
)
def test_paths_as_another_machine_knows_them(here: str, there: str, path: str, url: str) -> None:
    moment = Picked(film_of(1, "/films/a b/1.mov"), 1, 2, info=info(Fraction(25)))
    wanted = Wanted(elsewhere=Elsewhere(here, there))
    assert json.loads(exported([moment], "json", wanted))["moments"][0]["film"] == path
    assert f"* SOURCE FILE: {path}\n" in exported([moment], "edl", wanted).decode()
    (clip,) = video(exported([moment], "otio", wanted), "otio")
    assert clip.media_reference.target_url == url
    (asset,) = ElementTree.fromstring(exported([moment], "fcpxml", wanted)).iter("asset")
    assert asset.get("src") == url


def test_tables() -> None:
    moments = [moment._replace(name="One", note="=note") for moment in drawn(info(Fraction(25)))]
    rows = list(csv.DictReader(io.StringIO(exported(moments, "csv", PLAIN).decode(), newline="")))
    assert [float(row["start"]) for row in rows] == [moment.start for moment in moments]
    assert (rows[0]["query"], rows[0]["name"], rows[0]["note"]) == ("query 0 \n<x>", "One", "'=note")
    records = json.loads(exported(moments, "json", PLAIN))["moments"]
    assert records[0] == {
        "id": 1,
        "film": "/films/plain.mp4",
        "start": moments[0].start,
        "end": moments[0].end,
        "query": "query 0 \n<x>",
        "name": "One",
        "note": "=note",
    }
    assert records[4]["film"] == "/films/\\xff\\xfe.mp4"
    wider = json.loads(exported(moments, "json", Wanted(handles=2.0)))["moments"]
    assert wider[0]["start"] == max(0, round(moments[0].start - 2, 3))


def test_a_spreadsheet_sees_no_formula() -> None:
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1"):
        picked = [drawn(info(Fraction(25)))[0]._replace(query=text)]
        (row,) = csv.DictReader(io.StringIO(exported(picked, "csv", PLAIN).decode(), newline=""))
        assert row["query"] == f"'{text}"
