"""Every window is looked at: one pass over the mapped vectors at the speed of memory, then the last digits."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gmmformer.search.engines.protocol import Found, exact_scores, one_thread, pool
from gmmformer.search.snapshot import Block, Snapshot

_SCORE_BYTES = 2**28
_BLOCK_BYTES = 2**26
_STREAMED_BYTES = 2**23


class ExactEngine:
    """Finds what is best, always.

    A first pass scores every clip from the stored bytes as they lie there, which may be off in the third digit; by how
    much at most is known, so a second pass can score exactly all windows that may belong to the k best films.
    """

    name = "exact"

    def search(
        self,
        snapshot: Snapshot,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, "films"] | None = None,
    ) -> list[Found]:
        """See `Engine.search`."""
        slots = len(snapshot.windows)
        if not slots:
            return [exact_scores(snapshot, query, np.empty(0, dtype=np.int64), k) for query in queries]
        if allowed is not None and 4 * int(snapshot.counts[allowed].sum()) < slots:
            some = snapshot.slots_of(np.flatnonzero(allowed))
            return [exact_scores(snapshot, query, some, k) for query in queries]
        step = max(1, min(256, _SCORE_BYTES // (4 * slots)))
        found: list[Found] = []
        for first in range(0, len(queries), step):
            some = queries[first : first + step]
            good = promising(snapshot, some, k, allowed)
            found += [exact_scores(snapshot, query, slots, k) for query, slots in zip(some, good, strict=True)]
        return found


def promising(
    snapshot: Snapshot,
    queries: Float[np.ndarray, "queries dim"],
    k: int,
    allowed: Bool[np.ndarray, "films"] | None = None,
    since: int = 0,
) -> list[Int[np.ndarray, "some"]]:
    """For each query the slots, among those from `since` on, that the k best films may owe their scores to."""
    vectors = torch.from_numpy(queries)
    rough, margin = _rough_scores(snapshot, vectors, since)
    if allowed is not None:
        rough[:, ~allowed[snapshot.film_of[since:]]] = -np.inf
    films = snapshot.best_of_films(rough, since)
    last = films.shape[1] - min(k, films.shape[1])
    least = np.partition(films, last, axis=1)[:, last] - 2 * margin
    good = (rough >= least[:, None]) & (rough > -np.inf)
    return [since + np.flatnonzero(row) for row in good]


def _rough_scores(
    snapshot: Snapshot, queries: Float[Tensor, "queries dim"], since: int
) -> tuple[Float[np.ndarray, "queries slots"], Float[np.ndarray, "queries"]]:
    """The score of every window from a slot on, and how far one of a query's may be from the exact one."""
    scores = np.empty((len(queries), len(snapshot.windows) - since), dtype=np.float32)

    def streamed(block: Block) -> Tensor:
        with one_thread():
            return score(block)

    def score(block: Block) -> Tensor:
        products, margin = snapshot.format.estimates(queries, block.records)
        best = products.amax(-1).numpy()
        places = slice(block.slots.start - since, block.slots.stop - since)
        scores[:, places] = best if len(block.places) == best.shape[1] else best[:, block.places]
        return margin

    if len(queries) > 1:  # a matrix product, which uses all cores by itself
        step = max(1, min(_BLOCK_BYTES // snapshot.format.vector_bytes, _BLOCK_BYTES // (128 * len(queries))))
        margins = [score(block) for block in snapshot.blocks(step, since)]
    else:  # a stream, which does not
        step = max(1, _STREAMED_BYTES // snapshot.format.vector_bytes)
        margins = list(pool(torch.get_num_threads()).map(streamed, snapshot.blocks(step, since)))
    return scores, torch.stack(margins).amax(0).numpy()
