"""What is said in a film as its subtitles have it: files beside the film, and text that is in the film's own file."""

import html
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from gmmformer.errors import InputError, of_extra, one_line
from gmmformer.files import composed, read_bounded
from gmmformer.media.films import DecodeError, named_as_film, path_text, printable, regular_file, stamp_of
from gmmformer.media.pool import GIB, Done, LostError, Pool

SUFFIXES = frozenset({".srt", ".vtt", ".ass", ".ssa"})
"""Endings, in lower case, of files with subtitles."""
MOST_BYTES = 2**26
"""Of such a file; one of 500,000 lines has half of that."""
MOST_LINES = 1_000_000
"""Of a track."""
MOST_LETTERS = 2_000
"""Of a line; what is longer is cut off."""
READING_TIME = 3600.0
"""Seconds that reading the text in a film may take."""
_UNKNOWN_END = 3.0
"""Seconds that a line lasts of which only the beginning is known."""
_BEYOND, _MOST_BEYOND = 5.0, 0.1
"""A line that begins so many seconds after the film's end is beyond it; a track of which more than this share is so
belongs to another cut."""
_OTHERS = {
    "ar": "cp1256", "bg": "cp1251", "cs": "cp1250", "el": "cp1253", "fa": "cp1256", "he": "cp1255", "hr": "cp1250",
    "hu": "cp1250", "ja": "cp932", "ko": "cp949", "lt": "cp1257", "lv": "cp1257", "pl": "cp1250", "ro": "cp1250",
    "ru": "cp1251", "sk": "cp1250", "sl": "cp1250", "sr": "cp1251", "th": "cp874", "tr": "cp1254", "uk": "cp1251",
    "vi": "cp1258", "zh": "gb18030",
}  # fmt: skip
"""How text that is no Unicode is encoded in some languages."""
_LONG_NAMES = {
    "ara": "ar", "bul": "bg", "ces": "cs", "cze": "cs", "chi": "zh", "deu": "de", "ell": "el", "eng": "en", "fas": "fa",
    "fra": "fr", "fre": "fr", "ger": "de", "gre": "el", "heb": "he", "hrv": "hr", "hun": "hu", "ita": "it", "jpn": "ja",
    "kor": "ko", "lav": "lv", "lit": "lt", "nld": "nl", "dut": "nl", "per": "fa", "pol": "pl", "por": "pt", "ron": "ro",
    "rum": "ro", "rus": "ru", "slk": "sk", "slo": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tha": "th",
    "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip
_TAG = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]*\}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")


class Line(NamedTuple):
    """Something that is said."""

    start: float
    """Seconds of the film."""
    end: float
    text: str
    """On one line."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """Lines that belong together."""

    kind: str
    """"subtitles", "speech", or "text" on the screen."""
    name: str
    """Where they come from: a file's name, a stream of the film, speech, or the screen."""
    language: str = ""
    """Such as "en"; empty where it is not told."""
    lines: Sequence[Line]


def beside(films: Iterable[str]) -> dict[str, list[str]]:
    """The subtitle files of films: those in a film's folder whose name is the film's without its ending, and more.

    Such as film.srt, film.en.srt and film.de.forced.ass of film.mp4; what fits several names is the longest one's.
    """
    folders = dict[str, dict[str, list[str]]]()
    for film in films:
        folders.setdefault(os.path.dirname(film), {})[film] = []  # noqa: PTH120 - may hold any bytes
    found = dict[str, list[str]]()
    for folder, own in folders.items():
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208
        except OSError:  # what is wrong with a film is told of the film
            names = []
        stems = dict[str, list[str]]()
        for name in names:
            if named_as_film(name):
                stems.setdefault(composed(os.path.splitext(name)[0]), [])  # noqa: PTH122
        for film in own:
            stems.setdefault(composed(os.path.splitext(os.path.basename(film))[0]), []).append(film)  # noqa: PTH119, PTH122
        for name in names:
            stem, ending = os.path.splitext(name)  # noqa: PTH122
            if ending.lower() not in SUFFIXES or name.startswith("."):
                continue
            stem = composed(stem)
            while stem and stem not in stems:
                stem = stem.rpartition(".")[0]
            for film in stems.get(stem, ()):
                own[film].append(os.path.join(folder, name))  # noqa: PTH118
        found |= own
    return found


