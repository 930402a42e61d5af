"""Sentences about extracted films into caption files, token features and moments."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np

from gmmformer.data import FrameFeatures
from gmmformer.data.collection import ORIGIN
from gmmformer.data.writing import tokens_file, write_captions, write_tokens
from gmmformer.errors import InputError
from gmmformer.files import composed, folded, folded_path, swapped_whole
from gmmformer.media.annotations import SPLITS, Annotation
from gmmformer.media.encoders import TextEncoder
from gmmformer.media.films import FILM_SUFFIXES
from gmmformer.media.report import FilmRecord, TextReport

_BATCH = 512
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
"""Shares of the films in each split, where the annotations give none."""


@dataclass(frozen=True, kw_only=True)
class FilmMatch:
    """Which film each annotated video is."""

    films: dict[str, Path]
    """For each video that has a film, by its name in the annotations: the film."""
    missing: tuple[str, ...]
    """Videos of the annotations without a film, in their order."""
    respelt: dict[str, Path]
    """Those of `films` whose name differs in case, spaces or suffix from the film's."""


def write_text_data(
    folder: Path,
    collection: str,
    annotations: Sequence[Annotation],
    records: Sequence[FilmRecord],
    features: Path,
    encoder: TextEncoder,
    seed: int,
) -> TextReport:
    """Write TextData (caption files, token features, moments.tsv) for the films in `records`, unless it is there.

    Raises:
        InputError: Some annotations name a split and others do not, or a name fits several films.
    """
    match = match_films(annotations, [record.film for record in records])
    video_of = {record.film: record.video for record in records}
    kept = [annotation for annotation in annotations if annotation.video in match.films]
    videos = [video_of[match.films[annotation.video]] for annotation in kept]
    splits = _splits(kept, videos, seed)
    ids = _caption_ids(videos)
    lengths = {record.video: record.duration for record in records}
    report = TextReport(
        sentences={
            split: sum(splits[video] == split for video in videos) for split in SPLITS if split in splits.values()
        },
        without_film=match.missing,
        remarks=(*_other_names(match), *moment_remarks(kept, [lengths[video] for video in videos])),
    )
    target = folder / "TextData"
    what = [
        [identifier, a.sentence, splits[v], a.start, a.end] for identifier, v, a in zip(ids, videos, kept, strict=True)
    ]
    state = json.dumps([encoder.identity, [[record.video, record.fingerprint] for record in records], what])
    digest = blake2b(state.encode()).hexdigest()
    made = json.dumps({"encoder": encoder.identity, "name": encoder.name, "made_of": digest}, indent=2) + "\n"
    if (target / ORIGIN).exists() and (target / ORIGIN).read_text(encoding="utf-8") == made:
        return report
    with swapped_whole(target) as beside:
        for split in report.sentences:
            chosen = [i for i, video in enumerate(videos) if splits[video] == split]
            path = beside / f"{collection}{split}.caption.txt"
            write_captions(path, [ids[i] for i in chosen], [kept[i].sentence for i in chosen])
        with tokens_file(beside / f"roberta_{collection}_query_feat.hdf5") as file:
            for start in range(0, len(kept), _BATCH):
                some = kept[start : start + _BATCH]
                write_tokens(file, ids[start : start + _BATCH], encoder.encode([a.sentence for a in some]))
        _write_moments(beside / "moments.tsv", ids, videos, kept, FrameFeatures.open(features))
        (beside / ORIGIN).write_text(made, encoding="utf-8")
    return report


def check_annotations(annotations: Sequence[Annotation], films: Sequence[Path]) -> None:
    """Find what `write_text_data` would refuse before hours go into decoding.

    Raises:
        InputError: As `write_text_data`.
    """
    match = match_films(annotations, films)
    kept = [annotation for annotation in annotations if annotation.video in match.films]
    if annotations and films and not kept:
        raise InputError(
            f"none of the {len(annotations):,} sentences is about one of the films: the annotations name "
            f"{annotations[0].video!r}, the films are called {films[0].name!r}; mend the names"
        )
    _splits(kept, [str(match.films[annotation.video]) for annotation in kept], 0)


