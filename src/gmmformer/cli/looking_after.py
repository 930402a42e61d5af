"""The command that looks after a library: library, action by action."""

import json as json_format
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

from gmmformer.cli.terminal import bars
from gmmformer.errors import InputError
from gmmformer.files import composed, folded_path, read_text
from gmmformer.media.films import path_text, printable

if TYPE_CHECKING:
    from gmmformer.cores import Progress
    from gmmformer.search import Library


Told = tuple[Iterable[Any], Iterable[str], int]
"""What an action says in JSON, a line each, what it says to people, likewise, and the exit code."""


def _info(library: "Library", films: Sequence[str], progress: "Progress") -> Told:
    info = library.info()
    recipe = info.recipe
    names = {} if recipe is None else {"frames": recipe.video_encoder, "text": recipe.text_encoder}
    told = {
        "model": info.model,
        **{name: value for name, value in names.items() if value},
        "films": f"{info.films:,}, {info.seconds / 3600:,.1f} hours, {info.windows:,} windows",
        "could not be read": f"{info.failures:,}",
        "on disk": f"{info.bytes / 1e6:,.1f} MB, vectors in {info.dtype}",
        "removed": f"{info.removed:,}{' (compact gives back the room of old ones)' if info.removed else ''}",
        "features kept": "yes" if info.keeps_features else "no",
        "engine": info.engine,
        "strong, possible, weak": "shown" if info.words else "not shown (`calibrate` says why)",
    }
    width = max(map(len, told))
    return [asdict(info)], [f"{name:<{width}}  {value}" for name, value in told.items()], 0


def _list(library: "Library", films: Sequence[str], progress: "Progress") -> Told:
    from gmmformer.search.words import clock

    there = library.store.films()
    records = (
        {"id": film.id, "film": path_text(film.path), "length": round(film.length, 3), "rows": film.rows}
        for film in there
    )
    return records, (f"{clock(film.length):>10}  {printable(film.path)}" for film in there), 0


def _failures(library: "Library", films: Sequence[str], progress: "Progress") -> Told:
    failed = library.store.failures()
    records = [{"film": path_text(path), "reason": reason} for path, _, reason in failed]
    return records, [f"{printable(path)}: {reason}" for path, _, reason in failed], 0


def _remove(library: "Library", films: Sequence[str], progress: "Progress") -> Told:
    known = [*library.store.known(), *(failure.path for failure in library.store.failures())]
    wanted = dict.fromkeys(path for film in films for path in _named(film, known, library.folder))
    removed = library.remove(list(wanted))
    return [{"removed": removed}], [f"{removed:,} films removed"], 0


def _named(film: str, known: Sequence[str], folder: Path) -> list[str]:
    """The films that a person means by a path, a glob, or a path that looks like one of theirs."""
    absolute = os.path.abspath(film)  # noqa: PTH100 - resolves no links, as when films are taken in
    exact = [path for path in known if film in (path, path_text(path), printable(path)) or path == absolute]
    if exact:
        return exact
    asked = {composed(film), composed(absolute)}
    found = [path for path in known if composed(path) in asked]
    found = found or [path for path in known if any(fnmatchcase(composed(path), one) for one in asked)]
    if found:
        return found
    alike = [path for path in known if folded_path(path) in map(folded_path, asked)]
    if len(alike) == 1:
        return alike
    if alike:
        raise InputError(
            f"{film!a}: {len(alike)} films look like it, {alike[0]!a} and {alike[1]!a}; write the one that is meant"
        )
    raise InputError(f"{printable(film)}: there is no such film in {folder}; `list` shows what there is")


def _verify(library: "Library", films: Sequence[str], progress: "Progress") -> Told:
    from gmmformer.search import verify

    damage = verify(library.store, progress)
    return [{"damage": damage}], damage or [f"all is well: {len(library.store.films()):,} films"], int(bool(damage))


def _compact(library: "Library", films: Sequence[str], progress: "Progress", purge: bool = False) -> Told:
    from gmmformer.search import compact
    from gmmformer.search.removals import KEPT_DAYS

    with library.writing() as into:
        done = compact(into, progress, purge=purge)
    lines = [f"{done.films:,} removed films, {done.freed_bytes:,} bytes given back"]
    if done.kept:
        lines.append(f"{done.kept:,} removed in the last {KEPT_DAYS} days can still be brought back; --purge ends that")
    return [done._asdict()], lines, 0


def _rebuild(library: "Library", films: Sequence[str], progress: "Progress") -> Told:
    with library.writing() as into:
        into.update_engine(progress, anew=True)
    return [{"windows": library.info().windows}], ["the index is made"], 0


