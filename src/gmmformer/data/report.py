"""What a check of a collection found, and how it is shown."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int


class Spread(NamedTuple):
    """Least, middle and most of some lengths; all 0 if there are none."""

    least: int
    median: float
    most: int

    def __str__(self) -> str:
        return f"{self.least} / {self.median:g} / {self.most}"


def spread(lengths: Int[np.ndarray, "n"]) -> Spread:
    """The spread of some lengths.

    >>> str(spread(np.array([3, 1, 2])))
    '1 / 2 / 3'
    """
    if not len(lengths):
        return Spread(0, 0.0, 0)
    return Spread(int(lengths.min()), float(np.median(lengths)), int(lengths.max()))


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is wrong with a collection, once or many times."""

    severity: Literal["error", "warning"]
    """An error stops training or evaluation where it is met; a warning does not."""
    file: str
    record: str
    """The first few records that have it."""
    count: int
    """How many records have it."""
    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """The captions of one split and what belongs to them."""

    split: str
    videos: int
    sentences: int
    rows: Spread | None
    """Feature rows per video; None where the rows could not be told."""
    tokens: Spread | None
    """Tokens per sentence; None where the text features could not be opened."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What is in a collection; parts that could not be read are None."""

    root: Path
    name: str
    feature: str | None
    rows: int | None
    """Rows of feature.bin, as shape.txt says."""
    dim: int | None
    text_dim: int | None
    splits: tuple[SplitSummary, ...]
    problems: tuple[Problem, ...]
    """Errors first."""

    @property
    def usable(self) -> bool:
        """Whether there is no error; warnings do no harm."""
        return all(problem.severity != "error" for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values that JSON can hold."""
        return {**asdict(self), "root": str(self.root), "usable": self.usable}

    def table(self) -> str:
        """The report as aligned text for a terminal."""
        number = "unknown" if self.rows is None else f"{self.rows:,} rows x {self.dim}"
        lines = [
            f"collection  {self.name} in {self.root}",
            f"features    {self.feature or 'unknown'}: {number}",
            f"text        {'unknown' if self.text_dim is None else f'{self.text_dim} dims'}",
            "",
            *_aligned(
                [
                    ("split", "videos", "sentences", "rows per video", "tokens per sentence"),
                    ("", "", "", "least / median / most", "least / median / most"),
                    *(
                        (split.split, f"{split.videos:,}", f"{split.sentences:,}", str(split.rows), str(split.tokens))
                        for split in self.splits
                    ),
                ]
            ),
            "",
        ]
        if not self.problems:
            return "\n".join([*lines, "no problems"])
        for problem in self.problems:
            times = f" ({problem.count:,} times)" if problem.count > 1 else ""
            record = f": {problem.record}" if problem.record else ""
            lines += [
                f"{problem.severity}  {problem.what}{times}{record}",
                f"       {problem.file}",
                f"       -> {problem.remedy}",
            ]
        errors = sum(problem.severity == "error" for problem in self.problems)
        return "\n".join([*lines, "", f"{errors} kinds of errors, {len(self.problems) - errors} of warnings"])


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
