"""Settings: the published values, and what is refused."""

import dataclasses
from typing import get_type_hints

import pytest

from gmmformer.config import (
    DecodeConfig,
    DecodeLimits,
    ModelConfig,
    NetworkConfig,
    RunConfig,
    TrainConfig,
    config_from,
)
from gmmformer.errors import InputError
from gmmformer.presets import PRESETS, preset

PUBLISHED = {
    "tvr": {
        "train": (3e-4, 0.1, 30, 20, 0.05, 0.04, 0.001, 0.15, 32),
        "drop": 0.2,
        "feature": "i3d_resnet",
        "results": (13.9, 33.3, 44.5, 84.9, 176.6),
    },
    "activitynet": {
        "train": (2.5e-4, 0.2, 20, 20, 0.02, 0.04, 0.015, 0.2, 32),
        "drop": 0.2,
        "feature": "i3d",
        "results": (8.3, 24.9, 36.7, 76.1, 146.0),
    },
    "charades": {
        "train": (2.5e-4, 0.2, 100, 20, 0.02, 0.02, 0.005, 0.15, 32),
        "drop": 0.15,
        "feature": "i3d_rgb_lgi",
        "results": (2.1, 7.8, 12.5, 50.6, 72.9),
    },
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_presets_hold_the_published_settings(name):
    found, expected = preset(name), PUBLISHED[name]
    t = found.train
    assert (
        t.lr,
        t.margin,
        t.hard_negative_start_epoch,
        t.hard_pool_size,
        t.clip_nce_weight,
        t.video_nce_weight,
        t.diversity_weight,
        t.diversity_delta,
        t.diversity_alpha,
    ) == expected["train"]
    assert (t.batch_size, t.epochs, t.patience, t.warmup, t.weight_decay, t.clip_norm, t.seed) == (
        128, 100, 10, 0.01, 0.01, 1.0, 9527,
    )  # fmt: skip
    n = found.network
    assert (n.hidden, n.heads, n.map_size, n.max_ctx_l, n.max_desc_l) == (384, 4, 32, 128, 30)
    assert (n.clip_weight, n.frame_weight, n.window) == (0.7, 0.3, "full")
    assert n.input_drop == n.drop == expected["drop"]
    assert found.feature == expected["feature"]
    assert found.published == expected["results"]


def test_there_are_no_other_presets():
    published = {name for name, found in PRESETS.items() if found.published}
    assert published == {*PUBLISHED, *(f"{name}-v2" for name in PUBLISHED)}


@pytest.mark.parametrize("name", ["tvrr", "TVR", "charade", "activitynett"])
def test_a_preset_misspelt(name):
    with pytest.raises(InputError, match=rf"^--preset {name}: there is no such preset; (did you mean|known:)"):
        preset(name)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (NetworkConfig, {"hidden": 0}),
        (NetworkConfig, {"hidden": 10, "heads": 4}),
        (NetworkConfig, {"hidden": 16.0}),
        (NetworkConfig, {"heads": True}),
        (NetworkConfig, {"drop": 1.0}),
        (NetworkConfig, {"input_drop": -0.1}),
        (NetworkConfig, {"drop": float("nan")}),
        (NetworkConfig, {"map_size": 200}),
        (NetworkConfig, {"window": "half"}),
        (ModelConfig, {"feature_dim": 0, "query_dim": 1}),
        (ModelConfig, {"feature_dim": 1, "query_dim": -1}),
        (TrainConfig, {"lr": 0.0}),
        (TrainConfig, {"lr": float("nan")}),
        (TrainConfig, {"clip_norm": -1.0}),
        (TrainConfig, {"warmup": 1.0}),
        (TrainConfig, {"batch_size": 0}),
        (TrainConfig, {"epochs": 2.5}),
        (TrainConfig, {"weight_decay": -0.1}),
        (TrainConfig, {"patience": -1}),
        (RunConfig, {"workers": -1}),
        (RunConfig, {"log_every": 0}),
        (RunConfig, {"precision": "bfloat"}),
        (RunConfig, {"save_minutes": 0.0}),
        (NetworkConfig, {"hidden": 10**12}),
        (NetworkConfig, {"hidden": 10**4000}),
        (NetworkConfig, {"hidden": 8192, "heads": 1}),
        (NetworkConfig, {"max_ctx_l": 10**6}),
        (NetworkConfig, {"max_desc_l": 10**6}),
        (NetworkConfig, {"map_size": "32"}),
        (NetworkConfig, {"heads": None}),
        (NetworkConfig, {"window": 3}),
        (NetworkConfig, {"window": "full\n"}),
        (NetworkConfig, {"clip_weight": -0.1}),
        (NetworkConfig, {"frame_weight": 1.5}),
        (NetworkConfig, {"clip_weight": 0.0, "frame_weight": 0}),
        (NetworkConfig, {"clip_weight": True}),
        (ModelConfig, {"feature_dim": 10**12, "query_dim": 1}),
        (ModelConfig, {"feature_dim": 1, "query_dim": 1, "fps": 0.0}),
        (ModelConfig, {"feature_dim": 1, "query_dim": 1, "video_encoder": ["builtin"]}),
        (TrainConfig, {"seed": 2**64}),
        (TrainConfig, {"margin": -0.1}),
        (TrainConfig, {"lr": "0.1"}),
        (TrainConfig, {"lr": 1e39}),
        (RunConfig, {"workers": 10**9}),
        (RunConfig, {"device": 0}),
        (DecodeLimits, {"decoders": 10**9}),
        (DecodeLimits, {"time_limit": -1.0}),
    ],
)
def test_a_setting_out_of_range_names_its_flag(kind, setting):
    with pytest.raises(InputError) as error:
        kind(**setting)
    assert any(str(error.value).startswith(f"--{name.replace('_', '-')} ") for name in setting)
    assert "\n" not in str(error.value)


