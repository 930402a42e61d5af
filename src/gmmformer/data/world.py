"""The simulated world: concepts that can be seen and named, videos made of scenes, sentences about single scenes."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from gmmformer.errors import InputError
from gmmformer.model.pooling import concatenated_ranges
from gmmformer.presets import PRESETS

CONCEPTS_PER_SCENE = 4
ROWS_PER_SCENE = 10
MOST_FILLERS = 60
_NOISE_VALUES = 1 << 22


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """One split before any feature is drawn: its videos, their scenes (counted over all videos), its sentences."""

    split: str
    lengths: Int[np.ndarray, "videos"]
    """Rows of each video."""
    scenes_per_video: Int[np.ndarray, "videos"]
    scene_lengths: Int[np.ndarray, "scenes"]
    """Rows of each scene, at least 1."""
    scene_concepts: Int[np.ndarray, "scenes concepts"]
    """What can be seen in it, all different."""
    video_of_caption: Int[np.ndarray, "captions"]
    """Ascending."""
    scene_of_caption: Int[np.ndarray, "captions"]
    """The moment: one scene of the video."""
    token_counts: Int[np.ndarray, "captions"]
    tokens: Int[np.ndarray, "tokens"]
    """The words of all sentences: a concept's number, or the number of concepts plus a filler's."""

    @property
    def rows(self) -> int:
        """Rows of all videos."""
        return int(self.lengths.sum())

    def video_id(self, video: int) -> str:
        """What the video is called."""
        return f"{self.split}_{video:06d}"

    def caption_ids(self) -> list[str]:
        """One per sentence: VIDEO#enc#NUMBER."""
        counts = np.bincount(self.video_of_caption, minlength=len(self.lengths))
        numbers = concatenated_ranges(np.zeros_like(counts), counts)
        return [
            f"{self.video_id(video)}#enc#{n}"
            for video, n in zip(self.video_of_caption.tolist(), numbers.tolist(), strict=True)
        ]

    def moments(self) -> tuple[Int[np.ndarray, "captions"], Int[np.ndarray, "captions"], Int[np.ndarray, "captions"]]:
        """First row of each sentence's moment, the row after its last, and the rows of its video."""
        ends = np.cumsum(self.scene_lengths)[self.scene_of_caption]
        before = (np.cumsum(self.lengths) - self.lengths)[self.video_of_caption]
        return (
            ends - self.scene_lengths[self.scene_of_caption] - before,
            ends - before,
            self.lengths[self.video_of_caption],
        )


