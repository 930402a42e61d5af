"""Which film an annotation means, and which split a film belongs to."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from gmmformer.errors import InputError
from gmmformer.media.captions.annotations import Annotation
from gmmformer.media.decoding.films import FILM_SUFFIXES
from gmmformer.names import composed, folded, folded_path

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
"""Shares of the films in each split, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class FilmMatch:
    """Which film each annotated video is."""

    films: dict[str, Path]
    """For each video that has a film, by its name in the annotations: the film."""
    missing: tuple[str, ...]
    """Videos of the annotations without a film, in their order."""
    unused: tuple[Path, ...]
    """Films that no annotation names, in their order."""
    respelt: dict[str, Path]
    """Those of `films` whose name differs in case, spaces or suffix from the film's."""


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
    named = set(found.values())
    return FilmMatch(
        films=found,
        missing=tuple(video for video in names if video not in found),
        unused=tuple(film for film in films if film not in named),
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


def draw_splits(videos: Iterable[str], *, seed: int, shares: Mapping[str, float] = SHARES) -> dict[str, str]:
    """Draw a split for each video, so that all sentences of a film stay together.

    Videos are put in the order of a hash of seed and name and cut at the shares: the shares are exact to one video, the
    order of `videos` does not matter, every machine draws the same, and a video that is added later moves at most one
    other across each cut. Every split with a share above 0 gets a video if there are enough.

    Args:
        videos: Names; one that occurs twice counts once.
        seed: Another seed, another draw.
        shares: Share of each split; they sum to 1.

    Raises:
        InputError: The shares are below 0 or do not sum to 1.
    """
    if not all(share >= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        raise InputError(f"shares {dict(shares)}: give shares of 0 or more that sum to 1")
    names = list(dict.fromkeys(videos))
    order = sorted(names, key=lambda name: (blake2b(f"{seed}:{name}".encode()).digest(), name))
    filled = [split for split, share in shares.items() if share > 0]
    split_of: dict[str, str] = {}
    start, total = 0, 0.0
    for position, split in enumerate(filled):
        total += shares[split]
        after = len(filled) - position - 1
        stop = min(max(round(total * len(names)), start + 1), max(len(names) - after, start + 1))
        split_of.update(dict.fromkeys(order[start:stop], split))
        start = min(stop, len(names))
    return {name: split_of[name] for name in names}