def stamp_of_files(files: Sequence[str]) -> str:
    """Names, sizes and dates of files as one word; empty without any."""
    told = []
    for file in files:
        try:
            told.append(f"{path_text(os.path.basename(file))}:{stamp_of(os.stat(file))}")  # noqa: PTH116, PTH119
        except OSError:
            told.append(f"{path_text(os.path.basename(file))}:?")  # noqa: PTH119
    return "|".join(told)


def read_subtitles(file: str | os.PathLike[str], film: str | os.PathLike[str] = "") -> Track:
    """The lines of a subtitle file.

    Args:
        file: SubRip, WebVTT or (Advanced) SubStation, whatever its ending says; in Unicode, or in what its language,
            or its bytes, make likely.
        film: The film beside it, whose name tells what in the file's is the language.

    Raises:
        DecodeError: It cannot be read, or holds no subtitles.
        MissingExtraError: pysubs2 is not installed.
    """
    pysubs2 = of_extra("pysubs2", "reading subtitles", "films")
    regular_file(file)
    name = path_text(os.path.basename(file))  # noqa: PTH119
    language = _language(composed(name), composed(os.path.splitext(os.path.basename(film))[0]))  # noqa: PTH119, PTH122
    try:
        data = read_bounded(Path(file), MOST_BYTES)
    except InputError as error:
        raise DecodeError(file, str(error).removeprefix(f"{file}: ")) from error
    try:
        events = pysubs2.SSAFile.from_string(_decoded(data, language)).events
    except (pysubs2.Pysubs2Error, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        unknown = isinstance(error, pysubs2.FormatAutodetectionError)
        reason = "it is in no known form" if unknown else one_line(error)
        raise DecodeError(file, f"holds no subtitles that can be read ({reason}); give .srt, .vtt or .ass") from error
    lines = [
        (event.start / 1000, event.end / 1000, event.plaintext)
        for event in events
        if not (event.is_comment or event.is_drawing)
    ]
    track = Track(kind="subtitles", name=name, language=language, lines=mended(lines))
    if not track.lines:
        raise DecodeError(file, "holds no subtitles that can be read (it has no lines with times); replace it")
    return track


def mended(lines: Iterable[tuple[float, float | None, str]]) -> list[Line]:
    """Lines in the order of time, without markup and empty ones; an end that cannot be is where the next one begins."""
    plain = [
        (start, end, " ".join(html.unescape(_TAG.sub("", text)).replace("\0", " ").split())[:MOST_LETTERS])
        for start, end, text in lines
        if 0 <= start < 1e7
    ]
    told = sorted((line for line in plain if line[2]), key=lambda line: line[0])[:MOST_LINES]
    found = []
    for place, (start, end, text) in enumerate(told):
        if end is None or not start < end < 1e7:
            after = told[place + 1][0] if place + 1 < len(told) else start
            end = min(after, start + _UNKNOWN_END) if after > start else start + _UNKNOWN_END
        found.append(Line(start, end, text))
    return found


def fitted(track: Track, length: float) -> Track:
    """A track within a film of so many seconds.

    Raises:
        InputError: Too many of its lines are beyond the film's end, so that it belongs to another cut of it.
    """
    inside = [line for line in track.lines if line.start < length + _BEYOND]
    beyond = len(track.lines) - len(inside)
    if beyond > _MOST_BEYOND * len(track.lines):
        raise InputError(
            f"{track.name}: {beyond:,} of its {len(track.lines):,} lines come after the film's end, so it belongs to "
            "another cut and was left out; give one that fits"
        )
    kept = [line._replace(start=min(line.start, length), end=min(line.end, length)) for line in inside]
    return replace(track, lines=kept)


class Subtitles:
    """Reads what is said in films by their subtitles; the text that is in a film's own file in a process of its own."""

    def __init__(self, memory_limit: int = 2 * GIB) -> None:
        """Nothing is started yet."""
        self._pool = Pool(1, memory_limit)

    def close(self) -> None:
        """End the process."""
        self._pool.stop()

    def of(self, film: str, files: Sequence[str], length: float, within: bool) -> tuple[list[Track], list[str]]:
        """The tracks of a film, those of `files` first, and a sentence for each that cannot be taken.

        Args:
            film: Its path.
            files: The subtitle files beside it, see `beside`.
            length: Its seconds.
            within: Whether to look into the film's own file.
        """
        tracks, problems = list[Track](), list[str]()
        for file in files:
            try:
                tracks.append(fitted(read_subtitles(file, film), length))
            except InputError as error:
                problems.append(printable(str(error)))
        inside, problem = self._inside(film) if within else ([], "")
        for track in inside:
            try:
                tracks.append(fitted(track, length))
            except InputError as error:
                problems.append(str(error))
        return tracks, problems + [problem] * bool(problem)

    def _inside(self, film: str) -> tuple[list[Track], str]:
        try:
            with self._pool.worker() as worker:
                *_, done = worker.run(text_within, film, limit=READING_TIME)
        except LostError as error:
            return [], f"the text within it was left out: reading it {error}"
        match done:
            case Done(value=list() as tracks):
                return tracks, ""
            case Done(failed="refused" | "out of memory" as failed, why=why):
                return [], f"the text within it was left out: {why or failed}"
            case _:
                last = (done.why.strip().splitlines() or ["it gave no reason"])[-1]
                return [], f"the text within it was left out: it cannot be read ({one_line(last)})"


def text_within(film: str | os.PathLike[str]) -> list[Track]:
    """The text tracks in a film's own file, with times from its first picture on; pictures of text are passed over.

    Raises:
        DecodeError: It cannot be read.
    """
    import av

    from gmmformer.media.packets import chosen_stream, opened

    with opened(film) as container:
        streams = [one for one in container.streams.subtitles if one.codec_context and one.codec_context.codec.text_sub]
        if not streams:
            return []
        pictures = container.streams[chosen_stream(film, container).stream]
        lines: dict[int, list[tuple[float, float | None, str]]] = {one.index: [] for one in streams}
        origin = float((pictures.start_time or 0) * (pictures.time_base or 0))
    with opened(film) as container:
        for stream in container.streams:
            if stream.index not in lines:
                stream.discard = av.stream.Discard.all
        for packet in container.demux([container.streams[index] for index in lines]):
            if packet.pts is None or len(lines[packet.stream.index]) >= MOST_LINES:
                continue
            start = float(packet.pts * packet.time_base) - origin
            end = start + float(packet.duration * packet.time_base) if packet.duration else None
            lines[packet.stream.index] += [(start, end, text) for text in _texts_of(packet)]
        told = {index: container.streams[index] for index in lines}
        return [
            Track(
                kind="subtitles",
                name=f"stream {index}",
                language=short_language(told[index].language),
                lines=mended(some),
            )
            for index, some in lines.items()
            if some
        ]


def _texts_of(packet: Any) -> Iterator[str]:
    """What a packet of text says; nothing of one that is damaged."""
    import av

    try:
        for part in packet.decode():
            yield part.dialogue.decode("utf-8", "replace")
    except MemoryError:
        raise
    except (av.FFmpegError, AttributeError):
        return


def _decoded(data: bytes, language: str) -> str:
    """Text of bytes: Unicode where it can be, else as its language makes likely, else as its bytes do."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return data.decode(name, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    tried = [_OTHERS.get(language.partition("-")[0], "cp1252")] if language else []
    best = of_extra("charset_normalizer", "reading subtitles", "films").from_bytes(data[: 2**18]).best()
    if not tried and best is not None:
        tried.append(best.encoding)
    for name in (*tried, "cp1252"):
        try:
            return data.decode(name)
        except (UnicodeDecodeError, LookupError):
            continue
    return data.decode(tried[0] if tried else "cp1252", "replace")


def _language(name: str, film: str) -> str:
    """The language that a file's name tells between the film's and the ending."""
    between = name[len(film) :] if film and name.startswith(film) else name
    for part in between.split(".")[1:-1]:
        if (_LANGUAGE.fullmatch(part) and part.lower() not in {"sdh", "cc", "hi"}) or part.lower() in _LONG_NAMES:
            return short_language(part)
    return ""


def short_language(name: str | None) -> str:
    """A language's tag with its short name in front: de for ger, pt-BR as it is; empty for none."""
    if not name or name.lower() in {"und", "mul", "zxx", "mis"}:
        return ""
    first, *rest = name.replace("_", "-").split("-")
    return "-".join([_LONG_NAMES.get(first.lower(), first.lower()), *rest])
