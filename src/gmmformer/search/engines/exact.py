"""Every window is looked at, at the speed of memory."""

import numpy as np
from jaxtyping import Bool, Float

from gmmformer.search.engines.protocol import Found, best_films
from gmmformer.search.snapshot import Snapshot


class ExactEngine:
    """Finds what is best, always: one pass over the mapped vectors, which several queries share."""

    name = "exact"

    def search(
        self,
        snapshot: Snapshot,
        queries: Float[np.ndarray, "queries dim"],
        k: int,
        allowed: Bool[np.ndarray, "films"] | None = None,
    ) -> list[Found]:
        """See `Engine.search`."""
        every = np.arange(len(snapshot.windows))
        return best_films(snapshot, queries, every if allowed is None else every[allowed[snapshot.film_of]], k)
