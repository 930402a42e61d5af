import os
from bisect import bisect_right
from fractions import Fraction

import av
import numpy as np
import pytest

import gmmformer.media.frames as decode
import gmmformer.media.skipping as skipping
from gmmformer.errors import InputError
from gmmformer.media.films import DecodeError, DecodeReport
from gmmformer.media.frames import frame_at, probe, sampled_frames

STEADY = list(range(150))
UNEVEN = sorted({round(25 * 0.02 * n**1.55) for n in range(60)})
BASE = Fraction(1, 25)
B_FRAMES = {"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:keyint=30:scenecut=0"}
FILMS = {
    "short groups": ("f.mp4", STEADY, {"options": {"g": "10", "bf": "0"}}),
    "long group": ("f.mp4", STEADY, {"options": {"g": "9999", "bf": "2"}}),
    "b frames": ("f.mp4", STEADY, {"options": B_FRAMES}),
    "b frames, mkv": ("f.mkv", STEADY, {"options": B_FRAMES}),
    "b frames, ts": ("f.ts", STEADY, {"options": B_FRAMES}),
    "open groups": ("f.mp4", STEADY, {"options": {"x264-params": "bframes=3:open-gop=1:keyint=20:scenecut=0"}}),
    "uneven rate": ("f.mp4", UNEVEN, {"options": {"g": "12", "bf": "2"}}),
    "uneven rate, mkv": ("f.mkv", UNEVEN, {"options": {"g": "12", "bf": "2"}}),
    "from 10 s": ("f.mp4", [250 + time for time in STEADY], {"options": B_FRAMES}),
    "from 10 s, ts": ("f.ts", [250 + time for time in STEADY], {"options": B_FRAMES}),
    "from -2 s": ("f.nut", [time - 50 for time in STEADY], {"options": {"g": "10", "bf": "0"}}),
    "avi": ("f.avi", STEADY, {"options": {"g": "10", "bf": "0"}}),
    "intra": ("f.avi", STEADY, {"codec": "mjpeg", "pixel_format": "yuvj420p"}),
    "hevc": (
        "f.mp4",
        STEADY[:70],
        {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20:bframes=3:open-gop=1:pools=none"}},
    ),
    "mpeg2": ("f.ts", STEADY, {"codec": "mpeg2video", "options": {"g": "12", "bf": "2", "b": "2000000"}}),
    "mpeg4": ("f.mp4", STEADY, {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}}),
    "vp8": ("f.webm", STEADY[:80], {"codec": "libvpx", "options": {"g": "20", "auto-alt-ref": "1", "cpu-used": "8"}}),
    "vp9": (
        "f.webm",
        STEADY[:80],
        {"codec": "libvpx-vp9", "options": {"g": "20", "cpu-used": "8", "deadline": "realtime"}},
    ),
}


@pytest.fixture(scope="module")
def film(request, tmp_path_factory, make_film):
    name, times, how = FILMS[request.param]
    return make_film(tmp_path_factory.mktemp("films") / name, times, **how), times


@pytest.fixture
def decode_all(monkeypatch):
    """Decodes with every frame, whatever could be left out."""

    def decode_all(path, **how):
        with monkeypatch.context() as patch:
            patch.setattr(decode, "skippable", lambda film: False)
            return list(sampled_frames(path, **how))

    return decode_all


def shown_at(times, moment):
    return bisect_right([(time - times[0]) * BASE for time in times], moment + Fraction(1, 2000)) - 1


@pytest.mark.parametrize("film", FILMS, indirect=True)
@pytest.mark.parametrize(("fps", "start"), [(1, None), (0.4, None), (3, None), (1.5, 2.5)])
def test_each_moment_shows_the_frame_a_viewer_sees(film, fps, start, read_number, decode_all):
    path, times = film
    frames = list(sampled_frames(path, fps=fps, start=start))
    moments = [Fraction(start or 0) + tick / Fraction(str(fps)) for tick in range(len(frames))]
    assert [frame.seconds for frame in frames] == [float(moment) for moment in moments]
    assert [read_number(frame.image) for frame in frames] == [shown_at(times, moment) for moment in moments]
    length = (times[-1] - times[0] + 1) * BASE
    assert moments[-1] < length <= moments[-1] + 1 / Fraction(str(fps)) + Fraction(1, 10)
    for one, other in zip(frames, decode_all(path, fps=fps, start=start), strict=True):
        assert one.seconds == other.seconds
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("film", FILMS, indirect=True)
def test_every_frame_comes_once_at_its_own_time(film, read_number):
    path, times = film
    frames = list(sampled_frames(path, fps=None))
    assert [read_number(frame.image) for frame in frames] == list(range(len(times)))
    assert [frame.seconds for frame in frames] == pytest.approx([(t - times[0]) / 25 for t in times], abs=0.0006)


