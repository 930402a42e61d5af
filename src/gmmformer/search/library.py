"""A library of films on disk that sentences are searched in: the Python face of `gmmformer index` and `search`."""

import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from jaxtyping import Float

from gmmformer.config import DecodeConfig, DecodeLimits, Running
from gmmformer.data.progress import Progress, silent
from gmmformer.errors import InputError
from gmmformer.media.decoding import FilmEnd
from gmmformer.media.featurise import FilmFeatures, featurise
from gmmformer.search.activity import Activity, activity_in
from gmmformer.search.answers import hits_of, timeline_of
from gmmformer.search.changes import EXTEND, Failure, IndexReport
from gmmformer.search.compaction import Compacted, compact
from gmmformer.search.embedding import Embedder, checked_sentences
from gmmformer.search.encoders import MODEL, Encoders, recall_encoders
from gmmformer.search.engines import MilvusEngine, choose_engine, engine_name, has_faiss, is_address
from gmmformer.search.engines.ann import extend, index_of, rebuild
from gmmformer.search.engines.protocol import Engine
from gmmformer.search.hits import Hit
from gmmformer.search.indexing import index_films
from gmmformer.search.info import LibraryInfo, library_info
from gmmformer.search.moments import Timeline
from gmmformer.search.preparation import embedded_film
from gmmformer.search.settings import Settings
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Film, Store
from gmmformer.search.vectors import Dtype
from gmmformer.search.verification import verify
from gmmformer.search.watching import settled_changes
from gmmformer.search.windows import Timing
from gmmformer.search.writer import NewFilm, Writer, create_library, writing

MOST_HITS = 10_000