def _splits(annotations: Sequence[Annotation], videos: Sequence[str], seed: int) -> dict[str, str]:
    """The split of each video: as annotated, or drawn."""
    named: dict[str, str] = {}
    for annotation, video in zip(annotations, videos, strict=True):
        if annotation.split is None:
            continue
        if named.setdefault(video, annotation.split) != annotation.split:
            raise InputError(
                f"video {annotation.video!r} is in {named[video]!r} and in {annotation.split!r}; choose one"
            )
    if not named:
        return draw_splits(videos, seed=seed)
    for annotation, video in zip(annotations, videos, strict=True):
        if video not in named:
            raise InputError(f"video {annotation.video!r} has no split, others have one; give one to all or to none")
    return named


def _caption_ids(videos: Sequence[str]) -> list[str]:
    """VIDEO#enc#N, as the published collections write them."""
    counts: dict[str, int] = {}
    ids = []
    for video in videos:
        number = counts.get(video, 0)
        ids.append(f"{video}#enc#{number}")
        counts[video] = number + 1
    return ids


def _other_names(match: FilmMatch) -> list[str]:
    if not match.respelt:
        return []
    video, film = next(iter(match.respelt.items()))
    return [
        f"{len(match.respelt):,} videos of the captions are taken for films whose names differ in case, spaces or "
        f"suffix, such as {video!a} for {film.name!a}"
    ]


def moment_remarks(annotations: Sequence[Annotation], lengths: Sequence[float]) -> list[str]:
    """What the seconds of annotations say that their films do not bear out, a sentence for each kind of fault.

    Args:
        annotations: Sentences.
        lengths: Seconds of each one's film.
    """
    timed = [
        (annotation, length)
        for annotation, length in zip(annotations, lengths, strict=True)
        if annotation.end is not None
    ]
    beyond = [(_last(annotation) - length, annotation, length) for annotation, length in timed]
    beyond = [each for each in beyond if each[0] > _slack(each[2])]
    remarks = []
    points = [annotation for annotation, _ in timed if annotation.start == _last(annotation)]
    if points:
        remarks.append(
            f"{len(points):,} of {len(timed):,} moments end at the second at which they begin, such as one of "
            f"{points[0].video!r} at {points[0].start:g} s, and count as the row there; see that both are written"
        )
    if beyond:
        _, worst, length = max(beyond, key=lambda each: each[0])
        after = sum(annotation.start is not None and annotation.start >= length for _, annotation, length in beyond)
        thousandth = all(_last(annotation) / 1000 <= length + _slack(length) for _, annotation, length in beyond)
        hint = "; they look like milliseconds" if thousandth and 2 * after > len(timed) else ""
        remarks.append(
            f"{len(beyond):,} of {len(timed):,} moments end after their film does, {after:,} of them begin after it "
            f"and count as its last row; the worst: {worst.video!r} at {worst.start:g} to {_last(worst):g} s, in a "
            f"film of {length:.1f} s; see that the films are whole and the annotations theirs{hint}"
        )
    others = {
        annotation.video: (annotation.duration, length)
        for annotation, length in zip(annotations, lengths, strict=True)
        if annotation.duration is not None and abs(annotation.duration - length) > _slack(length)
    }
    if others:
        video, (said, length) = max(others.items(), key=lambda item: abs(item[1][0] - item[1][1]))
        remarks.append(
            f"{len(others):,} films are not as long as the annotations say; the worst: {video!r}, {said:g} s by the "
            f"annotations, {length:.1f} s on the disk; see that the films are whole"
        )
    return remarks


def _last(annotation: Annotation) -> float:
    """The last second that an annotation speaks of."""
    assert annotation.end is not None
    return max([annotation.end, *(end for _, end in annotation.windows)])


def _slack(length: float) -> float:
    """Seconds by which annotations of a film may be beside it: published ones are rounded, and made on other copies."""
    return max(1.0, 0.02 * length)


def _write_moments(
    path: Path, ids: Sequence[str], videos: Sequence[str], annotations: Sequence[Annotation], features: FrameFeatures
) -> None:
    """Caption id, first row of the moment, row after its last, rows of the video; where the moment is known."""
    with path.open("w", encoding="utf-8") as file:
        for identifier, video, annotation in zip(ids, videos, annotations, strict=True):
            if annotation.start is None or annotation.end is None:
                continue
            seconds = features.seconds_of(video)
            assert seconds is not None
            first = min(int(np.searchsorted(seconds, annotation.start)), len(seconds) - 1)
            after = max(int(np.searchsorted(seconds, annotation.end)), first + 1)
            file.write(f"{identifier}\t{first}\t{after}\t{len(seconds)}\n")


