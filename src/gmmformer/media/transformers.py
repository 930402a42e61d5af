"""Encoders with weights, through `transformers`: pictures, sentences, and both in one space."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gmmformer.cores import usable_cores
from gmmformer.errors import InputError, one_line
from gmmformer.media.loading import WHOLE, Loading

_PREPARED_AT_ONCE = 4
"""Frames that one thread prepares in one go."""


class PretrainedFrames:
    """The image side of a pretrained model.

    CLIP and SigLIP give their image features, ViTs their class token after the last normalisation (DINOv2's pooled
    output), others their pooled output. Pictures are prepared by the model's own processor, in its Pillow form, so that
    results do not depend on whether torchvision is installed.
    """

    needs_previous = False

    def __init__(self, loading: Loading, *, model: Any = None, unit: bool = False) -> None:
        """Load it, and run one blank picture through it.

        Args:
            loading: Which model, and how to run it.
            model: The model if it is loaded already.
            unit: Scale vectors to length 1.
        """
        self._pillow = loading.pillow()
        self._processor = loading.fetch(loading.library().AutoImageProcessor.from_pretrained, backend="pil")
        self._model = loading.model(("pooler.",)) if model is None else model
        self._batch, self._unit = loading.running.batch_size, unit
        self._device, self._dtype = loading.device, loading.dtype
        timm = self._model.config.model_type == "timm_wrapper"  # knows itself how it pools
        self._class_token = not timm and any(name.endswith("cls_token") for name, _ in self._model.named_parameters())
        self.name, self.size = loading.name, _shorter_side(self._processor)
        self.identity = loading.identity(self._model.config) + (":unit" if unit else "")
        try:
            self.dim = self.encode([np.zeros((self.size, self.size, 3), np.uint8)]).shape[1]
        except (TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"{loading.name}: {type(self._model).__name__} gives no vector per picture "
                f"({one_line(error, WHOLE)}); take a CLIP, SigLIP, DINOv2 or ViT model"
            ) from error

    def encode(
        self,
        images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
        previous: Sequence[UInt8[np.ndarray, "_height _width 3"] | None] | None = None,
    ) -> Float[np.ndarray, "frames dim"]:
        """One float32 vector per frame; `previous` is not looked at."""
        with ThreadPoolExecutor(min(8, usable_cores())) as pool:
            waiting = [
                [pool.submit(self._prepared, images[slice(*at)]) for at in _spans(start, stop, _PREPARED_AT_ONCE)]
                for start, stop in _spans(0, len(images), self._batch)
            ]
            parts = [self._vectors([slot.result() for slot in batch]) for batch in waiting]
        return np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)

    def _prepared(self, images: Sequence[UInt8[np.ndarray, "_height _width 3"]]) -> dict[str, Tensor]:
        """What the model takes for some frames; runs in threads, while the model works on the batch before."""
        pictures = [self._pillow.fromarray(image) for image in images]  # whose colours are last, whatever their shape
        return dict(self._processor(images=pictures, return_tensors="pt"))

    def _vectors(self, prepared: Sequence[dict[str, Tensor]]) -> Float[np.ndarray, "frames dim"]:
        inputs = {key: torch.cat([part[key] for part in prepared]).to(self._device) for key in prepared[0]}
        inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            if _is_dual(self._model):
                vectors = _pooled(self._model.get_image_features(**inputs))
            else:
                output = self._model(**inputs)
                vectors = output.last_hidden_state[:, 0] if self._class_token else output.pooler_output.flatten(1)
        if vectors.ndim != 2:
            raise ValueError("not one vector per picture")
        return _array(vectors, self._unit)


class _Pooling(NamedTuple):
    """How a model of sentence-transformers makes one vector of its tokens."""

    first: bool
    """Take the first token rather than the mean."""
    unit: bool
    """Scale to length 1."""
    longest: int | None
    """Most tokens, if the model says so."""


class PretrainedText:
    """The text side of a pretrained model; `gmmformer.media.encoders.text_encoder` says what each kind gives."""

    def __init__(self, loading: Loading, *, model: Any = None, unit: bool = False, layer: int = -1) -> None:
        """Load it, and run one word through it.

        Args:
            loading: Which model, and how to run it.
            model: The model if it is loaded already.
            unit: Give one vector of length 1 per sentence, in the space shared with pictures.
            layer: Which hidden states, where the model is neither dual nor of sentence-transformers.
        """
        self._tokenizer = loading.fetch(loading.library().AutoTokenizer.from_pretrained)
        if self._tokenizer.pad_token is None:
            raise InputError(f"{loading.name}: its tokenizer has no padding token; take an encoder such as RoBERTa")
        self._pooling = _sentence_pooling(loading)
        self._model = loading.model(("pooler.",)) if model is None else model
        self._batch, self._unit, self._layer = loading.running.batch_size, unit, layer
        self._device = loading.device
        config = self._model.config
        config = getattr(config, "text_config", None) or config
        self._whole = "siglip" in config.model_type
        if not self._whole:
            self._tokenizer.padding_side = "right"
        limits = [self._tokenizer.model_max_length, getattr(config, "max_position_embeddings", 512) - 2]
        longest = self._pooling.longest if self._pooling else None
        self._longest = longest or (limits[0] if limits[0] < 10**6 else limits[1])
        if self._whole:
            self._longest = config.max_position_embeddings
        self.name = loading.name
        kind = f":layer{layer}" if layer != -1 else ""
        self.identity = loading.identity(self._model.config) + kind + (":unit" if unit else "")
        try:
            self.dim = self.encode(["a"])[0].shape[1]
        except (TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            raise InputError(
                f"{loading.name}: {type(self._model).__name__} does not give vectors of words "
                f"({one_line(error, WHOLE)}); take an encoder such as RoBERTa, BERT or CLIP, and a layer it has"
            ) from error

    def encode(self, sentences: Sequence[str]) -> list[Float[np.ndarray, "_tokens dim"]]:
        """One float32 array per sentence, cut at the model's longest input; the longest sentences run together."""
        return shortest_first(sentences, self._batch, self._arrays)

    def _arrays(self, sentences: list[str]) -> list[Float[np.ndarray, "_tokens dim"]]:
        encoded = self._tokenizer(
            sentences,
            padding="max_length" if self._whole else True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
            return_attention_mask=True,
            return_special_tokens_mask=True,
        )
        ids, mask, special = (
            encoded[key].to(self._device) for key in ("input_ids", "attention_mask", "special_tokens_mask")
        )
        if self._whole:
            mask = (ids != self._tokenizer.pad_token_id).long()
        with torch.inference_mode():
            states, kept = self._states(ids, mask, special)
        return [_array(rows[keep], self._unit) for rows, keep in zip(states, kept, strict=True)]

    def _states(
        self,
        ids: Int[Tensor, "sentences tokens"],
        mask: Int[Tensor, "sentences tokens"],
        special: Int[Tensor, "sentences tokens"],
    ) -> tuple[Float[Tensor, "sentences rows dim"], Bool[Tensor, "sentences rows"]]:
        """Vectors of each sentence, and which of them are kept."""
        model = self._model
        inputs = {"input_ids": ids} if self._whole else {"input_ids": ids, "attention_mask": mask}
        one = torch.ones(len(ids), 1, dtype=torch.bool, device=ids.device)
        if _is_dual(model):
            project = getattr(model, "text_projection", None) or getattr(model.text_model, "head", None)
            if self._unit or project is None:
                return _pooled(model.get_text_features(**inputs))[:, None], one
            starts = ids == (-1 if self._tokenizer.bos_token_id is None else self._tokenizer.bos_token_id)
            kept = mask.bool() & ~starts
            if self._whole:  # whose last state, of whatever stands there, is the sentence's
                kept[:, -1] = True
            return project(model.text_model(**inputs).last_hidden_state), _at_least_one(kept, mask)
        if self._pooling:
            states = model(**inputs).last_hidden_state
            weight = mask[:, :, None].to(states.dtype)
            mean = states[:, 0] if self._pooling.first else (states * weight).sum(1) / weight.sum(1).clamp(min=1)
            mean = torch.nn.functional.normalize(mean.float(), dim=1) if self._pooling.unit else mean
            return mean[:, None], one
        states = model(**inputs, output_hidden_states=True).hidden_states[self._layer]
        return states, _at_least_one(mask.bool() & ~special.bool(), mask)


