import os
import re
from bisect import bisect_right
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gmmformer.media.cutting as cutting
from gmmformer.errors import InputError
from gmmformer.media.browsers import browser_plays, thumbnail
from gmmformer.media.cutting import MOST_SECONDS, browser_preview, cut_moment, moment_filename
from gmmformer.media.films import DecodeError
from gmmformer.media.frames import frame_at, probe, sampled_frames

STEADY = list(range(150))
UNEVEN = sorted({round(25 * 0.02 * n**1.55) for n in range(60)})
KEYS = {"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0:keyint=30:min-keyint=30:scenecut=0"}
FILMS = {
    "b frames": ("f.mp4", STEADY, {"options": KEYS}),
    "b frames, mkv": ("f.mkv", STEADY, {"options": KEYS}),
    "b frames, ts": ("f.ts", STEADY, {"options": KEYS}),
    "long group": ("f.mp4", STEADY, {"options": {"g": "9999", "bf": "2"}}),
    "uneven rate": ("f.mp4", UNEVEN, {"options": {"g": "12", "bf": "2"}}),
    "uneven rate, mkv": ("f.mkv", UNEVEN, {"options": {"g": "12", "bf": "2"}}),
    "from 10 s": ("f.mp4", [250 + time for time in STEADY], {"options": KEYS}),
    "from 10 s, ts": ("f.ts", [250 + time for time in STEADY], {"options": KEYS}),
    "avi": ("f.avi", STEADY, {"options": {"g": "10", "bf": "0"}}),
    "turned": ("f.mp4", STEADY[:100], {"options": KEYS, "prepare": lambda stream: stream.set_display_rotation(90.0)}),
    "vp9": (
        "f.webm",
        STEADY[:100],
        {"codec": "libvpx-vp9", "options": {"g": "20", "cpu-used": "8", "deadline": "realtime"}},
    ),
}
COPYABLE = [name for name in FILMS if name not in ("avi", "long group")]
RATE = 48000


@pytest.fixture(scope="module")
def film(request, tmp_path_factory, make_film, draw):
    name, times, how = FILMS[request.param]
    if request.param == "turned":
        how = how | {"pictures": [np.rot90(draw(number), -1) for number in range(len(times))]}
    return make_film(tmp_path_factory.mktemp("films") / name, times, **how), times


def shown_at(times, moment):
    return bisect_right([(time - times[0]) / 25 for time in times], moment + 0.0005) - 1


def numbers_and_times(path, read_number):
    frames = list(sampled_frames(path, fps=None))
    return [read_number(frame.image) for frame in frames], [frame.seconds for frame in frames]


def packets_of(path, kind="video"):
    with av.open(str(path)) as container:
        stream = container.streams.get(**{kind: 0})[0]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(stream) if packet.size]


def boxes(path):
    data, found, at = path.read_bytes(), [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : at + 8])
        at += size
    return found


