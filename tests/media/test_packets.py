import pytest

from barcode_films import FILMS
from gmmformer.media.films import DecodeReport
from gmmformer.media.frames import sampled_frames
from gmmformer.media.packets import PacketReader, PacketRole

START = b"\0\0\1"
AVCC = b"\1\x64\0\x1e\xff\xe1"
P_REFERENCE, B_ALONE, IDR, PARAMETERS = b"\x41ab", b"\x01ab", b"\x65ab", b"\x67ab"


def annex_b(*units):
    return b"".join(START + unit for unit in units)


def with_lengths(*units):
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


@pytest.mark.parametrize(("extradata", "packed"), [(None, annex_b), (START + b"\x67", annex_b), (AVCC, with_lengths)])
@pytest.mark.parametrize(
    ("units", "starts", "unreferenced"),
    [
        ((PARAMETERS, IDR), True, False),
        ((P_REFERENCE,), False, False),
        ((B_ALONE, B_ALONE), False, True),
        ((B_ALONE, P_REFERENCE), False, False),
        ((PARAMETERS, B_ALONE), False, False),
        ((b"\x06sei",), False, False),
    ],
)
def test_h264(extradata, packed, units, starts, unreferenced):
    role = PacketReader("h264", extradata).role(packed(*units), is_keyframe=True)
    assert role == PacketRole(starts=starts, unreferenced=unreferenced)


def hevc_unit(kind, layer):
    return bytes((kind << 1, layer + 1)) + b"ab"


@pytest.mark.parametrize(
    ("layers", "kind", "layer", "starts", "unreferenced"),
    [
        (1, 19, 0, True, False),
        (1, 21, 0, True, False),
        (1, 1, 0, False, False),
        (1, 0, 0, False, True),
        (2, 0, 0, False, False),
        (2, 0, 1, False, True),
        (0, 0, 0, False, False),
    ],
)
def test_hevc(layers, kind, layer, starts, unreferenced):
    extradata = bytes((1, *[0] * 20, layers << 3 | 3, 0))
    role = PacketReader("hevc", extradata).role(with_lengths(hevc_unit(kind, layer)), is_keyframe=False)
    assert role == PacketRole(starts=starts, unreferenced=unreferenced)


def test_other_codecs_by_their_own_marks():
    mpeg_b = START + b"\0" + bytes((0, 3 << 3)) + b"x"
    assert PacketReader("mpeg2video", None).role(mpeg_b, is_keyframe=False).unreferenced
    assert not PacketReader("mpeg2video", None).role(mpeg_b.replace(b"\x18", b"\x10"), is_keyframe=False).unreferenced
    assert not PacketReader("vp8", None).role(b"\x01", is_keyframe=False).shown
    assert PacketReader("vp8", None).role(b"\x11", is_keyframe=False).shown
    assert PacketReader("mjpeg", None).role(b"x", is_keyframe=False) == PacketRole(starts=True, unreferenced=True)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2video", "vp8", "vp9"])
def test_rubbish_is_nothing(codec):
    for extradata in (None, AVCC, bytes((1, *[0] * 30))):
        for data in (b"", b"\0", START, START + b"\0", b"\0\0\0\x09a", b"\xff" * 9):
            role = PacketReader(codec, extradata).role(data, is_keyframe=False)
            assert not role.starts


def test_packed_frames_are_known_by_their_user_data_and_by_two_pictures_in_a_packet():
    picture, said = b"\0\0\1\xb6\x10", b"\0\0\1\xb2DivX503b1393p"
    assert not PacketReader("mpeg4", b"").role(picture, True).packed
    assert not PacketReader("mpeg4", said[:-1]).role(picture, True).packed
    assert PacketReader("mpeg4", b"").role(picture * 2, False).packed
    assert PacketReader("mpeg4", b"").role(said + picture, True).packed
    assert PacketReader("mpeg4", said).role(picture, False).packed


@pytest.mark.parametrize("name", ["mkv", "mp4"])
def test_films_of_packed_frames_are_decoded_whole(tmp_path, name):
    film = FILMS[f"packed b frames, {name}"](tmp_path)
    report = DecodeReport()
    list(sampled_frames(film.path, fps=0.5, report=report))
    assert report.frames_decoded >= len(film.times) - 2
