"""A library of films, searched by sentence: the film, and from which second to which."""

from typing import TYPE_CHECKING

from gmmformer.lazy import lazily

if TYPE_CHECKING:
    from gmmformer.evaluation.moments import ScoreCurve
    from gmmformer.search.care import Compacted, bring_back, compact, verify
    from gmmformer.search.changes import Activity, Failure, IndexReport, Unchanged, activity_in, unchanged
    from gmmformer.search.composing import search_composed
    from gmmformer.search.database import is_library
    from gmmformer.search.embedding import DualEmbedder, Embedder, MixedEmbedder, ModelEmbedder, unknown_words
    from gmmformer.search.examples import Spot, search_like
    from gmmformer.search.hits import Hit, Part
    from gmmformer.search.indexing import FilmSource, index_collection, index_films, index_library
    from gmmformer.search.library import Library
    from gmmformer.search.recipe import Encoders, choose_encoders, evaluate_encoders
    from gmmformer.search.settings import Recipe
    from gmmformer.search.store import Film, LibraryInfo
    from gmmformer.search.writer import NewFilm, Writer

__getattr__, __dir__ = lazily(
    __name__,
    {
        "care": ["Compacted", "bring_back", "compact", "verify"],
        "changes": ["Activity", "Failure", "IndexReport", "Unchanged", "activity_in", "unchanged"],
        "composing": ["search_composed"],
        "database": ["is_library"],
        "embedding": ["DualEmbedder", "Embedder", "MixedEmbedder", "ModelEmbedder", "unknown_words"],
        "examples": ["Spot", "search_like"],
        "hits": ["Hit", "Part", "ScoreCurve"],
        "indexing": ["FilmSource", "index_collection", "index_films", "index_library"],
        "library": ["Library"],
        "recipe": ["Encoders", "choose_encoders", "evaluate_encoders"],
        "settings": ["Recipe"],
        "store": ["Film", "LibraryInfo"],
        "writer": ["NewFilm", "Writer"],
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
    "Part",
    "Recipe",
    "ScoreCurve",
    "Spot",
    "Unchanged",
    "Writer",
    "activity_in",
    "bring_back",
    "choose_encoders",
    "compact",
    "evaluate_encoders",
    "index_collection",
    "index_films",
    "index_library",
    "is_library",
    "search_composed",
    "search_like",
    "unchanged",
    "unknown_words",
    "verify",
]
