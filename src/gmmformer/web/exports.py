"""Moments as files for other programs: clips on a timeline, with their sound, or a table."""

import csv
import io
import json
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from gmmformer.media.films import path_text, printable
from gmmformer.web.exports_xml import fcp7_text, fcpx_text
from gmmformer.web.placing import (
    TITLE,
    Counting,
    Picked,
    Placed,
    StartCode,
    Wanted,
    address,
    film_name,
    path_of,
    placed,
    widened,
)
from gmmformer.web.schemas import ExportFormat

if TYPE_CHECKING:
    import opentimelineio as otio

ONE_O_CLOCK = StartCode(1, 0, 0, 0, 1)
"""Where the timeline of an EDL begins, as is the custom."""
NO_REEL = "AX"
"""What an EDL says of a film that is a file and no more: its name is told by FROM CLIP NAME."""
_MOST_REEL = 32
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def exported(moments: Sequence[Picked], kind: ExportFormat, wanted: Wanted) -> bytes:
    """The moments as a file.

    A timeline has one standard rate, the one nearest to that of most of the films; each film keeps its own, but in an
    EDL, which knows one only. A moment has one frame at least.
    """
    match kind:
        case "csv":
            text = _table(moments, wanted)
        case "json":
            records = [_record(one, wanted) for one in moments]
            text = json.dumps({"moments": records}, ensure_ascii=False, indent=1)
        case _:
            write = {"edl": _edl_text, "otio": _otio_text, "fcpxml": fcpx_text, "xml": fcp7_text}[kind]
            text = write(placed(moments, wanted))
    return text.encode()


def _edl_text(clips: Sequence[Placed]) -> str:
    timeline = clips[0].timeline
    begins = timeline.frame(ONE_O_CLOCK)
    lines = [f"TITLE: {TITLE} {float(timeline.rate):.5g} fps", f"FCM: {'' if timeline.drop else 'NON-'}DROP FRAME", ""]
    for number, clip in enumerate(clips, 1):
        counting = clip.own if clip.own.rate == timeline.rate else timeline
        first, last = (counting.frame(clip.code) + frame for frame in clip.source(timeline))
        start, end = begins + clip.record, begins + clip.record + clip.frames
        codes = (counting.label(first), counting.label(last), timeline.label(start), timeline.label(end))
        channels = sum(sound.channels for sound in clip.sounds)
        kinds = ("V", "B", "AA/V")[min(channels, 2)]
        reel = re.sub(r"[^A-Za-z0-9_.-]", "_", clip.reel or NO_REEL)[:_MOST_REEL]
        marked = timeline.label(start + clip.moment[0])
        lines += [f"{number:03d}  {reel:<8} {kinds:<5} C        {' '.join(codes)}"]
        lines += [f"AUD  {'  '.join(map(str, range(3, min(channels, 4) + 1)))}"] if channels > 2 else []
        lines += [f"* FROM CLIP NAME: {film_name(clip.one.film)}", f"* SOURCE FILE: {printable(clip.path)}"]
        lines += [f"* COMMENT: {printable(text)}" for text in (clip.one.name, clip.one.note) if text]
        lines += [f"* LOC: {marked} GREEN   {clip.told}", ""]
    return "\n".join(lines)


def _otio_text(clips: Sequence[Placed]) -> str:
    import opentimelineio as otio

    timeline = otio.schema.Timeline(name=TITLE)
    kinds = otio.schema.TrackKind
    video = otio.schema.Track(name="V1", kind=kinds.Video, children=[_otio_clip(clip) for clip in clips])
    timeline.tracks.append(video)
    for number in range(max(len(clip.sounds) for clip in clips)):
        items = [_otio_clip(clip) if number < len(clip.sounds) else _otio_gap(clip) for clip in clips]
        timeline.tracks.append(otio.schema.Track(name=f"A{number + 1}", kind=kinds.Audio, children=items))
    text: str = otio.adapters.write_to_string(timeline, "otio_json")
    return text


def _otio_range(counting: Counting, first: int, last: int) -> "otio.opentime.TimeRange":
    import opentimelineio as otio

    time = partial(otio.opentime.RationalTime, rate=float(counting.rate))
    return otio.opentime.TimeRange(time(first), time(last - first))


def _otio_gap(clip: Placed) -> "otio.schema.Gap":
    import opentimelineio as otio

    first, last = clip.source(clip.own)
    return otio.schema.Gap(source_range=_otio_range(clip.own, 0, last - first))


def _otio_clip(clip: Placed) -> "otio.schema.Clip":
    import opentimelineio as otio

    one, own = clip.one, clip.own
    zero = own.frame(clip.code)
    between = partial(_otio_range, own)
    first, last = clip.source(own)
    begins, ends = own.span(one.start, one.end)
    made = otio.schema.Clip(
        name=clip.name,
        media_reference=otio.schema.ExternalReference(
            target_url=address(clip.path), available_range=between(zero, zero + clip.length)
        ),
        source_range=between(zero + first, zero + last),
        markers=[
            otio.schema.Marker(
                name=clip.told,
                marked_range=between(zero + begins, zero + ends),
                color=otio.schema.MarkerColor.GREEN,
                metadata={"gmmformer": {"note": printable(one.note)}},
            )
        ],
    )
    told = {"query": printable(one.query), "note": printable(one.note), "start": one.start, "end": one.end}
    made.metadata["gmmformer"] = told
    if clip.reel is not None:
        made.metadata["cmx_3600"] = {"reel": clip.reel}
    return made


def _record(one: Picked, wanted: Wanted) -> dict[str, object]:
    start, end = widened(one, wanted)
    return {
        "id": one.film.id,
        "film": path_text(path_of(one, wanted)),
        "start": round(start, 3),
        "end": round(end, 3),
        "query": one.query,
        "name": one.name,
        "note": one.note,
    }


def _table(moments: Sequence[Picked], wanted: Wanted) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(_record(moments[0], wanted)))
    writer.writeheader()
    for one in moments:
        writer.writerow({name: _cell(value) for name, value in _record(one, wanted).items()})
    return text.getvalue()


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
