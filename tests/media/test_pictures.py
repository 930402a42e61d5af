from fractions import Fraction

import av
import numpy as np
import pytest

from gmmformer.media.container import UPRIGHT, OpenFilm, display_size
from gmmformer.media.frames import frame_at, probe, sampled_frames
from gmmformer.media.pictures import PictureMaker

LEFT_RED, RIGHT_BLUE = (200, 30, 30), (30, 30, 200)


def two_colours(height=64, width=128):
    """Left half red, right half blue, and a white bar along the top."""
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:, : width // 2], picture[:, width // 2 :] = LEFT_RED, RIGHT_BLUE
    picture[: height // 8] = 255
    return picture


def one_picture(make_film, path, picture, **how):
    return make_film(path, range(3), pictures=[picture] * 3, **how)


def colour_at(image, row, column):
    height, width = image.shape[:2]
    top, left = int(row * height), int(column * width)
    return image[max(0, top - 2) : top + 3, left - 4 : left + 4].mean(axis=(0, 1))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_or_mirrored_film_stands_upright(tmp_path, make_film, turns, mirrored):
    upright = two_colours()
    stored = np.ascontiguousarray(np.rot90(upright[:, ::-1] if mirrored else upright, -turns))

    def turn(stream):
        stream.set_display_rotation(90.0 * turns, hflip=mirrored)

    film = one_picture(make_film, tmp_path / "f.mp4", stored, prepare=turn, options={"crf": "5"})
    image = frame_at(film, 0).image
    assert image.shape == upright.shape
    assert np.abs(image[4:, ::4].astype(int) - upright[4:, ::4]).mean() < 12
    info = probe(film)
    assert (info.width, info.height) == (128, 64)
    if not mirrored:
        assert info.rotation == 90 * turns


def test_a_turn_that_is_no_right_angle_is_ignored(tmp_path, make_film):
    film = one_picture(make_film, tmp_path / "f.mp4", two_colours(), prepare=lambda s: s.set_display_rotation(33.0))
    assert frame_at(film, 0).image.shape == (64, 128, 3)
    assert probe(film).rotation == 0


def test_a_matrix_of_nothing_is_ignored(tmp_path, make_film):
    film = one_picture(
        make_film,
        tmp_path / "f.mp4",
        two_colours(),
        prepare=lambda s: s.set_display_matrix([0, 0, 0, 0, 0, 0, 0, 0, 0]),
    )
    assert frame_at(film, 0).image.shape == (64, 128, 3)


def test_oblong_samples_become_square(tmp_path, make_film):
    def oblong(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    film = one_picture(make_film, tmp_path / "f.mkv", two_colours(), prepare=oblong)
    assert frame_at(film, 0).image.shape == (64, 256, 3)
    assert (probe(film).width, probe(film).height) == (256, 64)


@pytest.mark.parametrize(
    ("size", "shape"), [(None, (64, 128)), (256, (64, 128)), (64, (64, 128)), (20, (20, 40)), (1, (1, 2))]
)
def test_size_is_the_shorter_side_and_never_enlarges(tmp_path, make_film, size, shape):
    film = one_picture(make_film, tmp_path / "f.mp4", two_colours())
    assert frame_at(film, 0, size).image.shape == (*shape, 3)


def test_display_size_never_vanishes():
    assert display_size(1, 1, Fraction(1, 10), UPRIGHT) == (1, 1)


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("f.mp4", "libx264", "yuv420p"),
        ("f.mp4", "libx264", "yuv444p"),
        ("f.mp4", "libx264", "yuv420p10le"),
        ("f.mp4", "libx264", "yuv422p10le"),
        ("f.mkv", "ffv1", "bgr0"),
        ("f.mkv", "ffv1", "gray16le"),
        ("f.avi", "mjpeg", "yuvj420p"),
        ("f.gif", "gif", "rgb8"),
    ],
)
def test_colours_come_out_as_they_went_in(tmp_path, make_film, name, codec, pixel_format):
    film = one_picture(make_film, tmp_path / name, two_colours(), codec=codec, pixel_format=pixel_format)
    image = frame_at(film, 0).image
    assert image.dtype == np.uint8
    red, blue = np.array(LEFT_RED), np.array(RIGHT_BLUE)
    if pixel_format == "gray16le":
        red, blue = (np.full(3, np.array([0.299, 0.587, 0.114]) @ colour) for colour in (red, blue))
    tolerance = 25 if name == "f.gif" else 12
    assert np.abs(colour_at(image, 0.5, 0.2) - red).max() <= tolerance
    assert np.abs(colour_at(image, 0.5, 0.8) - blue).max() <= tolerance
    assert colour_at(image, 0.06, 0.5).min() > 235


