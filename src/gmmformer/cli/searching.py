"""The command that looks into a library: search."""

import json as json_format
import sys
import time
from collections.abc import Iterator, Sequence, Set
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from gmmformer.config import Running
from gmmformer.errors import InputError

if TYPE_CHECKING:
    from gmmformer.search import Hit, Library, Spot
    from gmmformer.search.words import Source, TextHit


def search(
    library: Positional[Path],
    sentence: Positional[str | None] = None,
    *,
    image: tuple[Path, ...] = (),
    like: tuple[str, ...] = (),
    words: float | None = None,
    then: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    within: Annotated[tuple[str, ...], arg(name="in", metavar="SOURCE")] = (),
    k: Annotated[int, arg(aliases=("-k",))] = 10,
    moments: int = 1,
    where: str | None = None,
    min_length: float | None = None,
    all: bool = False,  # noqa: A002
    engine: str = "auto",
    sentences: str | None = None,
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
        image: Pictures that the scene looks like; a sentence stands before them.
        like: Moments that the scene looks like, FILM@SECOND, of films of the library; others are found.
        words: The sentence's share beside --image and --like, from 0 to 1. Default: 0.5.
        then: What is to be seen after it in the same film, a sentence each, in this order.
        also: What is to be seen in the same film too, at any time.
        without: What is not to be seen in it.
        within: What to look in: picture, said, written, name, or some of these. Default: all; all but the picture,
            where the sentence has words in quotes.
        k: Films to find.
        moments: Most moments of each film.
        where: Only films whose path fits this glob: * any letters, slashes too, ? one, [ab] one of these.
        min_length: Only films of at least so many seconds.
        all: Show every film, those too that show the same as a better one, such as other encodings of it.
        engine: "exact" looks at every window, "ann" at an index of them, "auto" at the index in a large library that
            has one; http://host:port a Milvus server that was filled by `index` with the same --engine.
        sentences: File with a sentence a line, "-" for stdin: a line of JSON for each. Faster than one by one.
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
    from gmmformer.media.films import printable
    from gmmformer.search.words import checked_sources, in_words_alone, lacks_lines, no_lines, reading

    examples: list[Path | Spot] = [*image, *map(_spot, like)]
    composed: dict[str, Any] = {"also": also, "without": without} if then or also or without else {}
    if composed and (examples or sentence is None):
        raise InputError("--then, --also and --without: go with a sentence that stands before them, not with pictures")
    if (sentence is not None or bool(examples)) == (sentences is not None):
        raise InputError(
            'give one sentence, in quotes, --image, --like, or --sentences FILE: gmmformer search DIR "a dog jumps in"'
        )
    if words is not None and not (examples and sentence):
        raise InputError(f"--words {words}: goes with a sentence and --image or --like; leave it out")
    if within and examples:
        raise InputError("--in: goes with a sentence alone; leave it out beside --image and --like")
    sources = checked_sources(within or None)
    options: dict[str, Any] = {"moments": moments, "where": where, "min_length": min_length}
    if (
        sentence is not None
        and not (examples or composed or contact_sheet or cut)
        and in_words_alone(partial(reading, library), sentence, sources)
    ):
        return _search_words(library, sentence, k, options | {"within": sources}, json)
    from gmmformer.search import Library, search_composed, search_like  # loads torch, which takes its time

    options |= {"fold": not all} | ({} if examples else {"within": within or None})
    running = Running(device=device, allow_download=allow_download, trust_encoder=trust_encoder)
    with Library.open(library, engine=engine, running=running) as opened:
        if sentences is not None:
            return _search_all(opened, sentences, k, options, sources, contact_sheet, cut)
        alone = sentence is not None and in_words_alone(opened.store.reading, sentence, sources)
        if examples or composed or not alone:
            _ = opened.models.embedder  # loaded before the clock starts
        began = time.perf_counter()
        if examples:
            options |= {} if words is None else {"words": words}
            hits = search_like(opened, examples, k, sentence=sentence, **options)
        elif composed:
            among: dict[str, Any] = {"where": where, "min_length": min_length, "fold": not all}
            hits = search_composed(opened, [str(sentence), *then], k, **composed, **among)
        else:
            assert sentence is not None
            hits = opened.search(sentence, k, **options)
        seconds = time.perf_counter() - began
        films, bare = opened.info().films, lacks_lines(opened.store.reading)
        told = _answer(opened, sentence, hits, alone) | ({"like": [*map(str, image), *like]} if examples else {})
    if json:
        print(json_format.dumps(told))
    else:
        if "unknown" in told:
            print(f"the model does not know: {printable(', '.join(told['unknown']))}", file=sys.stderr)
        print_hits(hits, films, seconds)
        if bare:
            print(no_lines(library), file=sys.stderr)
    if contact_sheet is not None:
        from gmmformer.search.pictures import draw_hits

        draw_hits([(sentence or ", ".join(map(str, (*image, *like))), hits)], contact_sheet)
    if cut is not None:
        from gmmformer.search.pictures import cut_hits

        failed = 0
        for path, error in cut_hits(hits, cut, exact=exact_cut):
            failed += error is not None
            print(path if error is None else f"not cut: {error}", file=sys.stderr)
        return 1 if hits and failed == len(hits) else 0
    return 0


def _search_words(library: Path, sentence: str, k: int, options: dict[str, Any], json: bool) -> int:
    """Search by words alone, which no model is loaded for."""
    from gmmformer.search.words import search_words

    began = time.perf_counter()
    hits = search_words(library, sentence, k, **options)
    seconds = time.perf_counter() - began
    if json:
        print(json_format.dumps({"query": sentence, "hits": [hit.to_dict() for hit in hits]}))
    elif hits:
        print_hits(hits, None, seconds)
    else:
        print(f"nothing of it is said, written or a name ({1000 * seconds:.0f} ms)")
    return 0


def print_hits(hits: Sequence["Hit | TextHit"], films: int | None, seconds: float) -> None:
    """Hits as a person reads them."""
    from gmmformer.media.films import printable
    from gmmformer.search.words import clock, marked

    if not hits:
        print(f"no film to look at ({films:,} in the library, {1000 * seconds:.0f} ms)")
        return
    if all(hit.word == "weak" for hit in hits):
        print("nothing in this library stands out for this sentence; the nearest:")
    rows = [
        (
            str(rank),
            " ".join(filter(None, [hit.word, "name" if hit.named else None, _for_words(hit)])),
            f"{clock(hit.start)} - {clock(hit.end)}",
            f"{hit.score:.3f}",
            printable(hit.film.path) + _copies(len(hit.copies)),
        )
        for rank, hit in enumerate(hits, start=1)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for (rank, word, span, score, film), hit in zip(rows, hits, strict=True):
        print(f"{rank:>{widths[0]}}  {word:<{widths[1]}}  {span:>{widths[2]}}  {score:>{widths[3]}}  {film}")
        for part in hit.parts:
            print(f"{'':>{widths[0]}}  {clock(part.start)} - {clock(part.end)}  {printable(part.sentence)}")
        for quote in hit.quotes:
            print(f"{'':>{widths[0]}}  {clock(quote.start)}  {printable(marked(quote))}")
    print(f"{'' if films is None else f'{films:,} films, '}{1000 * seconds:.0f} ms")


def _for_words(hit: "Hit | TextHit") -> str | None:
    """Where its words are, of a hit that is there for them rather than for how it looks."""
    return hit.quotes[0].source if hit.quotes and "picture" not in hit.sources else None


def _spot(told: str) -> "Spot":
    """A moment as a person writes it, FILM@SECOND."""
    from gmmformer.search import Spot

    film, _, second = told.rpartition("@")
    try:
        if not film:
            raise ValueError
        return Spot(film, float(second))
    except ValueError:
        raise InputError(f"--like {told}: write FILM@SECOND, such as films/trip.mp4@12.5") from None


def _answer(library: "Library", sentence: str | None, hits: Sequence["Hit"], alone: bool) -> dict[str, Any]:
    """What was found as JSON has it; `unknown` is there only where there are such words, for a model that was asked."""
    from gmmformer.search import unknown_words

    unknown = [] if sentence is None or alone else unknown_words(library.models.embedder, sentence)
    told = {"unknown": unknown} if unknown else {}
    return {"query": sentence, **told, "hits": [hit.to_dict() for hit in hits]}


def _copies(count: int) -> str:
    return f"  +{count} {'copy' if count == 1 else 'copies'}" if count else ""


def _search_all(
    library: "Library",
    source: str,
    k: int,
    options: dict[str, Any],
    sources: "Set[Source] | None",
    contact_sheet: Path | None,
    cut: Path | None,
) -> int:
    from gmmformer.search.words import in_words_alone

    if contact_sheet is not None or cut is not None:
        flag = "--contact-sheet" if contact_sheet is not None else "--cut"
        raise InputError(f"{flag}: goes with a single sentence; search for them one by one")
    for some in _lines(source):
        for sentence, hits in zip(some, library.search(some, k, **options), strict=True):
            alone = in_words_alone(library.store.reading, sentence, sources)
            print(json_format.dumps(_answer(library, sentence, hits, alone)), flush=True)
    return 0


def _lines(source: str, most: int = 256) -> Iterator[list[str]]:
    """The sentences of a file, a line each, blank ones left out, some at a time."""
    if source == "-" and sys.stdin is None:
        raise InputError("--sentences -: the standard input is closed; give a file with a sentence a line")
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
            f"--sentences {source}: cannot be read ({error.strerror}); give a file with a sentence a line"
        ) from error
