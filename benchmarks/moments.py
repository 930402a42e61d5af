"""Moments: how well what is found of a film overlaps what its sentence is about, for one way to draw them and others.

    gmmformer demo demo-out
    python benchmarks/moments.py demo-out

For each sentence of the demo's test films the moment of its own film is compared with the seconds that the film was
rendered with: the mean intersection over union, and the share of sentences whose moment reaches 0.3, 0.5 and 0.7.
Beside the moment as it is defined (`moments.CLOSE`) stand narrower and wider ones, the best clip, the whole film.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from gmmformer.search import Library
from gmmformer.search.spans import CLOSE, ScoreCurve, moments_of

THRESHOLDS = (0.3, 0.5, 0.7)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Intersection over union of two stretches of time."""
    both = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return both / (one[1] - one[0] + other[1] - other[0] - both)


def found(line: ScoreCurve, close: float | None) -> tuple[float, float]:
    """The best moment of a film; the whole film without `close`."""
    if close is None:
        return float(line.edges[0]), float(line.edges[-1])
    best = moments_of(line, 1, close)[0]
    return best.start, best.end


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    out = parser.parse_args().demo
    told = (out / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, told) if record["split"] == "test"]
    with Library.open(out / "library") as library:
        ids = {Path(film.path).stem: film.id for film in library}
        asked = [record for record in records if record["video"] in ids]
        vectors = library.embed([record["sentence"] for record in asked])
        lines = [
            library.score_curve(vector, ids[record["video"]]) for vector, record in zip(vectors, asked, strict=True)
        ]
    truth = [(record["start"], record["end"]) for record in asked]
    print(f"{len(asked)} sentences, moments of {np.mean([end - start for start, end in truth]):.1f} s on average")
    print(f"{'moment':>16}  mean IoU  " + "  ".join(f"IoU >= {least}" for least in THRESHOLDS))
    for name, close in (
        ("best clip", 0.0),
        ("close 0.25", 0.25),
        (f"close {CLOSE} (ours)", CLOSE),
        ("close 0.75", 0.75),
        ("close 1", 1.0),
        ("whole film", None),
    ):
        values = np.array([overlap(found(line, close), span) for line, span in zip(lines, truth, strict=True) if line])
        shares = "  ".join(f"{100 * (values >= least).mean():8.1f} %" for least in THRESHOLDS)
        print(f"{name:>16}  {values.mean():8.2f}  {shares}")


if __name__ == "__main__":
    main()
