"""One way to name a model, wherever it comes from."""

from pathlib import Path
from typing import Any

from gmmformer.errors import InputError
from gmmformer.model.network import GMMFormer
from gmmformer.model.published import read_published
from gmmformer.model.torch_files import is_torch_file

BEST = "best"
"""Folder of a run that holds its best model."""


def load_model(source: str | Path, *, allow_download: bool = False, **replace: Any) -> GMMFormer:
    """The model that `source` names, in evaluation mode on the CPU.

    Args:
        source: A run folder, a folder that `save_pretrained` wrote, a published checkpoint, or a hub id.
        allow_download: Whether a hub id may be fetched.
        **replace: Fields of `ModelConfig` that replace the saved ones, such as `window="batch"`.

    Raises:
        InputError: There is no such model, or it cannot be read.
    """
    path = Path(source)
    if is_torch_file(path):
        checkpoint = read_published(path)
        model = GMMFormer(type(checkpoint.config)(**(vars(checkpoint.config) | replace)))
        model.load_state_dict(checkpoint.state_dict, strict=True)
        return model.eval()
    if path.is_file():
        raise InputError(f"{path}: neither a published checkpoint nor a folder with a saved model")
    if (path / BEST).is_dir():
        path = path / BEST
    elif (path / "state.pt").exists():
        raise InputError(f"{path}: this run has no model yet: its first epoch is not over")
    return GMMFormer.from_pretrained(path if path.is_dir() else source, local_files_only=not allow_download, **replace)
