"""Shapes and types that are written down are checked in every test: the check itself."""

import importlib
import inspect
import pkgutil
from types import FunctionType

import numpy as np
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation

from gmmformer.evaluation.ranking import metrics_of
from gmmformer.model.scoring import video_scores
from gmmformer.training.loop import TrainingEnd
from type_checks import CHECKED, unchecked


@pytest.mark.parametrize("package", CHECKED)
def test_every_function_of_these_packages_is_checked(package: str) -> None:
    names = [
        package,
        *(one.name for one in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")),
    ]
    bare = [
        f"{name}.{function.__name__}"
        for name in names
        for function in vars(importlib.import_module(name)).values()
        if isinstance(function, FunctionType) and function.__module__ == name and inspect.unwrap(function) is function
    ]
    assert bare == []


def test_an_axis_has_one_length_in_a_call() -> None:
    video_scores(torch.ones(2, 3), torch.ones(4, 3))
    with pytest.raises(BeartypeCallHintViolation):
        video_scores(torch.ones(2, 3), torch.ones(4, 5))
    with unchecked(), pytest.raises(RuntimeError):
        video_scores(torch.ones(2, 3), torch.ones(4, 5))


def test_an_array_has_the_axes_and_the_type_that_are_written_down() -> None:
    assert metrics_of(np.array([1, 2]), 4)
    for ranks in (np.ones((2, 3), dtype=np.int64), np.ones(2)):
        with pytest.raises(BeartypeCallHintViolation):
            metrics_of(ranks, 4)


def test_a_dataclass_is_made_of_what_is_written_down() -> None:
    with pytest.raises(BeartypeCallHintViolation):
        TrainingEnd(run="here", stopped="done", epochs=1, best_epoch=0, best_sum_recall=1.0)
