"""How large the published collections are, for simulations of their size and of others in proportion."""

from dataclasses import dataclass, replace

from gmmformer.config import PRESETS
from gmmformer.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large a collection is and what its videos and sentences look like from outside."""

    feature: str
    """Folder under FeatureData."""
    feature_dim: int
    query_dim: int
    videos: dict[str, int]
    """Videos of each split."""
    sentences: dict[str, float]
    """Sentences per video of each split, on average."""
    rows: tuple[int, float, float, int]
    """Rows per video: least, median, spread of the logarithm, most. Ours, of the order of the published features."""
    tokens: tuple[int, int]
    """Least and most tokens of a sentence."""

    def resized(
        self, videos: int | tuple[int, int, int] | None, feature_dim: int | None, query_dim: int | None
    ) -> "Sizes":
        """The same with other numbers, where given.

        Raises:
            InputError: A number is too small.
        """
        counts = self.videos
        if isinstance(videos, int):
            if videos < 1:
                raise InputError(f"--videos {videos} must be at least 1")
            counts = {split: max(1, round(count * videos / counts["train"])) for split, count in counts.items()}
        elif videos is not None:
            counts = dict(zip(counts, videos, strict=True))
            if min(videos) < 0 or not sum(videos):
                raise InputError(
                    f"--videos {' '.join(map(str, videos))} must not be negative, and one must be at least 1"
                )
        for flag, dim in (("--feature-dim", feature_dim), ("--query-dim", query_dim)):
            if dim is not None and dim < 1:
                raise InputError(f"{flag} {dim} must be at least 1")
        return replace(
            self, videos=counts, feature_dim=feature_dim or self.feature_dim, query_dim=query_dim or self.query_dim
        )


SIZES: dict[str, Sizes] = {
    "tvr": Sizes(
        feature=PRESETS["tvr"].feature,
        feature_dim=3072,
        query_dim=768,
        videos={"train": 17_435, "val": 2_179, "test": 2_179},
        sentences={"train": 87_175 / 17_435, "val": 10_895 / 2_179, "test": 10_895 / 2_179},
        rows=(20, 46.0, 0.4, 200),
        tokens=(8, 24),
    ),
    "activitynet": Sizes(
        feature=PRESETS["activitynet"].feature,
        feature_dim=1024,
        query_dim=1024,
        videos={"train": 9_043, "val": 4_430, "test": 4_430},
        sentences={"train": 33_721 / 9_043, "val": 15_753 / 4_430, "test": 15_753 / 4_430},
        rows=(10, 120.0, 0.7, 1000),
        tokens=(8, 30),
    ),
    "charades": Sizes(
        feature=PRESETS["charades"].feature,
        feature_dim=1024,
        query_dim=1024,
        videos={"train": 5_538, "val": 1_334, "test": 1_334},
        sentences={"train": 12_408 / 5_538, "val": 3_720 / 1_334, "test": 3_720 / 1_334},
        rows=(10, 45.0, 0.4, 200),
        tokens=(6, 14),
    ),
}
"""What `simulate --like` imitates; the published val and test are the same videos, these are as many different ones."""
