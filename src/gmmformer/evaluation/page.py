"""The findings of an evaluation as pages for people: Markdown, and one HTML file that needs nothing else."""

import base64
import html
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gmmformer.data import Collection
from gmmformer.errors import InputError, of_extra
from gmmformer.evaluation.bootstrap import COLUMNS

Picture = Callable[[str, float], bytes | None]
"""A JPEG of a video at a share of its length, in [0, 1); None where there is none."""

_CSS = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5a6673; --line: #d9dee4; --paper: #fdfdfc; --card: #f3f5f7;
  --blue: #2563a8; --band: #2563a833; --grey: #8a949e; --warn: #8a4b00; --warnpaper: #fff3dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --soft: #a3adb8; --line: #38424d; --paper: #14191f;
  --card: #1d242c; --blue: #7db4ee; --band: #7db4ee33; --grey: #8a949e; --warn: #ffcf87; --warnpaper: #3a2a10; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p { max-width: 46rem; margin: .5rem 0; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.warn { background: var(--warnpaper); color: var(--warn); border-left: 4px solid currentColor; padding: .6rem .8rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap;
  vertical-align: top; }
th { font-weight: 600; font-size: .9rem; } th:first-child, td:first-child { text-align: left; }
small { display: block; color: var(--soft); font-size: .78rem; line-height: 1.3; }
figure { margin: 1rem 0; } svg { width: 100%; height: auto; max-width: 46rem; display: block; }
svg text { fill: var(--soft); font: 13px system-ui, "DejaVu Sans", sans-serif; } svg .grid { stroke: var(--line); }
svg .band { fill: var(--band); } svg .value { stroke: var(--blue); fill: none; stroke-width: 2.2; }
svg .dot { fill: var(--blue); } svg .chance { stroke: var(--grey); fill: none; stroke-dasharray: 5 4; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: .8rem; }
.card { background: var(--card); border-radius: .5rem; padding: .8rem; } .card p { margin: 0 0 .4rem; }
.card img { width: 100%; border-radius: .3rem; display: block; } .pair { display: grid; grid-template-columns: 1fr 1fr;
  gap: .6rem; font-size: .85rem; }
