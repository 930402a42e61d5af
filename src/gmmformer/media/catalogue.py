"""Which film stands behind each video of an extracted collection."""

from pathlib import Path
from typing import NamedTuple

from gmmformer.errors import InputError, one_line
from gmmformer.files import parsed_json, read_bounded

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
