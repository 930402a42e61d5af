"""What an extraction did, for people and for machines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gmmformer.errors import InputError, one_line
from gmmformer.files import parsed_json, read_bounded
from gmmformer.media.films import printable

_MOST_BYTES = 2**30


class FilmRecord(NamedTuple):
    """A film in the collection."""

    video: str
    """Its id in the collection."""
    film: Path
    fingerprint: str
    rows: int
    duration: float
    """Length in seconds."""


class FilmFailure(NamedTuple):
    """A film that could not be read."""

    film: Path
    reason: str
    """Why, in words a person understands."""


@dataclass(kw_only=True)
class ExtractStatus:
    """How far an extraction is."""

    films: int
    """Films to decode."""
    done: int = 0
    failed: int = 0
    frames: int = 0


@dataclass(frozen=True, kw_only=True)
class TextReport:
    """What became of the sentences."""

    sentences: dict[str, int]
    """Sentences in each split."""
    without_film: tuple[str, ...]
    """Videos of the annotations that are not among the films that could be read."""
    remarks: tuple[str, ...] = ()
    """What does not fit between sentences and films, a sentence each."""


@dataclass(frozen=True, kw_only=True)
class ExtractReport:
    """What an extraction did."""

    folder: Path
    """The collection."""
    feature: str
    records: tuple[FilmRecord, ...]
    """The films in the collection."""
    decoded: int
    """Films decoded now; the others were there already."""
    failures: tuple[FilmFailure, ...]
    warnings: tuple[FilmFailure, ...]
    """Films that were read, with something odd about them."""
    text: TextReport | None
    frames: int
    """Frames encoded now."""
    film_seconds: float
    """Seconds of film decoded now."""
    seconds: float
    """Time it took."""

    def as_dict(self) -> dict[str, Any]:
        """What `gmmformer extract --json` prints."""
        return {
            "collection": str(self.folder),
            "feature": self.feature,
            "films": len(self.records),
            "decoded": self.decoded,
            "failed": [{"film": str(film), "reason": reason} for film, reason in self.failures],
            "warnings": [{"film": str(film), "warning": reason} for film, reason in self.warnings],
            "sentences": self.text.sentences if self.text else {},
            "remarks": list(self.text.remarks) if self.text else [],
            "frames": self.frames,
            "film_seconds": round(self.film_seconds, 3),
            "seconds": round(self.seconds, 3),
        }

    def table(self) -> str:
        """The report as text for a terminal."""
        kept = len(self.records) - self.decoded
        lines = [
            f"{self.folder}: {len(self.records):,} films, {sum(r.rows for r in self.records):,} rows of {self.feature}"
        ]
        lines.append(f"decoded {self.decoded:,} films, {kept:,} were there already, {len(self.failures):,} failed")
        if self.frames:
            lines.append(
                f"{self.film_seconds / 3600:.2f} h of film in {self.seconds:.1f} s: {self.frames / self.seconds:,.0f} "
                f"frames/s, {self.film_seconds / self.seconds:,.0f} x real time"
            )
        if self.text:
            lines.append(
                "sentences: " + ", ".join(f"{count:,} {split}" for split, count in self.text.sentences.items())
            )
            if self.text.without_film:
                missing = self.text.without_film
                lines.append(f"no film for {len(missing):,} videos of the captions, such as {printable(missing[0])}")
            lines += [f"odd: {remark}" for remark in self.text.remarks]
        for heading, films in (("failed", self.failures), ("odd", self.warnings)):
            lines += [f"{heading}: {printable(film)}: {reason}" for film, reason in films]
        if self.failures:
            lines.append(f"all failures: {self.folder / 'failures.jsonl'}")
        return "\n".join(lines)


def read_film_records(folder: Path) -> list[FilmRecord]:
    """The films behind the features in `folder` (ROOT/COLLECTION/FeatureData/FEATURE), as `extract` noted them.

    Raises:
        InputError: They did not come from `extract`.
    """
    try:
        lines = read_bounded(folder / "films.jsonl", _MOST_BYTES).splitlines()
        saved = [parsed_json(line) for line in lines]
        return [FilmRecord(**{**record, "film": Path(record["film"])}) for record in saved]
    except FileNotFoundError as error:
        raise InputError(f"{folder}: has no films.jsonl, so its films are not known; extract it again") from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{folder / 'films.jsonl'}: damaged ({one_line(error)}); remove the folder and extract again"
        ) from error
