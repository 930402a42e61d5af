"""An index of inverted lists with product quantisation (faiss) for libraries too large to look at every window."""

import threading
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from gmmformer.cores import Progress, silent
from gmmformer.errors import InputError, of_extra
from gmmformer.files import written_whole
from gmmformer.search.changes import EXTEND
from gmmformer.search.engines.exact import Found, group_count, grouped, search_all, search_candidates, vector_ids
from gmmformer.search.parts import file_checksum
from gmmformer.search.snapshot import Snapshot
from gmmformer.search.store import Derived, Store
from gmmformer.search.writer import Writer

NAME = "ann"
EXACT_UP_TO = 50_000
"""Windows up to which looking at all of them is fast enough."""
_PREFIX = "ann-v2-"
"""Of the file's name. An index of another version, whose ids meant something else, counts as none, and is replaced."""
KEPT = 0.93
"""Share of the vectors' squared length that the directions of the index hold, so far as `MOST_DIRECTIONS` allow. Of a
model's 384 some 80 do, each in four bits: they tell vectors apart far better than as many bits for all directions."""
MOST_DIRECTIONS = 192
PROBES, LEAST_PROBED, MOST_PROBED = 1 / 16, 50_000, 800_000
"""Share of the lists that a search looks into, and the vectors in them, on average, at least and at most."""
_MOST_LISTS, _TRAINING_PER_LIST, _BITS = 16_384, 40, 4
_CHUNK, _FOR_DIRECTIONS = 500, 2_000


class OwnFiles:
    """The library's own files: every window is looked at, or an index of them.

    The index finds nearly what is best, in a small part of the time; scores are exact. It lies beside the library in a
    file that can be made again at any time. Films that came after it was made are looked at one by one; removed ones
    are passed over.
    """

    def __init__(self, store: Store, asked: str) -> None:
        """Look at every window ("exact"), at the index ("ann"), or as the library's size has it ("auto")."""
        self._store, self._asked, self._lock = store, asked, threading.Lock()
        self._loaded: tuple[Derived, Any] | None = None

    @property
    def name(self) -> str:
        """See `Engine.name`."""
        return self._for(self._store.snapshot())

    def _for(self, snapshot: Snapshot) -> str:
        if self._asked != "auto":
            return self._asked
        many = len(snapshot.windows) > EXACT_UP_TO
        return NAME if many and index_of(self._store) is not None and has_faiss() else "exact"

    def search(
        self,
        snapshot: Snapshot,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, "films"] | None = None,
    ) -> list[Found]:
        """See `Engine.search`.

        Raises:
            InputError: There is no index, or its file is missing or damaged.
            MissingExtraError: faiss is not installed.
        """
        if self._for(snapshot) == "exact":
            return search_all(snapshot, queries, k, allowed)
        with self._lock:
            if self._loaded is None or index_of(self._store) != self._loaded[0]:
                self._loaded = self._read()
            derived, index = self._loaded
            faiss = _faiss()

        def nearest(some: Float[np.ndarray, "queries dim"], count: int) -> Int[np.ndarray, "queries count"]:
            threads = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(min(threads, len(some)))  # of the calling thread; one has no use for more
            try:
                return np.asarray(index.search(some, count)[1])
            finally:
                faiss.omp_set_num_threads(threads)

        return search_candidates(nearest, snapshot, queries, k, allowed, derived.covers, index.ntotal)

    def update(self, writer: Writer, progress: Progress = silent, anew: bool = False) -> None:
        """See `Engine.update`: the index, which is only kept up if it has been made anew once.

        Raises:
            InputError: The library is empty, the index is damaged, or the disk is full.
            MissingExtraError: faiss is not installed.
        """
        (self._rebuild if anew else self._extend)(writer, progress)

    def close(self) -> None:
        """See `Engine.close`."""

    def _rebuild(self, writer: Writer, progress: Progress) -> None:
        """Train the index on what the library holds now, and fill it.

        Memory is bounded by the index itself and the training sample, whatever the size of the library.
        """
        faiss, snapshot = _faiss(), self._store.snapshot()
        if not len(snapshot.windows):
            raise InputError(f"{self._store.folder}: is empty, so there is nothing to index; add films first")
        index = _trained(faiss, snapshot)
        last = int(snapshot.windows[-1])
        _fill(index, snapshot, 0, progress)
        _save(faiss, index, self._store, writer, covers=last, trained=last)

    def _extend(self, writer: Writer, progress: Progress) -> None:
        """Put the films that came since into the index, as it was trained, if there is one and they are many."""
        derived = index_of(self._store)
        if derived is None or not has_faiss():
            return
        snapshot = self._store.snapshot()
        first = int(np.searchsorted(snapshot.windows, derived.covers, side="right"))
        if len(snapshot.windows) - first > EXTEND:
            _, index = self._read()
            _fill(index, snapshot, first, progress)
            last = int(snapshot.windows[-1])
            _save(_faiss(), index, self._store, writer, covers=last, trained=derived.trained)

    def _read(self) -> tuple[Derived, Any]:
        derived, faiss = index_of(self._store), _faiss()
        if derived is None:
            raise InputError(
                f"{self._store.folder}: has no index for approximate search yet; make one with "
                "`gmmformer library DIR rebuild`, or search with --engine exact"
            )
        path, settings = self._store.folder / derived.file, self._store.settings
        try:
            if file_checksum(path) != derived.checksum:  # what is not ours could make faiss do anything
                raise ValueError
            index = faiss.read_index(str(path))
            if index.d != settings.dim:
                raise ValueError
        except (OSError, RuntimeError, MemoryError, ValueError) as error:
            raise InputError(
                f"{path}: is missing or damaged; make it again with `gmmformer library DIR rebuild`"
            ) from error
        return derived, index


