"""Films into a library: only what is new or changed, in steps that survive being killed."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from gmmformer.data import Collection
from gmmformer.data.progress import Progress, silent
from gmmformer.data.read_ahead import read_ahead
from gmmformer.errors import InputError
from gmmformer.evaluation import VIDEO_BATCH
from gmmformer.media.decoding import FilmEnd
from gmmformer.media.featurise import FilmFeatures
from gmmformer.media.films import DecodeError, fingerprint
from gmmformer.model.batches import see_finite_rows
from gmmformer.model.pooling import row_norms
from gmmformer.search.activity import shown
from gmmformer.search.changes import IndexReport, films_at, glance, vanished_from
from gmmformer.search.embedding import ModelEmbedder
from gmmformer.search.preparation import embedded_film
from gmmformer.search.windows import Window, timing
from gmmformer.search.writer import NewFilm

if TYPE_CHECKING:
    from gmmformer.search.library import Library

COMMIT_SECONDS = 2.0
"""Work that a kill may cost beside the film at hand."""
COMMIT_BYTES = 2**26


FilmSource = Callable[[Iterable[Path]], Iterator[FilmFeatures | FilmEnd]]
"""Decodes and encodes films, in whatever order they are done: `gmmformer.media.featurise` with its encoder."""


def index_films(
    library: "Library",
    paths: Sequence[str | os.PathLike[str]],
    source: FilmSource,
    *,
    prune: bool = False,
    retry: bool = False,
    progress: Progress = silent,
) -> IndexReport:
    """Bring a library up to date with the films at `paths`.

    A film is known by its absolute path. It is taken in if it is new or has changed, and committed by itself or with a
    few others within two seconds; `progress` counts it when it is on the disk. Killed at any moment, the next call goes
    on with the films that were not.

    Args:
        library: Open, with its model.
        paths: Films, and folders of films.
        source: What decodes and encodes films.
        prune: Remove the films of the library that are gone: those that were at or below one of `paths` and are not
            there any more, or that were somewhere else where no file is now.
        retry: Try again films that failed before and have not changed since.
        progress: Called as films are done.

    Raises:
        InputError: A path does not exist, or the library cannot be written to.
    """
    report = IndexReport(pruned=prune)
    films = films_at(paths)
    with library.writing() as writer, shown(library.folder, progress) as progress:
        known, pending = library.known(), _Pending(library, progress, len(films))
        failures = {} if retry else {failure.path: failure for failure in library.failures()}
        todo = _changed(glance(films, known, failures, report), known, report)
        writer.restamp(todo.restamped)
        done = len(films) - len(todo.films)
        pending.seen(done)
        for seen in source([Path(path) for path in todo.films]) if todo.films else ():
            film = todo.films[str(seen.path)]
            try:
                pending.add(_embedded(library, film, seen))
                (report.replaced if film.path in known else report.added).append(film.path)
                if seen.warning:
                    report.warnings[film.path] = seen.warning
            except InputError as error:
                report.failed[film.path] = str(error)
                writer.fail(film.path, film.stamp, str(error))
                progress.failed += 1
            done += 1
            pending.seen(done)
        pending.finish()
        report.vanished.extend(vanished_from(known, films, paths))
        if prune:
            writer.remove(report.vanished)
        library.extend(progress)
    return report


def _embedded(library: "Library", film: "_File", seen: FilmFeatures | FilmEnd) -> NewFilm:
    if isinstance(seen, FilmEnd):
        raise InputError(seen.reason or "it has no frames")
    return embedded_film(
        library.settings,
        library.required_embedder(),
        film.path,
        seen.features,
        seconds=seen.seconds,
        length=seen.duration,
        stamp=film.stamp,
        fingerprint=film.fingerprint,
    )


def index_collection(
    collection: Collection,
    split: str,
    library: "Library",
    *,
    cut_long: bool = False,
    workers: int = 0,
    progress: Progress = silent,
) -> int:
    """Take in the videos of a split that are not in the library yet; how many there were.

    A video is known by its id. Each is embedded exactly as `evaluate` does it, longer ones averaged down to what the
    model sees, so that searching ranks them as `evaluate` measures it; with `cut_long` those are cut into windows
    instead. Killed at any moment, the next call goes on.

    Raises:
        InputError: The features are not those of the library's model, or the library cannot be written to.
    """
    embedder = library.required_embedder()
    if isinstance(embedder, ModelEmbedder):
        collection.see_fits(embedder.model.config)
    elif embedder.feature_dim != collection.frames.dim:
        raise InputError(
            f"{collection.frames.folder}: holds {collection.frames.dim}-dimensional features, but {embedder.name} "
            f"takes {embedder.feature_dim}-dimensional ones; index features of its own encoder"
        )
    names = collection.captions(split).video_ids
    batches = [names[first : first + VIDEO_BATCH] for first in range(0, len(names), VIDEO_BATCH)]
    with library.writing(), shown(library.folder, progress) as progress:
        known, pending, done, taken = library.known(), _Pending(library, progress, len(names)), 0, 0
        for batch in read_ahead(lambda batch: _videos(collection, batch), batches, workers):
            fresh = [
                index for index, video in enumerate(batch) if known.get(video.name, ("", ""))[1] != video.fingerprint
            ]
            if fresh:
                fused = embedder.embed_windows(
                    [video.rows for video in batch]
                )  # whole: a batch may be part of the result
            for index in fresh:
                pending.add(_whole_or_cut(library, batch[index], fused[index], cut_long))
            done, taken = done + len(batch), taken + len(fresh)
            pending.seen(done)
        pending.finish()
        library.extend(progress)
    return taken


def index_library(source: "Library", library: "Library", *, progress: Progress = silent) -> int:
    """Take in the films of another library from the features that it keeps, without decoding; how many were new.

    Raises:
        InputError: It keeps none, they are not those of the library's model, or the library cannot be written to.
    """
    if not source.settings.keep_features:
        raise InputError(f"{source.folder}: keeps no features; index the films themselves")
    ours, theirs = library.encoders().frames.identity, source.settings.recipe
    made = None if theirs is None else theirs.identities.get("video_encoder")
    if made != ours:
        raise InputError(
            f"{source.folder}: keeps features of {made or 'an unknown encoder'}, but the model of "
            f"{library.folder} takes those of {ours}; index the films themselves"
        )
    with library.writing(), shown(library.folder, progress) as progress:
        known, films, taken = library.known(), source.films(), 0
        pending = _Pending(library, progress, len(films))
        for done, film in enumerate(films, start=1):
            if known.get(film.path) != (film.stamp, film.fingerprint):
                kept = source.features_of(film.path)
                assert kept is not None
                features, when = kept
                pending.add(
                    embedded_film(
                        library.settings,
                        library.required_embedder(),
                        film.path,
                        features.astype(np.float32),
                        seconds=when.taken(film.rows),
                        length=when.length,
                        stamp=film.stamp,
                        fingerprint=film.fingerprint,
                    )
                )
                taken += 1
            pending.seen(done)
        pending.finish()
        library.extend(progress)
    return taken


class _File(NamedTuple):
    path: str
    stamp: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class _Todo:
    films: dict[str, _File] = field(default_factory=dict)
    restamped: dict[str, str] = field(default_factory=dict)
    """Files of another date whose content is the same."""


class _Video(NamedTuple):
    name: str
    rows: Float[np.ndarray, "rows dim"]
    seconds: Float[np.ndarray, "rows"] | None
    fingerprint: str


class _Pending:
    """Films that are embedded but not committed: one commit for several, where they come fast."""

    def __init__(self, library: "Library", progress: Progress, total: int) -> None:
        self._films: list[NewFilm] = []
        self._library, self._progress, self._total = library, progress, total
        self._bytes, self._since = 0, 0.0

    def add(self, film: NewFilm) -> None:
        if not self._films:
            self._since = time.monotonic()
        self._films.append(film)
        self._bytes += film.fused.nbytes + (0 if film.features is None else film.features.nbytes)

    def seen(self, done: int) -> None:
        """So many films have been looked at: commit if it is time, and tell how many are on the disk."""
        waited = bool(self._films) and time.monotonic() - self._since >= COMMIT_SECONDS
        if waited or self._bytes >= COMMIT_BYTES:
            self._commit()
        self._progress("indexing", done - len(self._films), self._total)

    def finish(self) -> None:
        """All have been looked at."""
        self._commit()
        self._progress("indexing", self._total, self._total)

    def _commit(self) -> None:
        self._library.add_windows(self._films)
        self._films, self._bytes = [], 0


def _changed(stamps: dict[str, str], known: dict[str, tuple[str, str]], report: IndexReport) -> _Todo:
    """The films that must be decoded, of those whose content must be looked into; notes the others."""
    todo = _Todo()
    for film, stamp in stamps.items():
        try:
            content = fingerprint(film)
        except DecodeError as error:
            report.failed[film] = error.reason
            continue
        if film in known and known[film][1] == content:
            report.unchanged.append(film)
            todo.restamped[film] = stamp
        else:
            todo.films[film] = _File(film, stamp, content)
    return todo


def _videos(collection: Collection, names: Sequence[str]) -> list[_Video]:
    frames = collection.frames
    videos, views = [], frames.views_of(names)
    lengths = np.array([len(rows) for rows in views])
    see_finite_rows(np.concatenate([row_norms(rows) for rows in views]), lengths, "video", names)
    for name, rows in zip(names, views, strict=True):
        content = hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
        videos.append(_Video(name, rows, frames.seconds_of(name), content))
    return videos


def _whole_or_cut(library: "Library", video: _Video, fused: Float[Tensor, "clips dim"], cut_long: bool) -> NewFilm:
    rows = len(video.rows)
    if cut_long and rows > library.settings.window_rows:
        return embedded_film(
            library.settings,
            library.required_embedder(),
            video.name,
            video.rows,
            seconds=video.seconds,
            fingerprint=video.fingerprint,
        )
    return NewFilm(
        path=video.name,
        windows=[Window(0, rows)],
        fused=fused[None],
        rows=rows,
        timing=timing(rows, video.seconds, None, f"video {video.name!r}"),
        features=video.rows if library.settings.keep_features else None,
        fingerprint=video.fingerprint,
    )