def match_films(annotations: Iterable[Annotation], films: Sequence[Path]) -> FilmMatch:
    """Find the film of each annotated video.

    A video's name is a film's path, or the end of it from a folder on ("a.mp4", "trip/a.mp4" for "films/trip/a.mp4");
    where no film has that name with its suffix, it is looked for without ("a", "trip/a"). Accents may be composed in
    one and not in the other. A name that is nobody's may differ in case, in spaces or in its suffix from that of a film
    that no other name means.

    Raises:
        InputError: Two films fit a name equally well, or two names of other spelling fit one film.
    """
    names = {
        video: PurePosixPath(video.replace("\\", "/")).as_posix()
        for video in dict.fromkeys(annotation.video for annotation in annotations)
    }
    found: dict[str, Path] = {}
    for same in (str, composed):
        known = _by_name(films, same)
        for video, name in names.items():
            if video not in found:
                _take(found, video, next((ends[same(name)] for ends in known if same(name) in ends), []))
    claimed = set(found.values())
    _, *known = _by_name([film for film in films if film not in claimed], folded_path)
    respelt: dict[str, Path] = {}
    for video, name in names.items():
        if video not in found:
            stem, ending = os.path.splitext(name)  # noqa: PTH122
            without = [(known[1], folded_path(f"{stem}/")[:-1])] if ending.lower() in FILM_SUFFIXES else []
            tried = [*((ends, folded_path(name)) for ends in known), *without]
            _take(respelt, video, next((ends[key] for ends, key in tried if key in ends), []))
    meant: dict[Path, str] = {}
    for video, film in respelt.items():
        if film in meant:
            raise InputError(
                f"videos {meant[film]!a} and {video!a} of the annotations: both look like the film "
                f"{film.as_posix()!a}; write its name where it is meant, and another for the other"
            )
        meant[film] = video
    found |= respelt
    return FilmMatch(
        films=found,
        missing=tuple(video for video in names if video not in found),
        respelt=respelt,
    )


def _by_name(films: Sequence[Path], same: Callable[[str], str]) -> list[dict[str, list[Path]]]:
    """Films by their path, by each end of it, and by each end without suffix; `same` makes one of equal names."""
    whole: dict[str, list[Path]] = {}
    ends: list[dict[str, list[Path]]] = [{}, {}]
    for film in films:
        whole.setdefault(same(film.as_posix()), []).append(film)
        for names, path in zip(ends, (film, film.with_suffix("")), strict=True):
            parts = path.parts
            for start in range(len(parts)):
                names.setdefault(same(PurePosixPath(*parts[start:]).as_posix()), []).append(film)
    return [whole, *ends]


def _take(found: dict[str, Path], video: str, fitting: Sequence[Path]) -> None:
    if len(fitting) > 1:
        one, other = (film.as_posix() for film in fitting[:2])
        shown = (ascii(one), ascii(other)) if folded(one) == folded(other) else (one, other)
        raise InputError(
            f"video {video!r} of the annotations: {len(fitting)} films fit it ({shown[0]}, {shown[1]}); write "
            "the name with its folder and suffix"
        )
    if fitting:
        found[video] = fitting[0]


def draw_splits(videos: Iterable[str], *, seed: int) -> dict[str, str]:
    """Draw a split for each video, so that all sentences of a film stay together.

    Videos are put in the order of a hash of seed and name and cut at the shares: the shares are exact to one video, the
    order of `videos` does not matter, every machine draws the same, and a video that is added later moves at most one
    other across each cut. Every split gets a video if there are enough.

    Args:
        videos: Names; one that occurs twice counts once.
        seed: Another seed, another draw.
    """
    names = list(dict.fromkeys(videos))
    order = sorted(names, key=lambda name: (blake2b(f"{seed}:{name}".encode()).digest(), name))
    split_of: dict[str, str] = {}
    for after, split in zip((2, 1, 0), SHARES, strict=True):
        begin, total = len(split_of), sum(list(SHARES.values())[: 3 - after])
        stop = min(max(round(total * len(names)), begin + 1), max(len(names) - after, begin + 1))
        split_of.update(dict.fromkeys(order[begin:stop], split))
    return {name: split_of[name] for name in names}
