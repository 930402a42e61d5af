"""What is said in a film as Whisper hears it, at the film's own seconds, without what Whisper makes up."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float32

from gmmformer.cores import usable_cores
from gmmformer.errors import InputError, of_extra, one_line, suggest
from gmmformer.files import words_in
from gmmformer.media.films import DecodeError, fingerprint, printable
from gmmformer.media.pool import GIB, Done, LostError, Pool, tell
from gmmformer.media.subtitles import READING_TIME, Track, mended

RATE = 16_000
"""Samples of sound a second, as Whisper takes them."""
FILES = ("model.bin", "config.json", "tokenizer.json")
"""What a model's folder holds; without its tokenizer faster-whisper would fetch one."""
_BLOCK, _PIECE, _EDGE = 30, 600, 30
"""Seconds of sound that are told at once, that are listened to at once, and among the last of which a piece ends."""
_STEP, _QUIET = RATE // 50, 15
"""Samples whose loudness is taken together, and of how many such steps the quietest are looked for."""
_SILENCE = 60.0
"""Seconds without sound after which decoding is taken to hang."""
_UNSURE, _REPEATS, _NO_SPEECH, _LESS_SURE = -1.0, 2.4, 0.6, -0.7
"""What Whisper says was made up: a mean logarithm of probability below the first; text that is compressed to less than
one in so much; no speech with so much probability, where it is not as sure as the last."""
_TEMPERATURES = (0.0, 0.2, 0.4)
_LONG, _PAUSE, _ENDS = 7.0, 1.0, ".?!…。？！"
"""Seconds after which a line ends with its sentence, a silence that ends it, and how sentences end."""
_SAME = 2
"""Lines one after the other that may say the same."""


class Speech:
    """Hears what is said in films, with a model that lies in a folder; nothing is ever fetched."""

    kind: ClassVar = "speech"

    def __init__(
        self,
        model: str | os.PathLike[str],
        language: str | None = None,
        *,
        everywhere: bool = False,
        device: str = "auto",
        memory_limit: int = 2 * GIB,
    ) -> None:
        """Load the model.

        Args:
            model: Folder of a Whisper model in CTranslate2's format.
            language: That is spoken, such as "de"; without it each film's is what its beginning makes likely.
            everywhere: Whether to listen to films that have subtitles too.
            device: "auto", "cpu", "cuda" or "cuda:1"; "mps", which CTranslate2 does not know, is the processor.
            memory_limit: Bytes that decoding the sound of a film may take.

        Raises:
            InputError: There is no such model, it cannot be loaded, or it does not know the language.
            MissingExtraError: faster-whisper is not installed.
        """
        self.everywhere, self._language = everywhere, language
        whisper = of_extra("faster_whisper", "hearing what is said", "speech")
        missing = [name for name in FILES if not Path(model, name).is_file()]
        if missing:
            raise InputError(
                f"{printable(model)}: is no folder with a Whisper model in CTranslate2's format (it has no "
                f"{missing[0]}); get one with `hf download Systran/faster-whisper-small --local-dir FOLDER` and name "
                "that folder"
            )
        kind, _, number = device.partition(":")
        try:
            self._model = whisper.WhisperModel(
                str(model),
                device="cpu" if kind == "mps" else kind,
                device_index=int(number or 0),
                compute_type="auto",
                cpu_threads=usable_cores(),
                local_files_only=True,
            )
        except Exception as error:  # tokenizers has no narrower one
            raise InputError(
                f"{printable(model)}: its model cannot be loaded ({one_line(error)}); get it anew, or try --device cpu"
            ) from error
        if language is not None and language not in self._model.supported_languages:
            raise InputError(
                f"--language {language}: this model does not know it; "
                + suggest(language, self._model.supported_languages)
            )
        self.identity = f"{fingerprint(Path(model, FILES[0]))[:16]}-{language or 'any'}"
        """What was listened with: model and language, without slashes."""
        self._name = printable(model)
        self._pool = Pool(1, memory_limit)

    def close(self) -> None:
        """End the process that decodes."""
        self._pool.stop()

    def of(
        self, film: str, length: float, on_seconds: Callable[[float], None] = lambda seconds: None
    ) -> tuple[list[Track], list[str]]:
        """What is said in a film as a track, if anything is, and a sentence for what there is to be told of it.

        Args:
            film: Its path.
            length: Its seconds.
            on_seconds: Told up to which of them was listened.

        Raises:
            InputError: The model cannot work here.
        """
        lines, left_out = list[tuple[float, float, str]](), Counter[str]()
        language, begins = self._language, 0.0
        ended = Done()

        def blocks(told: Iterable[Any]) -> Iterator[Float32[np.ndarray, "_samples"]]:
            nonlocal ended
            for part in told:
                if isinstance(part, Done):
                    ended = part
                else:
                    yield part

        try:
            with self._pool.worker() as worker:
                told = worker.run(tell_sound, film, length, limit=READING_TIME, silence=_SILENCE)
                for piece in pieces(blocks(told)):
                    try:
                        found, language = self._heard(piece, begins, language, left_out, on_seconds)
                    except (RuntimeError, ValueError) as error:
                        raise InputError(
                            f"{self._name}: this model cannot work here ({one_line(error)}); try --device cpu, or "
                            "another model"
                        ) from error
                    lines += found
                    begins += len(piece) / RATE
                    on_seconds(begins)
        except LostError as error:
            return [], [f"what is said in it was left out: reading its sound {error}"]
        if ended.failed is not None:
            why = ended.why if ended.failed == "refused" else "its sound cannot be read (" + _last(ended) + ")"
            return [], [f"{why}, so nothing is said in it"]
        lines = list(_unrepeated(lines, left_out))
        problems = []
        if left_out:
            reasons = ", ".join(f"{count:,} {why}" for why, count in left_out.most_common())
            problems.append(
                f"{left_out.total():,} of {left_out.total() + len(lines):,} lines that Whisper heard were left out, as "
                f"it makes up such ones where nobody speaks: {reasons}"
            )
        elif not lines:
            problems.append("nobody speaks in its sound, so nothing is said in it")
        track = Track(kind=self.kind, name="speech", language=language or "", lines=mended(lines))
        return ([track] if track.lines else []), problems

    def _heard(
        self,
        piece: Float32[np.ndarray, "_samples"],
        begins: float,
        language: str | None,
        left_out: Counter[str],
        on_seconds: Callable[[float], None],
    ) -> tuple[list[tuple[float, float, str]], str | None]:
        """The lines of a piece of sound that begins at some second, and the language, told or found."""
        segments, told = self._model.transcribe(
            piece,
            language=language,
            temperature=_TEMPERATURES,
            condition_on_previous_text=False,
            word_timestamps=True,
            vad_filter=True,
            hallucination_silence_threshold=2.0,
            language_detection_segments=4,
        )
        if not told.duration_after_vad:
            return [], language
        lines = list[tuple[float, float, str]]()
        for segment in segments:
            why = made_up(segment)
            if why is not None:
                left_out[why] += 1
            else:
                lines += [
                    (begins + start, begins + end, text) for start, end, text in lines_of_words(segment.words or ())
                ]
            on_seconds(begins + segment.end)
        return lines, told.language


