"""Which of two systems ranks better, and how sure that is: differences on the same sentences, videos drawn together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from gmmformer.errors import InputError, one_line
from gmmformer.evaluation.bootstrap import COLUMNS, LEVEL, RESAMPLES, SEED, Interval, resampled
from gmmformer.evaluation.evaluating import Evaluation
from gmmformer.evaluation.ranking import metrics_of
from gmmformer.files import parsed_json, read_text

ENOUGH_RUNS = 5
"""With three runs each a 95 % interval holds the truth 88 times of 100, with five 94, with eight 95 (simulated)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """The ranks that one run gave."""

    name: str
    caption_ids: tuple[str, ...]
    videos: tuple[str, ...]
    """Each sentence's own video."""
    ranks: Int[np.ndarray, "queries"]

    @classmethod
    def of(cls, name: str, found: Evaluation) -> "Ranking":
        """Those of an evaluation."""
        captions = found.captions
        videos = tuple(captions.video_ids[video] for video in captions.video_of_query)
        return cls(name=name, caption_ids=captions.caption_ids, videos=videos, ranks=found.ranks)

    @classmethod
    def read(cls, path: Path) -> "Ranking":
        """Those in a file that `Evaluation.write_ranks` wrote.

        Raises:
            InputError: It is none such; the message names the line.
        """
        ranks: dict[str, tuple[str, int]] = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            try:
                record = parsed_json(line)
                caption_id, video, rank = (record[name] for name in ("caption_id", "video", "rank"))
                if not (isinstance(caption_id, str) and isinstance(video, str) and type(rank) is int and rank > 0):
                    raise ValueError("caption_id, video and rank are not two texts and a number of 1 or more")
                if caption_id in ranks:
                    raise ValueError(f"{caption_id!r} is there twice")
            except (ValueError, TypeError, KeyError) as error:
                raise InputError(
                    f"{path}, line {number}: not what gmmformer evaluate --ranks writes ({one_line(error)}); write the "
                    "file again"
                ) from error
            ranks[caption_id] = video, rank
        if not ranks:
            raise InputError(f"{path}: holds no ranks; write it again with gmmformer evaluate --ranks")
        videos, numbers = zip(*ranks.values(), strict=True)
        return cls(name=str(path), caption_ids=tuple(ranks), videos=videos, ranks=np.array(numbers, dtype=np.int64))

    def in_order_of(self, other: "Ranking") -> Int[np.ndarray, "queries"]:
        """Its ranks in the order of another's sentences.

        Raises:
            InputError: It is of other sentences.
        """
        place = {caption_id: query for query, caption_id in enumerate(self.caption_ids)}
        order = [place.get(caption_id, -1) for caption_id in other.caption_ids]
        if len(place) != len(order) or min(order) < 0 or [self.videos[query] for query in order] != list(other.videos):
            raise InputError(
                f"{self.name} ranks other sentences than {other.name} ({len(place):,} and {len(order):,}); compare "
                "what was evaluated on one split of one collection"
            )
        return np.asarray(self.ranks[order])


class Gap(NamedTuple):
    """How two systems differ in one metric."""

    first: float
    second: float
    difference: float
    """Of the second over the first."""
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a system differs from the first one."""

    first: str
    second: str
    runs: tuple[int, int]
    """Runs of each, such as of several seeds."""
    sentences: int
    videos: int
    metrics: Mapping[str, Gap]

    def in_words(self) -> str:
        """The difference in SumR as one sentence that can be quoted."""
        gap = self.metrics["SumR"]
        low, high = gap.interval
        over = f"{self.sentences:,} sentences of {self.videos:,} videos, {_counted(self.runs)}"
        spread = f"{100 * LEVEL:.0f} % interval {low:.1f} to {high:.1f}"
        if low <= 0 <= high:
            return (
                f"{self.second} and {self.first} cannot be told apart: they differ by {gap.difference:+.1f} SumR, "
                f"{spread} ({over})"
            )
        better, worse = self.second, self.first
        if gap.difference < 0:
            better, worse, spread = worse, better, f"{100 * LEVEL:.0f} % interval {-high:.1f} to {-low:.1f}"
        return f"{better} is better than {worse} by {abs(gap.difference):.1f} SumR, {spread} ({over})"

    def as_dict(self) -> dict[str, Any]:
        """What `gmmformer compare --json` prints of it."""
        return {
            "first": self.first,
            "second": self.second,
            "runs": list(self.runs),
            "sentences": self.sentences,
            "videos": self.videos,
            "metrics": {name: {**gap._asdict(), "interval": list(gap.interval)} for name, gap in self.metrics.items()},
            "words": self.in_words(),
            "level": LEVEL,
        }

    def table(self) -> str:
        """Each metric of both and their difference, as aligned lines."""
        lines = [f"{'':6}{'first':>9}{'second':>9}{'difference':>12}   {100 * LEVEL:.0f} % interval"]
        for name, gap in self.metrics.items():
            digits = 3 if name == "MRR" else 2
            first, second = (f"{value:9.{digits}f}" for value in (gap.first, gap.second))
            low, high = (f"{end:.{digits}f}" for end in gap.interval)
            lines.append(f"{name:6}{first}{second}{gap.difference:+12.{digits}f}   {low} to {high}")
        return "\n".join(lines)


def compare(
    systems: Mapping[str, Sequence[Ranking]], *, resamples: int = RESAMPLES, seed: int = SEED
) -> Iterator[Difference]:
    """How each system but the first differs from the first.

    Args:
        systems: The runs of each by its name; all rank the same sentences. A system's metrics are the mean of those
            of its runs.
        resamples: How often videos, and runs, are drawn.
        seed: The same seed gives the same intervals.

    Raises:
        InputError: They rank different sentences.
    """
    like = next(iter(systems.values()))[0]
    ranks = {name: np.stack([run.in_order_of(like) for run in runs]) for name, runs in systems.items()}
    _, video_of_query = np.unique(like.videos, return_inverse=True)
    videos = int(video_of_query.max()) + 1
    drawn = resampled(list(ranks.values()), video_of_query, resamples=resamples, seed=seed)
    means = [np.mean([list(_columns(run, videos)) for run in runs], axis=0) for runs in ranks.values()]
    (first, *others), (first_runs, *other_runs) = systems, ranks.values()
    for name, runs, mean, values in zip(others, other_runs, means[1:], drawn[1:], strict=True):
        gaps = {
            column: Gap(
                float(means[0][place]),
                float(mean[place]),
                float(mean[place] - means[0][place]),
                Interval.of(values[:, place] - drawn[0][:, place]),
            )
            for place, column in enumerate(COLUMNS)
        }
        yield Difference(
            first=first,
            second=name,
            runs=(len(first_runs), len(runs)),
            sentences=len(video_of_query),
            videos=videos,
            metrics=gaps,
        )


def _columns(ranks: Int[np.ndarray, "queries"], videos: int) -> Iterator[float]:
    values = metrics_of(ranks, videos).as_dict()
    return (float(values[name]) for name in COLUMNS)


def _counted(runs: tuple[int, int]) -> str:
    if runs == (1, 1):
        return "one run each, so it tells of other videos but not of other trainings"
    few = ", too few for an interval that is wide enough" if min(runs) < ENOUGH_RUNS else ""
    return f"{runs[0]} and {runs[1]} runs{few}"
