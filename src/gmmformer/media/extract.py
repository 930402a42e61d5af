"""A folder of films, and sentences about them, into a collection that training, evaluation and indexing read.

Each film's features are kept in a file of their own as soon as they are there, so a killed run loses the films it was
at and no other; when all are there they are put together into the MS-SL layout, which takes its place whole.
"""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gmmformer.config import DecodeConfig
from gmmformer.data import FrameFeatures
from gmmformer.data.collection import ORIGIN
from gmmformer.data.writing import video_id, write_row_names
from gmmformer.errors import InputError, one_line
from gmmformer.files import locked, read_json, recover, swapped_whole, write_text, written_whole
from gmmformer.media.annotations import Annotation
from gmmformer.media.decoding import FilmEnd
from gmmformer.media.encoders import FrameEncoder, TextEncoder
from gmmformer.media.featurise import FilmFeatures, Source, featurise
from gmmformer.media.films import DecodeError, find_films, fingerprint, path_text, printable
from gmmformer.media.report import ExtractReport, ExtractStatus, FilmFailure, FilmRecord, read_film_records
from gmmformer.media.text_data import check_annotations, write_text_data


@dataclass
class _Work:
    """What a run knows of its films, by their fingerprint."""

    films: dict[str, tuple[Path, str]]
    """Video id -> film and its fingerprint."""
    failures: list[FilmFailure]
    warnings: list[FilmFailure] = field(default_factory=list)


def extract(
    films: Sequence[str | os.PathLike[str]],
    out: Path,
    collection: str,
    *,
    frames: FrameEncoder,
    text: TextEncoder | None = None,
    annotations: Sequence[Annotation] = (),
    feature: str | None = None,
    decode: DecodeConfig = DecodeConfig(),
    seed: int = 9527,
    source: Source = featurise,
    progress: Callable[[ExtractStatus], None] = lambda status: None,
) -> ExtractReport:
    """Make, or bring up to date, the collection OUT/COLLECTION from films and sentences about them.

    Done again it decodes only films that are new, changed (by content) or failed before. Films no longer among `films`
    leave the collection.

    Args:
        films: Film files and folders of them.
        out: Folder of collections.
        collection: Name of the collection.
        frames: Turns frames into the features of the videos.
        text: Turns sentences into token features; needed where there are annotations.
        annotations: Sentences; those of films that cannot be read are left out.
        feature: Folder of the features under FeatureData; by default named after the encoder.
        decode: Frame rate, processes, limits.
        seed: Draws the splits where the annotations give none.
        source: Where films become features.
        progress: Told how far it is.

    Raises:
        InputError: A path does not exist or holds no film, the collection was made with other settings or is being
            written to, or the disk is full.
    """
    started = time.perf_counter()
    if annotations and text is None:
        raise InputError("sentences need a text encoder; name one, or leave the annotations out")
    if feature is None:
        feature = re.sub(r"[^\w.-]|^\.", "_", re.split("[/:]", frames.name.rstrip("/"))[-1], flags=re.ASCII)
    folder = Path(out) / _checked("--collection", collection)
    target = folder / "FeatureData" / _checked("--feature", feature)
    settings = {"encoder": frames.identity, "name": frames.name, "fps": decode.fps, "dim": frames.dim}
    work = _survey(films)
    check_annotations(annotations, [film for film, _ in work.films.values()])
    with locked(folder, "extracting"):
        recover(folder)
        recover(target.parent)
        before = _records_of(target, settings)
        kept = _Kept(folder / "FeatureData" / f".{feature}.films", settings)
        status = _decode_missing(work, before, kept, frames, decode, source, progress)
        records = _assemble(target, work, before, kept, settings)
        report_text = None
        if annotations and records and text is not None:
            report_text = write_text_data(folder, collection, annotations, records, target, text, seed)
        _write_failures(folder / "failures.jsonl", work.failures)
        kept.clear()
    return ExtractReport(
        folder=folder,
        feature=feature,
        records=tuple(records),
        decoded=len(kept.made),
        failures=tuple(work.failures),
        warnings=tuple(work.warnings),
        text=report_text,
        frames=status.frames,
        film_seconds=sum({r.fingerprint: r.duration for r in records if r.fingerprint in kept.made}.values()),
        seconds=time.perf_counter() - started,
    )


def _checked(flag: str, name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
        raise InputError(f"{flag} {name!r}: a name takes letters, digits, '-', '_' and, but for the first, '.'")
    return name


def _write_failures(path: Path, failures: Iterable[FilmFailure]) -> None:
    text = "".join(json.dumps({"film": str(film), "reason": reason}) + "\n" for film, reason in failures)
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)


def _records_of(target: Path, settings: dict[str, Any]) -> list[FilmRecord]:
    """The films already in the collection; they were extracted with the same settings."""
    if not target.exists():
        return []
    records = read_film_records(target)
    path = target / ORIGIN
    try:
        saved = dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: missing or damaged ({one_line(error)}); remove the folder and extract again"
        ) from error
    for name, value in settings.items():
        if saved.get(name) != value:
            raise InputError(
                f"{target}: was extracted with {name} {saved.get(name)}, now it would be {value}; "
                "give another --feature or --collection, or remove the folder"
            )
    return records


