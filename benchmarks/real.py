"""What a library finds of films whose moments people described: films, seconds, and what its words are worth.

    gmmformer index lib FILMS
    python benchmarks/real.py lib captions.jsonl [--absent absent.json] [--split test] [--stills] [--composed]

Captions are lines of {"video", "sentence", "start", "end", "split"}. Printed are R@1, R@5 and R@10 beside chance, how
often the best second is one that the sentence is true of, how well the moment of the sentence's own film overlaps the
true one (for the definition, `moments.CLOSE`, and others), and for each word how often the first film, if that is said
of it, is the right one. --absent is a JSON list of sentences about nothing in these films: how often it is said of
theirs. --stills: how often a still from the middle of each true moment, as it is and spoilt in several ways, finds its
film first, with its second in the moment. --composed, for captions of several moments of each film, in which a sentence
may be about several films: how often the first films are among those that show one thing and later another, both, or
one without the other, for sentences drawn from the moments of one film; only that is printed.
"""

import argparse
import io
import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gmmformer.evaluation.moments import CLOSE, ScoreCurve, moments_of
from gmmformer.media.frames import frame_at
from gmmformer.search import Hit, Library, search_composed, search_like

THRESHOLDS = (0.3, 0.5, 0.7)
WORDS = ("strong", "possible", "weak", None)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Intersection over union of two stretches of time."""
    both = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return both / (one[1] - one[0] + other[1] - other[0] - both)


def found(curve: ScoreCurve, close: float | None) -> tuple[float, float]:
    """The best moment of a film; the whole film without `close`."""
    if close is None:
        return float(curve.edges[0]), float(curve.edges[-1])
    best = moments_of(curve, 1, close)[0]
    return best.start, best.end


def print_films(hits: Sequence[Sequence[Hit]], names: Sequence[str], films: int) -> None:
    """R@K beside chance."""
    ranks = np.array([rank_of(some, name) for some, name in zip(hits, names, strict=True)])
    for k in (1, 5, 10):
        print(f"R@{k:<3} {100 * (ranks <= k).mean():5.1f} %   chance {100 * min(1, k / films):4.1f} %")


def rank_of(hits: Sequence[Hit], name: str) -> float:
    """The place of a film in a list of hits, from 1."""
    return next((place for place, hit in enumerate(hits, start=1) if Path(hit.film.path).stem == name), np.inf)


def print_moments(curves: Sequence[ScoreCurve], truth: Sequence[tuple[float, float]]) -> None:
    """How well the moment in the right film is met, for several definitions of it."""
    best = [float(np.mean(curve.edges[(at := int(curve.scores.argmax())) : at + 2])) for curve in curves]
    inside = np.mean([start <= second < end for second, (start, end) in zip(best, truth, strict=True)])
    print(f"best second in the true moment {100 * inside:.1f} %")
    print(f"{'moment':>18}  mean IoU  centre in it  " + "  ".join(f"IoU >= {least}" for least in THRESHOLDS))
    for name, close in (
        ("best clip", 0.0),
        *((f"close {share}{' (ours)' if share == CLOSE else ''}", share) for share in sorted({0.25, 0.5, 0.75, CLOSE})),
        ("whole film", None),
    ):
        spans = [found(curve, close) for curve in curves]
        values = np.array([overlap(span, true) for span, true in zip(spans, truth, strict=True)])
        centre = np.mean([true[0] <= sum(span) / 2 < true[1] for span, true in zip(spans, truth, strict=True)])
        shares = "  ".join(f"{100 * (values >= least).mean():8.1f} %" for least in THRESHOLDS)
        print(f"{name:>18}  {values.mean():8.2f}  {100 * centre:10.1f} %  {shares}")


def print_words(hits: Sequence[Sequence[Hit]], names: Sequence[str], absent: Sequence[Sequence[Hit]]) -> None:
    """What is said of the first film: how often, how often rightly, and how often where there is nothing."""
    said = np.array([some[0].word or "" for some in hits])
    right = np.array([rank_of(some, name) == 1 for some, name in zip(hits, names, strict=True)])
    nothing = np.array([some[0].word or "" for some in absent])
    print(f"{'word':>10}  said  right  said where nothing is there")
    for word in WORDS:
        these = said == (word or "")
        if these.any() or (nothing == (word or "")).any():
            shares = f"{100 * these.mean():3.0f} %  {100 * right[these].mean() if these.any() else 0:3.0f} %"
            print(
                f"{word or '(none)':>10}  {shares}  "
                + (f"{100 * np.mean(nothing == (word or '')):3.0f} %" if len(nothing) else "-")
            )


def smaller(image: np.ndarray, quality: int) -> np.ndarray:
    """A quarter of its size, as JPEG, and back."""
    height, width = image.shape[:2]
    data = io.BytesIO()
    Image.fromarray(image).resize((max(8, width // 4), max(8, height // 4))).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data).convert("RGB"))


def cropped(image: np.ndarray) -> np.ndarray:
    """The middle: 60 % of both sides."""
    height, width = image.shape[:2]
    return image[height // 5 : height - height // 5, width // 5 : width - width // 5]


SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "its middle": cropped,
    "a quarter as JPEG 20": lambda image: smaller(image, 20),
    "grey": lambda image: np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, axis=2),
}


def print_stills(library: Library, moments: Sequence[tuple[str, float, float]]) -> None:
    """What stills find: the film first, and the second in its moment."""
    paths = {Path(film.path).stem: film.path for film in library}
    print(f"{len(moments):,} stills{'':>12}film first  second in the moment")
    with tempfile.TemporaryDirectory() as folder:
        still = Path(folder) / "still.png"
        for name, spoil in SPOILT.items():
            right = inside = 0
            for video, start, end in moments:
                middle = (start + end) / 2
                image = spoil(np.asarray(frame_at(paths[video], middle, size=None).image))
                Image.fromarray(np.ascontiguousarray(image)).save(still)
                (hit,) = search_like(library, [still], 1)
                right += (found := hit.film.path == paths[video])
                inside += found and hit.start <= end and start <= hit.end
            print(f"{name:>22}  {100 * right / len(moments):8.1f} %  {100 * inside / len(moments):8.1f} %")


def composed_of(captions: Sequence[dict[str, Any]], count: int) -> list[tuple[str, str, dict[str, set[str]]]]:
    """Two sentences about moments of a film, the first before the second, and which films show what of them."""
    told: dict[str, dict[tuple[float, float], list[str]]] = defaultdict(lambda: defaultdict(list))
    about: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for one in captions:
        name, span = Path(one["video"]).stem, (one["start"], one["end"])
        told[name][span].append(one["sentence"])
        about[one["sentence"]][name].append(span)
    drawn, several, questions = random.Random(5), [name for name, spans in told.items() if len(spans) > 1], []
    for _ in range(count):
        spans = told[drawn.choice(several)]
        first, second = (drawn.choice(spans[span]) for span in sorted(drawn.sample(sorted(spans), 2)))
        both = about[first].keys() & about[second].keys()
        ordered = {
            name for name in both for one in about[first][name] for two in about[second][name] if one[1] <= two[0] + 0.1
        }
        questions.append((first, second, {"then": ordered, "also": both, "without": about[first].keys() - both}))
    return questions


def print_composed(library: Library, captions: Sequence[dict[str, Any]], count: int = 400) -> None:
    """R@1 and R@5 of two sentences together, beside simpler ways to ask for the same."""
    ways: dict[tuple[str, str], Callable[[str, str], list[Hit]]] = {
        ("then", "one sentence: A, then B"): lambda a, b: library.search(f"{a}, then {b}", 5, within=["picture"]),
        ("then", "the sum without order"): lambda a, b: search_composed(library, a, 5, also=[b]),
        ("then", "A --then B"): lambda a, b: search_composed(library, [a, b], 5),
        ("also", "one sentence: A and B"): lambda a, b: library.search(f"{a} and {b}", 5, within=["picture"]),
        ("also", "A --also B"): lambda a, b: search_composed(library, a, 5, also=[b]),
        ("without", "A alone"): lambda a, b: search_composed(library, a, 5),
        ("without", "A --without B"): lambda a, b: search_composed(library, a, 5, without=[b]),
    }
    questions = composed_of(captions, count)
    print(f"{len(library):,} films{'':>22}asked  films that are right    R@1     R@5")
    for (kind, name), ask in ways.items():
        asked = [(a, b, right[kind]) for a, b, right in questions if right[kind]]
        ranks = np.array([min(rank_of(ask(a, b), film) for film in right) for a, b, right in asked])
        share = np.mean([len(right) for *_, right in asked])
        shares = "  ".join(f"{100 * (ranks <= k).mean():5.1f} %" for k in (1, 5))
        print(f"{name:>30}  {len(asked):5,}  {share:20.1f}  {shares}")


def read_captions(path: Path, split: str) -> list[dict[str, Any]]:
    """The captions of a split."""
    return [one for one in map(json.loads, path.read_text(encoding="utf-8").splitlines()) if one["split"] == split]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--absent", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--stills", action="store_true")
    parser.add_argument("--composed", action="store_true")
    options = parser.parse_args()
    with Library.open(options.library) as library:
        ids = {Path(film.path).stem: film.id for film in library}
        asked = [one for one in read_captions(options.captions, options.split) if Path(one["video"]).stem in ids]
        if options.composed:
            print_composed(library, asked)
            return
        names = [Path(one["video"]).stem for one in asked]
        sentences = [one["sentence"] for one in asked]
        hits = library.search(sentences, k=10)
        vectors = library.embed(sentences)
        curves = [
            library.search_film(vector, ids[name], 1)[0].curve for vector, name in zip(vectors, names, strict=True)
        ]
        absent = library.search(json.loads(options.absent.read_text(encoding="utf-8")), k=1) if options.absent else []
        films = len(library)
        if options.stills:
            told_of = dict.fromkeys((Path(one["video"]).stem, one["start"], one["end"]) for one in asked)
            print_stills(library, list(told_of))
    truth = [(one["start"], one["end"]) for one in asked]
    lengths = np.mean([end - start for start, end in truth])
    print(f"{len(asked):,} sentences, {films:,} films, moments of {lengths:.1f} s on average")
    print_films(hits, names, films)
    print_moments([curve for curve in curves if curve is not None], truth)
    print_words(hits, names, absent)


if __name__ == "__main__":
    main()
