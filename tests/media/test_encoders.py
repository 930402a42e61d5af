"""Pretrained encoders against direct calls of transformers, on tiny random models saved as a user's would be."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from gmmformer.config import Running
from gmmformer.errors import InputError, MissingExtraError
from gmmformer.media.encoders import dual_encoder, frame_encoder, text_encoder
from gmmformer.media.loading import Loading

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("PIL")

from tiny_encoders import SENTENCES, TEXT, VISION, WORDS, letters, save, tiny_clip  # noqa: E402

SIGLIP_TEXT = {"hidden_size": 32, "projection_size": 32, "bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def _roberta_tokenizer() -> Any:
    """Byte pairs without merges: one token per letter, "Ġ" the space."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *letters(), "Ġ", "<mask>"]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    return transformers.RobertaTokenizer(vocab=numbers, merges=[], model_max_length=40)


def _bert_tokenizer() -> Any:
    """WordPiece: words and letters."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters(), *(f"##{letter}" for letter in letters())]
    numbers = {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, *WORDS]))}
    return transformers.BertTokenizer(vocab=numbers, model_max_length=40)


def _siglip_tokenizer() -> Any:
    """Words, one end token that pads as well, no start token."""
    numbers = {piece: number for number, piece in enumerate(["</s>", "<unk>", *WORDS])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model, eos_token="</s>", pad_token="</s>", unk_token="<unk>", padding_side="right"
    )


def _siglip2_tokenizer() -> Any:
    """Byte pairs without merges: one token per letter, "▁" the space; lower case."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *letters()]
    numbers = {piece: number for number, piece in enumerate(pieces)}
    return transformers.Siglip2Tokenizer(vocab=numbers, merges=[], padding_side="right")


def _siglip(folder: Path) -> Path:
    tokenizer = _siglip_tokenizer()
    processor = transformers.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil(
        size={"height": 32, "width": 32}
    )
    text = TEXT | SIGLIP_TEXT | {"vocab_size": len(tokenizer)}
    return save(
        folder,
        transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=VISION)),
        tokenizer,
        processor,
    )


def _siglip2(folder: Path) -> Path:
    tokenizer = _siglip2_tokenizer()
    processor = transformers.models.siglip2.image_processing_pil_siglip2.Siglip2ImageProcessorPil(
        patch_size=8, max_num_patches=16
    )
    text = TEXT | SIGLIP_TEXT | {"vocab_size": len(tokenizer)}
    vision = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 16}
    config = transformers.Siglip2Config(text_config=text, vision_config=vision)
    return save(folder, transformers.Siglip2Model(config), tokenizer, processor)


def _dinov2(folder: Path) -> Path:
    processor = transformers.models.bit.image_processing_pil_bit.BitImageProcessorPil(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
    )
    config = transformers.Dinov2Config(**{**VISION, "mlp_ratio": 2})
    return save(folder, transformers.Dinov2Model(config), processor)


def _vit(folder: Path) -> Path:
    processor = transformers.models.vit.image_processing_pil_vit.ViTImageProcessorPil(size={"height": 32, "width": 32})
    model = transformers.ViTModel(transformers.ViTConfig(**VISION), add_pooling_layer=False)
    return save(folder, model, processor)


def _resnet(folder: Path) -> Path:
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1])
    processor = transformers.models.convnext.image_processing_pil_convnext.ConvNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_pct=1.0
    )
    return save(folder, transformers.ResNetModel(config), processor)


def _roberta(folder: Path) -> Path:
    tokenizer = _roberta_tokenizer()
    config = transformers.RobertaConfig(
        **{**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 44}, pad_token_id=tokenizer.pad_token_id
    )
    return save(folder, transformers.RobertaForMaskedLM(config), tokenizer)


def _bert(folder: Path) -> Path:
    tokenizer = _bert_tokenizer()
    return save(
        folder, transformers.BertModel(transformers.BertConfig(**{**TEXT, "vocab_size": len(tokenizer)})), tokenizer
    )


