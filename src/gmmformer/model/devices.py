"""Where a model runs."""

import torch

from gmmformer.errors import InputError, suggest


def find_device(name: str) -> str:
    """The device that `name` means: "cpu", "cuda" or "mps"; "auto" is a GPU if there is one.

    Raises:
        InputError: There is no such device here.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return "cuda" if here["cuda"] else "cpu"
    if name not in here:
        raise InputError(f"--device {name}: {suggest(name, ['auto', *here])}")
    if not here[name]:
        raise InputError(f"--device {name}: torch finds no such device here; take --device cpu")
    return name
