"""A library of films, searched by sentence: the film, and from which second to which."""

from typing import TYPE_CHECKING

from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.search.activity import Activity
    from gmmformer.search.changes import Failure, IndexReport, Unchanged, unchanged
    from gmmformer.search.compaction import Compacted
    from gmmformer.search.embedding import DualEmbedder, Embedder, MixedEmbedder, ModelEmbedder
    from gmmformer.search.encoders import Encoders, Recipe, choose_encoders
    from gmmformer.search.evaluating import evaluate_encoders
    from gmmformer.search.hits import Hit
    from gmmformer.search.indexing import FilmSource, index_collection, index_films, index_library
    from gmmformer.search.info import LibraryInfo
    from gmmformer.search.library import Library
    from gmmformer.search.moments import Timeline
    from gmmformer.search.schema import is_library
    from gmmformer.search.store import Film
    from gmmformer.search.writer import NewFilm

__getattr__, __dir__ = lazily(
    __name__,
    {
        "activity": ["Activity"],
        "changes": ["Failure", "IndexReport", "Unchanged", "unchanged"],
        "compaction": ["Compacted"],
        "embedding": ["DualEmbedder", "Embedder", "MixedEmbedder", "ModelEmbedder"],
        "encoders": ["Encoders", "Recipe", "choose_encoders"],
        "evaluating": ["evaluate_encoders"],
        "hits": ["Hit"],
        "indexing": ["FilmSource", "index_collection", "index_films", "index_library"],
        "info": ["LibraryInfo"],
        "library": ["Library"],
        "moments": ["Timeline"],
        "schema": ["is_library"],
        "store": ["Film"],
        "writer": ["NewFilm"],
    },
)

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
    "Timeline",
    "Unchanged",
    "choose_encoders",
    "evaluate_encoders",
    "index_collection",
    "index_films",
    "index_library",
    "is_library",
    "unchanged",
]