@dataclass(kw_only=True, eq=False)
class World:
    """What concepts and fillers look and read like.

    A concept has a direction of length 1 among the features and another among the tokens; a filler word has one among
    the tokens only and means nothing. A video is a sequence of scenes of about ten rows. A scene shows four concepts:
    each of its rows is the sum of their directions, of clutter (other concepts that nobody speaks of, the same in all
    rows of the scene) and of noise of its own. A sentence describes one scene: it names some of the four among
    fillers, in any order, each token with noise. `difficulty` adds noise and clutter and takes names away: from
    three named concepts and no clutter at 0 to one or two of them and strong clutter at 1.
    """

    seen: Float[np.ndarray, "concepts feature_dim"]
    read: Float[np.ndarray, "words query_dim"]
    """Concepts, then fillers."""
    noise: Float[np.ndarray, "values"]
    """A long run of normal numbers; the noise of a row or token is a window of it at a random place, as long as it is.
    Drawing every number anew would take most of the time of a large simulation."""
    difficulty: float

    def __post_init__(self) -> None:
        (self.concepts, self.feature_dim), self.query_dim = self.seen.shape, self.read.shape[1]
        self.fillers = len(self.read) - self.concepts

    @classmethod
    def drawn(cls, sizes: Sizes, *, concepts: int | None, difficulty: float, seed: int) -> "World":
        """The world of that seed.

        Unless told otherwise there are a quarter as many concepts as videos in the largest split, at most 512 and at
        most three for four dims, so that they can be told apart; and a quarter as many fillers, 8 to 60.

        Raises:
            InputError: There are too few concepts for a scene, or the seed is negative.
        """
        if concepts is None:
            narrow = min(sizes.feature_dim, sizes.query_dim)
            concepts = max(min(max(sizes.videos.values()) // 4, 512, narrow * 3 // 4), 2 * CONCEPTS_PER_SCENE)
        if concepts < 2 * CONCEPTS_PER_SCENE:
            raise InputError(f"--concepts {concepts} must be at least {2 * CONCEPTS_PER_SCENE}")
        if seed < 0:
            raise InputError(f"--seed {seed} must be at least 0")
        rng = np.random.default_rng([seed, 0])
        seen = rng.standard_normal((concepts, sizes.feature_dim), dtype=np.float32)
        fillers = min(max(concepts // 4, 8), MOST_FILLERS)
        read = rng.standard_normal((concepts + fillers, sizes.query_dim), dtype=np.float32)
        for directions in (seen, read):
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        noise = rng.standard_normal(_NOISE_VALUES + max(sizes.feature_dim, sizes.query_dim), dtype=np.float32)
        return cls(seen=seen, read=read, noise=noise, difficulty=difficulty)

    def row_features(
        self, plan: Plan, start: int, stop: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "rows feature_dim"]:
        """Rows `start` to `stop` of a split, fewer at its end."""
        ends = np.cumsum(plan.scene_lengths)
        stop = min(stop, plan.rows)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        scenes = np.arange(first, last + 1)
        visible = self.seen[plan.scene_concepts[scenes]].sum(axis=1)
        visible += self._clutter(plan, scenes)
        rows = self._noise(stop - start, self.feature_dim, 0.3 + 1.5 * self.difficulty, rng)
        shown = np.minimum(ends[scenes], stop) - np.maximum(ends[scenes] - plan.scene_lengths[scenes], start)
        rows += np.repeat(visible, shown, axis=0)
        return rows

    def _clutter(self, plan: Plan, scenes: Int[np.ndarray, "scenes"]) -> Float[np.ndarray, "scenes feature_dim"]:
        """Up to three concepts more per scene; which, follows from what the scene shows."""
        kinds = np.arange(1, 4)
        others = (
            plan.scene_concepts[scenes].sum(axis=1, keepdims=True) * (7 * kinds + 4) + scenes[:, None] * kinds
        ) % self.concepts
        clutter: Float[np.ndarray, "scenes feature_dim"] = self.seen[others].sum(axis=1) * np.float32(self.difficulty)
        return clutter

    def token_features(
        self, tokens: Int[np.ndarray, "tokens"], rng: np.random.Generator
    ) -> Float[np.ndarray, "tokens query_dim"]:
        """The features of some words."""
        features = self._noise(len(tokens), self.query_dim, 0.1 + 0.5 * self.difficulty, rng)
        features += self.read[tokens]
        return features

    def _noise(self, rows: int, dim: int, length: float, rng: np.random.Generator) -> Float[np.ndarray, "rows dim"]:
        """Noise rows of about that length."""
        windows = np.lib.stride_tricks.sliding_window_view(self.noise, dim)
        noise: np.ndarray = windows[rng.integers(_NOISE_VALUES, size=rows)]
        noise *= np.float32(length / np.sqrt(dim))
        return noise

    def sentences(self, plan: Plan) -> list[str]:
        """Each sentence in words."""
        words = np.array([f"concept{n}" for n in range(self.concepts)] + [f"filler{n}" for n in range(self.fillers)])
        bounds = np.cumsum(plan.token_counts)[:-1]
        return [" ".join(sentence) for sentence in np.split(words[plan.tokens], bounds)]


def plan_split(sizes: Sizes, world: World, split: str, seed: int) -> Plan:
    """Draw the videos, scenes and sentences of a split."""
    rng = np.random.default_rng([seed, 1, list(sizes.videos).index(split)])
    videos = sizes.videos[split]
    least, median, deviation, most = sizes.rows
    lengths = np.exp(rng.normal(np.log(median), deviation, videos)).round().clip(least, most).astype(np.int64)
    per_video = np.maximum(lengths // ROWS_PER_SCENE, 1)
    scene_lengths = _cut(lengths, per_video, rng)
    shown = rng.integers(world.concepts - CONCEPTS_PER_SCENE + 1, size=(len(scene_lengths), CONCEPTS_PER_SCENE))
    shown = rng.permuted(np.sort(shown, axis=1) + np.arange(CONCEPTS_PER_SCENE), axis=1)

    more = round(videos * sizes.sentences[split]) - videos * int(sizes.sentences[split])
    captions_per_video = np.full(videos, int(sizes.sentences[split]))
    captions_per_video[rng.permutation(videos)[:more]] += 1
    video_of_caption = np.repeat(np.arange(videos), captions_per_video)
    first_scene = np.cumsum(per_video) - per_video
    scene_of_caption = first_scene[video_of_caption] + rng.integers(per_video[video_of_caption])
    token_counts = rng.integers(sizes.tokens[0], sizes.tokens[1] + 1, size=len(video_of_caption))
    named = np.floor(3 - 1.5 * world.difficulty + rng.random(len(video_of_caption))).astype(np.int64)
    return Plan(
        split=split,
        lengths=lengths,
        scenes_per_video=per_video,
        scene_lengths=scene_lengths,
        scene_concepts=shown,
        video_of_caption=video_of_caption,
        scene_of_caption=scene_of_caption,
        token_counts=token_counts,
        tokens=_words(world, shown[scene_of_caption], named, token_counts, rng),
    )


def _cut(
    lengths: Int[np.ndarray, "videos"], parts: Int[np.ndarray, "videos"], rng: np.random.Generator
) -> Int[np.ndarray, "scenes"]:
    """Cut each video into scenes of uneven length, about half to twice the average, at least one row each."""
    weights = rng.uniform(0.6, 1.4, parts.sum())
    video = np.repeat(np.arange(len(lengths)), parts)
    ends = np.cumsum(weights)
    before = np.concatenate([[0.0], ends])[np.cumsum(parts) - parts]
    share = (ends - before[video]) / np.bincount(video, weights)[video]
    cuts = np.rint(share * lengths[video]).astype(np.int64) + (np.cumsum(lengths) - lengths)[video]
    scenes: np.ndarray = np.diff(cuts, prepend=0)
    return scenes


def _words(
    world: World,
    visible: Int[np.ndarray, "captions concepts"],
    named: Int[np.ndarray, "captions"],
    counts: Int[np.ndarray, "captions"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "tokens"]:
    """Fillers, with the first `named` of each sentence's visible concepts at places of their own among them."""
    tokens: np.ndarray = world.concepts + rng.integers(world.fillers, size=counts.sum())
    caption = np.repeat(np.arange(len(counts)), counts)
    shuffled = np.lexsort((rng.random(len(tokens)), caption))
    place = concatenated_ranges(np.zeros_like(counts), counts)
    names = place < named[caption]
    tokens[shuffled[names]] = visible[caption[names], place[names]]
    return tokens