class Library:
    """Films that sentences are searched in. Threads may share it; it sees what is added meanwhile.

    >>> import tempfile
    >>> from gmmformer.config import ModelConfig
    >>> from gmmformer.model import GMMFormer
    >>> from gmmformer.search import ModelEmbedder
    >>> config = ModelConfig(feature_dim=6, query_dim=5, hidden=8, heads=2, map_size=4, max_ctx_l=10)
    >>> model = ModelEmbedder(GMMFormer(config))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     library = Library.create(folder, model)
    ...     library.add_film("door.mp4", np.ones((25, 6), dtype=np.float32), seconds=np.arange(25.0))
    ...     [hit.film for hit in library.search_vectors(model.embed_tokens([np.ones((3, 5))]), k=1)[0]]
    ['door.mp4']
    """

    def __init__(
        self, store: Store, models: Encoders | Embedder | None, engine: str, running: Running = Running()
    ) -> None:
        """Use `open` or `create`."""
        self._store, self._engine_name, self._running = store, engine, running
        self._encoders = models if isinstance(models, Encoders) else None
        self.embedder = models.embedder if isinstance(models, Encoders) else models
        self._loading, self._writing = threading.Lock(), threading.RLock()
        self._engine: Engine | None = None
        self._writer: Writer | None = None

    @classmethod
    def create(
        cls,
        folder: str | os.PathLike[str],
        models: Encoders | Embedder,
        *,
        dtype: Dtype = "int8",
        overlap: float = 0.25,
        keep_features: bool = True,
        engine: str = "auto",
    ) -> "Library":
        """Make an empty library.

        Args:
            folder: Where; made if missing, empty if not.
            models: What the library belongs to: `choose_encoders` makes it of the name of a model, and the library can
                then be opened by itself; a bare embedder must be given again to `open`.
            dtype: How vectors are stored: "int8" takes a quarter of the room of "float32", "bf16" half.
            overlap: Share of a window that the next one of a long film repeats.
            keep_features: Whether to keep feature rows in 16 bits, so that another model needs no decoding.
            engine: See `open`.

        Raises:
            InputError: Something is in the way, or the folder cannot be written to.
        """
        encoders = models if isinstance(models, Encoders) else None
        embedder = encoders.embedder if encoders else cast(Embedder, models)
        settings = Settings(
            model=embedder.name,
            fingerprint=embedder.fingerprint,
            clips=embedder.clips,
            dim=embedder.dim,
            window_rows=embedder.window_rows,
            feature_dim=embedder.feature_dim,
            dtype=dtype,
            overlap=overlap,
            keep_features=keep_features,
            identity=uuid.uuid4().hex,
            recipe=encoders.recipe if encoders else None,
        )
        create_library(Path(folder), settings, encoders.model if encoders else None)
        return cls.open(folder, models, engine=engine)

    @classmethod
    def open(
        cls,
        folder: str | os.PathLike[str],
        models: Encoders | Embedder | None = None,
        *,
        engine: str = "auto",
        running: Running = Running(),
    ) -> "Library":
        """Open a library.

        Args:
            folder: Where it is; a read-only disk will do for searching.
            models: What it belongs to. Without it the library's own are loaded when they are needed.
            engine: "exact" looks at every window, "ann" at an index of them, "auto" at the index where there are more
                than 50,000 windows and it has been made; an address such as "http://host:19530" asks a Milvus server.

            running: The device, the batch and the downloads of models that are loaded then.

        Raises:
            InputError: There is no library, it cannot be read, or it belongs to another model.
        """
        store = Store(folder)
        ours = store.settings
        embedder = models.embedder if isinstance(models, Encoders) else models
        if embedder is not None and embedder.fingerprint != ours.fingerprint:
            store.close()
            raise InputError(
                f"{folder}: this library belongs to the model {ours.model} (fingerprint {ours.fingerprint[:12]}), not "
                f"to {embedder.name} ({embedder.fingerprint[:12]}); open it with its own model, or index the films anew"
            )
        return cls(store, models, engine, running)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._store.folder

    @property
    def settings(self) -> Settings:
        """What it is made for."""
        return self._store.settings

    def close(self) -> None:
        """Give back what is open; the library cannot be used afterwards."""
        if isinstance(self._engine, MilvusEngine):
            self._engine.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def search(self, sentence: str, k: int = 10, **options: Any) -> list[Hit]:
        """The moments of the k films that match a sentence best, best film first; options as for `search_vectors`.

        Raises:
            InputError: The sentence is empty, or the library has been opened without a model.
        """
        return self.search_batch([sentence], k, **options)[0]

    def search_batch(self, sentences: Sequence[str], k: int = 10, **options: Any) -> list[list[Hit]]:
        """As `search`, for several sentences at once, which takes less time than one by one.

        Raises:
            InputError: A sentence is empty, or the library has been opened without a model.
        """
        return self.search_vectors(self.embed(sentences), k, **options) if sentences else []

    def embed(self, sentences: Sequence[str]) -> Float[np.ndarray, "queries dim"]:
        """The unit vector of each sentence, for `search_vectors`.

        Raises:
            InputError: A sentence is empty, or the library has been opened without a model.
        """
        return self.required_embedder().embed_sentences(checked_sentences(sentences))

    def search_vectors(
        self,
        queries: Float[np.ndarray, "queries dim"],
        k: int = 10,
        *,
        moments: int = 1,
        where: str | None = None,
        min_length: float | None = None,
    ) -> list[list[Hit]]:
        """The moments of the k best films for each query.

        Args:
            queries: Unit vectors, as the library's model makes them of sentences.
            k: Films; fewer are found only if there are no more.
            moments: Most moments of each film; those of a film follow each other, best first.
            where: Only films whose path fits this glob: `*` any letters, slashes too, `?` one, `[ab]` one of these.
            min_length: Only films of at least so many seconds.

        Raises:
            InputError: A number is out of range, or the queries are no unit vectors of the library's width.
        """
        for name, value in (("k", k), ("moments", moments)):
            if not 1 <= value <= MOST_HITS:
                raise InputError(f"--{name} {value} must be at least 1 and at most {MOST_HITS:,}")
        queries = self._checked(queries)
        snapshot = self._store.snapshot()
        if not len(snapshot.windows):
            return [[] for _ in queries]
        allowed = self._store.matching(snapshot, where=where, min_length=min_length)
        found = self._chosen_engine(snapshot).search(snapshot, queries, k, allowed)
        return hits_of(self._store, snapshot, queries, found, moments)

    def timeline_of(self, query: Float[np.ndarray, "dim"], film: int) -> Timeline | None:
        """How each second of a film, given by its id, scores for a unit vector; None where there is no such film.

        Raises:
            InputError: The query is no unit vector of the library's width.
        """
        return timeline_of(self._store, self._store.snapshot(), self._checked(query[None])[0], film)

    def rank(self, queries: Float[np.ndarray, "queries dim"], k: int) -> list[tuple[list[str], list[float]]]:
        """The paths and scores of the k best films for each unit vector, without their moments."""
        snapshot = self._store.snapshot()
        found = self._chosen_engine(snapshot).search(snapshot, self._checked(queries), k)
        ids = {int(film) for some in found for film in snapshot.films[some.films]}
        paths = {film.id: film.path for film in self._store.films(ids)}
        return [
            ([paths[int(film)] for film in snapshot.films[some.films]], [float(score) for score in some.scores])
            for some in found
        ]

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Be the library's writer while the block lasts, for all that its thread calls on this object in it.

        Other threads that want to write through this object wait until the block ends.

        Raises:
            InputError: Somebody else is writing, or the folder cannot be written to.
        """
        with self._writing:
            if self._writer is not None:  # of this thread, further out
                yield self._writer
                return
            with writing(self.folder, self.settings) as writer:
                self._writer = writer
                try:
                    yield writer
                finally:
                    self._writer = None

    def add(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        prune: bool = False,
        retry: bool = False,
        limits: DecodeLimits = DecodeLimits(),
        progress: Progress = silent,
    ) -> IndexReport:
        """Bring the library up to date with films, and folders of films; see `index_films`.

        Raises:
            InputError: A path does not exist, or the library cannot be written to.
        """

        def source(films: Iterable[Path]) -> Iterator[FilmFeatures | FilmEnd]:
            encoders = self.encoders()  # loaded only if there is something to do
            decode = DecodeConfig(**vars(limits), fps=encoders.recipe.fps)
            return featurise(films, encoders.frames, decode)

        return index_films(self, paths, source, prune=prune, retry=retry, progress=progress)

    def watch(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        prune: bool = False,
        retry: bool = False,
        limits: DecodeLimits = DecodeLimits(),
        progress: Progress = silent,
        stop: threading.Event | None = None,
    ) -> Iterator[IndexReport]:
        """Keep the library up to date with films, and folders of films: `add` now and after every change to them.

        Files that are still being written are left until they have been quiet for some seconds.

        Args:
            paths: Films, and folders of films.
            prune: As for `index_films`.
            retry: Likewise, the first time.
            limits: What decoding may cost.
            progress: Called as films are done.
            stop: Set it, from another thread, to end.

        Yields:
            A report on what changed, each time something did; the first one always.

        Raises:
            InputError: A path does not exist, or the library cannot be written to.
            MissingExtraError: watchfiles is not installed.
        """
        quiet = settled_changes(paths, stop)
        yield self.add(paths, prune=prune, retry=retry, limits=limits, progress=progress)
        for _ in quiet:
            report = self.add(paths, prune=prune, limits=limits, progress=progress)
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
        film = embedded_film(
            self.settings,
            self.required_embedder(),
            path,
            features,
            seconds=seconds,
            length=length,
            stamp=stamp,
            fingerprint=fingerprint,
        )
        self.add_windows([film])

    def add_windows(self, films: Sequence[NewFilm]) -> None:
        """Take in films that are embedded already, all or none of them. When this returns they are on the disk.

        Raises:
            InputError: The library cannot be written to.
        """
        with self.writing() as writer:
            writer.add(films)

    def remove(self, paths: Sequence[str]) -> int:
        """Take films out; how many of these paths were there. `compact` gives back their room.

        Raises:
            InputError: The library cannot be written to.
        """
        with self.writing() as writer:
            return writer.remove(paths)

    def films(self, ids: Iterable[int] | None = None) -> list[Film]:
        """The films that are there, in the order in which they came: all of them, or those of `ids`."""
        return self._store.films(ids)

    def film(self, id: int) -> Film | None:  # noqa: A002
        """The film of that id; None where there is none."""
        return next(iter(self.films([id])), None)

    def failures(self) -> list[Failure]:
        """The films that could not be taken in, and why."""
        return self._store.failures()

    def known(self) -> dict[str, tuple[str, str]]:
        """Stamp and fingerprint of every film, by path."""
        return self._store.known()

    def features_of(self, film: str) -> tuple[Float[np.ndarray, "rows dim"], Timing] | None:
        """The feature rows of a film in float16, and when they were taken; None where they are not kept.

        Raises:
            InputError: There is no such film.
        """
        return self._store.features_of(film)

    def activity(self) -> Activity | None:
        """What some process is doing to the library at this moment; None if nothing is being done."""
        return activity_in(self.folder)

    def info(self) -> LibraryInfo:
        """What the library is and holds."""
        windows = len(self._store.snapshot().windows)
        return library_info(self._store, engine_name(self._engine_name, self._store, windows))

    def verify(self, progress: Progress = silent) -> list[str]:
        """Read everything and say what is damaged; a sentence each, none if all is well."""
        return verify(self._store, progress)

    def compact(self, progress: Progress = silent) -> Compacted:
        """Give back the room of removed films.

        Raises:
            InputError: The disk is full, a record is damaged, or somebody else is writing.
        """
        with self.writing() as writer:
            self._fill_server(writer, progress)
            return compact(self._store, writer, progress)

    def rebuild(self, progress: Progress = silent) -> None:
        """Make the index of the "ann" engine anew, trained on what is there now; or fill the Milvus server anew.

        Raises:
            InputError: The library is empty, the disk is full, the server is away, or somebody else is writing.
            MissingExtraError: faiss is not installed, or pymilvus.
        """
        with self.writing() as writer:
            if not self._fill_server(writer, progress, anew=True):
                rebuild(self._store, writer, progress)

    def extend(self, progress: Progress = silent) -> None:
        """Put new films into the index of the "ann" engine, if there is one and they have become many.

        Where the library was opened with the address of a Milvus server, that is brought up to date instead.

        Raises:
            InputError: The disk is full, the server is away, or somebody else is writing.
        """
        if is_address(self._engine_name):
            with self.writing() as writer:
                self._fill_server(writer, progress)
            return
        derived, windows = index_of(self._store), self._store.snapshot().windows
        if derived is not None and has_faiss() and np.count_nonzero(windows > derived.covers) > EXTEND:
            with self.writing() as writer:
                extend(self._store, writer, progress)

    def required_embedder(self) -> Embedder:
        """The model of the library.

        Raises:
            InputError: It was opened without, and does not keep what it belongs to.
        """
        if self.embedder is None:
            self.embedder = self.encoders().embedder
        return self.embedder

    def encoders(self) -> Encoders:
        """All that films and sentences go through, loaded when it is first asked for.

        Raises:
            InputError: The library does not know, or what it knows is not there any more.
        """
        with self._loading:
            if self._encoders is None:
                ours = self.settings
                if ours.recipe is None:
                    raise InputError(
                        f"{self.folder}: does not keep the model that it belongs to ({ours.model}); open it with that"
                    )
                found = recall_encoders(self.folder, ours.recipe, ours.model, self._running)
                if found.embedder.fingerprint != ours.fingerprint:
                    raise InputError(
                        f"{self.folder / MODEL}: is not the model that the library was made with; restore it from a "
                        "backup, or index the films anew"
                    )
                self._encoders = found
            return self._encoders

    def _chosen_engine(self, snapshot: Snapshot) -> Engine:
        self._engine = choose_engine(self._engine_name, self._store, snapshot, self._engine)
        return self._engine

    def _fill_server(self, writer: Writer, progress: Progress = silent, *, anew: bool = False) -> bool:
        """Bring the Milvus server up to date, if the library was opened with one; whether it was."""
        if not is_address(self._engine_name):
            return False
        engine = self._chosen_engine(self._store.snapshot())
        assert isinstance(engine, MilvusEngine)
        engine.fill(writer, progress, anew=anew)
        return True

    def _checked(self, queries: Float[np.ndarray, "queries dim"]) -> Float[np.ndarray, "queries dim"]:
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.settings.dim:
            raise InputError(f"the queries have shape {queries.shape}, not (queries, {self.settings.dim})")
        if not (np.abs(np.linalg.norm(queries, axis=1) - 1) < 1e-3).all():
            raise InputError("the queries are no unit vectors; normalise them")
        return queries