def tone(path, seconds, *, base=0, pulse=2.0, codec="aac", picture=None, layout="stereo", rate=RATE, numbers=None):
    """A film of 25 frames a second and silence, but for a tone of 0.2 s at `pulse`; its clock begins at `base`."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"preset": "ultrafast", "threads": "1", "g": "25", "bf": "2"}
        audio = container.add_stream(codec, rate=rate, layout=layout)
        for number in range(round(seconds * 25)):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = number + base * 25, Fraction(1, 25)
            container.mux(video.encode(frame))
            moments = (number * rate // 25 + np.arange(rate // 25)) / rate
            wave = np.where((moments >= pulse) & (moments < pulse + 0.2), 0.5 * np.sin(2 * np.pi * 1000 * moments), 0)
            samples = av.AudioFrame.from_ndarray(
                np.tile(wave.astype(np.float32), (2 if layout == "stereo" else 1, 1)), format="fltp", layout=layout
            )
            samples.sample_rate, samples.time_base = rate, Fraction(1, rate)
            samples.pts = base * rate + number * rate // 25
            container.mux(audio.encode(samples))
        container.mux([*video.encode(None), *audio.encode(None)])
    return path


def heard(path):
    """The sound's samples from the first picture's time on, left channel."""
    with av.open(str(path)) as container:
        begins = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = np.zeros(RATE * 20)
        for frame in container.decode(stream):
            values = av.AudioResampler(format="fltp", layout="mono", rate=RATE).resample(frame)[0].to_ndarray()[0]
            at = round((frame.time - begins) * RATE)
            values = values[max(0, -at) :]
            samples[max(0, at) : max(0, at) + len(values)] = values
    return samples


def tone_begins(samples):
    return np.flatnonzero(np.abs(samples) > 0.1)[0] / RATE


@pytest.mark.parametrize("film", FILMS, indirect=True)
@pytest.mark.parametrize(("start", "end"), [(0, 0.5), (1.01, 2.03), (3.1, 3.6)])
def test_an_exact_clip_shows_at_each_second_what_the_film_shows(film, start, end, tmp_path, read_number):
    path, times = film
    cut = cut_moment(path, start, end, tmp_path / "clip.mp4", exact=True)
    assert (cut.path, cut.start, cut.end, cut.copied, cut.audio) == (tmp_path / "clip.mp4", start, end, False, False)
    wanted = list(range(shown_at(times, start), shown_at(times, end - 0.001) + 1))
    numbers, seconds = numbers_and_times(cut.path, read_number)
    assert numbers == wanted
    due = [max(0, (times[number] - times[0]) / 25 - start) for number in wanted]
    assert seconds == pytest.approx(due, abs=0.0006)
    assert probe(cut.path).duration == pytest.approx(end - start, abs=0.001)


@pytest.mark.parametrize("film", COPYABLE, indirect=True)
def test_a_copy_holds_the_films_own_packets_from_the_key_frame(film, tmp_path, read_number):
    path, times = film
    cut = cut_moment(path, 2.5, 3.3, tmp_path / "clip.mp4", exact=False)
    assert cut.copied
    assert cut.start <= 2.5
    assert cut.end >= 3.3
    numbers, seconds = numbers_and_times(cut.path, read_number)
    first = shown_at(times, cut.start)
    assert numbers == list(range(first, first + len(numbers)))
    assert numbers[-1] >= shown_at(times, 3.299)
    assert numbers[-1] <= shown_at(times, 3.299) + 4
    assert seconds == pytest.approx([(times[number] - times[0]) / 25 - cut.start for number in numbers], abs=0.0011)
    if path.suffix == ".mp4":
        source = {content for _, content in packets_of(path)}
        copied = [content for _, content in packets_of(cut.path)]
        assert len(copied) == len(numbers)
        assert set(copied) <= source
    for second in (2.5, 2.9, 3.29):
        one, other = frame_at(path, second), frame_at(cut.path, second - cut.start)
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("film", ["b frames", "from 10 s, ts"], indirect=True)
def test_copied_only_where_a_key_frame_is_near(film, tmp_path):
    path, _ = film
    for start, copied in ((1.2, True), (1.29, True), (1.31, False), (1.19, False), (0, True), (3.6, True)):
        cut = cut_moment(path, start, start + 1, tmp_path / "clip.mp4")
        assert cut.copied is copied, start
        assert cut.start == pytest.approx(int(start / 1.2) * 1.2 if copied else start, abs=1e-6)


@pytest.mark.parametrize("film", ["long group"], indirect=True)
def test_a_long_group_is_copied_from_its_beginning_only_when_asked(film, tmp_path):
    path, _ = film
    assert not cut_moment(path, 3, 4, tmp_path / "clip.mp4").copied
    cut = cut_moment(path, 3, 4, tmp_path / "clip.mp4", exact=False)
    assert (cut.copied, cut.start) == (True, 0)


@pytest.mark.parametrize("film", ["avi"], indirect=True)
def test_what_cannot_be_copied_is_encoded_or_refused(film, tmp_path):
    path, _ = film
    assert not cut_moment(path, 0, 1, tmp_path / "clip.mp4").copied
    with pytest.raises(InputError, match=r"f\.avi: cannot be copied.*exact=True"):
        cut_moment(path, 0, 1, tmp_path / "other.mp4", exact=False)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("exact", [None, True])
def test_the_films_end_cuts_the_moment(tmp_path, make_film, read_number, exact):
    film = make_film(tmp_path / "f.mp4", STEADY[:60], options={"g": "10", "bf": "0"})
    cut = cut_moment(film, 2, 99, tmp_path / "clip.mp4", exact=exact)
    assert cut.copied is (exact is None)
    assert (cut.start, cut.end) == (2, pytest.approx(2.4))
    assert numbers_and_times(cut.path, read_number)[0] == list(range(50, 60))


@pytest.mark.parametrize("exact", [None, True, False])
@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (-1, 2, "at least 0"),
        (float("nan"), 2, "at least 0"),
        (2, 2, "after start 2"),
        (3, 2, "after start 3"),
        (0, float("inf"), "after start 0"),
        (0, MOST_SECONDS + 1, "choose an earlier end"),
        (2.4, 5, "past the film's end at 2.400 s"),
        (500, 505, "past the film's end at 2.400 s"),
    ],
)
def test_senseless_moments_are_refused_and_nothing_is_written(films, tmp_path, exact, start, end, said):
    for cutter in (lambda *given: cut_moment(*given, exact=exact), browser_preview):
        with pytest.raises(InputError, match=rf"f\.mp4: .*{said}"):
            cutter(films, start, end, tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def films(tmp_path_factory, make_film):
    return make_film(tmp_path_factory.mktemp("one") / "f.mp4", STEADY[:60], options={"g": "10", "bf": "0"})


def test_a_jump_that_misleads_is_made_up_for(films, tmp_path, read_number, monkeypatch):
    from gmmformer.media.cutting import reading

    def misleading(*_):
        raise reading.UnskippableError

    monkeypatch.setattr(reading, "key_frame_before", misleading)
    cut = cut_moment(films, 2.1, 2.3, tmp_path / "clip.mp4", exact=True)
    assert numbers_and_times(cut.path, read_number)[0] == list(range(52, 58))


def test_a_damaged_key_frame_is_neither_copied_nor_jumped_to(tmp_path, make_film):
    film = make_film(tmp_path / "f.mkv", STEADY, options={"g": "25", "bf": "0", "keyint_min": "25"})
    content = packets_of(film)[75][1]
    film.write_bytes(film.read_bytes().replace(content, content[:5] + b"\xff" * (len(content) - 5)))
    with pytest.raises(InputError, match="cannot be copied"):
        cut_moment(film, 3.2, 3.8, tmp_path / "clip.mp4", exact=False)
    cut = cut_moment(film, 3.0, 3.8, tmp_path / "clip.mp4")
    assert not cut.copied
    for second in (3.1, 3.5, 3.7):
        one, other = frame_at(film, second).image.astype(int), frame_at(cut.path, second - 3).image
        assert np.abs(one - other).mean() < 4


@pytest.mark.parametrize("exact", [None, True])
@pytest.mark.parametrize(("name", "codec", "base"), [("f.mp4", "aac", 0), ("f.ts", "aac", 10), ("f.mkv", "flac", 0)])
def test_sound_is_cut_where_the_picture_is(tmp_path, draw, exact, name, codec, base):
    film = tone(tmp_path / name, 5, base=base, pulse=2.5, codec=codec, picture=lambda number: draw(number, 64, 48))
    assert tone_begins(heard(film)) == pytest.approx(2.5, abs=0.003)
    cut = cut_moment(film, 2, 3, tmp_path / "clip.mp4", exact=exact)
    assert (cut.copied, cut.audio, cut.start) == (exact is None, True, 2)
    samples = heard(cut.path)
    assert tone_begins(samples) == pytest.approx(0.5, abs=0.003)
    length = np.flatnonzero(np.abs(samples) > 0.1)[-1] / RATE
    assert length == pytest.approx(0.7, abs=0.003)
    with av.open(str(cut.path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        assert container.duration / 1e6 == pytest.approx(cut.end - cut.start, abs=0.05)
    if exact is None and codec == "aac" and name == "f.mp4":
        source = {content for _, content in packets_of(film, "audio")}
        copied = [content for _, content in packets_of(cut.path, "audio")]
        assert len(copied) in range(47, 50)
        assert set(copied) <= source


def test_sound_that_begins_late_or_is_of_another_kind_fits(tmp_path, draw):
    film = tone(
        tmp_path / "f.mkv",
        3,
        pulse=1.5,
        codec="pcm_s16le",
        layout="mono",
        rate=22050,
        picture=lambda number: draw(number, 64, 48),
    )
    preview = browser_preview(film, 1.04, 2.96, tmp_path / "clip.mp4")
    with av.open(str(preview.path)) as container:
        context = container.streams.audio[0].codec_context
        assert (context.name, context.layout.name, context.sample_rate) == ("aac", "stereo", 48000)
    assert tone_begins(heard(preview.path)) == pytest.approx(0.46, abs=0.003)


@pytest.mark.parametrize("exact", [None, True, False])
def test_sound_that_cannot_be_decoded_is_left_out(tmp_path, draw, exact):
    film = tone(tmp_path / "f.mkv", 2, codec="flac", pulse=0.5, picture=lambda number: draw(number, 64, 48))
    data = film.read_bytes()
    for _, content in packets_of(film, "audio"):
        data = data.replace(content, bytes(len(content)))
    film.write_bytes(data)
    cut = cut_moment(film, 1, 2, tmp_path / "clip.mp4", exact=exact)
    assert not cut.audio
    with av.open(str(cut.path)) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("film", ["turned"], indirect=True)
@pytest.mark.parametrize("exact", [True, False])
def test_a_turned_film_stays_upright(film, tmp_path, exact, read_number):
    path, _ = film
    cut = cut_moment(path, 1, 2, tmp_path / "clip.mp4", exact=exact)
    assert (probe(cut.path).width, probe(cut.path).height) == (128, 64)
    assert read_number(frame_at(cut.path, 1 - cut.start).image) == 25


def test_a_clip_plays_everywhere_and_begins_with_its_index(tmp_path, make_film, draw):
    film = make_film(
        tmp_path / "f.avi", STEADY[:10], codec="mjpeg", pixel_format="yuvj444p", pictures=[draw(7, 132, 68)] * 10
    )
    assert browser_plays(film) == "AVI container"
    for cut in (
        cut_moment(film, 0, 0.4, tmp_path / "a.mp4", exact=True),
        browser_preview(film, 0, 0.4, tmp_path / "b.mp4"),
    ):
        found = boxes(cut.path)
        assert found.index(b"moov") < found.index(b"mdat")
        info = probe(cut.path)
        assert (info.codec, info.pixel_format, info.width, info.height) == ("h264", "yuv420p", 132, 68)
        assert browser_plays(cut.path) is None


def test_copies_begin_with_their_index(films, tmp_path):
    found = boxes(cut_moment(films, 0, 1, tmp_path / "a.mp4").path)
    assert found.index(b"moov") < found.index(b"mdat")


@pytest.mark.parametrize(
    ("size", "shown"), [((1600, 900), (1280, 720)), ((200, 1000), (144, 720)), ((2000, 100), (1920, 96))]
)
def test_a_preview_is_no_larger_than_a_browser_needs(tmp_path, make_film, size, shown):
    film = make_film(tmp_path / "f.mp4", [0, 1], pictures=[np.zeros((size[1], size[0], 3), dtype=np.uint8)] * 2)
    info = probe(browser_preview(film, 0, 1, tmp_path / "clip.mp4").path)
    assert (info.width, info.height) == shown


def test_odd_sides_and_oblong_samples_are_made_even_and_square(tmp_path, make_film, draw, read_number):
    def oblong(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    film = make_film(
        tmp_path / "f.mkv",
        [0, 1],
        pictures=[draw(number, 100, 60)[:59, :99] for number in (5, 6)],
        pixel_format="yuv444p",
        prepare=oblong,
    )
    cut = cut_moment(film, 0, 1, tmp_path / "clip.mp4", exact=True)
    info = probe(cut.path)
    assert (info.width, info.height) == (148, 60)
    assert numbers_and_times(cut.path, read_number)[0] == [5, 6]


def test_colours_are_the_films(tmp_path, make_film):
    picture = np.full((64, 128, 3), (200, 60, 30), dtype=np.uint8)
    for number, (name, codec, pixels) in enumerate(
        [("f.mp4", "libx264", "yuv420p10le"), ("f.avi", "mjpeg", "yuvj420p"), ("f.mkv", "ffv1", "bgr0")]
    ):
        film = make_film(tmp_path / f"{number}{name}", [0, 1], pictures=[picture] * 2, codec=codec, pixel_format=pixels)
        clip = browser_preview(film, 0, 1, tmp_path / "clip.mp4").path
        assert np.abs(frame_at(clip, 0).image.mean(axis=(0, 1)) - picture[0, 0]).max() < 8, name


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)])
def test_high_dynamic_range_is_toned_down(tmp_path, make_film, transfer, white):
    def hdr(stream):
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9

    film = make_film(
        tmp_path / "f.mp4",
        [0, 1],
        pictures=[np.full((64, 128, 3), round(white * 255), dtype=np.uint8)] * 2,
        pixel_format="yuv420p10le",
        prepare=hdr,
    )
    assert browser_plays(film) == "10-bit H.264"
    clip = browser_preview(film, 0, 1, tmp_path / "clip.mp4").path
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, frame.color_trc, frame.color_primaries, frame.colorspace) == ("yuv420p", 1, 1, 1)
    assert np.abs(frame_at(clip, 0).image.astype(int) - frame_at(film, 0).image).max() <= 4


@pytest.mark.parametrize("name", ["-f.mp4", "a\nb.mp4", "http:f.mp4", "%d.mp4", os.fsdecode(b"\xff.mp4"), "日本.mp4"])
def test_odd_names_are_only_names(films, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(films.read_bytes())
    assert browser_plays(name) is None
    for made in (cut_moment(name, 0, 1, "clip" + name), browser_preview(name, 0, 1, "clip" + name)):
        assert probe(made.path).codec == "h264"
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(InputError, match="past the film's end") as caught:
        cut_moment(name, 9, 10, "other.mp4")
    assert str(caught.value).isprintable()


def test_broken_films_are_refused_and_leave_the_old_clip(tmp_path):
    broken, clip = tmp_path / "broken.mp4", tmp_path / "clip.mp4"
    broken.write_bytes(b"no film at all" * 99)
    clip.write_bytes(b"old")
    for read in (
        lambda: cut_moment(broken, 0, 1, clip),
        lambda: cut_moment(broken, 0, 1, clip, exact=False),
        lambda: cut_moment(tmp_path / "none.mp4", 0, 1, clip),
        lambda: browser_preview(broken, 0, 1, clip),
        lambda: browser_plays(broken),
        lambda: thumbnail(broken, 0),
    ):
        with pytest.raises(DecodeError, match=r"not a film|no such file"):
            read()
    assert clip.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "clip.mp4"]


@pytest.mark.parametrize("exact", [None, True])
def test_a_place_that_cannot_be_written_is_named(films, tmp_path, exact):
    with pytest.raises(InputError, match=r"clip\.mp4: cannot be written \(No such file"):
        cut_moment(films, 0, 1, tmp_path / "none" / "clip.mp4", exact=exact)
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(InputError, match=r"clip\.mp4: cannot be written"):
        cut_moment(films, 0, 1, tmp_path / "clip.mp4", exact=exact)
    before = films.read_bytes()
    with pytest.raises(InputError, match="is the film itself"):
        cut_moment(films, 0, 1, films, exact=exact)
    assert films.read_bytes() == before


def test_a_failure_halfway_leaves_nothing(films, tmp_path, monkeypatch):
    def full(*_, **__):
        raise av.error.OSError(28, "No space left on device")

    monkeypatch.setattr(cutting, "encode", full)
    with pytest.raises(InputError, match="the disk is full"):
        cut_moment(films, 0, 1, tmp_path / "clip.mp4", exact=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "how", "reason"),
    [
        ("f.mp4", {}, None),
        ("f.mov", {"pixel_format": "yuvj420p"}, None),
        ("f.webm", {"codec": "libvpx"}, None),
        ("f.webm", {"codec": "libvpx-vp9"}, None),
        ("f.mp4", {"codec": "libvpx-vp9"}, None),
        ("f.mkv", {}, "Matroska container"),
        ("f.ts", {}, "MPEG-TS container"),
        ("f.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=none"}}, "HEVC video"),
        ("f.mp4", {"codec": "mpeg4"}, "MPEG-4 part 2 video"),
        ("f.mp4", {"pixel_format": "yuv420p10le"}, "10-bit H.264"),
        ("f.mp4", {"pixel_format": "yuv444p"}, "H.264 in yuv444p"),
        ("f.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p"}, "MJPEG video"),
    ],
)
def test_what_browsers_play(tmp_path, make_film, name, how, reason):
    assert browser_plays(make_film(tmp_path / name, range(12), **how)) == reason


def test_transparent_films_are_not_copied(tmp_path, make_film):
    picture = np.full((64, 128, 4), 255, dtype=np.uint8)
    film = make_film(
        tmp_path / "f.webm",
        [0, 1, 2],
        codec="libvpx-vp9",
        pixel_format="yuva420p",
        pictures=[picture] * 3,
        picture_format="rgba",
        prepare=lambda stream: stream.metadata.update(alpha_mode="1"),
    )
    assert browser_plays(film) is None
    assert not cut_moment(film, 0, 1, tmp_path / "clip.mp4").copied


@pytest.mark.parametrize("bases", [(20, 0), (0, 7200), (7200, 0), (5, 5)])
@pytest.mark.parametrize("exact", [True, False])
def test_joined_recordings_are_cut_where_they_are_sampled_and_heard(tmp_path, draw, read_number, bases, exact):
    pieces = [
        tone(tmp_path / f"{n}.ts", 3, base=base, picture=lambda number, n=n: draw(number + 75 * n, 64, 48))
        for n, base in enumerate(bases)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    assert [read_number(frame.image) for frame in sampled_frames(joined)] == [0, 25, 50, 75, 100, 125]
    assert [read_number(frame_at(joined, second).image) for second in (2.5, 3.5, 4.9, 5.9)] == [62, 87, 122, 147]
    cut = cut_moment(joined, 4.6, 5.6, tmp_path / "clip.mp4", exact=exact)
    assert cut.start == pytest.approx(4.6 if exact else 4, abs=0.001)
    assert numbers_and_times(cut.path, read_number)[0][0] == 115 if exact else 100
    # The second tone comes two seconds after the second recording begins.
    assert tone_begins(heard(cut.path)) == pytest.approx(5 - cut.start, abs=0.03)


def test_browsers_play_some_sound_and_clocks_from_zero(tmp_path, draw, make_film):
    for name, codec, reason in (
        ("f.mp4", "aac", None),
        ("g.mp4", "libmp3lame", None),
        ("h.mp4", "ac3", "AC-3 audio"),
        ("i.mp4", "libopus", "Opus audio in mp4"),
        ("j.mov", "pcm_s16le", "PCM S16LE audio"),
    ):
        film = tone(tmp_path / name, 0.4, codec=codec, picture=lambda number: draw(number, 64, 48))
        assert browser_plays(film) == reason
    late = make_film(tmp_path / "late.mp4", [250, 251, 252])
    assert browser_plays(late) == "its clock begins at 10.0 s"


@pytest.mark.parametrize("film", ["b frames", "turned"], indirect=True)
@pytest.mark.parametrize("height", [32, 64, 100])
def test_a_thumbnail_is_the_frame_on_screen(film, height, read_number):
    from io import BytesIO

    from PIL import Image

    image = Image.open(BytesIO(thumbnail(film[0], 1.5, height)))
    assert (image.format, image.size) == ("JPEG", (2 * height, height))
    assert read_number(np.asarray(image)) == 37


def test_thumbnails_have_bounds(films):
    for second, height, said in ((0, 31, "at least 32"), (0, 721, "at most 720"), (-1, 180, "at least 0")):
        with pytest.raises(InputError, match=said):
            thumbnail(films, second, height)


def test_names_of_clips():
    assert moment_filename("a/holiday.mov", 13.5, 20.5) == "holiday_00-13.5_00-20.5.mp4"
    assert moment_filename("holiday", 59.9996, 3725) == "holiday_01-00_1-02-05.mp4"
    assert moment_filename("日本.mp4", 0, 1) != moment_filename("中国.mp4", 0, 1)


@given(st.binary(min_size=1, max_size=300), st.floats(0, 1e6), st.floats(0.01, 600))
def test_names_of_clips_are_always_safe(name, start, length):
    made = moment_filename(os.fsdecode(name.replace(b"\0", b"/")), start, start + length)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,140}\.mp4", made)
