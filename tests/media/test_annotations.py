"""Small files as the formats are published, and records that are broken in every way."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmmformer.errors import InputError
from gmmformer.media.annotations import Annotation, read_annotations

ACTIVITYNET = {
    "v_QOlSCBRmfWY": {
        "duration": 82.73,
        "timestamps": [[0.83, 19.86], [17.37, 60.81]],
        "sentences": ["A young woman is seen standing in a room.", " The girl dances around the room."],
    },
    "v_ehGHCYKzyZ8": {"duration": 61.7, "timestamps": [[0, 61.7]], "sentences": ["The credits are shown."]},
}
CHARADES = (
    "3MSZA 24.3 30.4##person turn a light on.\n3MSZA 24.3 30.4##a person turns  on a light.\n\n0A8CF 0 5##x##y.\n"
)
TVR = (
    '{"vid_name": "friends_s01e03_seg02_clip_19", "duration": 61.46, "ts": [16.48, 33.87], '
    '"desc": "Phoebe puts one of her ponytails in her mouth.", "type": "v", "desc_id": 90200}\n'
    '{"vid_name": "s02e14_seg02_clip_02", "duration": 64.02, "ts": [0, 4.5], "desc": "Penny sits. ", "desc_id": 7}\n'
)
QVHIGHLIGHTS = (
    '{"qid": 2579, "query": "A girl and her mother cooked", "duration": 150, "vid": "NUsG9BgSes0_210.0_360.0", '
    '"relevant_clip_ids": [0, 4], "saliency_scores": [[4, 3, 2]], "relevant_windows": [[0, 2], [8, 14], [20, 26]]}\n'
    '{"qid": 2580, "query": "A test query", "duration": 150, "vid": "Ab_1.0_2.0"}\n'
)


def _file(folder: Path, text: str) -> Path:
    path = folder / "captions.txt"
    path.write_text(text, encoding="utf-8")
    return path


def _problem(folder: Path, text: str, **more: object) -> str:
    path = _file(folder, text)
    with pytest.raises(InputError) as caught:
        read_annotations(path, **more)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message[len(str(path)) :]


@pytest.mark.parametrize("indent", [None, 2])
def test_activitynet(tmp_path: Path, indent: int | None) -> None:
    found = read_annotations(_file(tmp_path, json.dumps(ACTIVITYNET, indent=indent)))
    assert found == [
        Annotation(
            video="v_QOlSCBRmfWY",
            sentence="A young woman is seen standing in a room.",
            start=0.83,
            end=19.86,
            duration=82.73,
        ),
        Annotation(
            video="v_QOlSCBRmfWY", sentence="The girl dances around the room.", start=17.37, end=60.81, duration=82.73
        ),
        Annotation(video="v_ehGHCYKzyZ8", sentence="The credits are shown.", start=0.0, end=61.7, duration=61.7),
    ]


def test_charades(tmp_path: Path) -> None:
    found = read_annotations(_file(tmp_path, CHARADES))
    assert found == [
        Annotation(video="3MSZA", sentence="person turn a light on.", start=24.3, end=30.4),
        Annotation(video="3MSZA", sentence="a person turns on a light.", start=24.3, end=30.4),
        Annotation(video="0A8CF", sentence="x##y.", start=0.0, end=5.0),
    ]


def test_tvr(tmp_path: Path) -> None:
    found = read_annotations(_file(tmp_path, TVR))
    assert [(item.caption, item.start, item.end, item.duration) for item in found] == [
        ("90200", 16.48, 33.87, 61.46),
        ("7", 0.0, 4.5, 64.02),
    ]
    assert found[1].sentence == "Penny sits."


def test_qvhighlights_takes_the_first_of_the_longest_windows(tmp_path: Path) -> None:
    found = read_annotations(_file(tmp_path, QVHIGHLIGHTS))
    assert (found[0].video, found[0].caption) == ("NUsG9BgSes0_210.0_360.0", "2579")
    assert (found[0].start, found[0].end) == (8.0, 14.0)
    assert found[0].windows == ((0.0, 2.0), (8.0, 14.0), (20.0, 26.0))
    assert (found[1].start, found[1].windows) == (None, ())


def test_own_json_lines(tmp_path: Path) -> None:
    lines = [
        '{"video": "a.mp4", "sentence": "one", "split": "val"}',
        '{"video": "b", "sentence": "two", "start": 1, "end": 1}',
    ]
    text = "\n\n".join(lines)
    assert read_annotations(_file(tmp_path, text)) == [
        Annotation(video="a.mp4", sentence="one", split="val"),
        Annotation(video="b", sentence="two", start=1.0, end=1.0),
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_with_quotes_newlines_and_a_byte_order_mark(tmp_path: Path, mark: str) -> None:
    rows = [
        ["Video", "start", "end", "sentence", "split", "note"],
        ["a", "1.5", "3", '"one,\ntwo; ""x"""', "test", "n"],
    ]
    rows.append(["b", "", "", "three", "", ""])
    path = tmp_path / "captions.csv"
    path.write_text("\n".join(mark.join(row) for row in rows) + "\n\n", encoding="utf-8-sig")
    assert read_annotations(path) == [
        Annotation(video="a", sentence='one, two; "x"', start=1.5, end=3.0, split="test"),
        Annotation(video="b", sentence="three"),
    ]


