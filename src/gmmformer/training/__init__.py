"""Training: the optimiser, the loop, what a run leaves on disk."""

from gmmformer.training.loop import EpochEnd, TrainingEnd, resume, train
from gmmformer.training.optimiser import BertAdam, learning_rate, optimiser_for
from gmmformer.training.run_folder import RunFolder, RunSettings

__all__ = [
    "BertAdam",
    "EpochEnd",
    "RunFolder",
    "RunSettings",
    "TrainingEnd",
    "learning_rate",
    "optimiser_for",
    "resume",
    "train",
]
