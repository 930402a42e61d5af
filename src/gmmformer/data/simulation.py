"""Write a simulated collection with known moments, of any size, in the MS-SL layout."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from gmmformer.cores import Progress, read_ahead, silent, usable_cores
from gmmformer.data.world import SIZES, Plan, Sizes, World, plan_split
from gmmformer.data.writing import write_captions, write_row_names, write_tokens
from gmmformer.errors import InputError, suggest
from gmmformer.files import swapped_whole

_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What was written: `Collection.open(root, name)` reads it."""

    root: Path
    name: str
    videos: dict[str, int]
    """Videos of each split."""
    sentences: dict[str, int]
    """Sentences of each split."""
    rows: int
    """Feature rows of all videos."""


def simulate(
    out: Path,
    *,
    like: str = "tvr",
    videos: int | tuple[int, int, int] | None = None,
    seed: int = 9527,
    difficulty: float = 0.5,
    name: str | None = None,
    feature_dim: int | None = None,
    query_dim: int | None = None,
    concepts: int | None = None,
    progress: Progress = silent,
) -> Simulated:
    """Write the collection OUT/NAME; NAME is `like` unless given.

    `like` (tvr, activitynet, charades) sets widths, captions per video, rows per video and tokens per sentence, and the
    size: `videos` None for the published one, a number of training videos with the other splits in proportion, or
    the numbers of train, val and test videos (0: no such split). val and test are different videos.
    `gmmformer.data.world` says how videos and sentences come about, and what `difficulty` (0 to 1) does.

    Beside the published files there is moments.tsv: caption id, first row of the moment, row after its last, rows of
    the video. The same arguments give the same files. Written block by block, in bounded memory, into a folder
    that gets its name when it is complete.

    Raises:
        InputError: OUT/NAME exists, an argument is out of range, or the disk is too small.
    """
    if like not in SIZES:
        raise InputError(f"--like {like}: there is no such collection to imitate; {suggest(like, SIZES)}")
    sizes = SIZES[like].resized(videos, feature_dim, query_dim)
    if not 0 <= difficulty <= 1:
        raise InputError(f"--difficulty {difficulty} must be at least 0 and at most 1")
    name = name or like
    world = World.drawn(sizes, concepts=concepts, difficulty=difficulty, seed=seed)
    plans = {split: plan_split(sizes, world, split, seed) for split, count in sizes.videos.items() if count}
    place = Path(out) / name
    if place.exists() or place.is_symlink():
        raise InputError(f"{place}: exists already; remove it or choose another place")
    with swapped_whole(place) as folder:
        _see_room(folder, sizes, plans)
        _write_text(folder, name, world, plans, seed, progress)
        _write_features(folder / "FeatureData" / sizes.feature, world, plans, seed, progress)
    return Simulated(
        root=Path(out),
        name=name,
        videos={split: len(plan.lengths) for split, plan in plans.items()},
        sentences={split: len(plan.video_of_caption) for split, plan in plans.items()},
        rows=sum(plan.rows for plan in plans.values()),
    )


def _see_room(folder: Path, sizes: Sizes, plans: dict[str, Plan]) -> None:
    rows = sum(plan.rows for plan in plans.values())
    tokens = sum(len(plan.tokens) for plan in plans.values())
    needed = 4 * (rows * sizes.feature_dim + tokens * sizes.query_dim) + 100 * rows
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder.parent}: needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} are free; take fewer --videos"
        )


def _write_text(folder: Path, name: str, world: World, plans: dict[str, Plan], seed: int, progress: Progress) -> None:
    """Caption files, moments.tsv and the token features."""
    text = folder / "TextData"
    text.mkdir()
    total, done = sum(len(plan.video_of_caption) for plan in plans.values()), 0
    with (
        (folder / "moments.tsv").open("w", encoding="utf-8") as moments,
        h5py.File(text / f"roberta_{name}_query_feat.hdf5", "w") as features,
    ):
        for number, (split, plan) in enumerate(plans.items()):
            rng = np.random.default_rng([seed, 3, number])
            caption_ids = plan.caption_ids()
            write_captions(text / f"{name}{split}.caption.txt", caption_ids, world.sentences(plan))
            spans = zip(caption_ids, *(column.tolist() for column in plan.moments()), strict=True)
            moments.writelines(f"{caption}\t{start}\t{stop}\t{rows}\n" for caption, start, stop, rows in spans)
            step = max(1, _BLOCK_BYTES // (4 * world.query_dim * 16))
            for start in range(0, len(caption_ids), step):
                counts = plan.token_counts[start : start + step]
                first = int(plan.token_counts[:start].sum())
                tokens = world.token_features(plan.tokens[first : first + int(counts.sum())], rng)
                write_tokens(features, caption_ids[start : start + step], np.split(tokens, np.cumsum(counts)[:-1]))
                done += len(counts)
                progress("text features", done, total)


def _write_features(folder: Path, world: World, plans: dict[str, Plan], seed: int, progress: Progress) -> None:
    """feature.bin and the three files that explain it."""
    folder.mkdir(parents=True)
    total, done = sum(plan.rows for plan in plans.values()), 0
    (folder / "shape.txt").write_text(f"{total} {world.feature_dim}")
    lengths = {
        plan.video_id(video): length for plan in plans.values() for video, length in enumerate(plan.lengths.tolist())
    }
    write_row_names(folder, lengths)
    step = max(1, _BLOCK_BYTES // (4 * world.feature_dim))
    blocks = [
        (number, split, start) for number, split in enumerate(plans) for start in range(0, plans[split].rows, step)
    ]

    def make(block: tuple[int, str, int]) -> np.ndarray:
        number, split, start = block
        return world.row_features(plans[split], start, start + step, np.random.default_rng([seed, 4, number, start]))

    with (folder / "feature.bin").open("wb") as file:
        for rows in read_ahead(make, blocks, workers=min(4, usable_cores())):
            file.write(rows.data)
            done += len(rows)
            progress("features", done, total)
