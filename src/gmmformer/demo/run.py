"""The whole way on films that it renders itself: extract, train, evaluate on films not seen, index and search those."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmmformer.config import DecodeConfig
from gmmformer.cores import Progress, usable_cores
from gmmformer.data import Collection
from gmmformer.demo.encoders import ShapeFrames, ShapeWords
from gmmformer.demo.render import render_films, write_captions
from gmmformer.demo.world import DEFAULT_FILMS, plan_films
from gmmformer.errors import MissingExtraError
from gmmformer.evaluation import Metrics, chance, evaluate
from gmmformer.media.annotations import read_annotations
from gmmformer.media.extract import extract
from gmmformer.media.report import read_film_records
from gmmformer.media.written import Written
from gmmformer.model import load_model
from gmmformer.search import Hit, Library, choose_encoders
from gmmformer.search.calibration import LEAST_WINDOWS
from gmmformer.search.pictures import draw_hits
from gmmformer.training import EpochEnd, train

COLLECTION = "demo"
NETWORK: dict[str, Any] = {"hidden": 128, "heads": 4, "input_drop": 0.2, "drop": 0.1}
TRAINING: dict[str, Any] = {
    "lr": 1.5e-3,
    "batch_size": 32,
    "epochs": 40,
    "patience": 40,
    "margin": 0.2,
    "hard_negative_start_epoch": 6,
    "hard_pool_size": 5,
}


_READ = 8
"""Films in which text on the screen is read: each takes some seconds."""


@dataclass(frozen=True, kw_only=True)
class DemoEnd:
    """What the demo found, and where to look."""

    metrics: Metrics
    """On the test films."""
    chance: Metrics
    model: Path
    curves: Path
    contact_sheet: Path
    library: Path
    """Of the test films."""
    searches: tuple[tuple[str, list[Hit], float], ...]
    """Sentences about the test films, what was found for each, and the seconds that it took."""


def _read(library: Library, films: Sequence[str], progress: Progress, say: Callable[[str], None]) -> None:
    """Take in what is written in some films, where that can be read here; say what to do for it, or for the others."""
    try:
        reader = Written()
    except MissingExtraError as error:
        say(f"     {error}")
        return
    library.add(films, written=reader, progress=progress)
    say(f"     text on the screen was read in {len(films)} of them; `gmmformer index --add written` reads the others")


def run_demo(
    out: Path,
    *,
    films: int = DEFAULT_FILMS,
    seed: int = 9527,
    progress: Progress,
    say: Callable[[str], None],
    report: Callable[[EpochEnd], None],
) -> DemoEnd:
    """Render films into OUT/films, extract them into OUT/data/demo, train in OUT/run, see what was learned, and put the
    films that it has not seen into a library, OUT/library.

    Done again it renders and decodes only what is missing, and trains anew.

    Args:
        out: Folder to work in.
        films: Films to render.
        seed: The world and the training.
        progress: Told how far rendering and extraction are.
        say: Given a line of text at each stage.
        report: Called after every epoch.
    """
    plans = plan_films(films, seed)
    say(f"1/5  rendering {len(plans)} short films: coloured shapes that move over patterned backgrounds")
    render_films(
        plans,
        out / "films",
        words=True,
        workers=usable_cores(),
        progress=lambda done, total: progress("films rendered", done, total),
    )
    write_captions(plans, out / "captions.jsonl")

    say("2/5  extracting features: frames at 1 per second, sentences word by word")
    extracted = extract(
        [out / "films"],
        out / "data",
        COLLECTION,
        frames=ShapeFrames(),
        text=ShapeWords(),
        annotations=read_annotations(out / "captions.jsonl"),
        decode=DecodeConfig(),
        progress=lambda status: progress("films decoded", status.done, status.films),
    )
    say(extracted.table())

    say("3/5  training")
    collection = Collection.open(out / "data", COLLECTION)
    shutil.rmtree(out / "run", ignore_errors=True)
    train(collection, out / "run", report=report, progress=True, seed=seed, **NETWORK, **TRAINING)

    say("4/5  evaluating on films that it has not seen")
    found = evaluate(load_model(out / "run"), collection, "test")

    say("5/5  indexing the films that it has not seen, and searching them")
    film_of = {record.video: str(record.film) for record in read_film_records(collection.frames.folder)}
    sentences, paths = found.captions.sentences, [film_of[video] for video in found.captions.video_ids]
    shutil.rmtree(out / "library", ignore_errors=True)
    searches = []
    with Library.create(out / "library", choose_encoders(out / "run")) as library:
        library.add(paths, progress=progress)
        _read(library, paths[:_READ], progress, say)
        if library.info().windows >= LEAST_WINDOWS:
            shown = [paths[video] for video in found.captions.video_of_query]
            library.calibrate(known=list(zip(shown, sentences, strict=True)))
        for sentence in sentences[::11][:3]:
            began = time.perf_counter()
            hits = library.search(sentence, k=3)
            searches.append((sentence, hits, time.perf_counter() - began))
        drawn = range(0, len(sentences), max(1, len(sentences) // 8))[:8]
        answers = library.search([sentences[query] for query in drawn], k=3)
    draw_hits(
        [(sentences[query], hits) for query, hits in zip(drawn, answers, strict=True)],
        out / "contact_sheet.png",
        right=[paths[found.captions.video_of_query[query]] for query in drawn],
        title="Sentences, and the films found for them",
    )
    return DemoEnd(
        metrics=found.metrics,
        chance=chance(found.metrics.videos, found.metrics.queries),
        model=out / "run" / "best",
        curves=out / "run" / "curves.png",
        contact_sheet=out / "contact_sheet.png",
        library=out / "library",
        searches=tuple(searches),
    )
