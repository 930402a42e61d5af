"""`small`: a dual encoder of two small networks that no one trained together, joined through the names of things.

Frames go through EfficientNet-Lite0 (ImageNet), sentences through all-MiniLM-L6-v2. A frame is the mean of the vectors
of ImageNet's class names, weighted by how probable each class is (ConSE, Norouzi et al. 2014, arXiv 1312.5650): so it
lies in the sentences' space. What was changed of that, because it found more of real films: names with their
definitions, 50 classes with softened probabilities, both sides centred at the mean of the classes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import category, name, normalize

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from gmmformer.config import Running
from gmmformer.errors import InputError
from gmmformer.media.loading import Loading
from gmmformer.media.transformers import shortest_first

CLASSES, TEMPERATURE = 50, 2.0
"""How many classes of a frame count, and what their logits are divided by."""
WEIGHTS, VECTORS, SENTENCES = "frames.safetensors", "classes.safetensors", "sentences"
"""In the folder of `small`: EfficientNet-Lite0; the vectors of its classes, less their mean, and that mean; MiniLM."""
_SIZE, _CROP, _MEAN, _DEVIATION = 224, 0.875, 127.0, 128.0
_STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
"""Blocks of each stage, size of their kernels, stride of the first, and how many times as wide they are inside."""
_EPSILON = 1e-3
_HEADS, _NORM_EPSILON, _LONGEST = 12, 1e-12, 256
"""Of MiniLM: heads of attention, what is added to variances, and how many pieces of words it reads of a sentence."""
_MOST_WORDS = 100
"""Of a sentence, that are looked up to say which are unknown."""


class _Convolution(NamedTuple):
    weight: Float[Tensor, "out per_group height width"]
    bias: Float[Tensor, "out"]
    stride: int
    groups: int


class Lite0:
    """EfficientNet-Lite0 (Tan and Le 2019, without squeeze-excitation, with ReLU6), normalisations folded in."""

    def __init__(self, tensors: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
        """Use weights by their published names.

        Raises:
            KeyError: One is missing.
        """
        self._tensors, self._device, self._dtype = tensors, device, dtype
        self._stem = self._folded("_conv_stem", "_bn0", 2)
        self._blocks, number = [], 0
        for blocks, _, stride, inside in _STAGES:
            for first in range(blocks):
                self._blocks.append(list(self._block(f"_blocks.{number}.", 1 if first else stride, inside > 1)))
                number += 1
        self._head = self._folded("_conv_head", "_bn1", 1)
        self._classes = self._moved(tensors["_fc.weight"]), self._moved(tensors["_fc.bias"])
        del self._tensors

    def __call__(
        self, images: UInt8[np.ndarray, "frames height width 3"]
    ) -> tuple[Float[Tensor, "frames 1280"], Float[Tensor, "frames 1000"]]:
        """What is seen, before the classes, and the classes' logits."""
        pixels = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2)  # channels last in memory, as they are
        x = _same(((pixels.to(torch.float32) - _MEAN) / _DEVIATION).to(self._dtype), self._stem).clamp_(0, 6)
        for block in self._blocks:
            before = x
            for layer in block[:-1]:
                x = _same(x, layer).clamp_(0, 6)
            x = _same(x, block[-1])
            if x.shape == before.shape:
                x += before
        seen = _same(x, self._head).clamp_(0, 6).mean((2, 3))
        return seen.float(), F.linear(seen, *self._classes).float()

    def _block(self, prefix: str, stride: int, wider: bool) -> Iterator[_Convolution]:
        if wider:
            yield self._folded(f"{prefix}_expand_conv", f"{prefix}_bn0", 1)
        yield self._folded(f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
        yield self._folded(f"{prefix}_project_conv", f"{prefix}_bn2", 1)

    def _folded(self, convolution: str, norm: str, stride: int) -> _Convolution:
        named = self._tensors
        weight = named[f"{convolution}.weight"].double()
        scale = named[f"{norm}.weight"].double() / (named[f"{norm}.running_var"].double() + _EPSILON).sqrt()
        bias = named[f"{norm}.bias"].double() - named[f"{norm}.running_mean"].double() * scale
        groups = len(weight) if "depthwise" in convolution else 1
        weight = self._moved(weight * scale[:, None, None, None]).to(memory_format=torch.channels_last)
        return _Convolution(weight, self._moved(bias), stride, groups)

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, self._dtype)


