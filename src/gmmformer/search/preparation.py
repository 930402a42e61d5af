"""A film's feature rows made ready for a library: cut into windows and embedded."""

import numpy as np
import torch
from jaxtyping import Float

from gmmformer.errors import InputError
from gmmformer.search.embedding import Embedder
from gmmformer.search.settings import Settings
from gmmformer.search.windows import cut, timing
from gmmformer.search.writer import NewFilm

_WINDOWS = 64


def embedded_film(
    settings: Settings,
    embedder: Embedder,
    path: str,
    features: Float[np.ndarray, "rows dim"],
    *,
    seconds: Float[np.ndarray, "rows"] | None = None,
    length: float | None = None,
    stamp: str = "",
    fingerprint: str = "",
) -> NewFilm:
    """The film as a library takes it; arguments as for `Library.add_film`.

    Raises:
        InputError: The features are not what the library's model takes.
    """
    if features.ndim != 2 or not len(features) or features.shape[1] != settings.feature_dim:
        raise InputError(
            f"{path!r}: its features have shape {features.shape}, but the library's model takes rows of "
            f"{settings.feature_dim} numbers, at least one"
        )
    if not np.isfinite(features).all():
        raise InputError(f"{path!r}: its features hold NaN or infinity; extract them again")
    when = timing(len(features), seconds, length, repr(path))
    windows = cut(len(features), settings.window_rows, settings.overlap)
    rows = [features[window.first : window.first + window.rows] for window in windows]
    fused = [embedder.embed_windows(rows[first : first + _WINDOWS]) for first in range(0, len(rows), _WINDOWS)]
    return NewFilm(
        path=path,
        windows=windows,
        fused=torch.cat(fused),
        rows=len(features),
        timing=when,
        features=features if settings.keep_features else None,
        stamp=stamp,
        fingerprint=fingerprint,
    )
