"""Read a whole collection once and say what is there and what is wrong, before a night of training finds out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from gmmformer.cores import Progress, silent
from gmmformer.data.captions import Captions, TextFeatures, caption_paths, scan_captions, text_path
from gmmformer.data.features import check_size, feature_of, read_row_names, read_seconds, read_shape
from gmmformer.data.rows import RowTable, locate_rows, read_frame_names
from gmmformer.errors import InputError
from gmmformer.model.pooling import concatenated_ranges, row_norms

_BLOCK_BYTES = 1 << 26
_EXAMPLES = 5
_NO_NUMBERS = "NaN, infinity or a number too large to square"
Severity = Literal["error", "warning"]
"""An error stops training or evaluation where it is met; a warning does not."""


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

    severity: Severity
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
        cells = [
            ("split", "videos", "sentences", "rows per video", "tokens per sentence"),
            ("", "", "", "least / median / most", "least / median / most"),
            *(
                (one.split, f"{one.videos:,}", f"{one.sentences:,}", str(one.rows), str(one.tokens))
                for one in self.splits
            ),
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            f"collection  {self.name} in {self.root}",
            f"features    {self.feature or 'unknown'}: {number}",
            f"text        {'unknown' if self.text_dim is None else f'{self.text_dim} dims'}",
            "",
            *("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells),
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


def check_collection(root: Path, name: str, feature: str | None = None, progress: Progress = silent) -> CheckReport:
    """Everything that is in the collection ROOT/NAME and everything that is wrong with it.

    Every caption, row and token is read once, in bounded memory. Nothing is raised for what is wrong with the data:
    problems of one kind are counted together, with the first few records named.
    """
    return _Check(Path(root), name, feature, progress).run()


@dataclass
class _Rows:
    """What is known of the matrix of features; the parts that could be read."""

    shape: tuple[int, int] | None = None
    names: Sequence[bytes] = ()
    table: RowTable | None = None


class _Check:
    def __init__(self, root: Path, name: str, feature: str | None, progress: Progress) -> None:
        self.root, self.name, self.feature, self.progress = root, name, feature, progress
        self.found: dict[tuple[Severity, str, str, str], list[str]] = {}
        self.counts: Counter[tuple[str, str, str, str]] = Counter()
        self.text_dim: int | None = None

    def run(self) -> CheckReport:
        captions = self._captions()
        rows = self._rows()
        tokens = self._text(captions)
        lengths = self._videos(captions, rows)
        order = sorted(captions, key=lambda split: (["train", "val", "test", split].index(split), split))
        return CheckReport(
            root=self.root,
            name=self.name,
            feature=self.feature,
            rows=rows.shape[0] if rows.shape else None,
            dim=rows.shape[1] if rows.shape else None,
            text_dim=self.text_dim,
            splits=tuple(
                SplitSummary(
                    split=split,
                    videos=len(captions[split].video_ids),
                    sentences=len(captions[split].caption_ids),
                    rows=lengths.get(split),
                    tokens=tokens.get(split),
                )
                for split in order
            ),
            problems=tuple(
                Problem(
                    severity=key[0],
                    file=key[1],
                    record=", ".join(records) + (", ..." if self.counts[key] > len(records) else ""),
                    count=self.counts[key],
                    what=key[2],
                    remedy=key[3],
                )
                for key, records in sorted(self.found.items(), key=lambda item: item[0][0])
            ),
        )

    def _add(self, file: Path, records: Iterable[object], what: str, remedy: str, severity: Severity = "error") -> None:
        for record in records:
            key = (severity, str(file), what, remedy)
            self.counts[key] += 1
            examples = self.found.setdefault(key, [])
            if len(examples) < _EXAMPLES:
                examples.append(str(record))

    @contextmanager
    def _noting(self, file: Path) -> Iterator[None]:
        """Note an error that the readers raise; its sentence starts with the file and ends with the remedy."""
        try:
            yield
        except InputError as error:
            what, _, remedy = str(error).removeprefix(f"{file}").lstrip(":, ").partition("; ")
            self._add(file, [""], what, remedy)

    def _captions(self) -> dict[str, Captions]:
        folder = self.root / self.name / "TextData"
        paths = caption_paths(self.root, self.name)
        if not paths:
            remedy = "write one line per sentence: ID SENTENCE"
            self._add(folder, [f"{self.name}train.caption.txt"], "no caption file", remedy)
        captions: dict[str, Captions] = {}
        for split, path in paths.items():
            with self._noting(path):
                captions[split], faults = scan_captions(path)
                for fault in faults:
                    self._add(path, [f"line {fault.line}" if fault.line else ""], fault.what, fault.remedy)
        for split, own in captions.items():
            for other, others in captions.items():
                if split < other and (shared := sorted(set(own.video_ids) & set(others.video_ids))):
                    what = f"videos of {split} are also in {other}"
                    remedy = "give each video to one split, if results are to mean much"
                    self._add(paths[split], shared, what, remedy, "warning")
        return captions

    def _rows(self) -> _Rows:
        rows = _Rows()
        with self._noting(self.root / self.name / "FeatureData"):
            self.feature = feature_of(self.root, self.name, self.feature)
            self._matrix(self.root / self.name / "FeatureData" / self.feature, rows)
        return rows

    def _matrix(self, folder: Path, rows: _Rows) -> None:
        with self._noting(folder / "shape.txt"):
            rows.shape = read_shape(folder)
        if rows.shape is None:
            return
        with self._noting(folder / "feature.bin"):
            check_size(folder, rows.shape)
        with self._noting(folder / "id.txt"):
            names = read_row_names(folder, rows.shape[0])
            rows.names = names.split(b" ")
            self._twice(folder / "id.txt", rows.names, "row name")
            with self._noting(folder / "video2frames.txt"):
                rows.table = self._table(folder / "video2frames.txt", names)
        with self._noting(folder / "times.npy"):
            seconds = read_seconds(folder, rows.shape[0])
            bad = np.flatnonzero(~np.isfinite(seconds)) if seconds is not None else ()
            self._add(folder / "times.npy", (f"row {row}" for row in bad), "no finite second", "write the file again")
        self._values(folder / "feature.bin", rows)

    def _table(self, path: Path, names: bytes) -> RowTable:
        entries = read_frame_names(path)
        self._twice(path, [entry.video_id for entry in entries], "video")
        table = locate_rows(entries, names)
        used = np.zeros(names.count(b" ") + 1, dtype=bool)
        used[concatenated_ranges(table.starts, table.stops - table.starts)] = True
        for scattered in table.scattered.values():
            used[scattered] = True
        unused = (f"row {row}" for row in np.flatnonzero(~used))
        self._add(path, unused, "rows that no video has", "nothing, if they are meant to be left out", "warning")
        return table

    def _twice(self, file: Path, names: Sequence[str] | Sequence[bytes], what: str) -> None:
        if len(set(names)) < len(names):
            counted: Counter[str | bytes] = Counter(names)
            twice = [name if isinstance(name, str) else name.decode("latin-1") for name, n in counted.items() if n > 1]
            self._add(file, twice, f"{what} is there more than once", "keep one of them")

    def _values(self, path: Path, rows: _Rows) -> None:
        """Look for numbers that are not finite in as much of feature.bin as is there."""
        if rows.shape is None or not path.is_file():
            return
        dim = rows.shape[1]
        there = min(rows.shape[0], path.stat().st_size // (4 * dim))
        block = max(1, _BLOCK_BYTES // (4 * dim))
        for start in range(0, there, block):
            values = np.fromfile(path, dtype="<f4", count=min(block, there - start) * dim, offset=start * dim * 4)
            norms = row_norms(values.reshape(-1, dim))
            broken, zero = np.flatnonzero(~np.isfinite(norms)) + start, np.flatnonzero(norms == 0) + start
            self._add(path, self._called(broken, rows), _NO_NUMBERS, "extract these rows again")
            remedy = "see that their extraction did not fail"
            self._add(path, self._called(zero, rows), "rows of zeros", remedy, "warning")
            self.progress("features", min(there, start + block), there)

    def _called(self, bad: Int[np.ndarray, "rows"], rows: _Rows) -> Iterable[str]:
        return (f"row {row} ({rows.names[row].decode('latin-1')})" if rows.names else f"row {row}" for row in bad)

    def _text(self, captions: dict[str, Captions]) -> dict[str, Spread]:
        path, text = text_path(self.root, self.name), None
        with self._noting(path):
            text = TextFeatures.open(path)
        if text is None:
            return {}
        self.text_dim = text.dim
        total, done = sum(len(own.caption_ids) for own in captions.values()), 0
        spreads: dict[str, Spread] = {}
        for split, own in captions.items():
            lengths = np.zeros(len(own.caption_ids), dtype=np.int64)
            for index, caption_id in enumerate(own.caption_ids):
                lengths[index] = self._tokens(text, caption_id)
                done += 1
                if done % 1000 == 0 or done == total:
                    self.progress("text features", done, total)
            spreads[split] = spread(lengths[lengths > 0])
        return spreads

    def _tokens(self, text: TextFeatures, caption_id: str) -> int:
        """Tokens of the sentence, or 0 with a problem noted."""
        tokens = text.tokens_or_fault(caption_id)
        if isinstance(tokens, str):
            self._add(text.path, [caption_id], f"text features {tokens}", "extract them or remove their captions")
            return 0
        if not np.isfinite(row_norms(tokens)).all():
            self._add(text.path, [caption_id], _NO_NUMBERS, "extract these text features again")
        return len(tokens)

    def _videos(self, captions: dict[str, Captions], rows: _Rows) -> dict[str, Spread]:
        if rows.table is None:
            return {}
        path = self.root / self.name / "FeatureData" / str(self.feature) / "video2frames.txt"
        lengths = rows.table.stops - rows.table.starts
        for index, scattered in rows.table.scattered.items():
            lengths[index] = len(scattered)
        length_of = dict(zip(rows.table.video_ids, lengths.tolist(), strict=True))
        for index, row_name in rows.table.unknown.items():
            length_of[rows.table.video_ids[index]] = -1
            record = f"{rows.table.video_ids[index]} ({row_name})"
            self._add(path, [record], "videos name rows that are not in id.txt", "make the two files agree")
        remedy = "extract their features or remove their captions"
        empty = [video_id for video_id, length in length_of.items() if length == 0]
        self._add(path, empty, "videos without rows", remedy)
        spreads = {}
        for split, own in captions.items():
            missing = [video_id for video_id in own.video_ids if video_id not in length_of]
            self._add(path, missing, f"videos of {split} are missing", remedy)
            there = np.array([length_of.get(video_id, 0) for video_id in own.video_ids], dtype=np.int64)
            spreads[split] = spread(there[there > 0])
        return spreads
