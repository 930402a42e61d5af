"""Commands on libraries of films: index, search, library."""

import json as json_format
import sys
import time
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from gmmformer.cli.shared import bars
from gmmformer.config import DecodeLimits, Running
from gmmformer.errors import InputError

if TYPE_CHECKING:
    from gmmformer.data.progress import Progress
    from gmmformer.search import Hit, IndexReport, Library

ACTIONS = Literal["info", "list", "failures", "remove", "verify", "compact", "rebuild"]
NOTHING = "nothing here matches"


def index(
    films: Positional[tuple[Path, ...]] = (),
    *,
    library: Path,
    model: str | None = None,
    mix_in: Annotated[str | None, arg(name="with", metavar="zero-shot:NAME")] = None,
    mix: float = 0.5,
    data: Path | None = None,
    collection: str | None = None,
    split: str = "test",
    feature: str | None = None,
    features_of: Path | None = None,
    video_encoder: str | None = None,
    text_encoder: str | None = None,
    fps: float | None = None,
    store: Literal["int8", "bf16", "float32"] | None = None,
    overlap: float | None = None,
    keep_features: bool | None = None,
    prune: bool = False,
    retry: bool = False,
    watch: bool = False,
    engine: str = "auto",
    device: str = "auto",
    batch_size: int = 32,
    allow_download: bool = False,
    trust_encoder: bool = False,
    json: bool = False,
    limits: DecodeLimits = DecodeLimits(),
) -> int:
    """Make films searchable by sentence: gmmformer index FILMS --model runs/mine --library DIR

    The same command again takes in only what is new or changed; killed, it goes on where it was. The library keeps its
    model, so that it need not be named again. Films that cannot be read are listed. Exit code 1 if no film is in the
    library at the end.

    Args:
        films: Film files, and folders to search for them.
        library: Folder of the library; made if it is not there.
        model: A run, a saved model, a published checkpoint, a hub id; or zero-shot:NAME, a dual encoder such as CLIP
            as it is. Needed for a new library only.
        mix_in: A dual encoder to mix into the score of a trained model: zero-shot:NAME.
        mix: Its share of the score.
        data: Folder of collections, to index features that are there already instead of films.
        collection: Name of the collection.
        split: Caption file whose videos are indexed.
        feature: Folder of video features under FeatureData. Default: the published one, or the only one there.
        features_of: Another library, to index the features that it keeps instead of films.
        video_encoder: What made the features that the model was trained on, where the model does not say: a hub id, a
            folder, package.module:factory.
        text_encoder: What made its token features, where the model does not say.
        fps: Frames per second of film that are looked at. Default: as the model was trained, else 1.
        store: How vectors are stored, fixed when the library is made. Default: int8, a quarter of float32.
        overlap: Share of a window that the next one of a long film repeats, fixed likewise. Default: 0.25.
        keep_features: Keep frame features in 16 bits, so that another model needs no decoding, fixed likewise.
            Default: yes.
        prune: Remove films of the library that are gone from the disk.
        retry: Try again films that failed before and have not changed since; with --watch once, at its start.
        watch: Do not stop: take in films as they appear in the folders.
        engine: The address of a Milvus server, http://host:port, to fill it with the library too.
        device: "auto", "cpu", "cuda" or "mps": where encoders and model run.
        batch_size: Frames in one forward pass.
        allow_download: Whether encoders may be fetched from the Hugging Face Hub.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            library or its model names it.
        json: Print one JSON object at the end (with --watch: a line after each change), and nothing else, on stdout.
        limits: What decoding may cost.
    """
    from gmmformer.media.films import find_films
    from gmmformer.search import is_library, unchanged

    _check_server(engine)
    sources = {"FILMS": bool(films), "--data": data is not None, "--features-of": features_of is not None}
    if sum(sources.values()) != 1:
        given = " and ".join(name for name, there in sources.items() if there) or "nothing"
        raise InputError(
            f"{given} to index: give films and folders, or --data ROOT --collection NAME, or --features-of"
        )
    fixed = {"store": store, "overlap": overlap, "keep_features": keep_features}
    chosen: dict[str, Any] = {
        "mix_in": mix_in,
        "video_encoder": video_encoder,
        "text_encoder": text_encoder,
        "fps": fps,
        "mix": mix,
    }
    chosen["films"] = data is None
    if not is_library(library):
        find_films(films)  # a name mistyped makes no library
    elif films and not watch and engine == "auto" and all(asked is None for asked in (model, *fixed.values())):
        found = unchanged(library, films, prune=prune, retry=retry)  # told without torch, which takes its time to load
        if found is not None:
            return _told(found.report, library, found.films, found.seconds, json)
    running = Running(device=device, batch_size=batch_size, allow_download=allow_download, trust_encoder=trust_encoder)
    with bars() as progress, _opened(library, model, chosen, fixed, running, engine) as opened:
        if films:
            return _index_films(opened, films, prune, retry, watch, limits, json, progress)
        taken = _index_features(opened, data, collection, split, feature, features_of, progress)
        info = opened.info()
    told = {"added": taken, "films": info.films, "windows": info.windows}
    print(json_format.dumps(told) if json else f"{taken:,} added; {library} holds {info.films:,} films")
    return 0 if info.films else 1