def made_up(segment: Any) -> str | None:
    """Why a segment of faster-whisper is taken to be made up; None where it is not."""
    if segment.compression_ratio > _REPEATS:
        return "repeat themselves"
    if segment.avg_logprob < _UNSURE:
        return "it was not sure of"
    if segment.no_speech_prob > _NO_SPEECH and segment.avg_logprob < _LESS_SURE:
        return "it took for likely no speech"
    return None


def lines_of_words(words: Sequence[Any]) -> Iterator[tuple[float, float, str]]:
    """Words with times as lines: such as end with a sentence or before a silence, some seconds long."""
    first = 0
    for place, word in enumerate(words):
        last = place + 1 == len(words)
        sentence = word.word.rstrip()[-1:] in _ENDS and word.end - words[first].start >= _LONG
        if last or sentence or words[place + 1].start - word.end >= _PAUSE:
            yield float(words[first].start), float(word.end), "".join(one.word for one in words[first : place + 1])
            first = place + 1


def _unrepeated(
    lines: Iterable[tuple[float, float, str]], left_out: Counter[str]
) -> Iterator[tuple[float, float, str]]:
    """Lines without those that say once more what so many before them said."""
    before = list[list[str]]()
    for line in lines:
        words = words_in(line[2])
        if not words:
            continue
        before = [*before, words][-_SAME - 1 :]
        if len(before) > _SAME and all(one == other for one, other in pairwise(before)):
            left_out["say the same as those before them"] += 1
        else:
            yield line


def pieces(blocks: Iterable[Float32[np.ndarray, "_samples"]]) -> Iterator[Float32[np.ndarray, "samples"]]:
    """Sound in pieces of at most some minutes, which end where it is quiet, so that no word is cut."""
    waiting = np.empty(0, dtype=np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) > _PIECE * RATE:
            end = (_PIECE - _EDGE) * RATE
            loudness = np.square(waiting[end : end + _EDGE * RATE]).reshape(-1, _STEP).sum(1)
            quietest = int(np.convolve(loudness, np.ones(_QUIET), "valid").argmin())
            end += (quietest + _QUIET // 2) * _STEP
            yield waiting[:end]
            waiting = waiting[end:]
    if len(waiting):
        yield waiting


def tell_sound(film: str, length: float) -> None:
    """In a process of `pool`: tell a film's sound from its second 0 on, one channel, silence where it has none.

    Raises:
        DecodeError: It has none, or none that can be decoded.
    """
    from gmmformer.media.container import open_film
    from gmmformer.media.cutting.reading import Span
    from gmmformer.media.cutting.sound import samples, sound_of

    with open_film(film) as opened:
        first = opened.first_frame()
        begins = (first.pts or 0) * opened.time_base
        silent = not opened.container.streams.audio
    if silent:
        raise DecodeError(film, "it has no sound")
    told, block = 0, list[Float32[np.ndarray, "_samples"]]()
    with sound_of(film, True) as source:
        span = Span(begins, begins + Fraction(length))
        for frame in samples(source, span, RATE, "mono") if source is not None else ():
            block.append(frame.to_ndarray()[0])
            told += frame.samples
            if sum(map(len, block)) >= _BLOCK * RATE:
                tell(np.concatenate(block))
                block = []
    if not told:
        raise DecodeError(film, "its sound cannot be decoded")
    if block:
        tell(np.concatenate(block))


def _last(done: Done) -> str:
    return one_line((done.why.strip().splitlines() or [done.failed or ""])[-1])
