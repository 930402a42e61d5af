"""Tiny random models with tokenizers and processors, saved as a user's would be."""

from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip("transformers")

SENTENCES = ["a red square moves to the left", "star", "two blue circles wait while a red star moves", "", "a square"]
WORDS = sorted({word for sentence in SENTENCES for word in sentence.split()})
VISION = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 32,
}
TEXT = {
    "hidden_size": 24,
    "intermediate_size": 37,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "max_position_embeddings": 40,
}


def letters() -> list[str]:
    return sorted({letter for word in WORDS for letter in word})


def clip_tokenizer() -> Any:
    """Byte pairs: letters, and the merges that spell each word."""
    vocabulary, merges = [*letters(), *(f"{letter}</w>" for letter in letters())], []
    for word in WORDS:
        left = word[0]
        for right in [*word[1:-1], f"{word[-1]}</w>"] if word[1:] else []:
            merges.append((left, right))
            left += right
            vocabulary.append(left)
    vocabulary = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    return transformers.CLIPTokenizer(vocab=numbers, merges=list(dict.fromkeys(merges)), model_max_length=40)


def save(folder: Path, model: Any, *parts: Any) -> Path:
    for part in (model, *parts):
        part.save_pretrained(folder)
    return folder


def clip_processor() -> Any:
    return transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )


def tiny_clip(folder: Path) -> Path:
    tokenizer = clip_tokenizer()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.CLIPConfig(
        text_config={**TEXT, **ids, "vocab_size": len(tokenizer)}, vision_config=VISION, projection_dim=16
    )
    return save(folder, transformers.CLIPModel(config), tokenizer, clip_processor())
