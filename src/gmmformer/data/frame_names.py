"""A fast reader for video2frames.txt: a Python literal of tens of megabytes that says which rows a video has."""

import ast
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from gmmformer.errors import InputError, one_line
from gmmformer.files import read_bounded

_SHAPE = "{'video id': ['row name', ...], ...}"
_MOST_PARSED = 2**21
"""Bytes that Python's own parser is given: it takes 500 times as much memory."""

# What str() of a dict writes, without escapes; the names between the brackets are verified one level further down.
_PLAIN_ENTRY = re.compile(rb"""\s*(?:'([^'\\\n]*)'|"([^"\\\n]*)")\s*:\s*\[([^\]\\]*)\]\s*([,}])""")
# The same with every string literal spelt out: mixed quotes, escapes, brackets in names, line breaks, trailing commas.
_STRING = rb"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
_ENTRY = re.compile(rb"\s*(%b)\s*:\s*(\[(?:\s*%b\s*,)*+(?:\s*%b\s*)?+\s*\])\s*([,}])" % (_STRING, _STRING, _STRING))
_STRINGS = re.compile(_STRING)


class FrameNames(NamedTuple):
    """One video's entry in video2frames.txt."""

    video_id: str
    names: bytes
    """Row names in UTF-8, in the order of the film, one space between two; empty if the video has no rows."""


def read_frame_names(path: Path) -> list[FrameNames]:
    """Every entry of a video2frames.txt in the order of the file; nothing in it is ever executed.

    The form that `str` gives a dict of lists of strings is read by two regular expressions that account for every byte,
    at about 0.1 s for TVR's 40 MB. Any other literal goes through Python's literal parser (seconds and a gigabyte).
    A video that is there twice is returned twice.

    Raises:
        InputError: The file cannot be read or holds anything but a literal of that shape.
    """
    try:
        data = read_bounded(path, None).removeprefix(b"\xef\xbb\xbf").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path}: cannot be read ({why}); check the folder and its permissions") from error
    entries = _entries(data)
    if entries is None:
        entries = _parsed_entries(path, data)
    try:
        return [FrameNames(video_id.decode(), names) for video_id, names in entries]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a video id is not UTF-8 ({error.object!r}); save the file in UTF-8") from error


def _entries(data: bytes) -> list[tuple[bytes, bytes]] | None:
    """Video ids and joined names, or None if the file is not made of such entries from end to end."""
    if not data.startswith(b"{") or not data.endswith(b"}"):
        return None
    entries: list[tuple[bytes, bytes]] = []
    position = 1
    while True:
        plain = _PLAIN_ENTRY.match(data, position)
        names = _plain_names(plain[3]) if plain else None
        if plain and names is not None:
            entries.append((plain[1] if plain[1] is not None else plain[2], names))
            position, end = plain.end(), plain[4]
        else:
            entry = _ENTRY.match(data, position)
            parsed = _spelt_names(entry[1] + b"," + entry[2]) if entry else None
            if not entry or not parsed:
                break
            entries.append(parsed)
            position, end = entry.end(), entry[3]
        if end == b"}":
            return entries if position == len(data) else None
    return entries if data[position:].strip() == b"}" else None


def _plain_names(inside: bytes) -> bytes | None:
    """The names of a list written `'a', 'b'` or `"a","b"`, joined by spaces; None if they are not that plain."""
    inside = inside.strip()
    if not inside:
        return b""
    quote = inside[:1]
    if quote not in (b"'", b'"') or inside[-1:] != quote or len(inside) < 3:
        return None
    body = inside[1:-1]
    for comma in (b", ", b","):
        names = body.replace(quote + comma + quote, b" ")
        commas = (len(body) - len(names)) // (len(comma) + 1)
        if quote not in names and names.count(b" ") == commas and b" ".join(names.split()) == names:
            return names
    return None


def _spelt_names(strings: bytes) -> tuple[bytes, bytes] | None:
    """The video id (first) and the joined names of string literals; None if a name cannot stand in id.txt."""
    literals = _STRINGS.findall(strings)
    if b"\\" in strings:
        try:
            values = [_literal(literal).encode() for literal in literals]
        except (SyntaxError, ValueError):
            return None
    else:
        values = [literal[1:-1] for literal in literals]
    names = b" ".join(values[1:])
    return (values[0], names) if names.split() == values[1:] else None


def _literal(source: bytes) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an unknown escape such as '\d' is a warning, and no concern of ours
        value: str = ast.literal_eval(source.decode())
    return value


def _parsed_entries(path: Path, data: bytes) -> list[tuple[bytes, bytes]]:
    """The entries by Python's own literal parser.

    Raises:
        InputError: The file is no literal or not of the right shape.
    """
    remedy = f"write it as {_SHAPE}; it is read as a literal and never executed"
    if len(data) > _MOST_PARSED:
        raise InputError(f"{path}: is not in the form that `str` gives a dict, and too large for any other; {remedy}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(data.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save the file in UTF-8") from error
    except SyntaxError as error:
        raise InputError(f"{path}: not a Python literal from line {error.lineno} on; {remedy}") from error
    except ValueError as error:
        raise InputError(f"{path}: holds code or something else that is no plain literal; {remedy}") from error
    except (MemoryError, RecursionError, TypeError) as error:
        raise InputError(f"{path}: cannot be parsed as a Python literal; {remedy}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds a {type(value).__name__}, not a dict; {remedy}")
    entries = []
    for video_id, names in value.items():
        if not isinstance(video_id, str):
            raise InputError(f"{path}: the video id {video_id!r} is not a string; {remedy}")
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: video {video_id!r} does not have a list of row names; {remedy}")
        for name in names:
            if name.split() != [name]:
                raise InputError(
                    f"{path}: the row name {name!r} of video {video_id!r} is empty or holds white space, so it cannot"
                    " be one of id.txt's names; name the row otherwise in both files"
                )
        entries.append((video_id.encode("utf-8", "surrogatepass"), " ".join(names).encode("utf-8", "surrogatepass")))
    return entries
