"""What one list of everything costs those who look for one thing: films found by how they look, and by what is said.

    gmmformer index lib FILMS
    python benchmarks/fusion.py lib captions.jsonl [--split test] [--lines 800] [--seed 1]
    python benchmarks/fusion.py --make CLIPS FOLDER --speech WHISPER [--model small]
    python benchmarks/fusion.py FOLDER/lib CLIPS/sentences.json --talk

Captions are those of `benchmarks/real.py`: sentences about how a film looks. What is said is drawn from the library's
own lines: a line as it is, and three words of one that tell something. Printed are R@1, R@5 and R@10 of each kind with
its own source alone (`--in picture`, `--in said`), of words with both (`--in said written`), and with all of them, and
what the differences are.

With --make the films are made in FOLDER: CLIPS holds clips/*.mp4 and sentences.json (clip -> sentences about how it
looks); each clip becomes a film twice as large in which a voice of espeak-ng says a line that was drawn and another one
is burnt in. They are indexed source by source. Then what is said and written counts as it was made, not as it was heard
and read, and printed are besides what each source cost, in seconds of a core for a second of film, how many of a
hundred words were heard wrongly (word error rate), and how many were read rightly.

With --talk what is said in those films, in a copy of their library, becomes what hurts those who describe pictures
most: as if heard, with 18 of 100 words wrong, a sentence about how another film looks, drawn anew in each of `TALKS`
rounds; in all films, or in a quarter of them. Sentences that are not said are asked. Films stand in two halves, every
other one by name: what `fused` takes as sure was chosen on the first.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import wave
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gmmformer.files import words_in
from gmmformer.media.frames import sampled_frames
from gmmformer.media.speech import Speech
from gmmformer.media.subtitles import Line, Track
from gmmformer.media.written import Written
from gmmformer.search import Library
from gmmformer.search.database import rows_of
from gmmformer.search.lines import SLIGHT, Said, keep, terms_in, tracks_of, transcript
from real import rank_of, read_captions

WHO, DID, WHAT, WHEN = (
    ["my sister", "the captain", "our neighbour", "the old baker", "a young doctor", "the orchestra", "the lawyer"],
    ["forgot", "described", "sold", "promised", "painted", "counted", "found", "borrowed", "repaired", "remembered"],
    ["the piano", "a suitcase", "the letter", "eleven umbrellas", "the lighthouse", "a bridge", "the wedding cake"],
    ["before midnight", "on Tuesday", "in Lisbon", "after the storm", "behind the church", "for seven years"],
)
"""What lines are drawn of."""
FPS, HEIGHT, FIRST = 25, 480, 0.5
"""Of the films that are made; from the last second on something is said, and written."""
TALKS, WRONG, LOST = 4, 0.18, 0.3
"""How often films are made to talk of others, which share of the words is heard wrongly, and of those not at all."""


def drawn_lines(count: int, rng: random.Random) -> list[str]:
    """So many lines, no two alike."""
    lines = dict[str, None]()
    while len(lines) < count:
        lines[" ".join(rng.choice(some) for some in (WHO, DID, WHAT, WHEN)).capitalize()] = None
    return list(lines)


def spoken_by_machine(line: str) -> tuple[np.ndarray, int]:
    """A line as espeak-ng says it: samples, and how many of them a second has."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line.wav"
        subprocess.run(["espeak-ng", "-v", "en", "-s", "150", "-w", str(path), line], check=True)
        with closing(wave.open(str(path))) as sound:
            return np.frombuffer(sound.readframes(sound.getnframes()), dtype=np.int16), sound.getframerate()