def test_large_films_that_do_not_say_are_bt709(tmp_path):
    picture = two_colours(720, 128)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format="yuv444p", dst_colorspace="ITU709", dst_color_range="MPEG"
    )
    frame.pts, path = 0, tmp_path / "f.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 720, "yuv444p"
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert np.abs(colour_at(frame_at(path, 0).image, 0.5, 0.2) - LEFT_RED).max() <= 3


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [("f.webm", "libvpx-vp9", "yuva420p"), ("f.mov", "png", "rgba"), ("f.mov", "qtrle", "argb")],
)
def test_transparent_films_lie_over_black(tmp_path, make_film, name, codec, pixel_format):
    picture = np.dstack([two_colours(), np.full((64, 128), 255, dtype=np.uint8)])
    picture[:, 64:, 3] = 0
    film = one_picture(
        make_film,
        tmp_path / name,
        picture,
        codec=codec,
        pixel_format=pixel_format,
        picture_format="rgba",
        prepare=lambda stream: stream.metadata.update(alpha_mode="1"),
    )
    image = frame_at(film, 0).image
    assert np.abs(colour_at(image, 0.5, 0.2) - LEFT_RED).max() <= 25
    assert colour_at(image, 0.5, 0.8).max() <= 4


@pytest.mark.parametrize("first", ["top", "bottom"])
def test_an_interlaced_frame_is_its_first_field(tmp_path, make_film, draw, read_number, first):
    picture = np.empty((64, 128, 3), dtype=np.uint8)
    mine, other = (slice(0, None, 2), slice(1, None, 2))[:: 1 if first == "top" else -1]
    picture[mine], picture[other] = draw(0x1234)[mine], draw(0x0F0F)[other]
    parameters = "tff=1" if first == "top" else "bff=1"
    film = one_picture(
        make_film, tmp_path / "f.mkv", picture, pixel_format="yuv422p", options={"x264-params": parameters, "crf": "5"}
    )
    image = frame_at(film, 0).image
    assert image.shape == (64, 128, 3)
    assert read_number(image) == 0x1234


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)])
def test_hdr_films_are_toned_down(tmp_path, make_film, transfer, white):
    def hdr(stream):
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9

    picture = np.full((64, 128, 3), round(white * 255), dtype=np.uint8)
    film = one_picture(make_film, tmp_path / "f.mp4", picture, pixel_format="yuv420p10le", prepare=hdr)
    image = frame_at(film, 0).image
    assert 220 < image.mean() < 240
    assert np.ptp(image.mean(axis=(0, 1))) < 4


def test_a_film_that_changes_its_size_keeps_one_size(tmp_path, make_film, draw):
    pieces = [
        make_film(
            tmp_path / f"{n}.ts",
            [50 * n + t for t in range(50)],
            pictures=[draw(7, 128 * n, 64 * n)] * 50,
            options={"g": "10"},
        )
        for n in (1, 2)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    frames = list(sampled_frames(joined))
    assert len(frames) >= 4
    assert {frame.image.shape for frame in frames} == {(64, 128, 3)}


def test_a_bright_hdr_picture_is_the_same_at_its_own_size_and_scaled():
    """swscale's packed 48-bit output wraps bright colours round where the height stays as it is; planes do not."""
    picture = np.full((64, 128, 3), (240, 230, 220), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p10le")
    frame.color_trc, frame.pts = 18, 0  # HLG
    film = object.__new__(OpenFilm)  # that never was a file
    film.size, film.bottom_field_first = (128, 64), False
    film.orientation, film.display_size = lambda _: UPRIGHT, lambda _: (128, 64)
    images = [PictureMaker(film, size=size).picture(frame) for size in (None, 32)]
    assert images[0].shape == (64, 128, 3)
    assert np.abs(images[0].mean(axis=(0, 1)) - images[1].mean(axis=(0, 1))).max() < 3
