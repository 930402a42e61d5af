from pathlib import Path

import numpy as np
import pytest

from gmmformer.data import read_captions
from gmmformer.data.captions import scan_captions
from gmmformer.errors import InputError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tvrtrain.caption.txt"


def test_order_of_videos_is_first_appearance(file):
    file.write_bytes(b"b#enc#0 a man  sits\r\na#0 \xc3\xa9t\xc3\xa9\nb#enc#1 x # y\n")
    captions = read_captions(file)
    assert captions.caption_ids == ("b#enc#0", "a#0", "b#enc#1")
    assert captions.sentences == ("a man  sits", "été", "x # y")
    assert captions.video_ids == ("b", "a")
    assert captions.video_of_query.tolist() == [0, 1, 0]
    assert captions.queries_by_video.tolist() == [0, 2, 1]
    assert captions.queries_per_video.tolist() == [2, 1]


def test_unusual_line_ends_inside_a_sentence_are_no_lines(file):
    file.write_text("a#0 one\u2028two\x0bthree\na#1 four", encoding="utf-8-sig")
    assert read_captions(file).caption_ids == ("a#0", "a#1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a#0 x\n\na#1 y\n", "line 2: empty caption line"),
        (b"a#0 x\n\n", "line 2: empty caption line"),
        (b"a#0 x\nb0 y\n", "line 2: caption id 'b0' does not say its video"),
        (b"#0 x\n", "line 1: caption id '#0' does not say its video"),
        (b"a#0 x\na#1\n", "line 2: caption 'a#1' has no sentence"),
        (b"a#0 x\na#1  \n", "line 2: caption 'a#1' has no sentence"),
        (b"a#0 x\nb#0 x\na#0 y\n", "line 3: caption id 'a#0' is there twice"),
        (b"a#0 x\na#1 \xff\n", "line 2: byte 10 is not UTF-8"),
        (b"a#0 x\na#1 \0\n", "line 2: holds a NUL byte"),
        ("a#0 x\n".encode("utf-16"), "line 1: byte 0 is not UTF-8"),
        ("a#0 x\n".encode("utf-16-le"), "line 1: holds a NUL byte"),
        (b"[" * 200_000, "line 1: caption id '.{,70}' does not say its video"),
        (b"a#" + b"x" * 200_000, "line 1: caption '.{,70}' has no sentence"),
        (b"", "there is no caption in it"),
        (b" \n", "there is no caption in it"),
    ],
)
def test_what_is_wrong_is_said(file, content, message):
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_captions(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file(file):
    for path in (file, file.parent, Path("/dev/zero")):
        with pytest.raises(InputError, match="cannot be read"):
            read_captions(path)


def test_a_scan_finds_every_fault_and_keeps_the_rest(file):
    file.write_bytes(b"a#0 x\n\nb\na#0 y\nc#0 z\n")
    captions, faults = scan_captions(file)
    assert [fault.line for fault in faults] == [2, 3, 4]
    assert captions.caption_ids == ("a#0", "c#0")
    assert np.array_equal(captions.video_of_query, [0, 1])