def _sentence_model(folder: Path, pooling: dict[str, Any], *kinds: str) -> Path:
    _bert(folder)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, kind in enumerate(kinds, 1):
        modules.append({"path": f"{number}_{kind}", "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def _images() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    sizes = [(32, 57), (48, 36), (40, 40), (3, 90), (64, 64), (32, 57)]
    return [draw.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


FRAME_MODELS = {
    "clip": tiny_clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "dinov2": _dinov2,
    "vit": _vit,
    "resnet": _resnet,
}
TEXT_MODELS = {"clip": tiny_clip, "siglip": _siglip, "siglip2": _siglip2, "roberta": _roberta, "bert": _bert}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model of that family, made once."""
    made: dict[str, Path] = {}

    def find(family: str) -> Path:
        if family not in made:
            torch.manual_seed(0)
            made[family] = (FRAME_MODELS | TEXT_MODELS)[family](tmp_path_factory.mktemp(family))
        return made[family]

    return find


def _direct_images(folder: Path, image: np.ndarray) -> np.ndarray:
    """The vector of one image as a user of transformers would compute it."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = transformers.AutoImageProcessor.from_pretrained(folder)(images=[image], return_tensors="pt")
    with torch.no_grad():
        if hasattr(model, "get_image_features"):
            return np.asarray(model.get_image_features(**inputs).pooler_output[0])
        if folder.name.startswith("vit"):
            return np.asarray(model(**inputs).last_hidden_state[0, 0])
        return np.asarray(model(**inputs).pooler_output[0].flatten())


@pytest.mark.parametrize("family", FRAME_MODELS)
def test_frames_match_a_direct_call(saved: Callable[[str], Path], family: str) -> None:
    folder, images = saved(family), [image for image in _images() if min(image.shape[:2]) > 3]
    encoder = frame_encoder(str(folder))
    vectors = encoder.encode(images)
    assert vectors.shape == (len(images), encoder.dim)
    assert vectors.dtype == np.float32
    assert encoder.size == (36 if family == "dinov2" else 32)
    assert not encoder.needs_previous
    for image, vector in zip(images, vectors, strict=True):
        np.testing.assert_allclose(vector, _direct_images(folder, image), atol=1e-5)


@pytest.mark.parametrize("family", FRAME_MODELS)
def test_a_frame_does_not_depend_on_its_batch(saved: Callable[[str], Path], family: str) -> None:
    images = _images()
    whole = frame_encoder(str(saved(family))).encode(images)
    halves = frame_encoder(str(saved(family)), Running(batch_size=4)).encode(images[::-1])[::-1]
    alone = frame_encoder(str(saved(family)), Running(batch_size=1)).encode(images, [None, *images[:-1]])
    np.testing.assert_allclose(whole, halves, atol=1e-5)
    np.testing.assert_allclose(whole, alone, atol=1e-5)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3


def test_no_frames_and_no_sentences(saved: Callable[[str], Path]) -> None:
    encoder = frame_encoder(str(saved("clip")))
    assert encoder.encode([]).shape == (0, 16)
    assert text_encoder(str(saved("clip"))).encode([]) == []


@pytest.mark.parametrize(("family", "layer"), [("roberta", -1), ("roberta", -2), ("bert", -1)])
def test_words_match_a_direct_call(saved: Callable[[str], Path], family: str, layer: int) -> None:
    folder = saved(family)
    model, tokenizer = (
        transformers.AutoModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    encoder = text_encoder(str(folder), layer=layer)
    for sentence, found in zip(SENTENCES, encoder.encode(SENTENCES), strict=True):
        with torch.no_grad():
            inputs = tokenizer([sentence], truncation=True, return_tensors="pt")
            states = model(**inputs, output_hidden_states=True).hidden_states[layer][0]
        expected = states[1:-1] if sentence else states[:1]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.dtype == np.float32


def test_words_of_clip_end_in_the_sentence(saved: Callable[[str], Path]) -> None:
    folder = saved("clip")
    model, tokenizer = (
        transformers.CLIPModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    for sentence, found in zip(SENTENCES, text_encoder(str(folder)).encode(SENTENCES), strict=True):
        inputs = tokenizer([sentence], return_tensors="pt")
        with torch.no_grad():
            states = model.text_projection(model.text_model(**inputs).last_hidden_state)[0, 1:]
            pooled = model.get_text_features(**inputs).pooler_output[0]
        np.testing.assert_allclose(found, states, atol=1e-5)
        np.testing.assert_allclose(found[-1], pooled, atol=1e-5)


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_words_of_siglip_are_padded_as_it_was_trained(saved: Callable[[str], Path], family: str) -> None:
    folder = saved(family)
    model, tokenizer = (
        transformers.AutoModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    for sentence, found in zip(SENTENCES, text_encoder(str(folder)).encode(SENTENCES), strict=True):
        ids = tokenizer([sentence], padding="max_length", max_length=40, truncation=True, return_tensors="pt")[
            "input_ids"
        ]
        with torch.no_grad():
            states = model.text_model.head(model.text_model(input_ids=ids).last_hidden_state)[0]
            pooled = model.get_text_features(input_ids=ids).pooler_output[0]
        words = int((ids[0] != tokenizer.pad_token_id).sum())
        assert words >= len(sentence.split())
        np.testing.assert_allclose(found, [*states[: min(words, 39)], pooled], atol=1e-5)


@pytest.mark.parametrize("family", TEXT_MODELS)
def test_a_sentence_does_not_depend_on_its_batch(saved: Callable[[str], Path], family: str) -> None:
    folder = str(saved(family))
    whole = text_encoder(folder).encode(SENTENCES)
    alone = text_encoder(folder, Running(batch_size=1)).encode(SENTENCES[::-1])[::-1]
    for one, other in zip(whole, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", TEXT_MODELS)
def test_a_long_sentence_is_cut(saved: Callable[[str], Path], family: str) -> None:
    found = text_encoder(str(saved(family))).encode(["red " * 500, "red"])
    assert 38 <= len(found[0]) <= 40
    assert np.isfinite(found[0]).all()


@pytest.mark.parametrize("unit", [False, True])
def test_sentence_models_pool_the_mean(tmp_path: Path, unit: bool) -> None:
    folder = _sentence_model(tmp_path, {"pooling_mode_mean_tokens": True}, "Pooling", *(["Normalize"] if unit else []))
    model, tokenizer = (
        transformers.AutoModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    for sentence, found in zip(SENTENCES, text_encoder(str(folder)).encode(SENTENCES), strict=True):
        with torch.no_grad():
            mean = model(**tokenizer([sentence], return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        expected = mean / np.linalg.norm(mean) if unit else mean
        np.testing.assert_allclose(found, expected[None], atol=1e-5)


def test_sentence_models_pool_the_first_token(tmp_path: Path) -> None:
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    folder = _sentence_model(tmp_path, pooling, "Pooling")
    model, tokenizer = (
        transformers.AutoModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        states = model(**tokenizer(["a star"], return_tensors="pt")).last_hidden_state[0]
    np.testing.assert_allclose(text_encoder(str(folder)).encode(["a star"])[0], states[:1], atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "kinds", "said"),
    [
        ({"pooling_mode_mean_tokens": True}, ("Pooling", "Dense"), "Dense"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}, ("Pooling",), "neither the mean"),
    ],
)
def test_sentence_models_of_other_parts_are_refused(
    tmp_path: Path, pooling: dict[str, Any], kinds: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        text_encoder(str(_sentence_model(tmp_path, pooling, *kinds)))


@pytest.mark.parametrize("family", ["clip", "siglip", "siglip2"])
def test_both_towers_share_a_space(saved: Callable[[str], Path], family: str) -> None:
    folder, images = saved(family), _images()[:3]
    pair = dual_encoder(str(folder))
    frames, sentences = pair.frames.encode(images), pair.text.encode(SENTENCES)
    assert frames.shape == (3, pair.dim)
    assert all(array.shape == (1, pair.dim) for array in sentences)
    model, tokenizer = (
        transformers.AutoModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    padding = {"padding": "max_length", "max_length": 40, "truncation": True} if family != "clip" else {}
    for sentence, found in zip(SENTENCES, sentences, strict=True):
        inputs = dict(tokenizer([sentence], return_tensors="pt", **padding))
        used = inputs if family == "clip" else {"input_ids": inputs["input_ids"]}
        with torch.no_grad():
            expected = model.get_text_features(**used).pooler_output
        np.testing.assert_allclose(found, torch.nn.functional.normalize(expected), atol=1e-5)
    for image, found in zip(images, frames, strict=True):
        expected = _direct_images(folder, image)
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_half_precision_is_close_and_says_so(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[None] = []
    monkeypatch.setattr("gmmformer.model.devices.relative_time", lambda _: 3.0)
    monkeypatch.setattr("gmmformer.media.loading.keep_memory", lambda: kept.append(None))
    full, half = (frame_encoder(str(saved("dinov2")), Running(precision=one)) for one in ("float32", "bf16"))
    assert len(kept) == 2
    one, other = full.encode(_images()), half.encode(_images())
    assert other.dtype == np.float32
    assert 0 < np.abs(one - other).max() < 0.2
    assert half.identity == full.identity + ":bfloat16"
    (record,) = caplog.records  # what it costs here, and float32 costs nothing
    assert record.getMessage().startswith("--precision bf16: matrix products in bfloat16 take 3.0 times as long")


def test_identity_follows_the_weights_not_the_place(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = text_encoder(str(_bert(tmp_path / "one" / "bert")))
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "bert").rename(tmp_path / "two" / "bert")
    moved = text_encoder(str(tmp_path / "two" / "bert"))
    other = text_encoder(str(_bert(tmp_path / "three" / "bert")))
    assert first.identity == moved.identity
    assert first.identity.startswith("bert@")
    assert other.identity != first.identity
    assert Path(moved.name).is_absolute()


class TimmProcessor:
    """Takes what that of timm models takes in `transformers`, which needs torchvision."""

    data_config: ClassVar = {"input_size": (3, 32, 32), "crop_pct": 0.8}

    def __call__(self, images: Any, return_tensors: str) -> dict[str, Any]:
        pictures = [np.asarray(image.resize((32, 32)), dtype=np.float32) / 255 for image in images]
        assert return_tensors == "pt"
        return {"pixel_values": torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)}


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_a_processor_that_takes_pictures_alone(
    saved: Callable[[str], Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", lambda *_, **__: TimmProcessor())
    encoder = frame_encoder(str(saved(family)))
    assert encoder.size == 40
    images = [np.full((height, 48, 3), 90, np.uint8) for height in (3, 32, 48)]  # the first could be of 3 colours
    assert np.isfinite(encoder.encode(images)).all()
    np.testing.assert_allclose(encoder.encode(images)[0], encoder.encode(images)[1], atol=1e-5)


def test_what_a_library_says_of_a_failure_is_shown_whole(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last word of a long message is the one that tells; a package that is missing is named, not ours."""

    def fail(error: Exception) -> Callable[..., Any]:
        def raised(*_: object, **__: object) -> Any:
            raise error

        return raised

    long = "\n".join(f"reason {number}" for number in range(200))
    missing = "TimmWrapperImageProcessor requires the timm library but it was not found: `pip install timm`"
    for error, said in ((ValueError(long), "reason 198 reason 199"), (ImportError(missing), missing)):
        monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", fail(error))
        with pytest.raises(InputError, match=re.escape(said)):
            frame_encoder(str(saved("vit")))
    monkeypatch.undo()
    monkeypatch.setattr(transformers.ViTModel, "forward", fail(RuntimeError(long)))
    with pytest.raises(InputError, match=r"gives no vector per picture \(reason 0 reason 1 .* reason 199\)"):
        frame_encoder(str(saved("vit")))


@pytest.mark.parametrize("make", [frame_encoder, text_encoder, dual_encoder])
def test_nothing_is_downloaded_unasked(make: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match="--allow-download"):
        make("some-body/never-made")


@pytest.mark.parametrize("name", ["./gone", "/gone/model", "a/b/c"])
def test_a_folder_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match="no such folder"):
        frame_encoder(name)


def test_models_of_the_other_kind_are_refused(saved: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a complete model"):
        frame_encoder(str(saved("bert")))
    with pytest.raises(InputError, match="not a complete model"):
        text_encoder(str(saved("resnet")))
    with pytest.raises(InputError, match="no space"):
        dual_encoder(str(saved("dinov2")))
    with pytest.raises(InputError, match="not a complete model"):
        frame_encoder(str(tmp_path))
    with pytest.raises(InputError, match="a layer it has"):
        text_encoder(str(saved("bert")), layer=-9)


def test_weights_that_lack_something_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = _bert(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 tensors, 'encoder.layer.1.output.dense.weight'"):
        text_encoder(str(tmp_path))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = _bert(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        text_encoder(str(folder))


def test_settings_out_of_range_are_named(saved: Callable[[str], Path]) -> None:
    for more in ({"precision": "float31"}, {"batch_size": 0}, {"device": "cuda:77"}, {"device": "toaster"}):
        with pytest.raises(InputError, match=next(iter(more)).replace("_", "-")):
            frame_encoder(str(saved("clip")), Running(**more))


def test_a_missing_library_gives_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gmmformer\[films\]'"):
        frame_encoder("openai/clip-vit-large-patch14")
    assert Loading("x").name == "x"
