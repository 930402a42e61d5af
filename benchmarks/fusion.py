"""What one list of everything costs those who look for one thing: films found by how they look, and by what is said.

    gmmformer index lib FILMS
    python benchmarks/fusion.py lib captions.jsonl [--split test] [--lines 800] [--seed 1]

Captions are those of `benchmarks/real.py`: sentences about how a film looks. What is said is drawn from the library's
own lines: a line as it is, and three words of one that tell something. Printed are R@1, R@5 and R@10 of each kind with
its own source alone (`--in picture`, `--in said`) and with all of them, and what the differences are.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gmmformer.search import Library
from gmmformer.search.database import rows_of
from gmmformer.search.lines import SLIGHT, terms_in
from real import rank_of, read_captions


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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--lines", type=int, default=800)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with Library.open(asked.library) as library:
        seen = [(one["sentence"], Path(one["video"]).stem) for one in read_captions(asked.captions, asked.split)]
        said = spoken(library, asked.lines, asked.seed)
        words = [(some, film) for line, film in said if (some := telling(line)) is not None]
        for kind, queries, source in (
            ("how it looks", seen, "picture"),
            ("a line that is said", said, "said"),
            ("three of its words", words, "said"),
        ):
            alone, fused = recalls(library, queries, [source]), recalls(library, queries, None)
            print(f"{kind}, {len(queries)} sentences: R@1, R@5, R@10")
            for name, values in ((f"--in {source}", alone), ("all", fused), ("difference", fused - alone)):
                print(f"  {name:>12}  " + "  ".join(f"{value:5.1f}" for value in values))


if __name__ == "__main__":
    main()
