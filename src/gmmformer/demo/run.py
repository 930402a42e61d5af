"""The whole way on films that it renders itself: extract, train, evaluate on films not seen, index and search those."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmmformer.config import DecodeConfig
from gmmformer.cores import usable_cores
from gmmformer.data import Collection
from gmmformer.data.progress import Progress
from gmmformer.demo.encoders import ShapeFrames, ShapeWords
from gmmformer.demo.render import render_films, write_captions
from gmmformer.demo.world import DEFAULT_FILMS, plan_films
from gmmformer.evaluation import Evaluation, Metrics, chance, evaluate
from gmmformer.media.annotations import read_annotations
from gmmformer.media.extract import extract
from gmmformer.media.frames import frame_at
from gmmformer.media.report import ExtractStatus, read_film_records
from gmmformer.media.sheet import RIGHT, Picture, SheetRow, draw_contact_sheet
from gmmformer.model import Network, load_model, segment_edges
from gmmformer.search import Hit, Library, choose_encoders
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
    (out / "films").mkdir(parents=True, exist_ok=True)
    render_films(
        plans,
        out / "films",
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
        progress=lambda status: _films_read(progress, status),
    )
    say(extracted.table())

    say("3/5  training")
    collection = Collection.open(out / "data", COLLECTION)
    shutil.rmtree(out / "run", ignore_errors=True)
    train(collection, out / "run", report=report, progress=True, seed=seed, **NETWORK, **TRAINING)

    say("4/5  evaluating on films that it has not seen")
    model = load_model(out / "run")
    found = evaluate(model, collection, "test", top=3)
    sheet = out / "contact_sheet.png"
    draw_contact_sheet(_rows(found, collection, model), sheet, title="Sentences, and the films found for them")

    say("5/5  indexing the films that it has not seen, and searching them")
    library = out / "library"
    searches = _indexed_and_searched(library, out / "run", found, collection, progress)
    return DemoEnd(
        metrics=found.metrics,
        chance=chance(found.metrics.videos, found.metrics.queries),
        model=out / "run" / "best",
        curves=out / "run" / "curves.png",
        contact_sheet=sheet,
        library=library,
        searches=searches,
    )


def _indexed_and_searched(
    folder: Path, run: Path, found: Evaluation, collection: Collection, progress: Progress, sentences: int = 3
) -> tuple[tuple[str, list[Hit], float], ...]:
    """A library of the test films, and some of their sentences searched in it."""
    shutil.rmtree(folder, ignore_errors=True)
    captions = found.captions
    film_of = {record.video: record.film for record in read_film_records(collection.frames.folder)}
    with Library.create(folder, choose_encoders(run)) as library:
        library.add([film_of[video] for video in captions.video_ids], progress=progress)
        asked = [captions.sentences[query] for query in range(0, len(captions.sentences), 11)][:sentences]
        searches = []
        for sentence in asked:
            began = time.perf_counter()
            hits = library.search(sentence, k=3)
            searches.append((sentence, hits, time.perf_counter() - began))
    return tuple(searches)


def _films_read(progress: Progress, status: ExtractStatus) -> None:
    progress("films decoded", status.done, status.films)


def _rows(found: Evaluation, collection: Collection, model: Network, count: int = 8) -> list[SheetRow]:
    """The best three films for some sentences, each with the frame in the middle of the clip that won."""
    captions = found.captions
    film_of = {record.video: record.film for record in read_film_records(collection.frames.folder)}
    step = max(1, len(captions.caption_ids) // count)
    rows = []
    for query in range(0, len(captions.caption_ids), step)[:count]:
        pictures = []
        for rank, (video, clip) in enumerate(
            zip(found.top.videos[query].tolist(), found.top.clips[query].tolist(), strict=True)
        ):
            name = captions.video_ids[video]
            second = _middle(collection, name, clip, model.config.map_size)
            right = video == captions.video_of_query[query]
            image = frame_at(film_of[name], second, size=144).image
            caption = f"{rank + 1}. {name}  {int(second) // 60}:{int(second) % 60:02d}"
            pictures.append(Picture(image=image, caption=caption, colour=RIGHT if right else None))
        rows.append(SheetRow(sentence=captions.sentences[query], pictures=pictures))
    return rows


def _middle(collection: Collection, video: str, clip: int, clips: int) -> float:
    """The second in the middle of a clip."""
    seconds = collection.frames.seconds_of(video)
    assert seconds is not None
    edges = segment_edges(len(seconds), clips)
    return float(seconds[(edges[clip] + max(edges[clip], edges[clip + 1] - 1)) // 2])