ALL = [
    (NetworkConfig, {}),
    (ModelConfig, {"feature_dim": 1, "query_dim": 1}),
    (TrainConfig, {}),
    (RunConfig, {}),
    (DecodeLimits, {}),
    (DecodeConfig, {}),
]
NUMBERS = [
    (kind, given, name)
    for kind, given in ALL
    for name, declared in get_type_hints(kind).items()
    if declared in (int, float, float | None)
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("kind", "given", "name"), NUMBERS)
def test_no_setting_takes_a_number_that_is_not_finite(kind, given, name, value):
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} {value} must be "):
        kind(**given | {name: value})


def test_saved_settings_are_held_to_the_same():
    saved = dataclasses.asdict(ModelConfig(feature_dim=3, query_dim=2))
    assert config_from(ModelConfig, saved, "x") == ModelConfig(feature_dim=3, query_dim=2)
    deep = ()
    for _ in range(60):
        deep = (deep, deep)  # to print it would take for ever
    for change, part in (
        ({"drop": 2.0}, "setting drop 2.0 must be at least 0 and below 1"),
        ({"drop": deep}, "setting drop (tuple) must be a number"),
        ({"momentum": 1}, "unknown setting 'momentum'"),
        ({"x\n" * 1000: 1}, "unknown setting"),
    ):
        with pytest.raises(InputError) as error:
            config_from(ModelConfig, saved | change, "x/config.json")
        assert str(error.value).startswith("x/config.json: ")
        assert part in str(error.value)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 200
    del saved["query_dim"]
    for wrong in (saved, [saved], None, "settings"):
        with pytest.raises(InputError, match=r"^x: "):
            config_from(ModelConfig, wrong, "x")


def test_settings_are_frozen_keyword_only_and_explained():
    for kind in (NetworkConfig, ModelConfig, TrainConfig, RunConfig):
        with pytest.raises(TypeError):
            kind(1)
        config = kind(feature_dim=1, query_dim=1) if kind is ModelConfig else kind()
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, dataclasses.fields(config)[0].name, 1)
