"""Films of bar codes through everything that speaks of seconds: what is seen at a second is what was put there."""

import io
from bisect import bisect_right
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from barcode_films import BEGIN_LATE, COLOURS, FILMS, ODD
from barcodes import BLUE, GREEN, RED, read
from film_recipes import FRAME
from gmmformer.errors import InputError
from gmmformer.media.browsers import browser_plays, thumbnail
from gmmformer.media.cutting import browser_preview, cut_moment
from gmmformer.media.decoding import FilmChunk, FilmEnd, decode_films
from gmmformer.media.films import DecodeReport
from gmmformer.media.frames import frame_at, sampled_frames

AWAY = Fraction(1, 100)
"""Seconds by which moments keep off those at which pictures change, where that is not what is tried."""
ROUNDED = Fraction(1, 500)
"""Seconds by which containers round the times of pictures."""
MOST_MORE = 4
"""Pictures that a copied clip may hold after its end, as those within it are predicted from them."""
BT601 = 5
MATRICES_OF_PLAYERS = frozenset((1, 4, BT601, 6, 7, 9))
"""Those of ITU-T H.273 that every player knows; for the others they take the one for small pictures."""


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    made = {}

    def film(name):
        if name not in made:
            made[name] = FILMS[name](tmp_path_factory.mktemp("film"))
        return made[name]

    return film


@pytest.fixture
def film(request, films):
    return films(request.param)


odd_film = pytest.mark.parametrize("film", ODD, indirect=True)
coloured_film = pytest.mark.parametrize("film", COLOURS, indirect=True)


def index_at(film, second):
    """Which picture is on screen at a second."""
    return max(0, bisect_right(film.times, second) - 1)


