"""A library of films, searched by sentence: the film, and from which second to which."""

from gmmformer.search.activity import Activity
from gmmformer.search.compaction import Compacted
from gmmformer.search.embedding import DualEmbedder, Embedder, MixedEmbedder, ModelEmbedder
from gmmformer.search.encoders import Encoders, Recipe, Running, choose_encoders
from gmmformer.search.evaluating import evaluate_encoders
from gmmformer.search.hits import Hit
from gmmformer.search.indexing import FilmSource, IndexReport, index_collection, index_films, index_library
from gmmformer.search.info import LibraryInfo
from gmmformer.search.library import Library
from gmmformer.search.moments import Timeline
from gmmformer.search.schema import is_library
from gmmformer.search.store import Failure, Film
from gmmformer.search.writer import NewFilm

__all__ = [
    "Activity",
    "Compacted",
    "DualEmbedder",
    "Embedder",
    "Encoders",
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
    "Recipe",
    "Running",
    "Timeline",
    "choose_encoders",
    "evaluate_encoders",
    "index_collection",
    "index_films",
    "index_library",
    "is_library",
]