def pretrained_pair(loading: Loading) -> tuple[PretrainedFrames, PretrainedText]:
    """Both towers of one model, vectors of length 1 in the space they share.

    Raises:
        InputError: It has no such space.
    """
    model = loading.model()
    if not _is_dual(model):
        raise InputError(
            f"{loading.name}: {type(model).__name__} has no space that pictures and sentences share; take a CLIP or "
            "SigLIP model, such as openai/clip-vit-large-patch14"
        )
    frames, text = PretrainedFrames(loading, model=model, unit=True), PretrainedText(loading, model=model, unit=True)
    if frames.dim != text.dim:
        raise InputError(
            f"{loading.name}: pictures have {frames.dim} components, sentences {text.dim}; take a CLIP or SigLIP model"
        )
    return frames, text


def shortest_first(
    sentences: Sequence[str],
    batch_size: int,
    arrays: Callable[[list[str]], Iterable[Float[np.ndarray, "_tokens dim"]]],
) -> list[Float[np.ndarray, "_tokens dim"]]:
    """The array of each sentence, as `arrays` makes them of a batch: sentences of a length run together."""
    order = sorted(range(len(sentences)), key=lambda row: len(sentences[row]))
    found: dict[int, Float[np.ndarray, "tokens dim"]] = {}
    for at in range(0, len(order), batch_size):
        rows = order[at : at + batch_size]
        found.update(zip(rows, arrays([sentences[row] for row in rows]), strict=True))
    return [found[row] for row in range(len(sentences))]


