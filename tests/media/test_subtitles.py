"""Subtitles beside films and in them."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from film_making import MILLISECOND, steady, write
from gmmformer.errors import InputError
from gmmformer.media import subtitles
from gmmformer.media.films import DecodeError
from gmmformer.media.subtitles import Line, Subtitles, Track, beside, fitted, mended, read_subtitles

SUBRIP = (
    "1\n00:00:01,000 --> 00:00:02,500\nGrüße aus Köln\n\n2\n00:00:03,000 --> 00:00:04,000\nund <i>zwei</i>\nZeilen\n"
)
HEADER = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
SAID = [Line(1.0, 2.5, "Grüße aus Köln"), Line(3.0, 4.0, "und zwei Zeilen")]


def with_text(path: Path, film: Path, codec: str, languages: list[str]) -> Path:
    """A film with the lines of `SUBRIP` as tracks in its own file."""
    with av.open(str(film)) as source, av.open(str(path), "w") as made:
        pictures = source.streams.video[0]
        packets: list[tuple[float, Any]] = []
        stream: Any = made.add_stream_from_template(pictures)
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packets.append((float(packet.dts * pictures.time_base), packet))
                packet.stream = stream
        first = float(pictures.start_time * pictures.time_base)
        for language in languages:
            text: Any = made.add_stream(codec)
            text.metadata["language"], text.time_base = language, MILLISECOND
            text.codec_context.subtitle_header = HEADER.encode()
            for place, (start, end, said) in enumerate(
                [(1.0, 2.5, "Grüße aus Köln"), (3.0, 4.0, "und <i>zwei</i>\nZeilen")]
            ):
                content = said.encode()
                if codec == "mov_text":
                    content = said.replace("<i>", "").replace("</i>", "").encode()
                    content = struct.pack(">H", len(content)) + content
                elif codec == "ass":
                    styled = said.replace("<i>", r"{\i1}").replace("</i>", r"{\i0}").replace("\n", r"\N")
                    content = f"{place},0,Default,,0,0,0,,{styled}".encode()
                packet = av.Packet(content)
                packet.pts = packet.dts = round((first + start) * 1000)
                packet.duration, packet.time_base, packet.stream = round((end - start) * 1000), MILLISECOND, text
                packets.append((first + start, packet))
        for _, packet in sorted(packets, key=lambda one: one[0]):
            made.mux(packet)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("film") / "film.mkv", steady(150), clock=Fraction(7))


@pytest.mark.parametrize(
    ("codec", "ending"), [("subrip", "mkv"), ("ass", "mkv"), ("webvtt", "mkv"), ("mov_text", "mp4")]
)
def test_text_in_a_film_is_read_from_its_first_picture_on(film: Path, tmp_path: Path, codec: str, ending: str) -> None:
    made = with_text(tmp_path / f"film.{ending}", film, codec, ["ger", "eng"])
    tracks = subtitles.text_within(made)
    assert [track.language for track in tracks] == ["de", "en"]
    for track in tracks:
        assert [line.text for line in track.lines] == [line.text for line in SAID]
        assert [(line.start, line.end) for line in track.lines] == [
            pytest.approx((line.start, line.end), abs=0.05) for line in SAID
        ]
    assert subtitles.text_within(film) == []


def test_what_cannot_be_read_is_told_and_the_rest_is_there(film: Path, tmp_path: Path) -> None:
    made = with_text(tmp_path / "film.mkv", film, "subrip", ["ger"])
    (tmp_path / "film.srt").write_bytes(b"\0\1\2" * 100)
    (tmp_path / "film.en.srt").write_text(SUBRIP)
    (tmp_path / "film.fr.vtt").mkdir()
    reader = Subtitles()
    try:
        tracks, problems = reader.of(str(made), beside([str(made)])[str(made)], 6.0, True)
        assert [(track.name, track.language) for track in tracks] == [("film.en.srt", "en"), ("stream 1", "de")]
        assert ["is a folder" in problem or "holds no subtitles" in problem for problem in problems] == [True, True]
        made.write_bytes(made.read_bytes()[:200])
        assert "the text within it was left out" in reader.of(str(made), [], 6.0, True)[1][0]
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("film.srt", SUBRIP),
        ("film.srt", SUBRIP.replace(",", ".").replace("\n", "\r\n")),
        ("film.srt", SUBRIP.replace("1\n00", "00").replace("2\n00", "00")),
        (
            "film.srt",
            "WEBVTT\n\nNOTE none\n\n" + SUBRIP.replace(",", ".").replace("<i>", "<v Ann>").replace("</i>", "</v>"),
        ),
        ("film.vtt", SUBRIP),
        (
            "film.ass",
            HEADER + "Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,und {\\i1}zwei{\\i0}\\NZeilen\n"
            "Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,nobody says this\n"
            "Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,Grüße aus Köln\n",
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_subtitle_files_in_every_form(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read_subtitles(tmp_path / name).lines == SAID


@pytest.mark.parametrize(
    ("language", "text", "encoding"),
    [
        ("ru", "Привет, как дела?", "cp1251"),
        ("ar", "مرحبا كيف حالك", "cp1256"),
        ("ja", "明日は東京へ行きたい", "shift_jis"),
        ("ko", "서울에서 만나요", "euc_kr"),
        ("zh", "明天去北京", "gbk"),
        ("pl", "Zażółć gęślą jaźń", "cp1250"),
    ],
)
def test_the_language_in_a_name_tells_the_encoding(tmp_path: Path, language: str, text: str, encoding: str) -> None:
    file = tmp_path / f"film.{language}.forced.srt"
    file.write_bytes(f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n".encode(encoding))
    track = read_subtitles(file, tmp_path / "film.mp4")
    assert (track.language, [line.text for line in track.lines]) == (language, [text])


def test_files_belong_to_the_film_whose_name_they_have(tmp_path: Path) -> None:
    for name in ("film.mp4", "film.part.mkv", "other.avi", "film.srt", "FILM.srt", "film.en.SRT", "film.part.de.vtt"):
        (tmp_path / name).touch()
    for name in ("films.srt", ".film.srt", "film.txt", "nobody.srt", "film2.ass"):
        (tmp_path / name).touch()
    found = beside([str(tmp_path / name) for name in ("film.mp4", "film.part.mkv", "other.avi")])
    assert [[Path(file).name for file in files] for files in found.values()] == [
        ["film.en.SRT", "film.srt"],
        ["film.part.de.vtt"],
        [],
    ]
    assert beside([str(tmp_path / "nowhere" / "film.mp4")]) == {str(tmp_path / "nowhere" / "film.mp4"): []}


def test_times_that_cannot_be_are_mended() -> None:
    assert mended(
        [(5.0, 2.0, "back"), (1.0, None, "open"), (6.0, 6.0, "last"), (3.0, 9.0, "over"), (-1.0, 2.0, "no")]
    ) == [
        Line(1.0, 3.0, "open"),
        Line(3.0, 9.0, "over"),
        Line(5.0, 6.0, "back"),
        Line(6.0, 9.0, "last"),
    ]
    assert mended([(1.0, 2.0, r"{\an8} <b> </b>"), (1.0, 2.0, "Tom &amp;\n Jerry")]) == [Line(1.0, 2.0, "Tom & Jerry")]


def test_lines_beyond_the_film_are_another_cut_s() -> None:
    track = Track(kind="subtitles", name="x.srt", lines=[Line(10.0 * n, 10.0 * n + 20, "word") for n in range(20)])
    assert fitted(track, 186.0).lines[-1] == Line(186.0, 186.0, "word")
    assert len(fitted(track, 184.0).lines) == 19
    with pytest.raises(
        InputError, match=r"x.srt: 10 of its 20 lines come after the film's end, so it belongs to another"
    ):
        fitted(track, 95.0)


@pytest.mark.parametrize(
    "content", [b"", b"no subtitles", b"\xff\xd8\xff\xe0" * 50, b"1\n00:00:01,000 -->\nx\n", b"WEBVTT\n"]
)
def test_what_is_no_subtitle_file_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "film.srt").write_bytes(content)
    with pytest.raises(DecodeError, match=r"film\.srt: holds no subtitles that can be read \(.*\); "):
        read_subtitles(tmp_path / "film.srt")
