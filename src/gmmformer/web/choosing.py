"""Which films of a library somebody wants to see, and in which order."""

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Any

from gmmformer.files import folded, lies_in
from gmmformer.media.films import path_text
from gmmformer.search import Film
from gmmformer.web.schemas import FilmsQuery

_STAMP = re.compile(r"[0-9]{1,20}-([0-9]{1,20})")
"""Of a file: its size, and the nanosecond at which it was last written to."""

_ORDERS: dict[str, Callable[[Film], Any]] = {
    "name": lambda film: folded(posixpath.basename(path_text(film.path))),
    "length": lambda film: film.length,
    "date": lambda film: int(dated[1]) if (dated := _STAMP.fullmatch(film.stamp)) else 0,
}


def chosen(films: Sequence[Film], asked: FilmsQuery) -> list[Film]:
    """The films that fit a question, in the order that it wants."""
    some = list(films)
    if asked.folder:
        some = [film for film in some if lies_in(path_text(film.path), asked.folder)]
    if asked.q:
        text = folded(asked.q)
        some = [film for film in some if text in folded(path_text(film.path))]
    if asked.sort in _ORDERS:
        some.sort(key=_ORDERS[asked.sort])
    return some[::-1] if asked.descending else some