def test_a_named_format_is_not_guessed(tmp_path: Path) -> None:
    text = '{"video": "a", "sentence": "one", "vid_name": "b"}'
    assert "'desc'" in _problem(tmp_path, text)
    assert read_annotations(tmp_path / "captions.txt", "jsonl")[0].sentence == "one"
    with pytest.raises(InputError, match="format xml: known: activitynet"):
        read_annotations(tmp_path / "captions.txt", "xml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"video": "a", "sentence": ', "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"video": "a"}', "'sentence'"),
        ('{"sentence": "x"}', "'video'"),
        ('{"video": 3, "sentence": "x"}', "video is 3"),
        ('{"video": "a", "sentence": "  "}', "sentence is empty"),
        ('{"video": "a", "sentence": null}', "sentence is None"),
        ('{"video": "a", "sentence": "\\ud800"}', "surrogate"),
        ('{"video": "a", "sentence": "x", "start": 1}', "only one of start and end"),
        ('{"video": "a", "sentence": "x", "start": 2, "end": 1}', "after its end"),
        ('{"video": "a", "sentence": "x", "start": -1, "end": 1}', "start is -1"),
        ('{"video": "a", "sentence": "x", "start": 0, "end": NaN}', "NaN, which is no number"),
        ('{"video": "a", "sentence": "x", "start": 0, "end": Infinity}', "Infinity, which is no number"),
        (
            '{"video": "a", "sentence": "x", "start": 0, "end": 1' + "0" * 400 + "}",
            "the number 10000000000000000000..., which 64 bits do not hold",
        ),
        ('{"video": "a", "sentence": "x", "start": "0", "end": 1}', "start is '0'"),
        ('{"video": "a", "sentence": "x", "start": true, "end": 1}', "start is True"),
        ('{"video": "a", "sentence": "x", "split": "tain"}', "did you mean 'train'"),
        ('{"video": "a", "sentence": "x", "split": ["val"]}', "split is ['val']"),
        ('{"video": "a", "sentence": "x", "duration": 0}', "duration is 0"),
        ('{"video": "a", "sentence": "x", "caption": 1.5}', "caption id is 1.5"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    message = _problem(tmp_path, '{"video": "a", "sentence": "fine"}\n\n' + line + "\n")
    assert message.startswith(", line 3: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3MSZA 24.3 30.4##fine\nAB 1 x##two\n", ", line 2: its end is 'x'"),
        ("3MSZA 24.3 30.4##fine\nAB 1 2 two\n", ", line 2: it is not of the form"),
        ("3MSZA 24.3 30.4##fine\nAB 5 2##two\n", ", line 2: it starts at 5 s"),
        ("3MSZA 24.3 30.4##fine\nAB 1 nan##two\n", ", line 2: its end is nan"),
        ("3MSZA 24.3 30.4##fine\nAB 1 2## \n", ", line 2: its sentence is empty"),
        (TVR.replace("[0, 4.5]", "[0]"), ", line 2: its moment is [0]"),
        (TVR.replace('"desc_id": 7', '"id": 7'), ", line 2: it has no field 'desc_id'"),
        ('{"desc": "Penny looks up.", "desc_id": 1}', ", line 1: it has no 'vid_name' (TVR's public test"),
        (QVHIGHLIGHTS.replace("[8, 14]", "[8, 1]"), ", line 1: it starts at 8 s"),
        (QVHIGHLIGHTS.replace("[[0, 2], [8, 14], [20, 26]]", '"none"'), ", line 1: 'relevant_windows'"),
        ("video,sentence\na\n", ", line 2: it has 1 columns where the header has 2"),
        ('video,sentence,start,end\na,"b",x,1\n', ", line 2: its start is 'x'"),
        ('video,sentence\na,"b\n', ", line 2: it is not CSV"),
        ("video,caption\na,b\n", ", line 1: the header is 'video, caption'"),
        ("video,sentence,video\na,b,c\n", ", line 1: the header is"),
        ("video,sentence\n", ": it holds no sentence"),
        ('{"a": {"duration": 3}}', ", video 'a': it needs the lists"),
        ('{"a": {"duration": 3, "timestamps": [[0, 1]], "sentences": []}}', ", video 'a': it needs the lists"),
        ('{"a": {"duration": 3, "timestamps": [[2, 1]], "sentences": ["x"]}}', ", video 'a', sentence 1: it starts"),
        ('{"a": {"duration": 3, "timestamps": [4], "sentences": ["x"]}}', ", video 'a', sentence 1: its moment is 4"),
        ('{"a": {"timestamps": [[0, 1]], "sentences": [5]}}', ", video 'a', sentence 1: its sentence is 5"),
        ('{\n"a": {"timestamps": [[0, 1]],\n', ", line 3: it is not JSON"),
        ("once upon a time\n", ": not a known format"),
        ("  \n", ": the file is empty"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    assert _problem(tmp_path, text).startswith(said)


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    with pytest.raises(InputError, match="cannot be read"):
        read_annotations(path)
    path.write_bytes(b"video,sentence\na,\xff\n")
    with pytest.raises(InputError, match="byte 17 is not UTF-8"):
        read_annotations(path)


FORMATS = ("auto", "jsonl", "csv", "activitynet", "charades", "tvr", "qvhighlights")
NUMBER = "1" * 5000
HOSTILE: dict[str, bytes] = {
    "brackets": b"[" * 200_000,
    "braces": b"{" * 200_000,
    "objects": b'{"video":' * 200_000,
    "closed brackets": b"[" * 200_000 + b"]" * 200_000,
    "brackets within a record": b'{"video": "a", "sentence": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a long number": f'{{"video": "a", "sentence": "x", "start": {NUMBER}, "end": {NUMBER}}}'.encode(),
    "a long number in a table": f"video,sentence,start,end\na,x,{NUMBER},{NUMBER}\n".encode(),
    "a long number in ActivityNet": f'{{"a": {{"timestamps": [[0, {NUMBER}]], "sentences": ["x"]}}}}'.encode(),
    "a long number in Charades": f"a 0 {NUMBER}##x".encode(),
    "NaN": b'{"video": "a", "sentence": "x", "start": NaN, "end": 1}',
    "infinity": b'{"a": {"timestamps": [[0, Infinity]], "sentences": ["x"]}}',
    "infinity in Charades": b"a 0 inf##x",
    "a key twice": b'{"video": "a", "sentence": "x", "video": "b"}',
    "a film twice": b'{"a": {"timestamps": [], "sentences": []}, "a": {"timestamps": [], "sentences": []}}',
    "one line of letters": b"x" * 3_000_000,
    "one line of words": b"x " * 1_000_000,
    "a long sentence": b'{"video": "a", "sentence": "' + b"x" * 3_000_000 + b'"}',
    "a long value": b'{"video": ["' + b"x" * 3_000_000 + b'"], "sentence": "a"}',
    "a long header": b"video,sentence," + b"x" * 3_000_000 + b",video\na,b\n",
    "a wide header": b"video,sentence" + b",x" * 300_000 + b"\na,b\n",
    "a long field": b'video,sentence\na,"' + b"x" * 200_000 + b'"\n',
    "open quotes": b'video,sentence\na,"x\nb,y\n',
    "NUL": b"video,sentence\na,x\0y\n",
    "NUL in JSON": b'{"video": "a", "sentence": "x\\u0000"}',
    "only NUL": bytes(1_000_000),
    "UTF-16": '{"video": "a", "sentence": "x"}'.encode("utf-16"),
    "UTF-16 unmarked": '{"video": "a", "sentence": "x"}'.encode("utf-16-le"),
    "Latin-1": b'{"video": "caf\xe9", "sentence": "x"}',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_was_made_to_do_harm_is_one_short_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes(HOSTILE[kind])
    for format_ in FORMATS:
        with pytest.raises(InputError) as caught:
            read_annotations(path, format_)
        message = str(caught.value)
        assert message.startswith(str(path)), format_
        assert message.isprintable(), format_
        assert len(message) < len(str(path)) + 900, format_


def test_what_is_no_file_of_its_own_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), Path("/dev/stdin")):
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_annotations(path)
        assert str(caught.value).startswith(str(path))


def test_a_mark_of_the_byte_order_is_no_letter(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    for text in ('{"video": "a", "sentence": "x"}', "video,sentence\na,x", "a 0 1##x"):
        path.write_bytes(text.encode("utf-8-sig"))
        assert [(found.video, found.sentence) for found in read_annotations(path)] == [("a", "x")]


def test_broken_records_can_be_left_out(tmp_path: Path) -> None:
    films = {"a": {"duration": 9, "timestamps": [[5, 2], [0, 1]], "sentences": ["x", "y"]}, "b": 3}
    problems: list[InputError] = []
    found = read_annotations(_file(tmp_path, json.dumps(films)), on_broken=problems.append)
    assert [item.sentence for item in found] == ["y"]
    assert [str(problem).split(": ")[0].split(", ", 1)[1] for problem in problems] == [
        "video 'a', sentence 1",
        "video 'b'",
    ]


@settings(max_examples=50)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_annotations_or_an_input_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    for start in (b"", b"a 1 2##b\n", b"video,sentence\n", b'{"a": {'):
        path.write_bytes(start + content)
        try:
            assert all(item.sentence.strip() for item in read_annotations(path))
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
