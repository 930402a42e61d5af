"""Collections made so that it is known what a linear map finds of them."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from gmmformer.data import Collection
from gmmformer.data.writing import write_captions, write_row_names, write_tokens

DIM, CONCEPTS, ROWS = 24, 12, 6
Row = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]


def write_concepts(root: Path, row_of: Row, encoders: tuple[str, str] | None = None, sign: float = 1.0) -> Collection:
    """Videos of one concept each, amid noise, and a sentence of two tokens, the last of them a word for the concept.

    With `encoders` the word is the concept's own vector, or the opposite, by `sign`.
    """
    rng = np.random.default_rng(0)
    concepts, words = (np.linalg.qr(rng.standard_normal((DIM, CONCEPTS)))[0].T for _ in range(2))
    words = words if encoders is None else sign * concepts
    text, features = root / "made" / "TextData", root / "made" / "FeatureData" / "f"
    text.mkdir(parents=True)
    features.mkdir(parents=True)
    rows, lengths = [], {}
    with h5py.File(text / "roberta_made_query_feat.hdf5", "w") as file:
        for split, times in {"train": 6, "val": 1, "test": 1}.items():
            videos = {f"{split}{number}": number % CONCEPTS for number in range(times * CONCEPTS)}
            ids = [f"{video}#enc#0" for video in videos]
            write_captions(text / f"made{split}.caption.txt", ids, ["a thing"] * len(ids))
            write_tokens(file, ids, [np.stack([words[0], words[concept]]) for concept in videos.values()])
            for video, concept in videos.items():
                lengths[video] = ROWS
                rows += [row_of(rng, concepts[concept], n) + 0.02 * rng.standard_normal(DIM) for n in range(ROWS)]
    matrix = np.array(rows, "<f4")
    (features / "feature.bin").write_bytes(matrix.tobytes())
    (features / "shape.txt").write_text(f"{len(matrix)} {DIM}")
    write_row_names(features, lengths)
    for folder, name in zip((features, text), encoders or (), strict=False):
        (folder / "extraction.json").write_text(json.dumps({"name": name, "fps": 1.0}))
    return Collection.open(root, "made")


def mirrored(rng: np.random.Generator, concept: np.ndarray, number: int) -> np.ndarray:
    """A frame that no linear map can tell: on one side of zero as often as on the other."""
    return (-1) ** number * concept


def plain(rng: np.random.Generator, concept: np.ndarray, number: int) -> np.ndarray:
    return concept