def make_film(clip: Path, path: Path, said: str, written: str) -> None:
    """A clip twice as large, in which one line is said and another one stands at the foot of the picture."""
    samples, rate = spoken_by_machine(said)
    font = ImageFont.load_default(26)
    with av.open(str(path), "w") as film:
        picture, sound = film.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "23"}), None
        sound = film.add_stream("aac", rate=rate, layout="mono")
        for number, one in enumerate(sampled_frames(clip, fps=FPS, size=None)):
            image = Image.fromarray(one.image)
            image = image.resize((2 * (image.width * HEIGHT // image.height // 2), HEIGHT), Image.Resampling.BICUBIC)
            if number >= FIRST * FPS:
                at = (image.width / 2, 0.88 * HEIGHT)
                pen = ImageDraw.Draw(image)
                pen.text(at, written, fill="white", font=font, anchor="mm", stroke_width=2, stroke_fill="black")
            if not number:
                picture.width, picture.height, picture.pix_fmt = image.width, image.height, "yuv420p"
            frame = av.VideoFrame.from_image(image)
            frame.pts = number
            film.mux(picture.encode(frame))
        film.mux(picture.encode())
        heard = np.concatenate([np.zeros(int(FIRST * rate), dtype=np.int16), samples])
        for first in range(0, len(heard), 1024):
            some = av.AudioFrame.from_ndarray(heard[None, first : first + 1024], format="s16", layout="mono")
            some.sample_rate, some.pts = rate, first
            film.mux(sound.encode(some))
        film.mux(sound.encode())


def busy() -> float:
    """Seconds of cores that this process, its threads and the workers that it has ended took."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measured(name: str, seconds: float, work: Callable[[], object]) -> None:
    """Do some work on so many seconds of film, and print what it cost."""
    before = busy()
    work()
    print(f"  {name:>12}  {(busy() - before) / seconds:.3f} s of a core for a second of film", flush=True)


def wrong_words(told: Sequence[str], heard: Sequence[str]) -> int:
    """The least words that must be put in, taken out or changed."""
    row = list(range(len(heard) + 1))
    for count, word in enumerate(told, start=1):
        before, row[0] = row[0], count
        for place, other in enumerate(heard, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


def made(clips: Path, folder: Path, speech: Path, model: str, seed: int) -> None:
    """Make films, index them source by source, and print what became of what is known of them."""
    sentences, rng = json.loads((clips / "sentences.json").read_text()), random.Random(seed)
    names = sorted(sentences)
    lines = drawn_lines(2 * len(names), rng)
    said, written = dict(zip(names, lines, strict=False)), dict(zip(names, lines[len(names) :], strict=True))
    films = folder / "films"
    films.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (films / f"{name}.mp4").exists():
            make_film(clips / "clips" / f"{name}.mp4", films / "part.mp4", said[name], written[name])
            (films / "part.mp4").rename(films / f"{name}.mp4")
    with Library.create(folder / "lib", model) as library:
        print(f"{len(names)} films")
        _ = library.models.encoders.frames
        whole = sum(len(list(sampled_frames(path, fps=1, size=64))) for path in films.glob("*.mp4"))
        measured("picture", whole, lambda: library.add([films]))
        measured("said", whole, lambda: hear(library, films, speech))
        measured("written", whole, lambda: library.add([films], written=Written()))
        heard, read = (
            {name: words_of(library, films / f"{name}.mp4", kind) for name in names} for kind in ("speech", "text")
        )
        told = sum(len(words_in(line)) for line in said.values())
        wrong = sum(wrong_words(words_in(said[name]), heard[name]) for name in names)
        print(f"word error rate of what is heard {100 * wrong / told:.1f} %, of {told} words")
        stood = sum(len(words_in(line)) for line in written.values())
        right = sum((Counter(words_in(written[name])) & Counter(read[name])).total() for name in names)
        letters = [("".join(words_in(written[name])) in "".join(read[name])) for name in names]
        print(f"read rightly {100 * right / stood:.1f} % of {stood} words")
        print(f"read rightly but for spaces {100 * np.mean(letters):.1f} % of {len(letters)} lines")
        looks = [(sentence, name) for name in names for sentence in sentences[name]]
        print_recalls(library, looks, [(line, name) for name, line in said.items()], "said")
        print_recalls(library, [], [(line, name) for name, line in written.items()], "written")


def hear(library: Library, films: Path, speech: Path) -> None:
    """Take in what is said; the process that decodes has ended when it is done."""
    with closing(Speech(speech, "en")) as ears:
        library.add([films], said=ears)


def words_of(library: Library, film: Path, kind: str) -> list[str]:
    """The words of a film's lines of a kind."""
    store, found = library.store, library.store.film(film)
    assert found is not None
    with store.reading() as connection:
        tracks = [track for track in tracks_of(connection, store.folder, found.id) if track.kind == kind]
        texts = [line.text for track in tracks for line in transcript(connection, store.folder, track)]
    return words_in(" ".join(texts))


def spoken(library: Library, count: int, seed: int) -> list[tuple[str, str]]:
    """Lines that are said, each with the name of its film; each line but once."""
    films = {film.id: Path(film.path).stem for film in library}
    with library.store.reading() as connection:
        tracks = {row[0]: row[1] for row in rows_of(connection, library.folder, "tracks", "id, film")}
        passages = list(rows_of(connection, library.folder, "passages", "track, own, text"))
    lines = {line: films[tracks[track]] for track, own, text in passages for line in text.split("\n")[:own]}
    drawn = sorted(lines.items())
    random.Random(seed).shuffle(drawn)
    return drawn[:count]


def telling(line: str, count: int = 3) -> str | None:
    """The first words of a line that tell something; None where there are not so many."""
    words = list(dict.fromkeys(term.term for term in terms_in(line) if term.term not in SLIGHT))
    return " ".join(words[:count]) if len(words) >= count else None


def recalls(library: Library, queries: Sequence[tuple[str, str]], within: Sequence[str] | None) -> np.ndarray:
    """R@1, R@5 and R@10 in percent."""
    found = library.search([sentence for sentence, _ in queries], 10, within=within)
    ranks = np.array([rank_of(hits, name) for hits, (_, name) in zip(found, queries, strict=True)])
    return np.array([100 * (ranks <= k).mean() for k in (1, 5, 10)])


def print_recalls(
    library: Library, looks: Sequence[tuple[str, str]], lines: Sequence[tuple[str, str]], source: str
) -> None:
    """What is found by looks, by lines of a source and by three words of these, alone and with all of them."""
    words = [(some, film) for line, film in lines if (some := telling(line)) is not None]
    for kind, queries, own in (
        ("how it looks", looks, "picture"),
        (f"a line that is {source}", lines, source),
        ("three of its words", words, source),
    ):
        if queries:
            alone, fused = recalls(library, queries, [own]), recalls(library, queries, None)
            both = [] if own == "picture" else [("all words", recalls(library, queries, ["said", "written"]))]
            print(f"{kind}, {len(queries)} sentences: R@1, R@5, R@10")
            for name, values in ((f"--in {own}", alone), *both, ("all", fused), ("difference", fused - alone)):
                print(f"  {name:>12}  " + "  ".join(f"{value:5.1f}" for value in values))


def misheard(sentence: str, words: Sequence[str], rng: random.Random) -> str:
    """A sentence in which some words are others, or are not there."""
    heard = [
        word if rng.random() >= WRONG else "" if rng.random() < LOST else rng.choice(words) for word in sentence.split()
    ]
    return " ".join(filter(None, heard))


def print_talk(folder: Path, sentences: dict[str, list[str]], share: float) -> None:
    """What those lose who describe pictures where a share of the films talks of what other films show."""
    names, ranks = sorted(sentences), list[tuple[int, float, float]]()
    words = sorted({word for some in sentences.values() for one in some for word in words_in(one)})
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        with Library.open(copy) as library:
            films = {Path(film.path).stem: film.id for film in library}
            for seed in range(TALKS):
                rng, taken = random.Random(seed), set[str]()
                with library.writing() as into, into.transaction() as connection:
                    for name in names:
                        told = rng.choice(sentences[rng.choice([other for other in names if other != name])])
                        talks = rng.random() < share
                        line = Line(1.0, 3.0, misheard(told, words, rng))
                        track = Track(kind="speech", name="speech", language="en", lines=[line])
                        keep(connection, films[name], Said([track] if talks else [], f"talk {seed}"))
                        taken |= {told} if talks else set()
                asked = [(one, name) for name in names for one in sentences[name] if one not in taken]
                alone, fused = (
                    library.search([one for one, _ in asked], 10, within=how) for how in (["picture"], None)
                )
                ranks += [
                    (names.index(name) % 2, rank_of(hits, name), rank_of(others, name))
                    for (_, name), hits, others in zip(asked, alone, fused, strict=True)
                ]
    print(f"{100 * share:.0f} of 100 films talk of what others show, {len(ranks)} sentences: R@1, R@5 by looks, of all")
    for half, which in (("first half", {0}), ("second half", {1}), ("all films", {0, 1})):
        own = np.array([some for some in ranks if some[0] in which])
        values = [100 * (own[:, source] <= k).mean() for source in (1, 2) for k in (1, 5)]
        print(f"  {half:>12}  " + "  ".join(f"{value:5.1f}" for value in values))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("library", type=Path, nargs="?")
    parser.add_argument("captions", type=Path, nargs="?")
    parser.add_argument("--split", default="test")
    parser.add_argument("--lines", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--make", type=Path, nargs=2, metavar=("CLIPS", "FOLDER"))
    parser.add_argument("--speech", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--talk", action="store_true")
    asked = parser.parse_args()
    if asked.make:
        clips, folder = asked.make
        made(clips, folder, asked.speech, asked.model, asked.seed)
        return
    if asked.talk:
        for share in (1.0, 0.25):
            print_talk(asked.library, json.loads(asked.captions.read_text()), share)
        return
    with Library.open(asked.library) as library:
        looks = [(one["sentence"], Path(one["video"]).stem) for one in read_captions(asked.captions, asked.split)]
        print_recalls(library, looks, spoken(library, asked.lines, asked.seed), "said")


if __name__ == "__main__":
    main()