def index_of(store: Store) -> Derived | None:
    """The index of a library, if one has been made that this version can use."""
    derived = store.derived(NAME)
    return derived if derived is not None and derived.file.startswith(_PREFIX) else None


def has_faiss() -> bool:
    """Whether there can be an index."""
    return find_spec("faiss") is not None


def _trained(faiss: Any, snapshot: Snapshot) -> Any:
    """An empty index whose lists and codes fit a sample of the library."""
    groups = group_count(snapshot.format.clips)
    vectors = groups * len(snapshot.windows)
    lists = max(1, min(_MOST_LISTS, int(4 * vectors**0.5), vectors // _TRAINING_PER_LIST))
    wanted = max(1, -(-_TRAINING_PER_LIST * lists // groups))
    drawn = np.random.default_rng(9527).permutation(len(snapshot.windows))[:wanted]
    directions = directions_of(_groups(snapshot, drawn[:_FOR_DIRECTIONS]))
    turned = [_groups(snapshot, drawn[first : first + _CHUNK]) @ directions.T for first in range(0, len(drawn), _CHUNK)]
    turn = faiss.LinearTransform(directions.shape[1], directions.shape[0], False)
    faiss.copy_array_to_vector(directions.ravel(), turn.A)
    turn.is_trained = True
    index = faiss.index_factory(
        len(directions), f"IVF{lists},PQ{len(directions)}x{_BITS}fs", faiss.METRIC_INNER_PRODUCT
    )
    index.cp.min_points_per_centroid = 1  # a small library has few; no warning is due
    index.pq.cp.min_points_per_centroid = 1
    sample = np.concatenate(turned)
    index.train(np.resize(sample, (max(len(sample), 2**_BITS), sample.shape[1])))  # too few are taken several times
    probed = min(MOST_PROBED, max(LEAST_PROBED, PROBES * vectors))
    index.nprobe = min(lists, max(1, round(lists * probed / vectors)))
    return faiss.IndexPreTransform(turn, index)


def _groups(snapshot: Snapshot, slots: Int[np.ndarray, "n"]) -> Float[np.ndarray, "vectors dim"]:
    return grouped(snapshot.fused(np.sort(slots))).reshape(-1, snapshot.format.dim)


def directions_of(sample: Float[np.ndarray, "vectors dim"]) -> Float[np.ndarray, "directions dim"]:
    """Unit vectors along which the sample is longest, turned among themselves so that all hold alike much of it.

    They are those of the second moment, not of the covariance, for inner products depend on where the origin is.
    """
    moment = (sample.T @ sample).astype(np.float64)
    lengths, vectors = np.linalg.eigh(moment)
    held = np.cumsum(lengths[::-1]) / max(lengths.sum(), 1e-30)
    count = min(len(moment), MOST_DIRECTIONS, 8 * -(-(int(np.searchsorted(held, KEPT)) + 1) // 8))
    turn = np.linalg.qr(np.random.default_rng(9527).standard_normal((count, count)))[0]
    return np.ascontiguousarray(turn @ vectors[:, ::-1][:, :count].T, dtype=np.float32)


def _fill(index: Any, snapshot: Snapshot, first: int, progress: Progress) -> None:
    """Add the windows from a slot on."""
    total = len(snapshot.windows)
    for start in range(first, total, _CHUNK):
        slots = np.arange(start, min(start + _CHUNK, total))
        index.add_with_ids(_groups(snapshot, slots), vector_ids(snapshot.windows[slots], snapshot.format.clips))
        progress("building the index", start - first + len(slots), total - first)


def _save(faiss: Any, index: Any, store: Store, writer: Writer, *, covers: int, trained: int) -> None:
    taken = (path.name.removeprefix(_PREFIX).removesuffix(".faiss") for path in store.folder.glob(f"{_PREFIX}*.faiss"))
    number = 1 + max((int(name) for name in taken if name.isdecimal()), default=0)
    path = store.folder / f"{_PREFIX}{number:06d}.faiss"
    try:
        with written_whole(path) as beside:
            faiss.write_index(index, str(beside))
            check = file_checksum(beside)
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written ({_first_line(error)}); free some space and try again") from error
    writer.derive(NAME, Derived(path.name, covers, trained, check))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _faiss() -> Any:
    return of_extra("faiss", "approximate search", "search")
