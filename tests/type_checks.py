"""How the shapes and types that are written down are checked while tests run."""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""A whole number will do for a float, as everywhere in Python (PEP 484)."""


@contextmanager
def unchecked() -> Iterator[None]:
    """Where wrong types are given on purpose: as users have it, nothing is checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
