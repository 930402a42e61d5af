import ast
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmmformer.data import rows as frame_names
from gmmformer.data.rows import read_frame_names
from gmmformer.errors import InputError

ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
names = st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1, max_size=6)


def as_dict(entries):
    return {video_id: joined.decode().split(" ") if joined else [] for video_id, joined in entries}


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.dictionaries(ids, st.lists(names, max_size=4), max_size=4), indent=st.sampled_from([None, 1]))
def test_reads_what_python_and_json_write(tmp_path, table, indent):
    path = tmp_path / "video2frames.txt"
    path.write_text(str(table), encoding="utf-8")
    assert as_dict(read_frame_names(path)) == ast.literal_eval(str(table))
    path.write_text(json.dumps(table, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert as_dict(read_frame_names(path)) == table


@pytest.mark.parametrize(
    "text",
    [
        "{'a': ['a_0', 'a_1'], 'b': ['b_0']}",
        '{"a": ["a_0","a_1"],"b": ["b_0"]}\n',
        " {'a' : [ 'a_0' ,\n'a_1', ] , \"b\":['b_0'],}",
        "{'a': ['a_0', \"a_1\"], 'b': ['b\\x5f0']}",
        "\ufeff{'a': ['a_0', 'a_1'], 'b': ['b_0']}",
    ],
)
def test_the_forms_people_have_never_need_the_literal_parser(tmp_path, monkeypatch, text):
    monkeypatch.setattr(frame_names, "_parsed_entries", None)
    path = tmp_path / "video2frames.txt"
    path.write_text(text, encoding="utf-8")
    assert as_dict(read_frame_names(path)) == {"a": ["a_0", "a_1"], "b": ["b_0"]}


@pytest.mark.parametrize(
    "text", ["{'a': ('a_0',)} # tuple", "{'a': ['a' '_0']}", "{\n# names\n'a': [u'a_0']}", "({'a': ['a_0']})"]
)
def test_other_literals_are_read_too(tmp_path, text):
    path = tmp_path / "video2frames.txt"
    path.write_text(text)
    assert as_dict(read_frame_names(path)) == {"a": ["a_0"]}


def test_names_with_quotes_brackets_and_commas(tmp_path):
    path = tmp_path / "video2frames.txt"
    table = {"it's": ["it's_0", 'say"x"', "a]b", "c,d", "', '"[:1] + ",x"], "]": [], 'a"b': ["\\"]}
    path.write_text(str(table))
    assert as_dict(read_frame_names(path)) == table


def test_empty_and_repeated_videos(tmp_path):
    path = tmp_path / "video2frames.txt"
    path.write_text("{'a': [], 'b': ['b_0'], 'a': ['a_0']}")
    assert read_frame_names(path) == [("a", b""), ("b", b"b_0"), ("a", b"a_0")]
    path.write_text("{}")
    assert read_frame_names(path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{'a': [__import__('os').mkdir('ran')]}", "holds code"),
        (b"__import__('os').mkdir('ran')", "holds code"),
        (b"{'a': ['a_0', 'a_1'", "not a Python literal from line 1"),
        (b"{'a': ['a_0']} {'b': ['b_0']}", "not a Python literal"),
        (b"", "not a Python literal"),
        (b"['a']", "holds a list, not a dict"),
        (b"{'a': 'a_0'}", "'a' does not have a list of row names"),
        (b"{'a': [1]}", "'a' does not have a list of row names"),
        (b"{1: ['a_0']}", "the video id 1 is not a string"),
        (b"{'a': ['a 0']}", "'a 0' of video 'a' is empty or holds white space"),
        (b"{'a': ['', 'a\\tb']}", "is empty or holds white space"),
        (b"{'a': ['', 'a\tb']}", "is empty or holds white space"),
        (b"{'\xff': ['a_0']}", "not UTF-8"),
        (b"{'\xff': ('a_0',)}", "not UTF-8"),
        (b"{'\\ud800': ['a_0']}", "not UTF-8"),
        (b"{'a': " + b"[" * 5000 + b"]" * 5000 + b"}", "literal"),
        (b"{'a': ['a\x00', 'b' 'c']}", "literal"),
        (b"{'a': (" + b"'a'," * 2**19 + b")}", "too large for any other"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_runs(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "video2frames.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_frame_names(path)
    assert str(path) in str(error.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["video2frames.txt"]
