"""Read a whole collection once and say what is there and what is wrong, before a night of training finds out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from gmmformer.cores import Progress, silent
from gmmformer.data.captions import Captions, caption_paths, scan_captions
from gmmformer.data.features import check_size, feature_of, read_row_names, read_seconds, read_shape
from gmmformer.data.report import CheckReport, Problem, SplitSummary, Spread, spread
from gmmformer.data.rows import RowTable, locate_rows, read_frame_names
from gmmformer.data.text_features import TextFeatures, text_path
from gmmformer.errors import InputError
from gmmformer.model.pooling import concatenated_ranges, row_norms

_BLOCK_BYTES = 1 << 26
_EXAMPLES = 5


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
        self.found: dict[tuple[Literal["error", "warning"], str, str, str], list[str]] = {}
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

    def _add(
        self,
        file: Path,
        records: Iterable[object],
        what: str,
        remedy: str,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        for record in records:
            key = (severity, str(file), what, remedy)
            self.counts[key] += 1
            examples = self.found.setdefault(key, [])
            if len(examples) < _EXAMPLES:
                examples.append(str(record))

    def _raised(self, error: InputError, file: Path) -> None:
        """An error that the readers raise, as a problem; its sentence starts with the file and ends with the remedy."""
        what, _, remedy = str(error).removeprefix(f"{file}").lstrip(":, ").partition("; ")
        self._add(file, [""], what, remedy)

    def _captions(self) -> dict[str, Captions]:
        folder = self.root / self.name / "TextData"
        paths = caption_paths(self.root, self.name)
        if not paths:
            self._add(
                folder, [f"{self.name}train.caption.txt"], "no caption file", "write one line per sentence: ID SENTENCE"
            )
        captions: dict[str, Captions] = {}
        for split, path in paths.items():
            try:
                captions[split], faults = scan_captions(path)
            except InputError as error:
                self._raised(error, path)
                continue
            for fault in faults:
                self._add(path, [f"line {fault.line}" if fault.line else ""], fault.what, fault.remedy)
        for split, own in captions.items():
            for other, others in captions.items():
                if split < other and (shared := sorted(set(own.video_ids) & set(others.video_ids))):
                    what, remedy = (
                        f"videos of {split} are also in {other}",
                        "give each video to one split, if results are to mean much",
                    )
                    self._add(paths[split], shared, what, remedy, "warning")
        return captions

    def _rows(self) -> _Rows:
        rows = _Rows()
        try:
            self.feature = feature_of(self.root, self.name, self.feature)
        except InputError as error:
            self._raised(error, self.root / self.name / "FeatureData")
            return rows
        folder = self.root / self.name / "FeatureData" / self.feature
        try:
            rows.shape = read_shape(folder)
        except InputError as error:
            self._raised(error, folder / "shape.txt")
            return rows
        try:
            check_size(folder, rows.shape)
        except InputError as error:
            self._raised(error, folder / "feature.bin")
        try:
            names = read_row_names(folder, rows.shape[0])
            rows.names = names.split(b" ")
            self._twice(folder / "id.txt", rows.names, "row name")
            rows.table = self._table(folder, names)
        except InputError as error:
            self._raised(error, folder / ("video2frames.txt" if rows.names else "id.txt"))
        try:
            seconds = read_seconds(folder, rows.shape[0])
            if seconds is not None and not np.isfinite(seconds).all():
                bad = np.flatnonzero(~np.isfinite(seconds))
                self._add(
                    folder / "times.npy", [f"row {row}" for row in bad], "no finite second", "write the file again"
                )
        except InputError as error:
            self._raised(error, folder / "times.npy")
        self._values(folder / "feature.bin", rows)
        return rows

    def _table(self, folder: Path, names: bytes) -> RowTable:
        entries = read_frame_names(folder / "video2frames.txt")
        self._twice(folder / "video2frames.txt", [entry.video_id for entry in entries], "video")
        table = locate_rows(entries, names)
        used = _used_rows(table, len(names.split(b" ")))
        if not used.all():
            unused = np.flatnonzero(~used)
            remedy = "nothing, if they are meant to be left out"
            self._add(
                folder / "video2frames.txt",
                [f"row {row}" for row in unused],
                "rows that no video has",
                remedy,
                "warning",
            )
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
            self._add(
                path,
                self._called(broken, rows),
                "NaN, infinity or a number too large to square",
                "extract these rows again",
            )
            self._add(
                path, self._called(zero, rows), "rows of zeros", "see that their extraction did not fail", "warning"
            )
            self.progress("features", min(there, start + block), there)

    def _called(self, bad: Int[np.ndarray, "rows"], rows: _Rows) -> Iterable[str]:
        return (f"row {row} ({rows.names[row].decode('latin-1')})" if rows.names else f"row {row}" for row in bad)

    def _text(self, captions: dict[str, Captions]) -> dict[str, Spread]:
        path = text_path(self.root, self.name)
        try:
            text = TextFeatures.open(path)
        except InputError as error:
            self._raised(error, path)
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
            what = "NaN, infinity or a number too large to square"
            self._add(text.path, [caption_id], what, "extract these text features again")
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
        empty = [video_id for video_id, length in length_of.items() if length == 0]
        self._add(path, empty, "videos without rows", "extract their features or remove their captions")
        spreads = {}
        for split, own in captions.items():
            missing = [video_id for video_id in own.video_ids if video_id not in length_of]
            remedy = "extract their features or remove their captions"
            self._add(path, missing, f"videos of {split} are missing", remedy)
            there = np.array([length_of.get(video_id, 0) for video_id in own.video_ids], dtype=np.int64)
            spreads[split] = spread(there[there > 0])
        return spreads


def _used_rows(table: RowTable, rows: int) -> Bool[np.ndarray, "rows"]:
    used = np.zeros(rows, dtype=bool)
    used[concatenated_ranges(table.starts, table.stops - table.starts)] = True
    for scattered in table.scattered.values():
        used[scattered] = True
    return used
