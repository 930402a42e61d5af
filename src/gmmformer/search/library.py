"""A library of films on disk that sentences are searched in: the Python face of `gmmformer index` and `search`."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
from jaxtyping import Float

from gmmformer.config import DecodeLimits, Running
from gmmformer.media.encoders import SMALL
from gmmformer.search.calibration import Calibration, calibrate, calibration_of, outgrown
from gmmformer.search.changes import IndexReport, Paths, settled_changes, several
from gmmformer.search.embedding import Embedder, NoTextEncoderError, checked_sentences
from gmmformer.search.engines import Engine, checked_queries, choose_engine
from gmmformer.search.fusing import Texts
from gmmformer.search.hearing import Added, Taking
from gmmformer.search.hits import Hit, Wanted, hits_for, hits_in
from gmmformer.search.indexing import embedded_film, film_source, index_films
from gmmformer.search.recipe import Encoders, Models, choose_encoders
from gmmformer.search.store import Film, LibraryInfo, Store
from gmmformer.search.vectors import Dtype
from gmmformer.search.words import check_counts, checked_sources, in_words_alone
from gmmformer.search.writer import Writer, create_library, writing


class Library:
    """Films that sentences are searched in. Threads may share it; it sees what is added meanwhile.

    `len(library)` counts its films, `for film in library` gives them in the order in which they came.

    >>> import tempfile
    >>> from gmmformer.config import ModelConfig
    >>> from gmmformer.model import GMMFormer
    >>> from gmmformer.search import ModelEmbedder
    >>> config = ModelConfig(feature_dim=6, query_dim=5, hidden=8, heads=2, map_size=4, max_ctx_l=10)
    >>> model = ModelEmbedder(GMMFormer(config))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     library = Library.create(folder, model)
    ...     library.add_film("door.mp4", np.ones((25, 6), dtype=np.float32), seconds=np.arange(25.0))
    ...     [hit.film.path for hit in library.search_vectors(model.embed_tokens([np.ones((3, 5))]), k=1)[0]]
    ['door.mp4']
    """

    def __init__(self, store: Store, models: Models, engine: Engine) -> None:
        """Use `open` or `create`."""
        self.store, self.models, self.engine = store, models, engine
        """What is read of it, what embeds films and sentences, and what finds the films."""
        self.folder, self.settings = store.folder, store.settings
        """Where it is, and what it is made for."""
        self._writing, self._texts = threading.RLock(), Texts(store)

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        model: str | Path | Encoders | Embedder = SMALL,
        *,
        store: Dtype = "int8",
        overlap: float = 0.25,
        keep_features: bool = True,
        engine: str = "auto",
        running: Running = Running(),
    ) -> "Library":
        """Make an empty library.

        Args:
            folder: Where; made if missing, empty if not.
            model: What the library belongs to: a run folder, a saved model, a hub id, zero-shot:NAME or "small", which
                it keeps, so that it can be opened by itself; or what `choose_encoders` made of them. A bare embedder
                must be given again to `open`.
            store: How vectors are stored: "int8" takes a quarter of the room of "float32", "bf16" half.
            overlap: Share of a window that the next one of a long film repeats.
            keep_features: Whether to keep feature rows in 16 bits, so that another model needs no decoding.
            engine: See `open`.
            running: Device, batch and downloads of a model that is given by name.

        Raises:
            InputError: There is no such model, something is in the way, or the folder cannot be written to.
        """
        choose_engine(engine)  # a name mistyped makes no library
        if isinstance(model, str | Path):
            model = choose_encoders(model, films=False, running=running)
        create_library(Path(folder), model, dtype=store, overlap=overlap, keep_features=keep_features)
        return cls.open(folder, model, engine=engine, running=running)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        model: Encoders | Embedder | None = None,
        *,
        engine: str = "auto",
        running: Running = Running(),
    ) -> "Library":
        """Open a library.

        Args:
            folder: Where it is; a read-only disk will do for searching.
            model: What it belongs to. Without it the library's own is loaded when it is needed.
            engine: "exact" looks at every window, "ann" at an index of them, "auto" at the index where there are more
                than 50,000 windows and it has been made; an address such as "http://host:19530" asks a Milvus server.
            running: The device, the batch and the downloads of a model that is loaded then.

        Raises:
            InputError: There is no library, it cannot be read, it belongs to another model, or there is no such engine.
        """
        chosen, store = choose_engine(engine), Store(folder)
        try:
            return cls(store, Models(store.folder, store.settings, model, running), chosen(store))
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Give back what is open; the library cannot be used afterwards."""
        self.engine.close()
        self.store.close()

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.store.snapshot().films)

    def __bool__(self) -> bool:
        return True  # an empty one too

    def __iter__(self) -> Iterator[Film]:
        return iter(self.store.films())

    def __contains__(self, film: object) -> bool:
        path = film.path if isinstance(film, Film) else film
        return isinstance(path, str | os.PathLike) and self.store.film(path) is not None

    def info(self) -> LibraryInfo:
        """What the library is and holds."""
        calibration = calibration_of(self.folder)
        return self.store.info(self.engine.name, calibration is not None and calibration.words)

    @overload
    def search(self, sentence: str, k: int = 10, **wanted: Unpack[Wanted]) -> list[Hit]: ...  # type: ignore[overload-overlap]

    @overload
    def search(self, sentence: Sequence[str], k: int = 10, **wanted: Unpack[Wanted]) -> list[list[Hit]]: ...

    def search(
        self, sentence: str | Sequence[str], k: int = 10, **wanted: Unpack[Wanted]
    ) -> list[Hit] | list[list[Hit]]:
        """The moments of the k films that match a sentence best, best film first; of several sentences a list each.

        Several at once take less time than one by one. The other arguments are those of `search_vectors`, but films
        that show the same thing are folded unless `fold` is False. No model is loaded where words alone are looked in.

        Raises:
            InputError: A sentence is empty, a number is out of range, or the library was opened without its model and
                does not keep it.
        """
        asked = [sentence] if isinstance(sentence, str) else list(sentence)
        if not asked:
            return []
        wanted.setdefault("fold", True)
        within = checked_sources(wanted.get("within"))
        seen = [not in_words_alone(self.store.reading, one, within) for one in checked_sentences(asked)]
        queries = np.eye(1, self.settings.dim, dtype=np.float32).repeat(len(asked), axis=0)
        if any(seen):
            queries[seen] = self.embed(list(compress(asked, seen)))
        found = self.search_vectors(queries, k, sentences=asked, **wanted)
        return found[0] if isinstance(sentence, str) else found

    def embed(self, sentences: Sequence[str]) -> Float[np.ndarray, "queries dim"]:
        """The unit vector of each sentence, for `search_vectors`; errors as for `search`."""
        return self.models.embedder.embed_sentences(checked_sentences(sentences))

    def search_vectors(
        self,
        queries: Float[np.ndarray, "queries dim"],
        k: int = 10,
        *,
        skip: int = 0,
        moments: int = 1,
        where: str | None = None,
        min_length: float | None = None,
        fold: bool = False,
        within: Sequence[str] | None = None,
        sentences: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """The moments of the k best films for each query.

        Args:
            queries: Unit vectors, as the library's model makes them of sentences.
            k: Films; fewer are found only if there are no more.
            skip: Films that are passed over first: with the same k, so many after so many, each film comes once.
            moments: Most moments of each film; those of a film follow each other, best first.
            where: Only films whose path fits this glob: `*` any letters, slashes too, `?` one, `[ab]` one of these.
            min_length: Only films of at least so many seconds.
            fold: Whether films that show the same thing, such as other encodings of one film, are one hit, that of the
                best of them, whose `copies` are the others that were found.
            within: What is looked in for sentences, of the four `words.SOURCES`; else all (`words.in_words_alone`).
            sentences: What the queries are vectors of, so that films named so, or in which it is said, count (`fused`).

        Raises:
            InputError: A number is out of range, or the queries are no unit vectors of the library's width.
        """
        check_counts(k, moments, skip)
        queries = checked_queries(queries, self.settings.dim)
        snapshot = self.store.snapshot()
        if not len(snapshot.windows):
            return [[] for _ in queries]
        allowed = self.store.matching(snapshot, where=where, min_length=min_length)
        find = partial(self.engine.search, snapshot, allowed=allowed)
        how: dict[str, Any] = {"fold": fold, "skip": skip, "moments": moments, "where": where, "min_length": min_length}
        how |= {"allowed": allowed, "within": checked_sources(within)}
        return hits_for(self.store, self._texts, snapshot, queries, sentences or [""] * len(queries), find, k, **how)

    def calibrate(
        self, sentences: Sequence[str] | None = None, known: Sequence[tuple[str, str]] | None = None
    ) -> Calibration:
        """Learn how far the best film stands out for sentences about nothing in particular, to say what is strong.

        `add` does so by itself when the library has grown.

        Args:
            sentences: Such as people ask for, but about nothing that is here; they are kept for the next time. Default:
                those of the last time, or 300 general ones.
            known: Paths of films that are here, each with a sentence about that film, which the model was not trained
                on. If strong is right for them, hits get words. They are kept as well.

        Raises:
            InputError: The library has too few windows, its model has no text encoder, or it cannot be written to.
        """
        first = partial(self.search_vectors, k=1, fold=True)
        return calibrate(self.store, self.engine, self.embed, first, sentences, known)

    def calibrate_if_outgrown(self) -> None:
        """`calibrate` if the library has grown or shrunk by a tenth since, and its model reads sentences."""
        with suppress(NoTextEncoderError):
            if outgrown(self.store):
                self.calibrate()

    def search_film(self, query: Float[np.ndarray, "dim"], film_id: int, moments: int = 10) -> list[Hit]:
        """The best moments of one film for a unit vector, best first; none where there is no such film.

        The `curve` of each says how every second of the film scores.

        Raises:
            InputError: The query is no unit vector of the library's width.
        """
        (query,) = checked_queries(query[None], self.settings.dim)
        return hits_in(self.store, self.store.snapshot(), query, film_id, moments)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the library's one writer while the block lasts; other threads that want to write here wait until it ends.

        Raises:
            InputError: Somebody else is writing, this thread is already, or the folder cannot be written to.
        """
        with self._writing, writing(self.store, self.models, self.engine.update) as writer:
            yield writer

    def add(
        self,
        paths: Paths,
        *,
        retry: bool = False,
        limits: DecodeLimits = DecodeLimits(),
        ray: str | None = None,
        **how: Unpack[Taking],
    ) -> IndexReport:
        """Bring the library up to date with films, and folders of films; the arguments are those of `index_films`.

        Besides, `limits` says what decoding may cost, and `ray`, the address of a Ray cluster, that films are decoded
        and encoded there (`gmmformer.media.cluster.featurise_on`); the rest is done here.

        Raises:
            InputError: A path does not exist, or the library cannot be written to.
        """
        with self.writing() as into:
            report = index_films(into, several(paths), film_source(self.models, limits, ray), retry=retry, **how)
        self.calibrate_if_outgrown()
        return report

    def watch(
        self, paths: Paths, *, retry: bool = False, stop: threading.Event | None = None, **how: Unpack[Added]
    ) -> Iterator[IndexReport]:
        """`add` now, and after every change to the films; files still written wait until they are quiet.

        The arguments are those of `add`, `retry` the first time only; set `stop`, from another thread, to end.

        Yields:
            A report on what changed, each time something did; the first one always.

        Raises:
            InputError: A path does not exist, or the library cannot be written to.
            MissingExtraError: watchfiles is not installed.
        """
        quiet = settled_changes(several(paths), stop)
        yield self.add(paths, retry=retry, **how)
        for _ in quiet:
            report = self.add(paths, **how)
            if report.changed:
                yield report

    def add_film(
        self,
        path: str,
        features: Float[np.ndarray, "rows dim"],
        *,
        seconds: Float[np.ndarray, "rows"] | None = None,
        length: float | None = None,
        stamp: str = "",
        fingerprint: str = "",
    ) -> None:
        """Take in a film that is given by its feature rows; one of the same path is replaced.

        Args:
            path: Its path or name.
            features: A row for each frame that was looked at.
            seconds: When each row was taken; without it a row counts as a second.
            length: Seconds of the film.
            stamp: Size and date of the file, so that an unchanged one is known at a glance.
            fingerprint: Of its content.

        Raises:
            InputError: The features are not what the model takes, or the library cannot be written to.
        """
        with self.writing() as into:
            into.add([embedded_film(into, path, features, seconds, length, stamp, fingerprint)])

    def remove(self, paths: Paths) -> int:
        """Take films out; how many of these paths were there. `care.compact` gives back their room.

        Raises:
            InputError: The library cannot be written to.
        """
        with self.writing() as into:
            found = {os.fspath(path): self.store.film(path) for path in several(paths)}
            return into.remove([path if film is None else film.path for path, film in found.items()])
