"""Moments for editing programs: what is written opens again, and holds the same seconds."""

import csv
import io
import json
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

import httpx
import opentimelineio as otio
import pytest

from gmmformer.search import Film, Library
from gmmformer.search.spans import Timing
from gmmformer.web.taking import Picked, common_rate, exported

RATES = [24_000 / 1_001, 24.0, 25.0, 30_000 / 1_001, 30.0, 50.0, 60.0]
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


def drawn(rate: float | None, seed: int = 1, count: int = 30) -> list[Picked]:
    generator = random.Random(seed)
    moments = []
    for number in range(count):
        name = f"/films/{NAMES[number % len(NAMES)]}"
        start = round(generator.uniform(0, 7_000), 3)
        film = Film(number + 1, name, 100, Timing(0.5, 1.0, 8_000.0), "1-1", "")
        moments.append(Picked(film, start, round(start + generator.uniform(0.2, 60), 3), f"query {number} \n<x>", rate))
    return moments


def reopened(data: bytes, kind: str, rate: float) -> list[otio.schema.Clip]:
    if kind == "edl":
        timeline: Any = otio.adapters.read_from_string(data.decode(), "cmx_3600", rate=rate)
    else:
        timeline = otio.adapters.read_from_string(data.decode(), "otio_json" if kind == "otio" else "fcpx_xml")
    return list(timeline.find_clips())


def frames_off(clips: Sequence[otio.schema.Clip], moments: Sequence[Picked], rate: float) -> float:
    """The most frames by which a clip begins or ends too early or late."""
    assert len(clips) == len(moments)
    return max(
        abs(seconds - wanted) * rate
        for clip, moment in zip(clips, moments, strict=True)
        for seconds, wanted in (
            (clip.source_range.start_time.to_seconds(), moment.start),
            (clip.source_range.end_time_exclusive().to_seconds(), moment.end),
        )
    )


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["edl", "otio"])
def test_seconds_are_kept_to_a_frame(kind: Any, rate: float) -> None:
    moments = drawn(rate)
    clips = reopened(exported(moments, kind), kind, rate)
    assert frames_off(clips, moments, rate) <= 0.5 + 1e-6
    assert all(clip.source_range.duration.value >= 1 for clip in clips)


@pytest.mark.parametrize("rate", [24.0, 25.0, 30.0, 50.0, 60.0])
def test_fcpxml_opens_again(rate: float) -> None:
    """The adapter's reader counts frames in floating point and cuts off what is a hair less than a whole one."""
    moments = drawn(rate)
    clips = reopened(exported(moments, "fcpxml"), "fcpxml", rate)
    assert len(clips) == len(moments)
    for clip, moment in zip(clips, moments, strict=True):
        start, end = round(moment.start * rate), round(moment.end * rate)
        assert clip.source_range.start_time.value in (start, start - 1)
        assert clip.source_range.duration.value in (end - start, end - start - 1)
    if rate == 24:
        assert frames_off(clips, moments, rate) <= 0.5 + 1e-6


@pytest.mark.parametrize("rate", RATES)
def test_fcpxml_holds_the_seconds_as_it_is_written(rate: float) -> None:
    moments = drawn(rate)
    clips = ElementTree.fromstring(exported(moments, "fcpxml")).findall(".//spine/clip")
    assert len(clips) == len(moments)
    for clip, moment in zip(clips, moments, strict=True):
        start, duration = (Fraction(str(clip.get(name)).removesuffix("s")) for name in ("start", "duration"))
        assert abs(float(start) - moment.start) * rate <= 0.51
        assert abs(float(start + duration) - moment.end) * rate <= 0.51


def test_fcpxml_names_each_film_as_it_is() -> None:
    moments = drawn(25.0)
    moments[1] = moments[1]._replace(film=moments[1].film._replace(path="/elsewhere/plain.mp4"))
    tree = ElementTree.fromstring(exported(moments, "fcpxml"))
    sources = {asset.get("id"): asset.get("src") for asset in tree.iter("asset")}
    clips = tree.findall(".//spine/clip")
    assert [clip.get("name") for clip in clips[:5]] == [
        "plain.mp4",
        "plain.mp4",
        "line\\nbreak\\x01.mp4",
        "日本語の映画.mkv",
        "\\udcff\\udcfe.mp4",
    ]
    videos = [clip.find("video") for clip in clips[:2]]
    assert [sources[video.get("ref")] for video in videos if video is not None] == [
        "file://localhost/films/plain.mp4",
        "file://localhost/elsewhere/plain.mp4",
    ]