@pytest.mark.parametrize(
    ("film", "share"),
    [("short groups", 0.5), ("intra", 0.1), ("b frames", 0.6), ("mpeg2", 0.6), ("uneven rate", 0.75), ("vp9", 0.85)],
    indirect=["film"],
)
def test_frames_that_nobody_needs_are_not_decoded(film, share):
    path, times = film
    report = DecodeReport()
    list(sampled_frames(path, fps=0.5, report=report))
    assert 0 < report.frames_decoded <= share * len(times)
    assert report.seconds == pytest.approx((times[-1] - times[0] + 1) / 25, abs=0.1)


@pytest.mark.parametrize("film", ["b frames", "long group", "uneven rate"], indirect=True)
@pytest.mark.parametrize("fps", [0.2, 1])
def test_little_is_held_back_where_moments_are_far_apart(film, fps, read_number, monkeypatch):
    path, times = film
    monkeypatch.setattr(skipping, "HELD_PACKETS", 40)
    moments = [tick / Fraction(str(fps)) for tick in range(int(6 * fps))]
    numbers = [read_number(frame.image) for frame in sampled_frames(path, fps=fps)][: len(moments)]
    assert numbers == [shown_at(times, moment) for moment in moments[: len(numbers)]]


def test_the_number_is_the_second(tmp_path, make_film, read_number, draw):
    pictures = [draw(number // 25) for number in range(150)]
    film = make_film(tmp_path / "f.mp4", range(150), pictures=pictures)
    assert [read_number(frame.image) for frame in sampled_frames(film)] == [0, 1, 2, 3, 4, 5]


def test_frame_at_is_the_frame_on_screen_and_the_last_after_the_end(tmp_path, make_film, read_number):
    film = make_film(tmp_path / "f.mp4", STEADY, options={"g": "15"})
    for seconds, number in ((0, 0), (0.99, 24), (1, 25), (5.2, 130), (5.96, 149), (5.999, 149), (60, 149)):
        assert read_number(frame_at(film, seconds).image) == number, seconds
    assert frame_at(film, 60).seconds == pytest.approx(5.96)


def test_end_is_not_included(tmp_path, make_film):
    film = make_film(tmp_path / "f.mp4", STEADY)
    assert [frame.seconds for frame in sampled_frames(film, start=1, end=3)] == [1, 2]
    assert [frame.seconds for frame in sampled_frames(film, fps=None, start=1, end=1.1)] == [1, 1.04, 1.08]


def test_the_last_frame_stays_for_its_duration_and_one_frame_is_a_film(tmp_path, make_film):
    film = make_film(tmp_path / "f.mp4", [0, 25], options={"bf": "0"})
    assert len(list(sampled_frames(film))) == 2
    assert len(list(sampled_frames(make_film(tmp_path / "g.mp4", [7])))) == 1


def test_joined_recordings_go_on_where_the_clock_is_set_anew(tmp_path, make_film, read_number):
    pieces = [
        make_film(tmp_path / f"{n}.ts", [first + t for t in range(75)], options={"g": "10"})
        for n, first in ((0, 500), (1, 0))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    frames = list(sampled_frames(joined))
    assert len(frames) in (5, 6)
    assert [read_number(frame.image) for frame in frames[:3]] == [0, 25, 50]
    assert all(read_number(frame.image) < 75 for frame in frames[3:])


def test_damage_costs_what_is_damaged(tmp_path, make_film, read_number):
    film = make_film(tmp_path / "f.mkv", STEADY, options={"g": "10", "bf": "0"})
    data = bytearray(film.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    film.write_bytes(data)
    numbers = [read_number(frame.image) for frame in sampled_frames(film)]
    assert numbers[:2] == [0, 25]
    assert numbers[-1] == 125


def test_a_cut_file_gives_what_is_there(tmp_path, make_film, read_number):
    film = make_film(tmp_path / "f.mkv", STEADY, options={"g": "10", "bf": "0"})
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    numbers = [read_number(frame.image) for frame in sampled_frames(film)]
    assert numbers == [25 * n for n in range(len(numbers))]
    assert 2 <= len(numbers) <= 4


def test_the_marked_stream_wins_and_covers_never(tmp_path, draw, read_number):
    path = tmp_path / "f.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for size in ((128, 64), (64, 32), (256, 128)):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            streams.append(stream)
        streams[1].disposition = av.stream.Disposition.default
        for number in range(30):
            for stream in streams:
                picture = draw(number + 100 * stream.index, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    assert [read_number(frame.image) for frame in sampled_frames(path)] == [100, 125]


@pytest.mark.parametrize(
    "name", ["-f.mp4", "a\nb.mp4", "http:f.mp4", "concat:a|b.mp4", "%d.mp4", os.fsdecode(b"\xff.mp4")]
)
def test_a_name_is_only_a_name(tmp_path, make_film, name, monkeypatch):
    make_film(tmp_path / "plain.mp4", STEADY[:30]).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(sampled_frames(name))) == 2
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DecodeError, match=r"empty \(0 bytes\)") as caught:
        probe(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("f.mp4", b"\0\0\0\x10ftypisom\0\0\0\0\0\0\x40\0mdat" + bytes(999), "no index"),
        ("f.mp4", b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x09moov" + bytes(99), "no video stream, only a header"),
        ("f.mp4", b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x03free" + bytes(99), "damaged"),
        ("f.mkv", b"\x1aE\xdf\xa3" + bytes(999), "damaged"),
        ("f.txt", b"a story of two cities\n" * 500, "not a film"),
        ("f.mp4", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:9,\nhttp://localhost/f.ts\n", "not a film"),
        ("f.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "not a film"),
    ],
)
def test_what_is_no_film_is_refused_with_its_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    for read in (probe, lambda path: next(sampled_frames(path))):
        with pytest.raises(DecodeError, match=reason):
            read(tmp_path / name)


def test_folders_pipes_and_missing_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in (("pipe.mp4", "pipe"), ("folder.mp4", "folder"), ("none.mp4", "no such file")):
        with pytest.raises(DecodeError, match=reason):
            probe(tmp_path / name)


def test_sound_alone_and_a_header_alone_are_no_films(tmp_path, make_film):
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(DecodeError, match="no video stream"):
        probe(sound)
    whole = make_film(tmp_path / "f.mp4", STEADY, options={"movflags": "x"}, format="mp4").read_bytes()
    begins, ends = whole.index(b"mdat"), whole.index(b"moov")
    assert begins < ends
    header = tmp_path / "header.mp4"
    header.write_bytes(whole[:begins] + b"free" + bytes(ends - begins - 8) + whole[ends - 4 :])
    with pytest.raises(DecodeError, match="can be decoded"):
        list(sampled_frames(header))


def test_frames_larger_than_any_film_are_refused(tmp_path, make_film):
    film = make_film(tmp_path / "f.avi", [0], codec="rawvideo", pixel_format="yuv420p")
    data = film.read_bytes()
    wide = (60000).to_bytes(4, "little")
    film.write_bytes(data.replace((128).to_bytes(4, "little") + (64).to_bytes(4, "little"), wide + wide))
    with pytest.raises(DecodeError, match="larger than about 16000 x 16000"):
        probe(film)


def test_a_film_that_grows_meanwhile_is_refused(tmp_path, make_film):
    film = make_film(tmp_path / "f.ts", STEADY)
    frames = sampled_frames(film)
    next(frames)
    with film.open("ab") as file:
        file.write(bytes(188))
    with pytest.raises(DecodeError, match="still being written"):
        list(frames)


@pytest.mark.parametrize(
    "wrong", [{"fps": 0}, {"fps": float("nan")}, {"size": 0}, {"start": -1}, {"start": 2, "end": 1}]
)
def test_senseless_requests_are_refused(tmp_path, wrong):
    with pytest.raises(InputError):
        next(sampled_frames(tmp_path / "f.mp4", **wrong))
