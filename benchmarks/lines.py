"""How long it takes to find what is said, and to keep it, in a library of many lines.

    python benchmarks/lines.py FOLDER [--lines 10000000] [--films 100000]

Lines of 3 to 11 words are drawn, of 200,000 words as rare as in natural language (Zipf), and written to a database in
FOLDER, which is kept for the next time. Printed are the times of whole searches, the ten best films with their lines,
and what of them was spent computing (on a machine with other work the rest is waiting), for sentences of rare, middling
and common words, in quotes and without.
"""

import argparse
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np

from gmmformer.search.database import DATABASE, add_lines
from gmmformer.search.lines import OWN, SHARED
from gmmformer.search.quotes import Lines

WORDS = 200_000
BLOCK = 10_000
"""Passages that are written together."""


def make(path: Path, lines: int, films: int) -> None:
    """Write a database of so many lines."""
    drawn, passages, began = np.random.default_rng(0), lines // OWN, time.perf_counter()
    share = 1 / (np.arange(WORDS) + 2.7) ** 1.07
    edges, words = np.cumsum(share / share.sum()), np.array([f"w{number}" for number in range(WORDS)])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        add_lines(connection)
        for first in range(0, passages, BLOCK):
            lengths = drawn.integers(3, 12, BLOCK * (OWN + SHARED))
            said = np.split(words[np.searchsorted(edges, drawn.random(lengths.sum()))], np.cumsum(lengths)[:-1])
            texts = ["\n".join(map(" ".join, said[at::BLOCK])) for at in range(BLOCK)]
            rows = [(first + at + 1, text) for at, text in enumerate(texts)]
            times = np.zeros(2 * (OWN + SHARED)).tobytes()
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO passages VALUES (?, 1, ?, ?, ?)", [(row, OWN, times, text) for row, text in rows]
            )
            connection.executemany("INSERT INTO said (rowid, words) VALUES (?, ?)", rows)
            connection.execute("COMMIT")
        told = [(film, film, max(1, film * passages // films)) for film in range(1, films + 1)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO tracks VALUES (?, ?, 'subtitles', 'x.srt', 'en', ?, 1, 1, 0)", told)
        connection.execute("COMMIT")
    print(f"{lines:,} lines written in {time.perf_counter() - began:.0f} s, {path.stat().st_size / 1e9:.2f} GB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lines", type=int, default=10_000_000)
    parser.add_argument("--films", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=60)
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    path = options.folder / DATABASE
    if not path.exists():
        beside = path.with_suffix(".part")
        beside.unlink(missing_ok=True)
        make(beside, options.lines, options.films)
        os.replace(beside, path)  # noqa: PTH105
    drawn = np.random.default_rng(5)

    def some(low: int, high: int, count: int) -> str:
        return " ".join(f"w{number}" for number in drawn.integers(low, high, count))

    kinds: dict[str, Callable[[], str]] = {
        "three rare words (5,000th to 100,000th)": lambda: some(5_000, 100_000, 3),
        "three middling words (500th to 5,000th)": lambda: some(500, 5_000, 3),
        "two common words and three others": lambda: f"{some(20, 500, 2)} {some(500, 20_000, 3)}",
        "three common words (50th to 500th)": lambda: some(50, 500, 3),
        "one common word": lambda: some(10, 100, 1),
        "six common words": lambda: some(50, 800, 6),
        "three middling words in quotes": lambda: f'"{some(300, 3_000, 3)}"',
        "three common words in quotes": lambda: f'"{some(10, 200, 3)}"',
        "four of the ten commonest in quotes": lambda: f'"{some(0, 10, 4)}"',
    }
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        films, lines = np.arange(1, options.films + 1), Lines(options.folder)
        lines.find(connection, "w1", films, 10)
        for kind, sentence in kinds.items():
            times = []
            for asked in [sentence() for _ in range(options.searches)]:
                began = time.perf_counter(), time.process_time()
                lines.find(connection, asked, films, 10)
                times.append((1000 * (time.perf_counter() - began[0]), 1000 * (time.process_time() - began[1])))
            (p50, busy), (p95, _) = np.percentile(times, [50, 95], axis=0)
            print(f"{kind:>42}  p50 {p50:6.1f} ms  p95 {p95:6.1f} ms  processor's p50 {busy:6.1f} ms")


if __name__ == "__main__":
    main()
