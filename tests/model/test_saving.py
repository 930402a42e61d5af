"""Models on disk and on the Hub: saved whole, loaded strictly, in silence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import CommitInfo, HfApi, ModelCard
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from gmmformer.errors import InputError
from gmmformer.model import GMMFormer, load_model, similarity


@pytest.fixture
def saved(make_model, tmp_path) -> Path:
    make_model(seed=3, window="batch", clip_weight=0.6).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def refused(folder: Path, *parts: str, **options: object) -> None:
    with pytest.raises(InputError) as error:
        GMMFormer.from_pretrained(folder, **options)
    assert "\n" not in str(error.value)
    for part in (str(folder), *parts):
        assert part in str(error.value)


def test_round_trip(saved, make_model, capsys):
    model = make_model(seed=3, window="batch", clip_weight=0.6)
    again = GMMFormer.from_pretrained(saved)
    assert again.config == model.config
    assert not again.training
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert capsys.readouterr().out == ""


def test_a_published_checkpoint_converted_scores_the_same(reference, tmp_path, reference_videos, reference_queries):
    original = load_model(reference / "initial.ckpt")
    original.save_pretrained(tmp_path / "converted")
    for source in (tmp_path / "converted", str(tmp_path / "converted")):
        again = load_model(source)
        assert torch.equal(
            similarity(again.encode_query(reference_queries), again.encode_video(reference_videos())),
            similarity(original.encode_query(reference_queries), original.encode_video(reference_videos())),
        )


def test_settings_can_be_replaced_on_loading(saved):
    assert GMMFormer.from_pretrained(saved, window="full").config.window == "full"
    assert load_model(saved, window="full").config.window == "full"
    assert load_model(saved).config.window == "batch"
    refused(saved, "no_such_setting", no_such_setting=1)


def test_loading_is_strict(saved):
    weights = load_file(saved / "model.safetensors")
    more = weights | {"decoder.weight": torch.zeros(2)}
    save_file(more, saved / "model.safetensors")
    refused(saved, "model.safetensors", "decoder.weight")
    save_file(
        {name: w for name, w in weights.items() if name != "query_pool.score.weight"}, saved / "model.safetensors"
    )
    refused(saved, "model.safetensors", "query_pool.score.weight")
    save_file(weights | {"query_pool.score.weight": torch.zeros(1, 17)}, saved / "model.safetensors")
    refused(saved, "model.safetensors", "query_pool.score.weight")


def test_a_setting_of_a_newer_version(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"sparsity": 1}))
    refused(saved, "config.json", "'sparsity'", "newer version")


NONE = {
    "nothing": "",
    "half of one": "{",
    "a list": "[1]",
    "a number": "3",
    "null": "null",
    "a setting alone": '{"hidden": 4}',
    "not UTF-8": "\xff",
    "deep nesting": '{"hidden": ' + "[" * 100_000,
    "5,000 digits": '{"hidden": ' + "9" * 5000 + "}",
    "too much": '{"hidden": ' + " " * 2**20 + "4}",
}


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
def test_a_config_that_is_none(saved, text):
    (saved / "config.json").write_bytes(text.encode("latin-1"))
    refused(saved, "config.json")


def test_a_setting_out_of_range(saved):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"heads": 3}))
    with pytest.raises(InputError, match=r"config\.json: the setting .*--heads 3"):
        GMMFormer.from_pretrained(saved)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("clip_weight", "NaN", "NaN, which is no number"),
        ("frame_weight", "Infinity", "Infinity, which is no number"),
        ("clip_weight", "1e999", "too large"),
        ("clip_weight", "-0.5", "the setting clip-weight -0.5 must be"),
        ("drop", '"much"', "the setting drop much must be a number"),
        ("hidden", str(10**12), "the setting hidden 1000000000000"),
        ("hidden", "4096", "do not fit config.json"),  # 4.6 GB, were it built before the weights are looked at
        ("feature_dim", str(10**9), "the setting feature-dim 1000000000"),
        ("max_ctx_l", str(10**6), "the setting max-ctx-l 1000000"),
        ("fps", "-1", "the setting fps -1"),
        ("window", "[[]]", "the setting window (list)"),
        ("heads", '2, "heads": 2', "'heads' is there twice"),
    ],
)
def test_a_hostile_setting(saved, name, value, part):
    config = json.loads((saved / "config.json").read_text())
    text = json.dumps(config | {name: "HERE"}).replace('"HERE"', value)
    (saved / "config.json").write_text(text)
    refused(saved, "config.json", part)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_a_weight_that_is_not_finite(saved, make_model, tmp_path, value):
    weights = load_file(saved / "model.safetensors")
    name = "frame_encoder.1.windows.2.key.bias"
    weights[name] = weights[name].double()
    weights[name][1] = value
    save_file(weights, saved / "model.safetensors")
    refused(saved, "model.safetensors", name, "NaN or infinity")
    model = make_model()
    model.get_parameter(name).data[0] = torch.tensor(value)
    with pytest.raises(InputError, match=f"{name} hold NaN"):
        model.save_pretrained(tmp_path / "never")
    assert not (tmp_path / "never").exists()


def test_weights_that_are_no_floats(saved):
    weights = load_file(saved / "model.safetensors")
    name = min(weights)
    save_file(weights | {name: weights[name].int()}, saved / "model.safetensors")
    refused(saved, "model.safetensors", name, "I32")


@pytest.mark.parametrize(
    "header", [b"{" * 1000, b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}']
)
@pytest.mark.parametrize("claimed", [None, 2**40])
def test_headers_that_lie(saved, header, claimed):
    length = len(header) if claimed is None else claimed
    (saved / "model.safetensors").write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    refused(saved, "not a safetensors file")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_missing(saved, name):
    (saved / name).unlink()
    refused(saved, name)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_weights(saved, share):
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[: int(share * len(whole))])
    refused(saved, "model.safetensors", "save the model again")


def test_weights_that_are_a_pickle_are_not_read(saved):
    torch.save({"a": torch.zeros(2)}, saved / "model.safetensors")
    refused(saved, "not a safetensors file")


def test_saving_again_replaces_the_weights_and_keeps_an_edited_card(saved, make_model):
    (saved / "README.md").write_text("mine")
    make_model(seed=4).save_pretrained(saved)
    assert GMMFormer.from_pretrained(saved).config.window == "full"
    assert (saved / "README.md").read_text() == "mine"


def test_a_place_that_cannot_be_written_to(make_model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no folder can be made there"):
        make_model().save_pretrained(tmp_path / "file" / "model")


def test_the_model_card(saved):
    card = ModelCard.load(saved / "README.md")
    assert card.data.library_name == "gmmformer"
    assert card.data.license == "mit"
    assert "video-retrieval" in card.data.tags
    assert 'from_pretrained("this folder")' in card.text
    assert "7-dimensional, token features 5-dimensional" in card.text
    assert "{{" not in card.content


def test_push_to_hub(make_model, monkeypatch, tmp_path):
    uploaded: dict[str, object] = {}

    def create_repo(self: HfApi, repo_id: str, **options: object) -> object:
        return type("RepoUrl", (), {"repo_id": repo_id})()

    def upload_folder(self: HfApi, *, repo_id: str, folder_path: str, **options: object) -> CommitInfo:
        uploaded.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir()}, repo_id=repo_id)
        return CommitInfo(
            commit_url=f"https://huggingface.co/{repo_id}/commit/abc",
            commit_message="",
            commit_description="",
            oid="abc",
        )

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    model = make_model(seed=5)
    address = model.push_to_hub("someone/gmmformer-tvr", token="hf_none")
    assert "someone/gmmformer-tvr" in str(address)
    assert uploaded.pop("repo_id") == "someone/gmmformer-tvr"
    assert sorted(uploaded) == ["README.md", "config.json", "model.safetensors"]
    assert b'from_pretrained("someone/gmmformer-tvr")' in uploaded["README.md"]
    assert b"7-dimensional" in uploaded["README.md"]
    (tmp_path / "down").mkdir()
    for name, data in uploaded.items():
        (tmp_path / "down" / name).write_bytes(data)
    again = GMMFormer.from_pretrained(tmp_path / "down")
    assert torch.equal(again.query_pool.score.weight, model.query_pool.score.weight)


def test_save_and_push_in_one(make_model, monkeypatch, tmp_path):
    pushed: list[str] = []
    monkeypatch.setattr(GMMFormer, "push_to_hub", lambda self, repo_id, **options: pushed.append(repo_id) or "address")
    assert make_model().save_pretrained(tmp_path / "m", push_to_hub=True, repo_id="a/b") == "address"
    assert make_model().save_pretrained(tmp_path / "m") is None
    assert pushed == ["a/b"]


def test_from_the_hub_only_when_allowed(make_model, monkeypatch, tmp_path):
    there = make_model(seed=6)
    there.vocabulary = ("cat", "dog")
    there.save_pretrained(tmp_path / "there")
    asked: list[bool] = []

    def download(repo_id: str, name: str, *, local_files_only: bool) -> str:
        asked.append(local_files_only)
        if not (tmp_path / "there" / name).exists():
            raise LocalEntryNotFoundError("not there")
        return str(tmp_path / "there" / name)

    monkeypatch.setattr("gmmformer.model.saved.hf_hub_download", download)
    model = load_model("someone/gmmformer-tvr", allow_download=True)
    assert model.config.hidden == 16
    assert model.vocabulary == ("cat", "dog")
    assert asked == [False, False, False]
    (tmp_path / "there" / "words.txt").unlink()  # as models of before have none
    load_model("someone/gmmformer-tvr")
    assert asked[3:] == [True, True, True]


def test_nothing_downloads_unless_told(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("went to the network"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for source in ("someone/gmmformer-tvr", "gmmformer-tvr"):
        with pytest.raises(InputError, match="--allow-download"):
            load_model(source)
    for source in ("no/such/folder", "/no/such/folder", "a b"):
        with pytest.raises(InputError, match="no such file or folder"):
            load_model(source)


def test_a_run_folder_is_its_best_model(saved, make_model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "state.pt").write_bytes(b"")
    with pytest.raises(InputError, match="no model yet"):
        load_model(run)
    make_model(seed=7).save_pretrained(run / "best")
    assert torch.equal(load_model(run).query_pool.score.weight, make_model(seed=7).query_pool.score.weight)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="not a saved model"):
        load_model(tmp_path)


def test_a_compiled_model_saves_under_the_same_names(make_model, tmp_path):
    model = make_model()
    model.compile(backend="eager")
    model.save_pretrained(tmp_path / "m")
    assert load_file(tmp_path / "m" / "model.safetensors").keys() == make_model().state_dict().keys()


def test_saving_and_loading_print_nothing(saved):
    code = """
import sys
from gmmformer import GMMFormer
GMMFormer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_loading_a_model_does_not_load_torch_s_compiler(saved: Path) -> None:
    """Which takes as long as all else together."""
    program = (
        "import sys; from gmmformer.model import GMMFormer; "
        "assert all(weight.isfinite().all() for weight in GMMFormer.from_pretrained(sys.argv[1]).parameters()); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(saved)], check=True)
