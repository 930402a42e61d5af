"""What a run keeps on disk, and what it makes of damage to it."""

import json

import pytest
import torch

from gmmformer.errors import InputError
from gmmformer.training import RunFolder, RunSettings


@pytest.fixture
def folder(make_settings, tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", RunSettings.of(**make_settings()))


def test_settings_round_trip(make_settings, folder):
    settings = RunSettings.of(**make_settings())
    assert RunSettings.read(folder.path / "config.json") == settings
    assert RunSettings.of(**make_settings(train={"lr": 0.5})) != settings


def test_a_folder_that_is_there(make_settings, folder, tmp_path):
    RunFolder.create(folder.path, RunSettings.of(**make_settings()))  # a run that came to nothing may be started again
    folder.log({"kind": "step"}, 1)
    with pytest.raises(InputError, match=r"run: exists already; go on with it by --resume .*run, or choose another"):
        RunFolder.create(folder.path, RunSettings.of(**make_settings()))
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", RunSettings.of(**make_settings()))
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="cannot be written"):
            RunFolder.create(path, RunSettings.of(**make_settings()))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not the config.json of a run"),
        ("[1, 2]", "not the config.json of a run"),
        ("{}", "not the config.json of a run"),
        ('{"format": 1}', "not the config.json of a run"),
        ('{"format": 99}', "newer version"),
        ('{"format": "one"}', "not the config.json of a run"),
        ('{"format": NaN}', "not the config.json of a run"),
        ('{"format": 1, "format": 1}', "'format' is there twice"),
        ('{"format": ' + "[" * 100_000, "not the config.json of a run"),
        ('{"format": ' + "9" * 5000 + "}", "not the config.json of a run"),
        ('{"format": 1, "root": 1, "collection": 1, "feature": 1, "model": 1, "train": 1, "run": 1}', "not named by"),
    ],
)
def test_settings_that_are_none(folder, text, part):
    (folder.path / "config.json").write_text(text)
    with pytest.raises(InputError, match=part):
        RunSettings.read(folder.path / "config.json")


def test_settings_with_an_unknown_field(folder):
    saved = json.loads((folder.path / "config.json").read_text())
    saved["train"]["momentum"] = 0.9
    (folder.path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(InputError, match="momentum"):
        RunSettings.read(folder.path / "config.json")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("model", "max_ctx_l", 10**12), ("model", "clip_weight", 2), ("train", "lr", "high"), ("run", "workers", -1)],
)
def test_settings_out_of_range_name_the_file(folder, part, name, value):
    saved = json.loads((folder.path / "config.json").read_text())
    saved[part][name] = value
    (folder.path / "config.json").write_text(json.dumps(saved))
    with pytest.raises(
        InputError, match=rf"config\.json, {part}: the setting {name.replace('_', '-')} {value} must be"
    ):
        RunSettings.read(folder.path / "config.json")


def test_metrics_that_end_before_the_state_lose_their_torn_line_with_a_remark(folder):
    for step in range(3):
        folder.log({"kind": "step", "loss": 1.0}, step)
    folder.save_state({})
    path = folder.path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])  # a crash of the machine: the state reached the disk, its metrics did not
    folder.load_state()
    assert path.read_bytes() == whole[: 2 * len(whole) // 3]
    assert len(folder.remarks) == 1
    assert str(path) in folder.remarks[0]
    folder.load_state()
    folder.close()


@pytest.mark.parametrize(
    "line",
    [
        b"no JSON",
        b"[1]",
        b'{"kind": "day"}',
        b'{"kind": "epoch", "epoch": 0}',
        b'{"kind": "epoch", "epoch": 0, "total": NaN}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_metrics_that_training_never_wrote(folder, line):
    folder.log({"kind": "step", "loss": 1.0}, 1)
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(line + b"\n")
    folder.save_state({})
    with pytest.raises(InputError, match=r"metrics\.jsonl: .*line 2 .*; move it away") as error:
        folder.load_state()
    assert "\n" not in str(error.value)
    (folder.path / "metrics.jsonl").unlink()
    assert folder.load_state()["format"] == 1


def test_no_settings(tmp_path):
    with pytest.raises(InputError, match=r"not a run: it has no config\.json"):
        RunSettings.read(tmp_path / "config.json")


def test_metrics_are_cut_back_to_the_state(folder):
    folder.log({"kind": "step", "loss": 1.0}, 1)
    folder.save_state({"model": {"a": torch.ones(2)}})
    folder.log({"kind": "step", "loss": 2.0}, 2)
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "st')  # killed in the middle of a line
    state = folder.load_state()
    assert torch.equal(state["model"]["a"], torch.ones(2))
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"kind": "step", "loss": 1.0}]
    folder.close()


def test_without_a_state_the_metrics_start_anew(folder):
    folder.log({"kind": "step", "loss": 1.0}, 1)
    assert folder.load_state() is None
    assert (folder.path / "metrics.jsonl").read_text() == ""
    folder.close()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_state(folder, share):
    folder.save_state({"model": {"a": torch.ones(100)}})
    state = folder.path / "state.pt"
    whole = state.read_bytes()
    state.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"state\.pt: .*damaged .*; remove it to start over"):
        folder.load_state()


def test_a_state_with_code_in_it_is_not_run(folder, tmp_path):
    class Touch:
        def __reduce__(self):
            return (tmp_path / "canary").touch, ()

    torch.save({"format": 1, "model": Touch()}, folder.path / "state.pt")
    with pytest.raises(InputError, match=r"state\.pt: .*nothing was run.*; remove it to start over") as error:
        folder.load_state()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "canary").exists()


def test_a_state_of_a_newer_version(folder):
    folder.save_state({"format": 99})
    with pytest.raises(InputError, match="newer version"):
        folder.load_state()


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file data/0")]
)
def test_a_full_disk_leaves_the_old_state(folder, monkeypatch, failure):
    folder.save_state({"step": 1})
    whole_save = torch.save

    def fail(contents: object, path: object) -> None:
        whole_save(contents, path)
        raise failure

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(InputError, match="the disk is full"):
        folder.save_state({"step": 2})
    assert folder.load_state()["step"] == 1
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.json", "state.pt"]


def test_curves(folder):
    folder.draw_curves()
    assert not (folder.path / "curves.png").exists()  # there is nothing to draw
    record = {"kind": "epoch", "total": 1.0, "R@1": 1.0, "R@5": 2.0, "R@10": 3.0, "R@100": 50.0, "SumR": 56.0}
    for epoch in range(2):
        folder.log({**record, "epoch": epoch}, epoch)
    folder.log({"kind": "step", "total": 1.0}, 2)
    assert [epoch["epoch"] for epoch in folder.epochs()] == [0, 1]
    folder.close()
    assert (folder.path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_events(folder):
    pytest.importorskip("tensorboard")
    folder.log({"kind": "step", "epoch": 0, "total": 1.5}, 7)
    folder.close()
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = event_accumulator.EventAccumulator(str(folder.path / "tensorboard")).Reload()
    (scalar,) = events.Scalars("step/total")
    assert (scalar.step, scalar.value) == (7, 1.5)


def test_without_tensorboard_the_metrics_are_enough(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    folder.log({"kind": "step", "loss": 1.0}, 1)
    folder.close()
    assert (folder.path / "metrics.jsonl").exists()
    assert not (folder.path / "tensorboard").exists()