def moments_of(film):
    """Seconds all over a film, a little after pictures change and on the spot."""
    last = len(film.times) - 1
    picks = sorted({0, last // 2, last // 2 + 1, last * 3 // 4, last})
    found = []
    for pick in picks:
        found += [film.times[pick], film.times[pick] + AWAY / 2]
        if pick < last and film.times[pick + 1] - film.times[pick] > 2 * FRAME:
            found.append((film.times[pick] + film.times[pick + 1]) / 2)
    return found


def spans_of(film):
    """Moments to cut: at the beginning, over the middle, after it, over the end."""
    last = len(film.times) - 1
    middle, later = film.times[last // 2], film.times[last * 3 // 4]
    ending = film.times[index_at(film, film.times[-2] - Fraction(1, 4))]
    return [
        (Fraction(0), film.times[4] + AWAY),
        (max(Fraction(0), middle - Fraction(3, 5)) + AWAY, middle + Fraction(3, 10) + AWAY),
        (later + AWAY, later + Fraction(2, 5) + AWAY),
        (ending + AWAY, film.length + 5),
    ]


def check_picture(film, image, second):
    reading = read(np.asarray(image))
    at = {index_at(film, second - ROUNDED), index_at(film, second + ROUNDED)}
    assert film.times[min(at)] <= reading.second <= film.times[max(at)], (float(reading.second), float(second))
    assert 0.8 < reading.shape < 1.25, "the picture is out of proportion"


def orientation_of(frame):
    for side_data in frame.side_data:
        if side_data.type.name == "DISPLAYMATRIX":
            matrix = np.sign(np.frombuffer(bytes(side_data), dtype="=i4").astype(int))
            return tuple(matrix[[0, 1, 3, 4]].tolist())
    return None


def turned_upright(image, orientation):
    """As a player turns a stored picture: a point (x, y) is shown at (a x + c y, b x + d y)."""
    a, b, c, d = orientation
    if a == d == 0:
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: d or 1, :: a or 1]


def played(path):
    """Seconds and readings of a clip's pictures, as any player would show them."""
    shown, orientation = [], (1, 0, 0, 1)
    with av.open(str(path)) as clip:
        aspect = clip.streams.video[0].sample_aspect_ratio or 1
        for frame in clip.decode(video=0):
            orientation = orientation_of(frame) or orientation
            matrix = frame.colorspace if frame.colorspace in MATRICES_OF_PLAYERS else BT601
            image = frame.reformat(format="rgb24", src_colorspace=matrix, threads=1).to_ndarray()
            reading = read(turned_upright(image, orientation))
            shape = float(reading.shape * (aspect if orientation[0] else 1 / aspect))
            shown.append((Fraction(frame.pts) * frame.time_base, reading._replace(shape=shape)))
    return shown


def length_of(path):
    """What a player says is a clip's length."""
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        return stream.duration * stream.time_base


def check_clip(film, clip, start, end, *, most_more=0):
    """Whether the clip's second 0 shows the film's second `start`, and so on to `end`."""
    shown = played(clip)
    seconds = [reading.second for _, reading in shown]
    first, last = index_at(film, start + ROUNDED), index_at(film, min(end, film.length) - ROUNDED)
    assert [float(second) for second in seconds] == [float(s) for s in film.times[first : first + len(seconds)]]
    assert last - first + 1 <= len(seconds) <= last - first + 1 + most_more
    due = [max(0.0, float(second - start)) for second in seconds]
    assert [float(second) for second, _ in shown] == pytest.approx(due, abs=float(ROUNDED))
    in_proportion = [0.8 < reading.shape < 1.25 for _, reading in shown]
    assert in_proportion[0] if most_more else all(in_proportion)


@odd_film
def test_every_picture_comes_once_at_its_own_second(film):
    frames = list(sampled_frames(film.path, fps=None))
    seconds = [read(frame.image).second for frame in frames]
    assert [float(second) for second in seconds] == [float(second) for second in film.times]
    assert [frame.seconds for frame in frames] == pytest.approx([float(s) for s in seconds], abs=float(ROUNDED))


@odd_film
def test_samples_show_what_is_on_screen(film):
    report = DecodeReport()
    fps = Fraction(25, 8) if film.length < 100 else Fraction(300, round(film.length))
    frames = list(sampled_frames(film.path, fps=float(fps), report=report))
    assert [frame.seconds for frame in frames] == pytest.approx([float(n / fps) for n in range(len(frames))], abs=1e-6)
    assert len(frames) == pytest.approx(float(film.length * fps), abs=1 + film.last_stays * float(fps))
    for frame in frames:
        check_picture(film, frame.image, Fraction(frame.seconds))
    assert report.seconds == pytest.approx(float(film.length), abs=film.last_stays)
    assert report.last_frame == pytest.approx(float(film.times[-1]), abs=float(ROUNDED))


@odd_film
def test_samples_from_within_show_what_is_on_screen(film):
    start = film.times[len(film.times) * 2 // 3] + AWAY
    end = min(film.length, start + 1)
    frames = list(sampled_frames(film.path, fps=10, start=float(start), end=float(end)))
    assert len(frames) == pytest.approx(float((end - start) * 10), abs=1)
    for number, frame in enumerate(frames):
        assert frame.seconds == pytest.approx(float(start) + number / 10)
        check_picture(film, frame.image, Fraction(frame.seconds))


@odd_film
def test_a_frame_is_the_one_on_screen(film):
    for second in moments_of(film):
        frame = frame_at(film.path, float(second))
        assert frame.seconds == float(second)
        check_picture(film, frame.image, second)
    check_picture(film, frame_at(film.path, float(film.length) + 100).image, film.times[-1])


@odd_film
def test_a_thumbnail_is_of_its_second(film):
    for second in (*moments_of(film)[2::4], film.length + 100):
        image = Image.open(io.BytesIO(thumbnail(film.path, float(second), height=144)))
        assert image.height == 144
        check_picture(film, image, min(second, film.times[-1]))


@odd_film
def test_an_exact_clip_shows_those_seconds(film, tmp_path):
    for start, end in spans_of(film)[1::2]:
        cut = cut_moment(film.path, float(start), float(end), tmp_path / "clip.mp4", exact=True)
        assert (cut.start, cut.copied) == (float(start), False)
        assert cut.end == pytest.approx(float(min(end, film.length)), abs=film.last_stays)
        assert length_of(cut.path) == pytest.approx(cut.end - cut.start, abs=0.002)
        check_clip(film, cut.path, start, end)


@odd_film
def test_a_preview_shows_those_seconds(film, tmp_path):
    for start, end in spans_of(film)[1:2]:
        cut = browser_preview(film.path, float(start), float(end), tmp_path / "clip.mp4")
        assert (cut.start, cut.copied) == (float(start), False)
        assert cut.end == pytest.approx(float(min(end, film.length)), abs=film.last_stays)
        check_clip(film, cut.path, start, end)


@odd_film
@pytest.mark.parametrize("exact", [False, None], ids=["copied", "cheapest"])
def test_a_clip_shows_the_seconds_that_it_says(film, exact, tmp_path):
    for start, end in spans_of(film)[:: 1 if exact is False else 2]:
        try:
            cut = cut_moment(film.path, float(start), float(end), tmp_path / "clip.mp4", exact=exact)
        except InputError as refused:
            if exact is None or film.copied or "cannot be copied" not in str(refused):
                raise
            continue
        if exact is False:
            assert cut.copied
            assert film.copied is not False
        assert cut.start <= float(start)
        assert exact is False or cut.start >= float(start) - 0.1
        if cut.copied:
            assert cut.end >= film.times[index_at(film, end)]
        check_clip(film, cut.path, Fraction(cut.start), end, most_more=MOST_MORE if cut.copied else 0)


@coloured_film
def test_colours_are_those_that_were_stored(film, tmp_path):
    frames = [*sampled_frames(film.path, fps=2), frame_at(film.path, 2.1)]
    for frame in frames:
        check_picture(film, frame.image, Fraction(frame.seconds))
    readings = [read(frame.image) for frame in frames]
    readings.append(read(np.asarray(Image.open(io.BytesIO(thumbnail(film.path, 1))))))
    start, end = film.times[5] + AWAY, film.times[9] + AWAY
    for exact in (True, False):
        cut = cut_moment(film.path, float(start), float(end), tmp_path / "clip.mp4", exact=exact)
        check_clip(film, cut.path, Fraction(cut.start), end, most_more=0 if exact else MOST_MORE)
        readings += [reading for _, reading in played(cut.path)] if exact else []
    cut = browser_preview(film.path, float(start), float(end), tmp_path / "clip.mp4")
    check_clip(film, cut.path, start, end)
    for reading in (*readings, *(reading for _, reading in played(cut.path))):
        np.testing.assert_allclose(reading.colours, (RED, GREEN, BLUE), atol=12)


@pytest.mark.parametrize("film", BEGIN_LATE, indirect=True)
def test_a_player_that_counts_from_its_clocks_zero_is_given_no_such_film(film):
    assert browser_plays(film.path) is not None


@pytest.fixture(scope="session")
def decoded(films):
    """What workers give for every film: seconds, readings and the end."""
    parts = {films(name).path: ([], []) for name in FILMS}
    ends = {}
    for long in (False, True):
        paths = [path for path, name in zip(parts, FILMS, strict=True) if (films(name).length > 100) == long]
        for part in decode_films(paths, fps=0.005 if long else 5 / 3):
            if isinstance(part, FilmEnd):
                ends[part.path] = part
                continue
            assert isinstance(part, FilmChunk)
            seconds, images = parts[part.path]
            seconds.extend(part.seconds)
            images.extend(part.images)
    return {path: (*parts[path], ends[path]) for path in parts}


@pytest.mark.parametrize("film", FILMS, indirect=True)
def test_workers_give_what_is_on_screen(film, decoded):
    seconds, images, end = decoded[film.path]
    assert end.ok, end.reason
    assert end.seconds == pytest.approx(float(film.length), abs=film.last_stays)
    assert len(images) == end.frames > 0
    for second, image in zip(seconds, images, strict=True):
        check_picture(film, image, Fraction(second))