def test_names_and_queries_come_through() -> None:
    moments = drawn(25.0)
    clips = reopened(exported(moments, "otio"), "otio", 25.0)
    assert [clip.name for clip in clips[:2]] == ["plain.mp4", "<b>&amp;\"'.mp4"]
    assert clips[2].name == "line\\nbreak\\x01.mp4"
    assert clips[0].media_reference.target_url == "file:///films/plain.mp4"
    assert clips[4].media_reference.target_url == "file:///films/%FF%FE.mp4"
    assert clips[0].metadata["gmmformer"]["query"] == "query 0 \\n<x>"
    edl = exported(moments, "edl").decode()
    assert len([line for line in edl.splitlines() if line[:3].isdigit()]) == len(moments)
    assert [line.split()[1] for line in edl.splitlines() if line[:3].isdigit()][:2] == ["F0000001", "F0000002"]
    again = reopened(exported(moments, "edl"), "edl", 25.0)
    assert again[0].name == "plain.mp4"


def test_films_of_several_rates_share_the_most_common() -> None:
    moments = drawn(25.0)[:3] + drawn(12.0, seed=2)[:1] + drawn(None, seed=3)[:2]
    assert frames_off(reopened(exported(moments, "edl"), "edl", 25.0), moments, 25.0) <= 0.5 + 1e-6
    clips = reopened(exported(moments, "otio"), "otio", 25.0)
    assert [clip.source_range.start_time.rate for clip in clips] == [25, 25, 25, 12, 25, 25]
    assert common_rate([]) == common_rate([None]) == 25
    assert common_rate([1e-9, 1e9, 1e9]) == 60


def test_a_moment_has_a_frame_at_least() -> None:
    short = [moment._replace(end=moment.start + 0.001) for moment in drawn(24.0)]
    for kind in ("edl", "otio"):
        clips = reopened(exported(short, kind), kind, 24.0)  # type: ignore[arg-type]
        assert {clip.source_range.duration.value for clip in clips} == {1}


def test_tables() -> None:
    moments = drawn(25.0)
    rows = list(csv.DictReader(io.StringIO(exported(moments, "csv").decode(), newline="")))
    assert [float(row["start"]) for row in rows] == [moment.start for moment in moments]
    assert rows[0]["query"] == "query 0 \n<x>"
    records = json.loads(exported(moments, "json"))["moments"]
    assert records[0] == {
        "id": 1,
        "film": "/films/plain.mp4",
        "start": moments[0].start,
        "end": moments[0].end,
        "query": "query 0 \n<x>",
    }
    assert records[4]["film"] == "/films/\\xff\\xfe.mp4"


def test_a_spreadsheet_sees_no_formula() -> None:
    for text in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1"):
        (row,) = csv.DictReader(
            io.StringIO(exported([drawn(25.0)[0]._replace(query=text)], "csv").decode(), newline="")
        )
        assert row["query"] == f"'{text}"


@pytest.mark.parametrize("kind", ["edl", "fcpxml", "otio", "csv", "json"])
def test_over_http(client: httpx.Client, library: Library, kind: str) -> None:
    films = library.store.films()[:2]
    moments = [{"id": film.id, "start": 1.5, "end": 4.0, "query": ""} for film in films]
    posted = client.post("/api/export", params={"format": kind}, json={"moments": moments})
    linked = client.get("/api/export", params={"format": kind, "m": [f"{film.id}:1.5:4" for film in films]})
    assert posted.status_code == linked.status_code == 200
    assert posted.content == linked.content
    assert posted.headers["content-disposition"] == f'attachment; filename="moments.{kind}"'
    if kind == "otio":  # the demo's films have 12 frames per second
        clips = reopened(posted.content, "otio", 12)
        assert [(clip.source_range.start_time.value, clip.source_range.duration.value) for clip in clips] == [
            (18, 30)
        ] * 2
    if kind in ("edl", "fcpxml"):
        assert len(reopened(posted.content, kind, 24)) == 2


@pytest.mark.parametrize(
    ("moments", "status"),
    [
        ([], 422),
        ([{"id": 1, "start": 3, "end": 2}], 422),
        ([{"id": 1, "start": -1, "end": 2}], 422),
        ([{"id": 999, "start": 1, "end": 2}], 404),
        ([{"id": 1, "start": 1, "end": 2, "film": "/etc/passwd"}], 422),
        ([{"id": 1, "start": 1, "end": 2}] * 1_001, 422),
        ([{"id": "../1", "start": 1, "end": 2}], 422),
    ],
)
def test_moments_that_make_no_sense(client: httpx.Client, moments: list[object], status: int) -> None:
    assert client.post("/api/export?format=edl", json={"moments": moments}).status_code == status


@pytest.mark.parametrize(
    "link",
    [
        "",
        "&m=1",
        "&m=1:2",
        "&m=1:2:1",
        "&m=1:-1:2",
        "&m=x:1:2",
        "&m=1:1e3:2e3",
        "&m=1:nan:inf",
        "&m=0:1:2",
        "&m=1:99999999:99999999.5",
    ],
)
def test_links_that_make_no_sense(client: httpx.Client, link: str) -> None:
    assert client.get(f"/api/export?format=csv{link}").status_code == 422