def _check_server(engine: str) -> None:
    """Whoever fills an engine names a server; the others are chosen when a library is searched."""
    if engine != "auto":
        from gmmformer.search.engines import is_address

        if not is_address(engine):
            raise InputError(f"--engine {engine}: give the address of a Milvus server such as http://localhost:19530")


def _opened(
    folder: Path,
    model: str | None,
    chosen: dict[str, Any],
    fixed: dict[str, Any],
    running: Running,
    engine: str,
) -> "Library":
    """The library, made if it is not there; whatever was asked for is what it is."""
    from gmmformer.search import Library, choose_encoders, is_library

    given = {name: value for name, value in fixed.items() if value is not None}
    encoders = None if model is None else choose_encoders(model, running=running, **chosen)
    if not is_library(folder):
        if encoders is None:
            raise InputError(
                f"{folder}: there is no library yet; name the model it is to belong to: --model RUN, or --model "
                "zero-shot:NAME"
            )
        return Library.create(folder, encoders, engine=engine, **given)
    opened = Library.open(folder, encoders, engine=engine, running=running)
    ours = opened.settings
    made = {"store": ours.dtype, "overlap": ours.overlap, "keep_features": ours.keep_features}
    for name, value in given.items():
        if made[name] != value:
            opened.close()
            raise InputError(
                f"--{name.replace('_', '-')}: {folder} was made with {made[name]}; leave it out, or make a new library"
            )
    return opened


def _index_films(
    library: "Library",
    films: Sequence[Path],
    prune: bool,
    retry: bool,
    watch: bool,
    limits: DecodeLimits,
    json: bool,
    progress: "Progress",
) -> int:
    if not watch:
        report = library.add(films, prune=prune, retry=retry, limits=limits, progress=progress)
        info = library.info()
        return _told(report, library.folder, info.films, info.seconds, json)
    for report in library.watch(films, prune=prune, retry=retry, limits=limits, progress=progress):
        print(json_format.dumps(report.as_dict()) if json else report.table(), flush=True)
    return 0


def _told(report: "IndexReport", folder: Path, films: int, seconds: float, json: bool) -> int:
    """Say what was done, and what the library holds now."""
    print(json_format.dumps(report.as_dict()) if json else report.table())
    if not json:
        print(f"{folder} holds {films:,} films, {seconds / 3600:,.1f} hours")
    return 0 if films else 1


def _index_features(
    library: "Library",
    data: Path | None,
    collection: str | None,
    split: str,
    feature: str | None,
    features_of: Path | None,
    progress: "Progress",
) -> int:
    from gmmformer.data import Collection
    from gmmformer.search import Library, index_collection, index_library

    if features_of is not None:
        with Library.open(features_of) as other, library.writing() as into:
            return index_library(other.store, into, progress=progress)
    if data is None or collection is None:
        raise InputError("--collection is missing: gmmformer index --data ROOT --collection NAME --library DIR")
    with library.writing() as into:
        return index_collection(into, Collection.open(data, collection, feature=feature), split, progress=progress)


def search(
    library: Positional[Path],
    sentence: Positional[str | None] = None,
    *,
    k: Annotated[int, arg(aliases=("-k",))] = 10,
    moments: int = 1,
    where: str | None = None,
    min_length: float | None = None,
    engine: str = "auto",
    batch: str | None = None,
    contact_sheet: Path | None = None,
    cut: Path | None = None,
    exact_cut: bool | None = None,
    json: bool = False,
    device: str = "auto",
    allow_download: bool = False,
    trust_encoder: bool = False,
) -> int:
    """Find the films, and the seconds in them, that a sentence describes: gmmformer search DIR "a dog jumps in" -k 5

    Args:
        library: Folder of the library.
        sentence: What happens in the scene.
        k: Films to find.
        moments: Most moments of each film.
        where: Only films whose path fits this glob: * any letters, slashes too, ? one, [ab] one of these.
        min_length: Only films of at least so many seconds.
        engine: "exact" looks at every window, "ann" at an index of them, "auto" at the index in a large library that
            has one; http://host:port a Milvus server that was filled by `index` with the same --engine.
        batch: File with a sentence a line, "-" for stdin: a line of JSON for each. Faster than one by one.
        contact_sheet: PNG to draw: the frames where the moments were found.
        cut: Folder to write the moments to, as mp4.
        exact_cut: Whether clips begin at the very frame (encoded anew) or at the key frame before it (copied).
            Default: copied where that makes no difference.
        json: Print one JSON object, and nothing else, on stdout.
        device: "auto", "cpu", "cuda" or "mps".
        allow_download: Whether encoders may be fetched from the Hugging Face Hub.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            library or its model names it.
    """
    from gmmformer.search import Library

    if (sentence is None) == (batch is None):
        raise InputError('give one sentence, in quotes, or --batch FILE: gmmformer search DIR "a dog jumps in"')
    options: dict[str, Any] = {"moments": moments, "where": where, "min_length": min_length}
    running = Running(device=device, allow_download=allow_download, trust_encoder=trust_encoder)
    with Library.open(library, engine=engine, running=running) as opened:
        if batch is not None:
            return _search_batch(opened, batch, k, options, contact_sheet, cut)
        assert sentence is not None
        _ = opened.models.embedder  # loaded before the clock starts
        began = time.perf_counter()
        hits = opened.search(sentence, k, **options)
        seconds = time.perf_counter() - began
        films = opened.info().films
    if json:
        print(json_format.dumps({"query": sentence, "hits": [hit.to_dict() for hit in hits]}))
    else:
        print_hits(hits, films, seconds)
    if contact_sheet is not None:
        from gmmformer.search.pictures import draw_hits

        draw_hits([(sentence, hits)], contact_sheet)
    if cut is not None:
        from gmmformer.search.pictures import cut_hits

        failed = 0
        for one in cut_hits(hits, cut, exact=exact_cut):
            failed += one.cut is None
            print(one.clip if one.cut else f"not cut: {one.reason}", file=sys.stderr)
        return 1 if hits and failed == len(hits) else 0
    return 0


