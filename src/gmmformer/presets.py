"""The published settings for the three collections, and ours for a kind of collections."""

from dataclasses import dataclass, replace

from gmmformer.config import NetworkConfig, TrainConfig
from gmmformer.errors import InputError, suggest


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The published settings for one collection, or ours for a kind of collections."""

    network: NetworkConfig
    train: TrainConfig
    feature: str = ""
    """Folder of the video features under FeatureData, of a published one."""
    published: tuple[float, float, float, float, float] | None = None
    """R@1, R@5, R@10, R@100, SumR that the paper reports on the test split, in percent."""


_SHARED = TrainConfig(lr=2.5e-4, margin=0.2, clip_nce_weight=0.02)
_V2 = TrainConfig(lr=2.5e-4, margin=0.2, diversity_delta=0.2, hard_negative_start_epoch=20)
PRESETS: dict[str, Preset] = {
    "tvr": Preset(
        feature="i3d_resnet",
        network=NetworkConfig(),
        train=TrainConfig(),
        published=(13.9, 33.3, 44.5, 84.9, 176.6),
    ),
    "activitynet": Preset(
        feature="i3d",
        network=NetworkConfig(),
        train=replace(_SHARED, hard_negative_start_epoch=20, diversity_weight=0.015, diversity_delta=0.2),
        published=(8.3, 24.9, 36.7, 76.1, 146.0),
    ),
    "charades": Preset(
        feature="i3d_rgb_lgi",
        network=NetworkConfig(input_drop=0.15, drop=0.15),
        train=replace(_SHARED, hard_negative_start_epoch=100, video_nce_weight=0.02, diversity_weight=0.005),
        published=(2.1, 7.8, 12.5, 50.6, 72.9),
    ),
    "tvr-v2": Preset(
        feature="i3d_resnet",
        network=NetworkConfig(network="v2", temperature=0.09),
        train=replace(_V2, lr=3e-4, margin=0.1, diversity_weight=8e-5, matching_weight=0.09, diversity_delta=0.15),
        published=(16.2, 37.6, 48.8, 86.4, 189.1),
    ),
    "activitynet-v2": Preset(
        feature="i3d",
        network=NetworkConfig(network="v2", temperature=0.6, input_drop=0.31, drop=0.31),
        train=replace(_V2, clip_nce_weight=0.02, diversity_weight=0.003, matching_weight=0.11),
        published=(8.9, 27.1, 40.2, 78.7, 154.9),
    ),
    "charades-v2": Preset(
        feature="i3d_rgb_lgi",
        network=NetworkConfig(network="v2", temperature=0.6, input_drop=0.25, drop=0.25),
        train=replace(_V2, lr=2e-4, clip_nce_weight=0.02, diversity_weight=0.003, matching_weight=0.1),
        published=(2.5, 8.6, 13.9, 53.2, 78.2),
    ),
    "few": Preset(
        network=NetworkConfig(hidden=128),
        train=TrainConfig(start="features", lr=1e-3, batch_size=32, patience=20, hard_negative_start_epoch=20),
    ),
}
"""`gmmformer train --preset NAME` takes these. The papers are arXiv 2310.05195 and, of what ends in -v2, 2405.13824;
"few" is for a hundred videos or so."""


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: There is none; the message suggests the nearest.
    """
    if name not in PRESETS:
        raise InputError(f"--preset {name}: there is no such preset; {suggest(name, PRESETS)}")
    return PRESETS[name]