def _spans(start: int, stop: int, length: int) -> list[tuple[int, int]]:
    """Cut a range into pieces of that length; the last may be shorter."""
    return [(at, min(at + length, stop)) for at in range(start, stop, length)]


def _is_dual(model: Any) -> bool:
    return hasattr(model, "get_image_features") and hasattr(model, "get_text_features")


def _pooled(output: Any) -> Float[Tensor, "rows dim"]:
    """The features of a tower: transformers 5 wraps them, earlier versions gave the tensor."""
    features: Float[Tensor, "rows dim"] = output if isinstance(output, Tensor) else output.pooler_output
    return features


def _array(vectors: Float[Tensor, "rows dim"], unit: bool) -> Float[np.ndarray, "rows dim"]:
    vectors = vectors.float()
    array: Float[np.ndarray, "rows dim"] = (
        (torch.nn.functional.normalize(vectors, dim=1) if unit else vectors).cpu().numpy()
    )
    return array


def _at_least_one(
    kept: Bool[Tensor, "sentences tokens"], mask: Int[Tensor, "sentences tokens"]
) -> Bool[Tensor, "sentences tokens"]:
    """Where nothing of a sentence is kept, keep its first token that is not padding."""
    first = torch.nn.functional.one_hot(mask.argmax(1), kept.shape[1]).bool()
    return kept | (first & ~kept.any(1, keepdim=True))


def _shorter_side(processor: Any) -> int:
    """Pixels of the shorter side that a processor scales to."""
    timm = getattr(processor, "data_config", None)
    if timm:
        side: int = round(max(timm["input_size"][1:]) / timm["crop_pct"])
        return side
    size = dict(getattr(processor, "size", None) or {})
    sides = [size[key] for key in ("shortest_edge", "height", "width") if size.get(key)]
    if sides:
        return int(max(sides))
    patches, patch = getattr(processor, "max_num_patches", None), getattr(processor, "patch_size", None)
    return round(patches**0.5 * patch) if isinstance(patches, int) and isinstance(patch, int) else 224


def _sentence_pooling(loading: Loading) -> _Pooling | None:
    """How a model of sentence-transformers pools; None for any other model.

    Raises:
        InputError: It has parts other than transformer, pooling and normalisation.
    """
    modules = loading.settings("modules.json")
    if not isinstance(modules, list):
        return None
    kinds = {str(module.get("type", "")).rpartition(".")[2]: str(module.get("path", "")) for module in modules}
    other = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if other or kinds.get("Transformer"):
        raise InputError(
            f"{loading.name}: its modules.json has parts that are not run here ({', '.join(other) or 'a subfolder'}); "
            "take a model of transformer, pooling and normalisation, such as sentence-transformers/all-MiniLM-L6-v2"
        )
    pooling = loading.settings(f"{kinds.get('Pooling') or '1_Pooling'}/config.json") or {}
    limits = loading.settings("sentence_bert_config.json") or {}
    first = bool(pooling.get("pooling_mode_cls_token")) or pooling.get("pooling_mode") == "cls"
    mean = pooling.get("pooling_mode_mean_tokens", pooling.get("pooling_mode", "mean") == "mean")
    if not (first or mean):
        raise InputError(f"{loading.name}: it pools neither the mean nor the first token; take a model that does")
    return _Pooling(first=first, unit="Normalize" in kinds, longest=limits.get("max_seq_length"))
