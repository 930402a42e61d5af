"""Getting a model: from a folder or the hub's cache, and from the hub only if that is allowed."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from gmmformer.config import Running
from gmmformer.cores import keep_memory
from gmmformer.errors import InputError, MissingExtraError, one_line
from gmmformer.files import read_json
from gmmformer.model import find_device, tell_cost

WHOLE = 4000
"""Letters of what a library says of a failure, which is shown whole."""
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Loading:
    """Which model, and how it is to run."""

    name: str
    """A folder or a hub id."""
    running: Running = Running()

    def __post_init__(self) -> None:
        if Path(self.name).is_dir():
            object.__setattr__(self, "name", str(Path(self.name).resolve()))
        elif Path(self.name).is_absolute() or self.name.startswith((".", "~")) or self.name.count("/") > 1:
            raise InputError(
                f"{self.name}: there is no such folder; give the folder that a model was saved to, or a hub id"
            )

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return _DTYPES[self.running.precision]

    @property
    def suffix(self) -> str:
        """What is said of the dtype in an identity: nothing of float32."""
        return "" if self.dtype == torch.float32 else f":{str(self.dtype).removeprefix('torch.')}"

    @property
    def device(self) -> torch.device:
        """Where it runs.

        Raises:
            InputError: There is no such device here.
        """
        return torch.device(find_device(self.running.device, auto=("cuda", "mps")))

    def fetch(self, what: Callable[..., Any], **more: Any) -> Any:
        """What a `from_pretrained` of transformers returns; runs no code of the model's and downloads only if allowed.

        Raises:
            InputError: It is not there, or cannot be read; the message gives the remedy.
            MissingExtraError: It needs something that is not installed.
        """
        from transformers.utils import logging

        told, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()  # its report of missing weights is checked in `model`
        logging.disable_progress_bar()
        try:
            return what(self.name, local_files_only=not self.running.allow_download, trust_remote_code=False, **more)
        except ImportError as error:
            raise InputError(f"{self.name}: needs what is not installed: {one_line(error, WHOLE)}") from error
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise InputError(self._reason(error)) from error
        finally:
            logging.set_verbosity(told)
            if bars:
                logging.enable_progress_bar()

    def _reason(self, error: Exception) -> str:
        said = one_line(error, WHOLE)
        if Path(self.name).is_dir():
            return (
                f"{self.name}: not a complete model for this ({said}); save one there with save_pretrained, weights "
                "as safetensors, its image processor or tokenizer beside them"
            )
        if not self.running.allow_download and isinstance(error, OSError):
            return (
                f"{self.name}: neither a folder here nor in the hub's cache; add --allow-download to fetch it, or give "
                "the folder that it was saved to"
            )
        return f"{self.name}: cannot be loaded ({said}); check the name, and the connection if it is to be downloaded"

    def pillow(self) -> Any:
        """The module `PIL.Image`.

        Raises:
            MissingExtraError: It is not installed.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingExtraError(f"the encoder {self.name}", "films") from error
        return Image

    def library(self) -> Any:
        """The module `transformers`.

        Raises:
            MissingExtraError: It is not installed.
        """
        try:
            import transformers
        except ImportError as error:
            raise MissingExtraError(f"the encoder {self.name}", "films") from error
        return transformers

    def model(self, unused: tuple[str, ...] = ()) -> Any:
        """The model with its weights, ready to run.

        Args:
            unused: Starts of the names of weights that may be missing.

        Raises:
            InputError: It is not there, or lacks weights.
        """
        loader = self.library().AutoModel.from_pretrained
        model, report = self.fetch(loader, dtype=self.dtype, use_safetensors=True, output_loading_info=True)
        missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
        if missing:
            raise InputError(
                f"{self.name}: its weights lack {len(missing)} tensors, {missing[0]!r} among them; take a checkpoint "
                f"saved from {type(model).__name__}"
            )
        return model.to(self.begin()).eval().requires_grad_(False)

    def begin(self) -> torch.device:
        """Where it runs, from now on: what it frees stays with the process, and a precision that costs time is told.

        Raises:
            InputError: There is no such device here.
        """
        keep_memory()
        device = self.device
        if self.dtype != torch.float32:
            tell_cost(f"--precision {self.running.precision}", self.dtype, device.type)
        return device

    def identity(self, config: Any) -> str:
        """Name, version of the weights, and dtype if it is not float32.

        A hub model's version is its commit, a folder's a hash of its settings and of the ends of its weight files.
        """
        version = getattr(config, "_commit_hash", None)
        name, folder = self.name, Path(self.name)
        if folder.is_dir():
            name, digest = folder.name, blake2b(digest_size=6)
            for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.safetensors")]):
                digest.update(f"{path.relative_to(folder)} {path.stat().st_size} ".encode())
                digest.update(_ends(path))
            version = digest.hexdigest()
        return f"{name}@{(version or 'unknown')[:12]}{self.suffix}"

    def settings(self, file: str) -> Any:
        """A JSON file of the model; None if it has none.

        Raises:
            InputError: It is not JSON.
        """
        from transformers.utils import cached_file

        path = cached_file(
            self.name,
            file,
            local_files_only=not self.running.allow_download,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is None:
            return None
        try:
            return read_json(Path(path), 2**26)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.name}: its {file} is not JSON; save or fetch the model again") from error


def _ends(path: Path, length: int = 2**20) -> bytes:
    """The first and the last MiB of a file."""
    with path.open("rb") as file:
        first = file.read(length)
        file.seek(max(0, path.stat().st_size - length))
        return first + file.read(length)