def _survey(paths: Sequence[str | os.PathLike[str]]) -> _Work:
    """Name the films and take their fingerprints; those that cannot be read are failures."""
    named: dict[str, Path] = {}
    seen: set[Path] = set()
    for given in paths:
        for film in find_films([given]):
            if film in seen:
                continue
            seen.add(film)
            name = path_text(film.relative_to(given) if Path(given).is_dir() else Path(film.name))
            plain = video_id(os.path.splitext(name)[0])  # noqa: PTH122
            named[plain if plain not in named else _unused(named, video_id(name))] = film
    if not named:
        given = ", ".join(map(printable, paths)) or "nothing"
        raise InputError(f"{given}: there is no film in it; films are known by endings such as .mp4, .mkv or .avi")
    failures, films = [], {}
    with ThreadPoolExecutor(8) as pool:
        for (video, film), found in zip(named.items(), pool.map(_fingerprint, named.values()), strict=True):
            if isinstance(found, DecodeError):
                failures.append(FilmFailure(film, found.reason))
            else:
                films[video] = (film, found)
    return _Work(films, failures)


def _fingerprint(film: Path) -> str | DecodeError:
    try:
        return fingerprint(film)
    except DecodeError as error:
        return error


def _unused(named: dict[str, Path], video: str) -> str:
    number = 2
    while video in named:
        video, number = f"{video.removesuffix(f'~{number - 1}')}~{number}", number + 1
    return video


class _Kept:
    """The features of single films, until they are put together; each file is whole."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.made: set[str] = set()
        self._key = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()

    def path(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}-{self._key}.npz"

    def __contains__(self, fingerprint: str) -> bool:
        return self.path(fingerprint).exists()

    def add(self, fingerprint: str, film: FilmFeatures) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path(fingerprint)) as beside, beside.open("wb") as file:
            np.savez(
                file,
                features=film.features.astype(np.float32, copy=False),
                seconds=film.seconds,
                duration=np.float64(film.duration),
            )
        self.made.add(fingerprint)

    def read(self, fingerprint: str) -> tuple[np.ndarray, np.ndarray, float]:
        with np.load(self.path(fingerprint), allow_pickle=False) as saved:
            return saved["features"], saved["seconds"], float(saved["duration"])

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _decode_missing(
    work: _Work,
    before: Iterable[FilmRecord],
    kept: _Kept,
    encoder: FrameEncoder,
    settings: DecodeConfig,
    source: Source,
    progress: Callable[[ExtractStatus], None],
) -> ExtractStatus:
    known = {record.fingerprint for record in before}
    missing = {print_: film for film, print_ in work.films.values() if print_ not in known and print_ not in kept}
    prints = {film: print_ for print_, film in missing.items()}
    status = ExtractStatus(films=len(missing), failed=len(work.failures))
    progress(status)
    failed: dict[str, str] = {}

    def on_frames(frames: int) -> None:
        status.frames += frames
        progress(status)

    for end in source(missing.values(), encoder, settings, on_frames=on_frames) if missing else ():
        print_ = prints[end.path]
        if isinstance(end, FilmEnd):
            failed[print_] = end.reason or "unknown"
        elif _fingerprint(end.path) != print_:
            failed[print_] = "changed while it was being read; extract again when it is complete"
        else:
            kept.add(print_, end)
            if end.warning:
                work.warnings.append(FilmFailure(end.path, end.warning))
        status.done += 1
        status.failed = len(work.failures) + len(failed)
        progress(replace(status))
    for video, (film, print_) in list(work.films.items()):
        if print_ in failed:
            work.failures.append(FilmFailure(film, failed[print_]))
            del work.films[video]
    return status


def _assemble(
    target: Path, work: _Work, before: list[FilmRecord], kept: _Kept, settings: dict[str, Any]
) -> list[FilmRecord]:
    """Put the films' features together, in the order of the films; nothing is written if nothing changed."""
    wanted = [(video, film.absolute(), print_) for video, (film, print_) in work.films.items()]
    if wanted == [(record.video, record.film, record.fingerprint) for record in before]:
        return before
    if not wanted:
        return []
    old = {record.fingerprint: record for record in before}
    source = FrameFeatures.open(target) if before else None
    records: list[FilmRecord] = []
    with swapped_whole(target) as beside:
        times = []
        with (beside / "feature.bin").open("wb") as file:
            for video, film, print_ in wanted:
                if print_ in kept:
                    features, seconds, duration = kept.read(print_)
                else:
                    features, seconds, duration = _read_again(source, old[print_])
                file.write(np.ascontiguousarray(features, dtype=np.float32).data)
                times.append(seconds)
                records.append(FilmRecord(video, film, print_, len(features), duration))
        rows = sum(record.rows for record in records)
        (beside / "shape.txt").write_text(f"{rows} {settings['dim']}")
        write_row_names(beside, {record.video: record.rows for record in records})
        np.save(beside / "times.npy", np.concatenate(times).astype(np.float64))
        lines = [json.dumps({**record._asdict(), "film": str(record.film)}) + "\n" for record in records]
        (beside / "films.jsonl").write_text("".join(lines), encoding="utf-8")
        (beside / ORIGIN).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return records


def _read_again(source: FrameFeatures | None, record: FilmRecord) -> tuple[np.ndarray, np.ndarray, float]:
    assert source is not None
    seconds = source.seconds_of(record.video)
    assert seconds is not None
    return source.features_of(record.video), seconds, record.duration