def print_hits(hits: Sequence["Hit"], films: int, seconds: float) -> None:
    """Hits as a person reads them."""
    from gmmformer.media.films import printable
    from gmmformer.search.hits import clock

    if not hits:
        print(f"no film to look at ({films:,} in the library, {1000 * seconds:.0f} ms)")
        return
    if all(hit.word == NOTHING for hit in hits):
        print("nothing in this library matches well; the nearest:")
    rows = [
        (
            str(rank),
            "" if hit.word is None else "weak" if hit.word == NOTHING else hit.word,
            f"{clock(hit.start)} - {clock(hit.end)}",
            f"{hit.score:.3f}",
            printable(hit.film.path),
        )
        for rank, hit in enumerate(hits, start=1)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for rank, word, span, score, film in rows:
        print(f"{rank:>{widths[0]}}  {word:<{widths[1]}}  {span:>{widths[2]}}  {score:>{widths[3]}}  {film}")
    print(f"{films:,} films, {1000 * seconds:.0f} ms")


def _search_batch(
    library: "Library", source: str, k: int, options: dict[str, Any], contact_sheet: Path | None, cut: Path | None
) -> int:
    if contact_sheet is not None or cut is not None:
        flag = "--contact-sheet" if contact_sheet is not None else "--cut"
        raise InputError(f"{flag}: goes with a single sentence; search for them one by one")
    for sentences in _lines(source):
        for sentence, hits in zip(sentences, library.search(sentences, k, **options), strict=True):
            print(json_format.dumps({"query": sentence, "hits": [hit.to_dict() for hit in hits]}), flush=True)
    return 0


def _lines(source: str, most: int = 256) -> Iterator[list[str]]:
    """The sentences of a file, a line each, blank ones left out, some at a time."""
    if source == "-" and sys.stdin is None:
        raise InputError("--batch -: the standard input is closed; give a file with a sentence a line")
    if source == "-" and isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    try:
        with sys.stdin if source == "-" else Path(source).open(encoding="utf-8", errors="replace") as file:
            some: list[str] = []
            for line in file:
                if line.strip():
                    some.append(line.rstrip("\n"))
                if len(some) == most:
                    yield some
                    some = []
            if some:
                yield some
    except OSError as error:
        raise InputError(
            f"--batch {source}: cannot be read ({error.strerror}); give a file with a sentence a line"
        ) from error


def library(
    folder: Positional[Path],
    action: Positional[ACTIONS] = "info",
    films: Positional[tuple[str, ...]] = (),
    *,
    engine: str = "auto",
    json: bool = False,
) -> int:
    """Look after a library: gmmformer library DIR info|list|failures|remove FILMS|verify|compact|rebuild

    info: what it is and holds. list: its films. failures: films that could not be read, and why. remove: takes films
    out. verify: reads everything and finds damage; exit code 1 if there is any. compact: gives back the room of removed
    films. rebuild: trains the index of the ann engine anew, or fills a Milvus server anew.

    Args:
        folder: Folder of the library.
        action: What to do.
        films: With remove: paths as `list` shows them, or globs.
        engine: With rebuild and compact: the address of a Milvus server that the library was put on.
        json: Print JSON, and nothing else, on stdout.
    """
    from gmmformer.cli import looking_after
    from gmmformer.search import Library

    if bool(films) != (action == "remove"):
        raise InputError("remove takes films, no other action does: gmmformer library DIR remove FILM ...")
    if engine != "auto" and action not in ("rebuild", "compact"):
        raise InputError(
            f"--engine {engine}: goes with rebuild and compact, and does nothing with {action}; leave it out"
        )
    _check_server(engine)
    with bars() as progress, Library.open(folder, engine=engine) as opened:
        return looking_after.ACTIONS[action](opened, films, json, progress)
