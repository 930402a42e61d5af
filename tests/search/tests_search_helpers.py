"""What the tests of the library share; a module of its own, so that scripts that they start can use it too."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from gmmformer.data import Collection
from gmmformer.search import Compacted, Library, NewFilm, compact, index_collection
from gmmformer.search.windows import Window, cut, timing


class Words:
    """A text encoder: a sentence is the rows of its letters."""

    name, identity, dim = "letters", "letters-1", 12

    def encode(self, sentences: Sequence[str]) -> list[np.ndarray]:
        table = np.random.default_rng(1).normal(size=(97, self.dim)).astype(np.float32)
        return [table[[ord(letter) % 97 for letter in sentence]] for sentence in sentences]


class Plain:
    """An embedder without a network: a window's clips are given by hand, sentences by a seed."""

    def __init__(self, dim: int = 32, clips: int = 8, window_rows: int = 16, feature_dim: int = 4) -> None:
        self.name, self.fingerprint = "plain", f"plain-{dim}-{clips}"
        self.dim, self.clips, self.window_rows, self.feature_dim = dim, clips, window_rows, feature_dim
        self.frames = 0
        self._table = F.normalize(torch.randn(feature_dim, dim, generator=torch.Generator().manual_seed(5)), dim=-1)

    def embed_windows(self, features: Sequence[np.ndarray]) -> torch.Tensor:
        pooled = [
            F.adaptive_avg_pool1d(torch.from_numpy(np.asarray(rows, dtype=np.float32)).T[None], self.clips)[0].T
            for rows in features
        ]
        return 0.9 * F.normalize(torch.stack(pooled) @ self._table, dim=-1)

    def embed_sentences(self, sentences: Sequence[str]) -> np.ndarray:
        seeds = [sum(map(ord, sentence)) for sentence in sentences]
        drawn = np.stack([np.random.default_rng(seed).normal(size=self.dim) for seed in seeds])
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def drawn_film(seed: int, *, rows: int = 12, embedder: Plain | None = None, name: str | None = None) -> NewFilm:
    """A film that only its seed decides."""
    embedder = embedder or Plain()
    drawn = np.random.default_rng(seed)
    features = drawn.normal(size=(rows, embedder.feature_dim)).astype(np.float32)
    windows = cut(rows, embedder.window_rows)
    fused = drawn.normal(size=(len(windows), embedder.clips, embedder.dim)).astype(np.float32)
    return NewFilm(
        path=name or f"film-{seed:04d}.mp4",
        windows=windows,
        vectors=0.95 * F.normalize(torch.from_numpy(fused), dim=-1),
        rows=rows,
        timing=timing(rows, None, None, "film"),
        features=features,
        fingerprint=str(seed),
    )


def planted(path: str, query: np.ndarray, rows: int, events: list[tuple[int, int, float]], plain: Plain) -> NewFilm:
    """A film that shows what `query` asks for in some of its rows, each with a likeness, and noise elsewhere."""
    drawn = np.random.default_rng(rows)
    likeness = np.zeros(rows)
    for first, stop, height in events:
        likeness[first:stop] = height
    noise = F.normalize(torch.from_numpy(drawn.normal(size=(rows, plain.dim)).astype(np.float32)), dim=-1)
    seen = torch.from_numpy(likeness)[:, None].float() * torch.from_numpy(query) + 0.1 * noise
    windows = cut(rows, plain.window_rows)
    clips = [seen[w.first : w.first + w.rows].unflatten(0, (plain.clips, -1)).mean(1) for w in windows]
    return NewFilm(
        path=path,
        windows=windows,
        vectors=torch.stack(clips),
        rows=rows,
        timing=timing(rows, np.arange(rows) + 0.5, float(rows), path),
    )


def clustered(count: int, plain: Plain, seed: int = 0) -> list[NewFilm]:
    """Films in families, as real ones are; clips of a film are alike."""
    generator = torch.Generator().manual_seed(seed)
    families = F.normalize(torch.randn(20, plain.dim, generator=torch.Generator().manual_seed(99)), dim=-1)
    films = []
    for index in range(count):
        own = families[index % 20] + 0.15 * torch.randn(plain.dim, generator=generator)
        clips = own + 0.05 * torch.randn(plain.clips, plain.dim, generator=generator)
        films.append(
            NewFilm(
                path=f"{seed}-{index}",
                windows=[Window(0, 8)],
                vectors=0.9 * F.normalize(clips, dim=-1)[None],
                rows=8,
                timing=timing(8, None, None, "film"),
            )
        )
    return films


def unit_queries(count: int, dim: int = 32, seed: int = 3) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def held_of(files: Iterable[Path]) -> int:
    """Bytes of mapped files that this process holds, on Linux."""
    maps = Path("/proc/self/smaps").read_text(encoding="utf-8")
    found = (re.findall(rf"{re.escape(str(file))}\n(?:.*\n)*?Rss: +(\d+) kB", maps) for file in files)
    return 1024 * sum(int(size) for sizes in found for size in sizes)


def put(library: Library, films: Sequence[NewFilm]) -> None:
    with library.writing() as into:
        into.add(films)


def ranked(library: Library, queries: np.ndarray, k: int) -> list[tuple[list[str], list[float]]]:
    """The paths and scores of the k best films for each query, without their moments."""
    snapshot = library.store.snapshot()
    paths = {film.id: film.path for film in library}
    return [
        ([paths[int(film)] for film in snapshot.films[some.films]], some.scores.tolist())
        for some in library.engine.search(snapshot, queries, k)
    ]


def update(library: Library, progress: Callable[[str, int, int], None] = lambda *_: None) -> None:
    with library.writing() as into:
        into.update_engine(progress)


def rebuild(library: Library) -> None:
    with library.writing() as into:
        into.update_engine(anew=True)


def compacted(library: Library) -> Compacted:
    with library.writing() as into:
        return compact(into, purge=True)


def index_split(library: Library, collection: Collection, split: str, **options: Any) -> int:
    with library.writing() as into:
        return index_collection(into, collection, split, **options)
