"""What a film's file says of itself beside its pictures: time code, reel, rate and sound."""

from fractions import Fraction

import av
import numpy as np
import pytest

from gmmformer.media.frames import Sound, probe

PICTURE = np.zeros((48, 64, 3), dtype=np.uint8)


def write(path, *, rate=Fraction(25), times=range(10), code=None, reel=None, sounds=(), codec="mpeg4"):
    """A grey film; `sounds` are layouts."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = 1 / rate
        for name, value in (("timecode", code), ("reel_name", reel)):
            if value:
                video.metadata[name] = value
        tracks = [container.add_stream("pcm_s16le", rate=48_000, layout=layout) for layout in sounds]
        for time in times:
            frame = av.VideoFrame.from_ndarray(PICTURE, format="rgb24")
            frame.pts = time
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for track in tracks:
            quiet = np.zeros((1, 48_000 * track.channels), dtype=np.int16)
            frame = av.AudioFrame.from_ndarray(quiet, format="s16", layout=track.layout)
            frame.sample_rate = 48_000
            container.mux([*track.encode(frame), *track.encode()])
    return path


@pytest.mark.parametrize("code", ["10:00:00:00", "10:00:00;00", "23:59:59;28"])
@pytest.mark.parametrize("ending", ["mov", "mp4", "mkv"])
def test_a_time_code_is_read_as_it_stands(tmp_path, ending, code):
    assert probe(write(tmp_path / f"f.{ending}", rate=Fraction(30_000, 1_001), code=code)).timecode == code


def test_the_time_code_of_a_broadcast_file_is_that_of_the_file(tmp_path):
    film = write(tmp_path / "f.mxf", code="10:00:00:00", codec="mpeg2video")
    assert probe(film).timecode == "10:00:00:00"


def test_a_reel_is_found_where_the_time_code_is(tmp_path):
    assert probe(write(tmp_path / "f.mov", code="01:00:00:00", reel="A001C002")).reel == "A001C002"


def test_a_film_that_says_nothing_has_nothing(tmp_path):
    info = probe(write(tmp_path / "f.mp4"))
    assert (info.timecode, info.reel, info.sounds, info.rate) == (None, None, (), 25)


def test_all_sound_streams_count(tmp_path):
    sounds = ("mono", "stereo", "5.1")
    assert probe(write(tmp_path / "f.mov", sounds=sounds)).sounds == tuple(Sound(n, 48_000) for n in (1, 2, 6))


@pytest.mark.parametrize("rate", [Fraction(24_000, 1_001), Fraction(24), Fraction(60_000, 1_001), Fraction(12)])
def test_a_rate_is_exact(tmp_path, rate):
    assert probe(write(tmp_path / "f.mov", rate=rate)).rate == rate


def test_a_rate_that_varies_is_that_of_most_frames(tmp_path):
    """A telephone in low light: 30 frames a second, of which some are missing."""
    times = [time for time in range(90) if time % 11]
    assert probe(write(tmp_path / "f.mp4", rate=Fraction(30), times=times)).rate == 30