def _calibrate(library: "Library", films: Sequence[str], progress: "Progress", known: Path | None = None) -> Told:
    from gmmformer.search.calibration import LEAST_RIGHT, LEAST_STRONG

    path = films[0] if films else None
    sentences = None if path is None else [line.strip() for line in read_text(Path(path)).splitlines() if line.strip()]
    if sentences == []:
        raise InputError(f"{path}: has no sentence; write one a line")
    found = library.calibrate(sentences, None if known is None else _known(library, known))
    told = {"sentences": len(found.margins), "windows": found.windows, "words": found.words}
    lines = [f"calibrated by {len(found.margins):,} sentences: one film in 20 that they find would be called strong"]
    if found.trial is not None:
        tried, strong, right = len(found.trial.known), found.trial.strong, found.trial.right
        told |= {"known": tried, "strong": strong, "right": right}
        lines.append(
            f"of {tried:,} sentences whose film is known, {strong:,} find a strong one, {right:,} the right one"
        )
    if not found.words:
        lines.append(
            "no words are shown: "
            + (
                "whether strong means anything with this model is not known; try it with --known FILE"
                if found.trial is None
                else f"strong has to be right in {100 * LEAST_RIGHT:.0f} % of at least {LEAST_STRONG} cases"
            )
        )
    return [told], lines, 0


def _known(library: "Library", path: Path) -> list[tuple[str, str]]:
    """Films of the library and sentences about them, without those to train on."""
    from gmmformer.media.annotations import read_annotations
    from gmmformer.media.text_data import match_films

    annotations = [one for one in read_annotations(path) if one.split != "train"]
    there = {Path(film): film for film in library.store.known()}
    films = match_films(annotations, list(there)).films
    found = [(there[films[one.video]], one.sentence) for one in annotations if one.video in films]
    if not found:
        raise InputError(f"{path}: no sentence in it (those of the split train aside) is about a film of this library")
    return found


_ACTIONS: dict[str, Callable[["Library", Sequence[str], "Progress"], Told]] = {
    "info": _info,
    "list": _list,
    "failures": _failures,
    "remove": _remove,
    "verify": _verify,
    "rebuild": _rebuild,
}


def library(
    folder: Positional[Path],
    action: Positional[
        Literal["info", "list", "failures", "remove", "verify", "compact", "rebuild", "calibrate"]
    ] = "info",
    films: Positional[tuple[str, ...]] = (),
    *,
    known: Path | None = None,
    purge: bool = False,
    engine: str = "auto",
    json: bool = False,
) -> int:
    """Look after a library: gmmformer library DIR info|list|failures|remove FILMS|verify|compact|rebuild|calibrate

    info: what it is and holds. list: its films. failures: films that could not be read, and why. remove: takes films
    out. verify: reads everything and finds damage; exit code 1 if there is any. compact: gives back the room of films
    that were removed more than 30 days ago; until then they can be brought back in the page. rebuild: trains the index
    of the ann engine anew, or fills a Milvus server anew. calibrate: learns anew what is strong here, from general
    sentences or from those of a file, and whether strong is right.

    Args:
        folder: Folder of the library.
        action: What to do.
        films: With remove: paths as `list` shows them, or globs. With calibrate: a file of sentences, one a line, such
            as are asked, but about nothing that is in the library; it is used from then on.
        known: With calibrate: sentences about films of the library, in any form that `extract --captions` takes; hits
            are called strong, possible or weak if strong is right for these. Those of the split train are left out.
        purge: With compact: gives back the room of all removed films, however short a time ago.
        engine: With rebuild and compact: the address of a Milvus server that the library was put on.
        json: Print JSON, and nothing else, on stdout.
    """
    from gmmformer.search import Library

    if action == "calibrate" and len(films) > 1:
        raise InputError(f"{films[1]}: calibrate takes one file of sentences; put them into one")
    if action != "calibrate" and bool(films) != (action == "remove"):
        raise InputError("remove takes films, no other action does: gmmformer library DIR remove FILM ...")
    if engine != "auto" and action not in ("rebuild", "compact"):
        raise InputError(
            f"--engine {engine}: goes with rebuild and compact, and does nothing with {action}; leave it out"
        )
    if known is not None and action != "calibrate":
        raise InputError(f"--known {known}: goes with calibrate, and does nothing with {action}; leave it out")
    if purge and action != "compact":
        raise InputError(f"--purge: goes with compact, and does nothing with {action}; leave it out")
    check_server(engine)
    with bars() as progress, Library.open(folder, engine=engine) as opened:
        more = {"calibrate": partial(_calibrate, known=known), "compact": partial(_compact, purge=purge)}
        chosen = more.get(action) or _ACTIONS[action]
        records, lines, code = chosen(opened, films, progress)
        for line in map(json_format.dumps, records) if json else lines:
            print(line)
    return code


def check_server(engine: str) -> None:
    """Whoever fills an engine names a server; the others are chosen when a library is searched."""
    if engine != "auto":
        from gmmformer.search.engines import is_address

        if not is_address(engine):
            raise InputError(f"--engine {engine}: give the address of a Milvus server such as http://localhost:19530")
