"""What matrices are multiplied in: float32, unless a product timed once says that bfloat16 pays."""

import itertools
import logging
from collections.abc import Callable, Iterator

import pytest
import torch

from gmmformer.config import Kind, ModelConfig, TrainConfig
from gmmformer.model import QueryBatch, VideoBatch, devices, find_precision, new_network, tell_cost
from gmmformer.training import optimiser_for

Timings = dict[torch.dtype, list[float]]


@pytest.fixture
def time_products(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Timings], list[torch.dtype]]]:
    """Have products take the given times, over and over; what is returned fills with what was timed."""

    def take(timings: Timings) -> list[torch.dtype]:
        turns = {dtype: itertools.cycle(times) for dtype, times in timings.items()}
        timed: list[torch.dtype] = []

        def seconds(dtype: torch.dtype) -> float:
            timed.append(dtype)
            return next(turns[dtype])

        monkeypatch.setattr(devices, "_product_seconds", seconds)
        devices.relative_time.cache_clear()
        return timed

    yield take
    devices.relative_time.cache_clear()


@pytest.mark.parametrize(
    ("float32", "bfloat16", "found"),
    [
        ([2e-3], [1e-3], "bf16"),
        ([2e-3], [14e-3], "float32"),
        ([2e-3], [1.9e-3], "float32"),  # no more than what converting costs
        ([9e-3, 2e-3, 8e-3], [50e-3, 70e-3, 14e-3], "float32"),  # one look in three is undisturbed
        ([9e-3, 2e-3, 8e-3], [50e-3, 1e-3, 3e-3], "bf16"),
    ],
)
def test_auto_takes_what_pays(time_products, caplog, float32, bfloat16, found):
    timed = time_products({torch.float32: float32, torch.bfloat16: bfloat16})
    assert [find_precision("auto", "cpu") for _ in range(3)] == [found] * 3
    assert timed[:2] == [torch.float32, torch.bfloat16]  # in turns: what slows the machine for a while slows both
    assert len(timed) == 10  # once for all three
    assert not caplog.records


def test_what_was_asked_for_is_taken_and_its_cost_told_in_a_line(time_products, caplog):
    time_products({torch.float32: [2e-3], torch.bfloat16: [14e-3]})
    assert find_precision("bf16", "cpu") == "bf16"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("--precision bf16: matrix products in bfloat16 take 7.0 times as long")
    assert "\n" not in record.getMessage()


def test_what_costs_nothing_is_not_warned_of(time_products, caplog):
    timed = time_products({torch.float32: [2e-3], torch.bfloat16: [2e-3], torch.float16: [1e-3]})
    assert find_precision("bf16", "cpu") == "bf16"
    tell_cost("dtype float16", torch.float16, "cpu")
    assert not caplog.records
    timed.clear()
    assert find_precision("float32", "cpu") == "float32"
    assert not timed


@pytest.mark.parametrize("units", [True, False])
def test_on_a_gpu_its_units_decide(time_products, monkeypatch, caplog, units):
    def supported(*, including_emulation: bool) -> bool:
        return units or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    timed = time_products({})
    assert find_precision("auto", "cuda") == ("bf16" if units else "float32")
    assert find_precision("bf16", "cuda") == "bf16"
    assert ["no units for bfloat16" in record.getMessage() for record in caplog.records] == [True] * (not units)
    assert find_precision("auto", "mps") == "float32"
    assert not timed


def test_a_product_is_really_timed():
    devices.relative_time.cache_clear()
    found = devices.relative_time(torch.bfloat16)
    assert 0 < found < float("inf")
    assert devices.relative_time(torch.bfloat16) is found


@pytest.mark.parametrize("network", ["v1", "v2"])
def test_a_step_mixes_no_devices_and_waits_for_none(network: Kind) -> None:
    """On the device that holds no values: a tensor left on the CPU, or a value read back, is an error there."""
    sizes = {"hidden": 16, "heads": 2, "map_size": 4, "max_ctx_l": 12, "max_desc_l": 6}
    model = new_network(ModelConfig(feature_dim=6, query_dim=5, network=network, **sizes)).to("meta").train()
    lengths, tokens = torch.tensor([3, 12, 1, 7]), torch.tensor([2, 6, 1, 3, 3])
    videos = VideoBatch(torch.zeros(4, 4, 6), torch.zeros(23, 6), lengths).to("meta")
    queries, embedded = model(QueryBatch(torch.zeros(15, 5), tokens).to("meta"), videos)
    assert all(part.device.type == "meta" for part in (queries, *embedded))
    if network == "v2":
        return  # whose sentences are matched with clips on the CPU, by the Hungarian method
    config, labels = TrainConfig(hard_pool_size=3), torch.tensor([0, 0, 1, 2, 3])
    optimiser, generator = optimiser_for(model, config), torch.Generator().manual_seed(0)
    for hard in (False, True):
        losses = model.objective(queries, embedded, labels, config, hard=hard, generator=generator)
    losses["total"].backward()
    optimiser.step()