def _same(
    x: Float[Tensor, "frames channels height width"], layer: _Convolution
) -> Float[Tensor, "frames out less_high less_wide"]:
    """A convolution that looks at every pixel: ceil(side / stride) outputs, as in TensorFlow, where it was trained."""
    kernel, padding = layer.weight.shape[-1], layer.weight.shape[-1] // 2
    if layer.stride > 1:
        wide = [max((-(-side // layer.stride) - 1) * layer.stride + kernel - side, 0) for side in x.shape[:1:-1]]
        x, padding = F.pad(x, [edge for side in wide for edge in (side // 2, side - side // 2)]), 0
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, padding, 1, layer.groups)


class Lite0Frames:
    """A frame encoder: what EfficientNet-Lite0 sees before it names classes (1,280 numbers), or that as ConSE."""

    size = round(_SIZE / _CROP)
    needs_previous = False

    def __init__(self, folder: Path, running: Running, *, named: bool) -> None:
        """Load it from the folder of `small`.

        Args:
            folder: Where its weights are.
            running: Device, precision and batch.
            named: Give unit vectors in the sentences' space.

        Raises:
            InputError: They are not there, or damaged, or there is no such device.
        """
        from PIL import Image

        self._image, self._batch = Image, running.batch_size
        loading = Loading(str(folder), running)
        device = loading.begin()
        self._network = Lite0(tensors_in(folder / WEIGHTS), device, loading.dtype)
        self._classes = tensors_in(folder / VECTORS)["classes"].to(device) if named else None
        self.name = "small" if named else "efficientnet-lite0"
        self.identity = f"{self.name}@{version()}{loading.suffix}"
        self.dim = 1280 if self._classes is None else self._classes.shape[1]

    def encode(
        self,
        images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
        previous: Sequence[UInt8[np.ndarray, "_height _width 3"] | None] | None = None,
    ) -> Float[np.ndarray, "frames dim"]:
        """One float32 vector per frame; `previous` is not looked at."""
        bounds = [*range(0, len(images), self._batch), len(images)]
        parts = [self._vectors(np.stack([self._middle(image) for image in images[a:b]])) for a, b in pairwise(bounds)]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def _middle(self, image: UInt8[np.ndarray, "_height _width 3"]) -> UInt8[np.ndarray, "_side _side 3"]:
        """The middle square, 0.875 of the shorter side, in the network's size."""
        height, width = image.shape[:2]
        side = _CROP * min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        if side == _SIZE:
            left, top = int(left), int(top)
        box = (left, top, left + side, top + side)
        cut = self._image.fromarray(image).resize((_SIZE, _SIZE), self._image.Resampling.BICUBIC, box=box)
        return np.array(cut)

    @torch.inference_mode()
    def _vectors(self, images: UInt8[np.ndarray, "frames height width 3"]) -> Float[np.ndarray, "frames dim"]:
        seen, logits = self._network(images)
        if self._classes is not None:
            best = torch.topk(logits / TEMPERATURE, CLASSES, dim=1)
            seen = torch.einsum("fc,fcd->fd", best.values.softmax(1), self._classes[best.indices])
            seen = F.normalize(seen, dim=1)
        return np.asarray(seen.cpu().numpy())


class MiniLM:
    """A text encoder: all-MiniLM-L6-v2 as it was published, a BERT whose words' mean is scaled to length 1.

    What `transformers` gives of the same weights, without the seconds that loading that library takes (Devlin et al.
    2019, arXiv 1810.04805; Reimers and Gurevych 2019, arXiv 1908.10084).
    """

    def __init__(self, folder: Path, running: Running, name: str = "minilm") -> None:
        """Load it from the folder of `small`; errors as for `Lite0Frames`."""
        from tokenizers import Tokenizer

        sentences = folder / SENTENCES
        loading = Loading(str(folder), running)
        device, self._batch = loading.begin(), running.batch_size
        tensors = tensors_in(sentences / "model.safetensors")
        self._tensors = {
            of: tensor.to(device, loading.dtype) for of, tensor in tensors.items() if tensor.is_floating_point()
        }
        try:
            self.tokenizer = Tokenizer.from_file(str(sentences / "tokenizer.json"))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(
                f"{sentences}: cannot be read ({error}); get it again: gmmformer models get small"
            ) from error
        self.tokenizer.enable_truncation(_LONGEST)
        self.tokenizer.enable_padding()
        self._layers = 1 + max(int(of.split(".")[2]) for of in tensors if of.startswith("encoder.layer."))
        self.dim = tensors["embeddings.word_embeddings.weight"].shape[1]
        self.name, self.identity = name, f"{name}@{version()}{loading.suffix}"

    def encode(self, sentences: Sequence[str]) -> list[Float[np.ndarray, "1 dim"]]:
        """One unit vector per sentence, as (1, dim), float32; sentences of a length run together."""
        return shortest_first(sentences, self._batch, self._vectors)

    @torch.inference_mode()
    def _vectors(self, sentences: list[str]) -> Float[np.ndarray, "sentences 1 dim"]:
        encoded = self.tokenizer.encode_batch(sentences)
        words = self._tensors["embeddings.word_embeddings.weight"]
        ids = torch.tensor([sentence.ids for sentence in encoded], device=words.device)
        real = torch.tensor([sentence.attention_mask for sentence in encoded], device=words.device)
        places = self._tensors["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = self._tensors["embeddings.token_type_embeddings.weight"][0]
        x = self._normed(words[ids] + kind + places, "embeddings")
        for number in range(self._layers):
            layer = f"encoder.layer.{number}"
            query, key, value = (
                self._dense(x, f"{layer}.attention.self.{part}").view(*ids.shape, _HEADS, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            seen = F.scaled_dot_product_attention(query, key, value, attn_mask=real[:, None, None].bool())
            seen = self._dense(seen.transpose(1, 2).flatten(2), f"{layer}.attention.output.dense")
            x = self._normed(x + seen, f"{layer}.attention.output")
            inside = F.gelu(self._dense(x, f"{layer}.intermediate.dense"))
            x = self._normed(x + self._dense(inside, f"{layer}.output.dense"), f"{layer}.output")
        weight = real[:, :, None].to(x.dtype)
        mean = (x * weight).sum(1) / weight.sum(1)
        return np.asarray(F.normalize(mean.float(), dim=1)[:, None].cpu().numpy())

    def _dense(self, x: Float[Tensor, "sentences pieces _in"], of: str) -> Float[Tensor, "sentences pieces _out"]:
        return F.linear(x, self._tensors[f"{of}.weight"], self._tensors[f"{of}.bias"])

    def _normed(self, x: Float[Tensor, "sentences pieces dim"], of: str) -> Float[Tensor, "sentences pieces dim"]:
        named = self._tensors
        weight, bias = named[f"{of}.LayerNorm.weight"], named[f"{of}.LayerNorm.bias"]
        return F.layer_norm(x, x.shape[2:], weight, bias, _NORM_EPSILON)


class CentredSentences:
    """A text encoder: MiniLM's unit vectors, centred where the classes are."""

    name = "small"

    def __init__(self, folder: Path, running: Running) -> None:
        """Load it from the folder of `small`; errors as for `Lite0Frames`."""
        self._plain = MiniLM(folder, running, self.name)
        self._middle = tensors_in(folder / VECTORS)["middle"].numpy()
        self.dim, self.identity = self._plain.dim, self._plain.identity
        self._pieces = pieces_of(self._plain.tokenizer)

    def unknown(self, sentence: str) -> list[str]:
        """Words that it has not learnt: of another script, pictographs, and those that it only has in crumbs."""
        text = "".join(c if _in_words(c) else f" {c} " if _pictograph(c) else " " for c in normalize("NFKC", sentence))
        words = list(dict.fromkeys(text.split()))[:_MOST_WORDS]
        return [word for word in words if not _latin(word) or in_crumbs(self._pieces(word))]

    def encode(self, sentences: Sequence[str]) -> list[Float[np.ndarray, "1 dim"]]:
        """One unit vector per sentence, as (1, dim)."""
        moved = [vector - self._middle for vector in self._plain.encode(sentences)]
        return [np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12)) for vector in moved]


def pieces_of(tokenizer: Any) -> Callable[[str], list[str]]:
    """What cuts a word into the pieces that a tokenizer (of `tokenizers`) knows; threads may share it."""
    plain, model = tokenizer.normalizer.normalize_str, tokenizer.model
    return lambda word: [piece.value for piece in model.tokenize(plain(word))]


def in_crumbs(pieces: Sequence[str]) -> bool:
    """Whether a word of four letters or more falls into pieces of two at most, or into three whose first is a letter.

    So does one that cannot be cut at all.

    >>> in_crumbs(["as", "##df"]), in_crumbs(["q", "##wer", "##tz"]), in_crumbs(["onion"]), in_crumbs(["ska", "##ting"])
    (True, True, False, False)
    """
    lengths = [len(piece.removeprefix("##")) for piece in pieces]
    if "[UNK]" in pieces:
        return True
    return sum(lengths) >= 4 and len(lengths) > 1 and (max(lengths) <= 2 or (len(lengths) > 2 and lengths[0] == 1))


def _in_words(character: str) -> bool:
    return character.isalpha() or category(character).startswith("M")


def _pictograph(character: str) -> bool:
    return character >= "\u2600" and category(character) == "So"


def _latin(word: str) -> bool:
    return all(c < "\u0250" or name(c, "").startswith(("LATIN ", "COMBINING ", "MODIFIER ")) for c in word)


def class_names() -> list[str]:
    """What ImageNet's classes are called, in its order, and what that is: from WordNet 3.0."""
    text = (files("gmmformer.media") / "imagenet_classes.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


@cache
def version() -> str:
    """Another for other weights, other names of classes, or another way from them to vectors."""
    from gmmformer.media.models import WHEELS

    told = [*(wheel.sha256 for wheel in WHEELS), *class_names(), repr((CLASSES, TEMPERATURE, _SIZE, _CROP))]
    return blake2b("\n".join(told).encode(), digest_size=6).hexdigest()


def tensors_in(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of `small`.

    Raises:
        InputError: It is not there or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error}); get it again: gmmformer models get small") from error
