"""Films into a library: only what is new or changed, in steps that survive being killed."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gmmformer.config import DecodeConfig, DecodeLimits
from gmmformer.cores import Progress, read_ahead, silent
from gmmformer.data import Collection
from gmmformer.errors import InputError
from gmmformer.evaluation import VIDEO_BATCH
from gmmformer.media.decoding import FilmEnd
from gmmformer.media.featurise import FilmFeatures, featurise
from gmmformer.media.films import DecodeError, fingerprint
from gmmformer.media.speech import Speech
from gmmformer.media.written import Written
from gmmformer.model.batches import see_finite_rows
from gmmformer.model.pooling import row_norms
from gmmformer.search.changes import IndexReport, films_at, glance, shown, vanished_from
from gmmformer.search.embedding import ModelEmbedder
from gmmformer.search.hearing import hearing
from gmmformer.search.lines import Said
from gmmformer.search.recipe import Models
from gmmformer.search.store import Store
from gmmformer.search.windows import Window, cut, timing
from gmmformer.search.writer import NewFilm, Writer

COMMIT_SECONDS = 2.0
"""Work that a kill may cost beside the film at hand."""
COMMIT_BYTES = 2**26
_WINDOWS = 64


FilmSource = Callable[[Iterable[Path]], Iterator[FilmFeatures | FilmEnd]]
"""Decodes and encodes films, in whatever order they are done: `gmmformer.media.featurise` with its encoder."""


def film_source(
    models: Models, limits: DecodeLimits, ray: str | None, on_frames: Callable[[int], None] = lambda frames: None
) -> FilmSource:
    """What decodes and encodes films for a library: on a Ray cluster at an address, or here, and tells `on_frames`."""

    def source(films: Iterable[Path]) -> Iterator[FilmFeatures | FilmEnd]:
        encoders = models.encoders  # loaded only if there is something to do
        decode = DecodeConfig(**vars(limits), fps=encoders.recipe.fps)
        if ray is None:
            return featurise(films, encoders.frames, decode, on_frames=on_frames)
        from gmmformer.media.cluster import featurise_on

        return featurise_on(ray, encoders.frames_elsewhere())(films, encoders.frames, decode)

    return source


def index_films(
    into: Writer,
    paths: Sequence[str | os.PathLike[str]],
    source: FilmSource,
    *,
    prune: bool = False,
    retry: bool = False,
    said: bool | Speech = False,
    written: Written | None = None,
    progress: Progress = silent,
) -> IndexReport:
    """Bring a library up to date with the films at `paths`.

    A film is known by its absolute path. It is taken in if it is new or has changed, and committed by itself or with a
    few others within two seconds; `progress` counts it when it is on the disk. Killed at any moment, the next call goes
    on with the films that were not.

    Args:
        into: The library's writer, from `Library.writing`.
        paths: Films, and folders of films.
        source: What decodes and encodes films.
        prune: Remove the films of the library that are gone: those that were at or below one of `paths` and are not
            there any more, or that were somewhere else where no file is now.
        retry: Try again films that failed before and have not changed since, in what is said and written too.
        said: Let a library from before hold what is said in films too; hear it, where they have no subtitles.
        written: Reads text on the screen.
        progress: Called as films are done.

    Raises:
        InputError: A path does not exist, or the library cannot be written to.
    """
    report, films = IndexReport(pruned=prune), films_at(paths)
    with shown(into.folder, progress) as progress, hearing(into, films, bool(said or written), report) as heard:
        known, pending = into.store.known(), _Pending(into, progress, len(films))
        failures = {} if retry else {failure.path: failure for failure in into.store.failures()}
        todo = _changed(glance(films, known, failures, report), known, report)
        into.restamp({path: film.stamp for path, film in todo.items() if film.same})
        changed = {path: film for path, film in todo.items() if not film.same}
        done = len(films) - len(changed)
        pending.seen(done)
        for seen in source([Path(path) for path in changed]) if changed else ():
            path = str(seen.path)
            try:
                if isinstance(seen, FilmEnd):
                    raise InputError(seen.reason or "it has no frames")
                film = embedded_film(into, path, seen.features, seen.seconds, seen.duration, *changed[path][:2])
                if seen.warning:
                    report.warnings[path] = seen.warning
                pending.add(film, heard.of(path, seen.duration, seen.text))
                (report.replaced if path in known else report.added).append(path)
            except InputError as error:
                report.failed[path] = str(error)
                into.fail(path, changed[path].stamp, str(error))
                progress.failed += 1
            done += 1
            pending.seen(done)
        pending.finish()
        heard.again(report.unchanged, progress)
        for reader in (said, written):
            if isinstance(reader, Speech | Written):
                heard.take(reader, films, progress, retry=retry)
        report.vanished.extend(vanished_from(known, films, paths))
        if prune:
            into.remove(report.vanished)
        into.update_engine(progress)
    return report


def index_collection(
    into: Writer,
    collection: Collection,
    split: str,
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
    embedder = into.models.embedder
    if isinstance(embedder, ModelEmbedder):
        collection.see_fits(embedder.model.config)
    elif embedder.feature_dim != collection.frames.dim:
        raise InputError(
            f"{collection.frames.folder}: holds {collection.frames.dim}-dimensional features, but {embedder.name} "
            f"takes {embedder.feature_dim}-dimensional ones; index features of its own encoder"
        )
    names = collection.captions(split).video_ids
    batches = [names[first : first + VIDEO_BATCH] for first in range(0, len(names), VIDEO_BATCH)]
    with shown(into.folder, progress) as progress:
        known, pending, done, taken = into.store.known(), _Pending(into, progress, len(names)), 0, 0
        for batch in read_ahead(lambda batch: _videos(collection, batch), batches, workers):
            fresh = [
                index for index, video in enumerate(batch) if known.get(video.name, ("", ""))[1] != video.fingerprint
            ]
            if fresh:  # all of the batch is embedded, as it may be part of the result
                fused = embedder.embed_windows([video.rows for video in batch])
            for index in fresh:
                pending.add(_whole_or_cut(into, batch[index], fused[index], cut_long))
            done, taken = done + len(batch), taken + len(fresh)
            pending.seen(done)
        pending.finish()
        into.update_engine(progress)
    return taken


def index_library(source: Store, into: Writer, *, progress: Progress = silent) -> int:
    """Take in the films of another library from the features that it keeps, without decoding; how many were new.

    Args:
        source: `Library.store` of the other one.
        into: This library's writer, from `Library.writing`.
        progress: Called as films are done.

    Raises:
        InputError: It keeps none, they are not those of the library's model, or the library cannot be written to.
    """
    if not source.settings.keep_features:
        raise InputError(f"{source.folder}: keeps no features; index the films themselves")
    ours, theirs = into.models.encoders.frames.identity, source.settings.recipe
    made = None if theirs is None else theirs.identities.get("video_encoder")
    if made != ours:
        raise InputError(
            f"{source.folder}: keeps features of {made or 'an unknown encoder'}, but the model of "
            f"{into.folder} takes those of {ours}; index the films themselves"
        )
    with shown(into.folder, progress) as progress:
        known, films, taken = into.store.known(), source.films(), 0
        pending = _Pending(into, progress, len(films))
        for done, film in enumerate(films, start=1):
            if known.get(film.path) != (film.stamp, film.fingerprint):
                kept = source.features_of(film.path)
                assert kept is not None
                pending.add(
                    embedded_film(
                        into,
                        film.path,
                        kept[0].astype(np.float32),
                        seconds=film.timing.taken(film.rows),
                        length=film.length,
                        stamp=film.stamp,
                        fingerprint=film.fingerprint,
                    )
                )
                taken += 1
            pending.seen(done)
        pending.finish()
        into.update_engine(progress)
    return taken


def embedded_film(
    into: Writer,
    path: str,
    features: Float[np.ndarray, "..."],
    seconds: Float[np.ndarray, "..."] | None = None,
    length: float | None = None,
    stamp: str = "",
    fingerprint: str = "",
) -> NewFilm:
    """A film's feature rows cut into windows and embedded, as a library takes them; arguments as `Library.add_film`.

    Raises:
        InputError: The features are not what the library's model takes.
    """
    settings, embedder = into.settings, into.models.embedder
    if features.ndim != 2 or not len(features) or features.shape[1] != settings.feature_dim:
        raise InputError(
            f"{path!r}: its features have shape {features.shape}, but the library's model takes rows of "
            f"{settings.feature_dim} numbers, at least one"
        )
    if not np.isfinite(features).all():
        raise InputError(f"{path!r}: its features hold NaN or infinity; extract them again")
    when = timing(len(features), seconds, length, repr(path))
    windows = cut(len(features), settings.window_rows, settings.overlap)
    rows = [features[window.first : window.first + window.rows] for window in windows]
    fused = [embedder.embed_windows(rows[first : first + _WINDOWS]) for first in range(0, len(rows), _WINDOWS)]
    return NewFilm(
        path=path,
        windows=windows,
        vectors=torch.cat(fused),
        rows=len(features),
        timing=when,
        features=features if settings.keep_features else None,
        stamp=stamp,
        fingerprint=fingerprint,
    )


class _File(NamedTuple):
    stamp: str
    fingerprint: str
    same: bool
    """Its date is another one, its content is not."""


class _Video(NamedTuple):
    name: str
    rows: Float[np.ndarray, "rows dim"]
    seconds: Float[np.ndarray, "rows"] | None
    fingerprint: str


class _Pending:
    """Films that are embedded but not committed: one commit for several, where they come fast."""

    def __init__(self, into: Writer, progress: Progress, total: int) -> None:
        self._films: list[NewFilm] = []
        self._into, self._progress, self._total = into, progress, total
        self._bytes, self._since = 0, 0.0

    def add(self, film: NewFilm, said: Said | None = None) -> None:
        if not self._films:
            self._since = time.monotonic()
        self._films.append(replace(film, said=said))
        self._bytes += film.vectors.nbytes + (0 if film.features is None else film.features.nbytes)

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
        self._into.add(self._films)
        self._films, self._bytes = [], 0


def _changed(stamps: dict[str, str], known: dict[str, tuple[str, str]], report: IndexReport) -> dict[str, _File]:
    """The films that look changed, of those whose content must be looked into; notes the others."""
    todo = {}
    for path, stamp in stamps.items():
        try:
            content = fingerprint(path)
        except DecodeError as error:
            report.failed[path] = error.reason
            continue
        todo[path] = _File(stamp, content, same=path in known and known[path][1] == content)
        if todo[path].same:
            report.unchanged.append(path)
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


def _whole_or_cut(into: Writer, video: _Video, fused: Float[Tensor, "clips dim"], cut_long: bool) -> NewFilm:
    rows, content = len(video.rows), video.fingerprint
    if cut_long and rows > into.settings.window_rows:
        return embedded_film(into, video.name, video.rows, seconds=video.seconds, fingerprint=content)
    return NewFilm(
        path=video.name,
        windows=[Window(0, rows)],
        vectors=fused[None],
        rows=rows,
        timing=timing(rows, video.seconds, None, f"video {video.name!r}"),
        features=video.rows if into.settings.keep_features else None,
        fingerprint=content,
    )