.about td { white-space: normal; text-align: left; vertical-align: top; }
.about td:first-child { white-space: nowrap; text-align: left; overflow-wrap: normal; width: 1%; }
.narrow { max-width: 30rem; }
@media (max-width: 40rem) { th, td { padding: .35rem .4rem; } body { font-size: 15px; } svg text { font-size: 22px; } }
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text, by rows; the first cell of each says what the row is."""

    title: str
    about: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """A cell may have two lines, of which the second is its interval."""


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """The tables of a report."""
    boot = found["bootstrap"]
    model = ("the model", *_cells(found["metrics"]))
    beside = [(name, *(_number(name_of, one[name_of]) for name_of in COLUMNS)) for name, one in found["beside"].items()]
    yield Table(
        title="How well it finds",
        about=f"R@K: percent of the sentences whose video is among the first K of {found['videos']:,}. Below each "
        f"number, its {100 * boot['level']:.0f} % interval: from where to where it lies when the videos are drawn "
        f"again {boot['resamples']:,} times with all their sentences. Whole videos are drawn, because sentences of one "
        "video stand and fall together; intervals over single sentences would be too narrow. They tell of other "
        "videos of this kind, not of other trainings: for those, train with several seeds and compare the runs.",
        head=("", *COLUMNS),
        rows=(model, *beside),
    )
    for name, groups in found["by"].items():
        rows = tuple((group["which"], f"{group['sentences']:,}", *_cells(group["metrics"])) for group in groups)
        yield Table(title=f"By {name}", about="", head=("", "sentences", *COLUMNS), rows=rows)
    if found["moments"]:
        named = found["moments"]["metrics"]
        yield Table(
            title="The moment in it",
            about=f"How the moment that is found in the right video lies over the known one, for "
            f"{found['moments']['sentences']:,} sentences: intersection over union (IoU) of the two, and the percent "
            "of sentences where that is large enough. In the last three the video must be found first as well.",
            head=("", "value"),
            rows=tuple((name, _cell(name, value)) for name, value in named.items()),
        )


def as_markdown(found: Mapping[str, Any]) -> str:
    """The report in Markdown, without its pictures."""
    lines = [f"# {_title(found)}", "", _subtitle(found), ""]
    lines += [line for warning in found["warnings"] for line in (f"> **Mind:** {warning}", "")]
    for table in tables(found):
        lines += [f"## {table.title}", "", *([table.about, ""] if table.about else [])]
        lines += [_line(table.head), _line(["---"] * len(table.head)), *map(_line, table.rows), ""]
    lines += ["## Worst", "", _worst_about(found), ""]
    head = ("sentence", "its video", "rank", "found instead")
    lines += [_line(head), _line(["---"] * len(head))]
    lines += [_line((w["sentence"], w["video"], f"{w['rank']:,}", w["found"]["video"])) for w in found["worst"]]
    lines += ["", "## How it came about", "", _line(("", "")), _line(("---", "---"))]
    lines += [_line(row) for row in _about(found)]
    return "\n".join(lines) + "\n"


def as_html(found: Mapping[str, Any], picture: Picture | None = None) -> str:
    """The report as one HTML page without scripts or anything to fetch."""
    text = html.escape
    parts = [f"<h1>{text(_title(found))}</h1>", f'<p class="soft">{text(_subtitle(found))}</p>']
    parts += [f'<p class="warn">{text(warning)}</p>' for warning in found["warnings"]]
    first, *others = tables(found)
    parts += [_html_table(first), "<h2>Ranks</h2>", _figure(_curve(found["curve"]), _CURVE_SAYS)]
    for table in others:
        groups = found["by"].get(table.title.removeprefix("By "), [])
        parts.append(_html_table(table, _figure(_dots(groups), "SumR, with its interval") if groups else ""))
    parts += ["<h2>Worst</h2>", f"<p>{text(_worst_about(found))}</p>"]
    parts.append('<div class="cards">' + "".join(_card(worst, picture) for worst in found["worst"]) + "</div>")
    about = "".join(f"<tr><td>{text(name)}</td><td>{text(value)}</td></tr>" for name, value in _about(found))
    parts.append(f'<h2>How it came about</h2><div class="about"><table>{about}</table></div>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(_title(found))}</title><style>{_CSS}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


_CURVE_SAYS = "Percent of the sentences whose video is among the first K, with its interval; dashed: by chance."


def _title(found: Mapping[str, Any]) -> str:
    return f"{found['model']} on {found['collection']} {found['split']}"


def _subtitle(found: Mapping[str, Any]) -> str:
    several = f", {found['several_right']:,} of them with several right videos" if found["several_right"] else ""
    rule = ": the rank is that of the best right one" if several else ""
    return f"{found['sentences']:,} sentences{several}, {found['videos']:,} videos, features {found['feature']}{rule}"


def _worst_about(found: Mapping[str, Any]) -> str:
    if not found["worst"]:
        return "Every sentence finds its video first."
    return f"The {len(found['worst'])} sentences whose video came last, and what came first instead."


def _about(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    boot = found["bootstrap"]
    told = {"intervals": f"bootstrap over {boot['over']}, {boot['resamples']:,} resamples, seed {boot['seed']}"}
    told |= {name.replace("_", " "): str(value) for name, value in found["about"].items() if value is not None}
    return list(told.items())


def _number(name: str, value: float) -> str:
    return f"{value:.3f}" if name in ("MRR", "mean IoU") else f"{value:,.1f}"


def _cell(name: str, value: Mapping[str, float]) -> str:
    low, high = (_number(name, value[end]) for end in ("low", "high"))
    return f"{_number(name, value['value'])}\n{low} to {high}"


def _cells(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [_cell(name, metrics[name]) for name in COLUMNS]


def _line(cells: Sequence[str]) -> str:
    plain = [cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells]
    return f"| {' | '.join(plain)} |"


def _html_table(table: Table, figure: str = "") -> str:
    def cell(text: str) -> str:
        value, _, interval = text.partition("\n")
        return f"<td>{html.escape(value)}" + (f"<small>{html.escape(interval)}</small>" if interval else "") + "</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in table.rows)
    about = f"<p>{html.escape(table.about)}</p>" if table.about else ""
    room = "wide" if len(table.head) > 2 else "narrow"
    rows = f'<div class="{room}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f"<h2>{html.escape(table.title)}</h2>{about}{rows}{figure}"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _curve(curve: Mapping[str, Any]) -> str:
    """R@K over K, K on a logarithmic scale."""
    most = max(curve["k"])
    width = math.log(most) or 1.0

    def at(k: float, percent: float) -> str:
        return f"{50 + 620 * math.log(k) / width:.1f},{20 + 2.4 * (100 - percent):.1f}"

    def path(values: Sequence[float]) -> str:
        return " ".join(at(k, value) for k, value in zip(curve["k"], values, strict=True))

    lows, highs = zip(*curve["intervals"], strict=True)
    band = " ".join([path(highs), *reversed(path(lows).split())])
    marks = [k * 10**power for power in range(7) for k in (1, 2, 5) if k * 10**power <= most]
    marks = marks if len(marks) < 9 else [k for k in marks if str(k)[0] != "2"]
    parts = []
    for percent in range(0, 101, 20):
        (x, y), (right, _) = at(1, percent).split(","), at(most, percent).split(",")
        parts.append(f'<line class="grid" x1="{x}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="42" y="{float(y) + 4:.1f}" text-anchor="end">{percent}</text>')
    parts += [f'<text x="{at(k, 0).split(",")[0]}" y="290" text-anchor="middle">{k:,}</text>' for k in marks]
    parts.append(f'<polygon class="band" points="{band}"/>')
    parts.append(f'<polyline class="chance" points="{path(curve["chance"])}"/>')
    parts.append(f'<polyline class="value" points="{path(curve["recall"])}"/>')
    return f'<svg viewBox="0 0 690 300" role="img" aria-label="R@K over K">{"".join(parts)}</svg>'


def _dots(groups: Sequence[Mapping[str, Any]]) -> str:
    """The SumR of each group, a dot on its interval."""
    values = [group["metrics"]["SumR"] for group in groups]
    low, high = min(value["low"] for value in values), max(value["high"] for value in values)
    room = (high - low) or 1.0
    parts, height = [], 34 * len(groups) + 10
    for row, (group, value) in enumerate(zip(groups, values, strict=True)):
        y = 34 * row + 22
        left, middle, right = (170 + 420 * (value[end] - low) / room for end in ("low", "value", "high"))
        parts.append(f'<text x="0" y="{y + 5}">{html.escape(group["which"])}</text>')
        parts.append(f'<line class="value" x1="{left:.1f}" x2="{right:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot" cx="{middle:.1f}" cy="{y}" r="5.5"/>')
        parts.append(f'<text x="{right + 10:.1f}" y="{y + 5}">{value["value"]:.1f}</text>')
    return f'<svg viewBox="0 0 690 {height}" role="img" aria-label="SumR of each group">{"".join(parts)}</svg>'


def _card(worst: Mapping[str, Any], picture: Picture | None) -> str:
    found, moment = worst["found"], worst["moment"]
    own = _shown(picture, worst["video"], moment or [0, worst["rows"]], worst["rows"])
    other = _shown(picture, found["video"], found["moment"], found["rows"])
    told = f", rows {moment[0]} to {moment[1]} of {worst['rows']}" if moment else ""
    there = f", rows {found['moment'][0]} to {found['moment'][1]} of {found['rows']}"
    both = (
        f"<div>{own}<b>rank {worst['rank']:,}</b>, score {worst['score']:.3f}<br>"
        f"{html.escape(worst['video'] + told)}</div>"
        f"<div>{other}<b>first</b>, score {found['score']:.3f}<br>{html.escape(found['video'] + there)}</div>"
    )
    return f'<div class="card"><p>{html.escape(worst["sentence"])}</p><div class="pair">{both}</div></div>'


def _shown(picture: Picture | None, video: str, moment: Sequence[float], rows: int) -> str:
    data = picture and picture(video, (moment[0] + moment[1]) / 2 / rows)
    if not data:
        return ""
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'


def pictures_from(folder: Path, collection: Collection, videos: Sequence[str]) -> Picture:
    """Frames of some videos of a collection out of a folder of films.

    A film is a video's if `gmmformer extract` made the video of a film of that name, or if it has the video's id for a
    name, with or without its ending. Where a film cannot be read there is no picture.

    Raises:
        InputError: There are no films, or none of the collection.
        MissingExtraError: The extra "films" is not installed.
    """
    of_extra("av", "drawing frames of films", "films")
    from PIL import Image

    from gmmformer.media.films import find_films
    from gmmformer.media.frames import frame_at, probe
    from gmmformer.media.report import read_film_records

    films = {name: film for film in find_films([folder]) for name in (film.stem, film.name)}
    extracted = (collection.frames.folder / "films.jsonl").exists()
    records = read_film_records(collection.frames.folder) if extracted else []
    named = {record.video: record.film.name for record in records}
    if not any(named.get(video, video) in films for video in videos):
        raise InputError(
            f"{folder}: none of its {len(set(films.values())):,} films is a video of the split, which has "
            f"{videos[0]!r}; give the folder of the films that the features are of, or leave --films out"
        )

    @cache
    def picture(video: str, share: float) -> bytes | None:
        film = films.get(named.get(video, video))
        if film is None:
            return None
        try:
            seconds = collection.frames.seconds_of(video)
            length = probe(film).duration or 0.0
            second = length * share if seconds is None else float(seconds[int(len(seconds) * share)])
            image = Image.fromarray(frame_at(film, second, size=200).image)
        except InputError:
            return None
        data = io.BytesIO()
        image.save(data, "JPEG", quality=80)
        return data.getvalue()

    return picture
