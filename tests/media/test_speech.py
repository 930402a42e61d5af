"""What is said in films: heard by a stand-in where faster-whisper would load a model, at the seconds of real films."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import av
import faster_whisper
import numpy as np
import pytest

from film_making import combined, joined, silence, steady, write
from gmmformer.errors import InputError
from gmmformer.files import words_in
from gmmformer.media import speech
from gmmformer.media.speech import FILES, RATE, Speech, lines_of_words, made_up, pieces
from gmmformer.media.subtitles import Line
from real_weights import whisper

LENGTH = 6.0


class Tones:
    """Hears a word wherever a tone sounds; in the place of `faster_whisper.WhisperModel`."""

    supported_languages = ("de", "en")
    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, folder: str, **how: Any) -> None:
        assert how["local_files_only"]
        if not Path(folder, "model.bin").stat().st_size:
            raise RuntimeError("Model is empty")

    def transcribe(self, sound: np.ndarray, **how: Any) -> tuple[Iterator[Any], Any]:
        self.asked.append(how)
        steps = np.abs(sound[: len(sound) // 320 * 320].reshape(-1, 320)).max(1) > 0.1
        edges = np.flatnonzero(np.diff(steps, prepend=False, append=False)).reshape(-1, 2) / 50
        segments = [segment([(" tone", start, end)]) for start, end in edges]
        return iter(segments), SimpleNamespace(language=how["language"] or "en", duration_after_vad=float(steps.sum()))


def segment(words: Sequence[tuple[str, float, float]], **measured: float) -> SimpleNamespace:
    """As faster-whisper tells of what it heard."""
    told = {"avg_logprob": -0.3, "compression_ratio": 1.2, "no_speech_prob": 0.1} | measured
    heard = [SimpleNamespace(word=word, start=start, end=end) for word, start, end in words]
    return SimpleNamespace(words=heard, start=words[0][1], end=words[-1][2], **told)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is taken for a model's."""
    folder = tmp_path_factory.mktemp("model")
    for name in FILES:
        (folder / name).write_text("x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faster_whisper, "WhisperModel", Tones)
        yield folder


@pytest.fixture(scope="module")
def listening(model: Path) -> Iterator[Speech]:
    made = Speech(model)
    yield made
    made.close()


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes pictures, or sound with tones, whose clock begins at some second."""
    folder = tmp_path_factory.mktemp("parts")

    def make(clock: float, tones: Sequence[tuple[float, float]] | None = None, seconds: float = LENGTH) -> Path:
        path = folder / f"{clock}-{tones}-{seconds}.{'mp4' if tones is None else 'mkv'}"
        if tones is None:
            return write(path, steady(round(seconds * 25)), clock=Fraction(clock))
        return silence(path, seconds, clock=Fraction(clock), tones=tones)

    return make


def heard(listening: Speech, film: Path, length: float = LENGTH) -> list[tuple[float, float]]:
    tracks, problems = listening.of(str(film), length)
    assert problems == []
    (track,) = tracks
    assert (track.kind, track.language) == ("speech", "en")
    return [(line.start, line.end) for line in track.lines]


@pytest.mark.parametrize(
    ("pictures", "sound", "tones", "found"),
    [
        (0, 0, [(1, 2), (4, 4.5)], [(1, 2), (4, 4.5)]),
        (7, 7, [(1, 2)], [(1, 2)]),
        (0, 2, [(1, 2)], [(3, 4)]),  # the sound comes late
        (3, 1, [(1, 2.5), (4, 5)], [(0, 0.5), (2, 3)]),  # it begins before the pictures
        (0, 3, [(1, 2), (3.5, 4)], [(4, 5)]),  # and goes on after them
    ],
)
@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
def test_what_is_heard_has_the_seconds_of_the_film(
    listening: Speech,
    part: Callable[..., Path],
    tmp_path: Path,
    pictures: float,
    sound: float,
    tones: list[tuple[float, float]],
    found: list[tuple[float, float]],
    ending: str,
) -> None:
    film = combined(tmp_path / f"film.{ending}", [part(pictures), part(sound, tones)])
    assert heard(listening, film) == [pytest.approx(one, abs=0.1) for one in found]


def test_seconds_hold_over_gaps_and_clocks_set_anew(
    listening: Speech, part: Callable[..., Path], tmp_path: Path
) -> None:
    def lossy(packet: Any) -> list[Any]:
        return [] if packet.stream.type == "audio" and 2 < packet.pts * packet.time_base < 4 else [packet]

    film = combined(tmp_path / "film.mkv", [part(0), part(0, [(1, 1.5), (3, 3.5), (5, 5.5)])], change=lossy)
    assert heard(listening, film) == [pytest.approx(one, abs=0.1) for one in [(1, 1.5), (5, 5.5)]]
    recorded = [
        combined(tmp_path / f"{clock}.ts", [part(clock), part(clock, [(2, 3)])], container="mpegts")
        for clock in (50, 9)
    ]
    film = joined(tmp_path / "joined.ts", recorded)
    assert heard(listening, film, 12.0) == [pytest.approx(one, abs=0.15) for one in [(2, 3), (8, 9)]]


def test_what_cannot_be_heard_is_told_in_a_sentence(
    listening: Speech, part: Callable[..., Path], tmp_path: Path
) -> None:
    def ruined(packet: Any) -> list[Any]:
        if packet.stream.type == "audio":
            wrong = av.Packet(b"\x55" * packet.size)
            wrong.pts, wrong.dts, wrong.time_base, wrong.stream = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.stream,
            )
            return [wrong]
        return [packet]

    silent = combined(tmp_path / "silent.mkv", [part(0), part(0, [])])
    corrupt = combined(tmp_path / "corrupt.mkv", [part(0), part(0, [(1, 2)])], change=ruined)
    cut_off = tmp_path / "cut.mkv"
    cut_off.write_bytes(corrupt.read_bytes()[:200])
    told = {
        str(part(0)): "it has no sound, so nothing is said in it",
        str(silent): "nobody speaks in its sound, so nothing is said in it",
        str(corrupt): "its sound cannot be decoded, so nothing is said in it",
        str(cut_off): "so nothing is said in it",
        str(tmp_path / "gone.mkv"): "there is no such file, so nothing is said in it",
    }
    for film, sentence in told.items():
        tracks, (problem,) = listening.of(film, LENGTH)
        assert tracks == []
        assert problem.endswith(sentence)
    good = combined(tmp_path / "good.mkv", [part(0), part(0, [(1, 2)])])
    assert heard(listening, good) == [pytest.approx((1, 2), abs=0.1)]


def test_a_decoder_that_hangs_costs_its_film_alone(
    listening: Speech, part: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = combined(tmp_path / "film.mkv", [part(0), part(0, [(1, 2)])])
    with monkeypatch.context() as patch:
        patch.setattr(speech, "_SILENCE", 1e-6)
        tracks, (problem,) = listening.of(str(film), LENGTH)
    assert (tracks, problem.startswith("what is said in it was left out: reading its sound hangs")) == ([], True)
    assert heard(listening, film) == [pytest.approx((1, 2), abs=0.1)]


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        ({}, None),
        ({"no_speech_prob": 0.9}, None),  # it is sure of the words
        ({"avg_logprob": -0.9}, None),
        ({"avg_logprob": -0.9, "no_speech_prob": 0.7}, "it took for likely no speech"),
        ({"avg_logprob": -1.1}, "it was not sure of"),
        ({"compression_ratio": 2.5}, "repeat themselves"),
    ],
)
def test_what_whisper_makes_up_is_known_by_what_it_says_of_it(measured: dict[str, float], why: str | None) -> None:
    assert made_up(segment([(" Thanks", 0.0, 1.0)], **measured)) == why


def test_what_is_left_out_is_counted_and_told(
    listening: Speech, part: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    film = combined(part(0).parent / "film.mkv", [part(0), part(0, [(1, 2)])])
    segments = [
        segment([(" Thank", 0.0, 0.2), (" you.", 0.2, 0.4)], avg_logprob=-1.5),
        *(segment([(" No,", place, place + 0.2), (" no!", place + 0.2, place + 0.4)]) for place in (1.0, 2.0, 3.0)),
        segment([(" ...", 3.5, 3.6)]),
        segment([(" Yes.", 4.0, 4.4)]),
    ]
    told = SimpleNamespace(language="en", duration_after_vad=5.0)
    monkeypatch.setattr(Tones, "transcribe", lambda *_, **how: (iter(segments), told))
    (track,), (problem,) = listening.of(str(film), LENGTH)
    assert track.lines == [Line(1.0, 1.4, "No, no!"), Line(2.0, 2.4, "No, no!"), Line(4.0, 4.4, "Yes.")]
    assert problem == (
        "2 of 5 lines that Whisper heard were left out, as it makes up such ones where nobody speaks: "
        "1 it was not sure of, 1 say the same as those before them"
    )


def test_words_become_lines_that_end_with_sentences_and_before_silence() -> None:
    words = [(f" w{place}{'.' if place % 4 == 3 else ''}", float(place), place + 0.9) for place in range(12)]
    words += [(" late", 20.0, 20.5)]
    lines = list(lines_of_words(segment(words).words))
    assert [(start, end, len(text.split())) for start, end, text in lines] == [
        (0.0, 7.9, 8),
        (8.0, 11.9, 4),
        (20.0, 20.5, 1),
    ]


def test_long_sound_is_listened_to_in_pieces_that_end_where_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "_PIECE", 10)
    monkeypatch.setattr(speech, "_EDGE", 4)
    sound = np.full(25 * RATE, 0.3, dtype=np.float32)
    for quiet in (7.5, 14.0):
        sound[round((quiet - 0.3) * RATE) : round((quiet + 0.3) * RATE)] = 0.01
    found = list(pieces(np.array_split(sound, 13)))
    np.testing.assert_array_equal(np.concatenate(found), sound)
    assert np.cumsum([len(piece) for piece in found[:2]]) / RATE == pytest.approx([7.5, 14.0], abs=0.3)
    assert max(map(len, found)) <= 10 * RATE


def test_a_long_film_has_one_language_and_its_own_seconds(
    model: Path, part: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "_PIECE", 4)
    monkeypatch.setattr(speech, "_EDGE", 2)
    monkeypatch.setattr(Tones, "asked", [])
    film = combined(tmp_path / "film.mkv", [part(0), part(0, [(1, 2), (5, 5.5)])])
    seconds: list[float] = []
    for language in (None, "de"):
        listening = Speech(model, language)
        (track,), _ = listening.of(str(film), LENGTH, seconds.append)
        listening.close()
        assert [(line.start, line.end) for line in track.lines] == [
            pytest.approx(one, abs=0.1) for one in [(1, 2), (5, 5.5)]
        ]
        assert track.language == (language or "en")
    assert [how["language"] for how in Tones.asked] == [None, "en", "de", "de"]
    assert seconds[: len(seconds) // 2] == sorted(seconds[: len(seconds) // 2])
    assert max(seconds) == pytest.approx(LENGTH, abs=0.1)


def test_a_model_that_is_none_is_refused_in_a_sentence(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"tiny: is no folder with a Whisper model .* \(it has no model.bin\); get one"
    ):
        Speech("tiny")
    with pytest.raises(InputError, match=r"--language german: this model does not know it"):
        Speech(model, "german")
    assert Speech(model).identity != Speech(model, "de").identity
    model = Path(shutil.copytree(model, tmp_path / "model"))
    (model / "tokenizer.json").unlink()  # faster-whisper would fetch one
    with pytest.raises(InputError, match=r"it has no tokenizer\.json"):
        Speech(model)
    (model / "tokenizer.json").write_text("x")
    (model / "model.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"its model cannot be loaded \(Model is empty\)"):
        Speech(model)


def test_a_model_that_cannot_work_stops_the_run(
    listening: Speech, part: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("Library libcublas.so.12 is not found")

    film = combined(tmp_path / "film.mkv", [part(0), part(0, [(1, 2)])])
    monkeypatch.setattr(Tones, "transcribe", fails)
    with pytest.raises(InputError, match=r"cannot work here \(Library libcublas.* --device cpu"):
        listening.of(str(film), LENGTH)


@pytest.mark.real
def test_real_speech_is_heard_at_its_second_and_noise_and_music_say_nothing(
    part: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`harbour.ogg` was made by espeak-ng."""
    times = np.arange(20 * 48000) / 48000
    noise = np.random.default_rng(1).normal(size=len(times)) / 20
    chord = sum(np.sin(2 * np.pi * pitch * times) for pitch in (220, 277, 330)) / 10 * np.sin(3 * times) ** 2
    monkeypatch.setattr(faster_whisper, "WhisperModel", faster_whisper.transcribe.WhisperModel)
    pictures, listening = part(0, seconds=20), Speech(whisper())
    late = recorded(tmp_path / "late.mkv", spoken(), clock=6)
    try:
        (track,), problems = listening.of(str(combined(tmp_path / "film.mkv", [pictures, late])), 20.0)
        for sound in (noise, chord):
            quiet = combined(tmp_path / "quiet.mkv", [pictures, recorded(tmp_path / "sound.mkv", sound)])
            tracks, (problem,) = listening.of(str(quiet), 20.0)
            assert (tracks, "nobody speaks" in problem) == ([], True), problem
    finally:
        listening.close()
    assert problems == []
    assert {"good", "morning", "closed", "today", "storm"} <= set(words_in(" ".join(line.text for line in track.lines)))
    assert (track.language, track.lines[0].start) == ("en", pytest.approx(6, abs=0.7))
    assert track.lines[-1].end == pytest.approx(6 + len(spoken()) / 48000, abs=1.0)


def spoken() -> np.ndarray:
    with av.open(str(Path(__file__).with_name("harbour.ogg"))) as file:
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


def recorded(path: Path, sound: np.ndarray, clock: int = 0) -> Path:
    """A file of this sound alone, 48000 samples a second."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("aac", rate=48000, layout="mono")
        for first in range(0, len(sound), 1024):
            samples = np.ascontiguousarray(sound[None, first : first + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), clock * 48000 + first
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path
