"""A library of films, searched by sentence: the film, and from which second to which."""

from gmmformer.search.compaction import Compacted
from gmmformer.search.embedding import DualEmbedder, Embedder, MixedEmbedder, ModelEmbedder
from gmmformer.search.hits import Hit
from gmmformer.search.indexing import FilmSource, IndexReport, index_collection, index_films
from gmmformer.search.info import LibraryInfo
from gmmformer.search.library import Library
from gmmformer.search.store import Failure, Film
from gmmformer.search.writer import NewFilm

__all__ = [
    "Compacted",
    "DualEmbedder",
    "Embedder",
    "Failure",
    "Film",
    "FilmSource",
    "Hit",
    "IndexReport",
    "Library",
    "LibraryInfo",
    "MixedEmbedder",
    "ModelEmbedder",
    "NewFilm",
    "index_collection",
    "index_films",
]
