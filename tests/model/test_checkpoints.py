"""Published checkpoints: read whole, and nothing in them run."""

import os
import pickle
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from gmmformer.errors import InputError
from gmmformer.model import GMMFormer, load_model, read_published
from gmmformer.model.checkpoints import published_name
from gmmformer.model.torch_files import is_torch_file


def pickle_of(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


@pytest.fixture
def published_contents(reference, monkeypatch):
    """What trained.ckpt holds as torch reads it, with a class standing in for the schedule's; writable again."""
    schedule = type("WarmupLinearSchedule", (), {"__module__": "Opts.optimization"})
    module = types.ModuleType("Opts.optimization")
    module.WarmupLinearSchedule = schedule
    monkeypatch.setitem(sys.modules, "Opts", types.ModuleType("Opts"))
    monkeypatch.setitem(sys.modules, "Opts.optimization", module)
    return torch.load(reference / "trained.ckpt", weights_only=False)


def saved(contents: object, path: Path) -> Path:
    torch.save(contents, path)
    return path


def refused(path: Path, *parts: str) -> str:
    """The one sentence that refuses a file; `load_model` says the same."""
    with pytest.raises(InputError) as error:
        read_published(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message
    if is_torch_file(path):
        with pytest.raises(InputError) as error:
            load_model(path)
        assert str(error.value) == message
    return message


def test_reads_what_it_holds(reference):
    checkpoint = read_published(reference / "trained.ckpt")
    config = checkpoint.config
    assert (config.hidden, config.heads, config.feature_dim, config.query_dim) == (32, 4, 24, 20)
    assert (config.map_size, config.max_ctx_l, config.max_desc_l, config.drop, config.input_drop) == (8, 40, 12, 0, 0)
    assert (config.clip_weight, config.frame_weight, config.window) == (0.7, 0.3, "full")
    assert checkpoint.settings["visual_feat_dim"] == 24
    assert checkpoint.epoch is None or checkpoint.epoch >= 0
    assert not checkpoint.model().training
    assert len(checkpoint.state_dict) == 76 + 117


def test_the_weights_are_those_of_torch_s_own_reader(reference, published_contents):
    found = read_published(reference / "trained.ckpt").state_dict
    theirs = published_contents["state_dict"]
    assert len(found) == len(theirs)
    for name, weight in theirs.items():
        assert torch.equal(found[published_name(name)], weight), name


def test_every_name_of_ours_comes_from_one_of_theirs(reference, published_contents):
    ours = [published_name(name) for name in published_contents["state_dict"]]
    model = GMMFormer(read_published(reference / "trained.ckpt").config)
    assert sorted(ours) == sorted(model.state_dict())
    assert published_name("clip_encoder.attn4.self.query.weight") is None
    assert published_name("nonsense") is None
    assert published_name("") is None


@pytest.mark.parametrize("name", ["initial.ckpt", "trained.ckpt", "minitvr/published.ckpt"])
def test_saved_by_a_wrapper_for_several_gpus(reference, tmp_path, published_contents, name):
    contents = torch.load(reference / name, weights_only=False)
    contents["state_dict"] = OrderedDict((f"module.{key}", value) for key, value in contents["state_dict"].items())
    path = saved(contents, tmp_path / "wrapped.ckpt")
    expected, found = read_published(reference / name), read_published(path)
    assert found.config == expected.config
    assert found.state_dict.keys() == expected.state_dict.keys()
    for key, weight in expected.state_dict.items():
        assert torch.equal(found.state_dict[key], weight)


def test_weights_on_a_gpu_of_theirs_in_half_precision_or_not_contiguous(reference, tmp_path, published_contents):
    weights = published_contents["state_dict"]
    name = "clip_encoder.attn0.self.query.weight"
    expected = weights[name].clone()
    for stored in (expected.half(), expected.bfloat16(), expected.double(), expected.T.contiguous().T):
        weights[name] = stored
        found = read_published(saved(published_contents, tmp_path / "other.ckpt")).state_dict[published_name(name)]
        assert found.is_contiguous()
        assert torch.equal(found, stored.float())


def test_storages_with_a_gpu_s_tag(reference, tmp_path, rewrite_zip):
    # X, BINUNICODE "cpu" becomes "cuda:0"
    def tag(name: str, data: bytes) -> bytes:
        changed = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
        assert not name.endswith("data.pkl") or changed != data
        return changed if name.endswith("data.pkl") else data

    tagged = rewrite_zip(reference / "initial.ckpt", tmp_path / "cuda.ckpt", tag)
    found, expected = read_published(tagged).state_dict, read_published(reference / "initial.ckpt").state_dict
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


class Runs:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def global_opcode(module: str, name: str, argument: str) -> bytes:
    """c MODULE NAME, a tuple of one string, R: as protocol 2 writes a call."""
    return (
        b"\x80\x02c"
        + f"{module}\n{name}\n".encode()
        + b"(X"
        + len(argument).to_bytes(4, "little")
        + (argument.encode() + b"tR.")
    )


def stack_global(module: str, name: str, argument: str) -> bytes:
    """The names on the stack, STACK_GLOBAL, a tuple of one string, R: as protocol 4 writes a call."""

    def text(value: str) -> bytes:
        return b"\x8c" + bytes([len(value.encode())]) + value.encode()

    return b"\x80\x04" + text(module) + text(name) + b"\x93" + text(argument) + b"\x85R."


def malware(canary: Path) -> dict[str, bytes]:
    shell, python = f"touch {canary}", f"__import__('pathlib').Path({str(canary)!r}).touch()"
    return {
        "os.system": pickle.dumps(Runs(os.system, shell), 2),
        "os.system, protocol 4": pickle.dumps(Runs(os.system, shell), 4),
        "os.system by name": global_opcode("os", "system", shell),
        "builtins.eval": stack_global("builtins", "eval", python),
        "builtins.exec": pickle.dumps(Runs(exec, python), 2),
        "__builtin__.eval": global_opcode("__builtin__", "eval", python),
        "dotted, through an allowed module": stack_global("collections", "OrderedDict.__init__.__globals__", shell),
        "dotted, through torch": stack_global("torch", "os.system", shell),
        "dotted, through an allowed function": stack_global("torch._utils", "_rebuild_tensor_v2.__globals__", shell),
        "dotted, through the stand-in": stack_global("Opts.optimization", "WarmupLinearSchedule.__init__", shell),
        "getattr": stack_global("builtins", "getattr", shell),
        "nested": pickle.dumps({"config": {}, "state_dict": {"a": [Runs(os.system, shell)]}}, 4),
        "in the schedule's place": pickle.dumps({"optimizer": Runs(os.system, shell)}, 4),
        "torch.hub": stack_global("torch.hub", "load", shell),
        "torch.load": stack_global("torch", "load", str(canary)),
        "functools.partial": pickle.dumps(Runs(__import__("functools").partial, os.system, shell), 4),
        "old instance": b"(X" + len(shell).to_bytes(4, "little") + shell.encode() + b"ios\nsystem\n.",
        "extension code": b"\x80\x02\x82\x01.",
    }


KINDS = sorted(malware(Path("x")))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_file_is_run(reference, tmp_path, rewrite_zip, kind):
    canary = tmp_path / "canary"
    payload = malware(canary)[kind]
    path = rewrite_zip(
        reference / "initial.ckpt",
        tmp_path / "evil.ckpt",
        lambda name, data: payload if name.endswith("data.pkl") else data,
    )
    message = refused(path)
    if kind != "extension code":
        assert "nothing was run" in message
    assert not canary.exists()


def test_the_payloads_would_run_elsewhere(tmp_path):
    canary = tmp_path / "canary"
    for kind in ("os.system", "os.system by name", "builtins.eval", "old instance", "nested"):
        pickle.loads(malware(canary)[kind])
        assert canary.exists(), kind
        canary.unlink()


def test_the_stand_in_keeps_nothing_and_does_nothing(tmp_path, reference, rewrite_zip):
    # a state for BUILD, and attributes that a class would take
    build = (
        b"\x80\x02}(X\x06\x00\x00\x00configcOpts.optimization\nWarmupLinearSchedule\n)\x81"
        b"}X\x01\x00\x00\x00aK\x01sbX\x0a\x00\x00\x00state_dict}u."
    )
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "s.ckpt", lambda name, data: build if name.endswith(".pkl") else data
    )
    refused(path, "must be dictionaries")


def test_a_name_refused_is_said(reference, tmp_path, rewrite_zip):
    payload = stack_global("subprocess", "Popen", "true")
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "e.ckpt", lambda name, data: payload if name.endswith(".pkl") else data
    )
    refused(path, "subprocess.Popen", "Do not trust this file")


def test_compressed_weights(reference, tmp_path, rewrite_zip):
    path = rewrite_zip(reference / "initial.ckpt", tmp_path / "c.ckpt", lambda _, data: data, zipfile.ZIP_DEFLATED)
    refused(path, "compressed")


def test_a_storage_that_is_too_small(reference, tmp_path, rewrite_zip):
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "s.ckpt", lambda name, data: data[:-4] if "/data/" in name else data
    )
    refused(path, "damaged")


def test_a_storage_of_no_whole_number_of_elements(reference, tmp_path, rewrite_zip):
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "s.ckpt", lambda name, data: data[:-3] if "/data/" in name else data
    )
    refused(path, "damaged")


def test_a_storage_that_is_missing(reference, tmp_path, rewrite_zip):
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "s.ckpt", lambda name, data: None if name.endswith("/data/3") else data
    )
    refused(path, "data/3")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((32, 32), (33, 1), 0), ((32, 32), (32, 1), 1), ((2**20, 2**20), (1, 1), 0), ((32, 32), (32, -1), 0)],
)
def test_a_view_beyond_its_storage(reference, tmp_path, published_contents, size, stride, offset):
    class Beyond:
        """Pickles as torch pickles a tensor, with a view of another shape."""

        def __init__(self, weight: torch.Tensor) -> None:
            self.weight = weight

        def __reduce__(self):
            storage = torch.storage.TypedStorage(
                wrap_storage=self.weight.untyped_storage(), dtype=self.weight.dtype, _internal=True
            )
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

    name = "clip_encoder.attn0.self.query.weight"
    published_contents["state_dict"][name] = Beyond(published_contents["state_dict"][name].clone())
    refused(saved(published_contents, tmp_path / "beyond.ckpt"))


def test_a_view_that_repeats_its_storage_beyond_memory(tmp_path, published_contents):
    # one number spread over an exabyte, and a config to match
    published_contents["config"] = dict(published_contents["config"], hidden_size=2**29)
    for name, weight in published_contents["state_dict"].items():
        shape = tuple(2**29 if size == 32 else size for size in weight.shape)
        published_contents["state_dict"][name] = torch.zeros(1).expand(shape)
    refused(saved(published_contents, tmp_path / "wide.ckpt"), "more numbers than it holds")


def test_a_device_is_not_read(tmp_path):
    path = tmp_path / "x.ckpt"
    path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"x.ckpt: is a device or a pipe, no checkpoint"):
        read_published(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"x.ckpt: is a device or a pipe, no checkpoint"):
        read_published(path)


def test_no_zip(tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(pickle.dumps(Runs(os.system, f"touch {tmp_path / 'canary'}")))
    refused(path, "not a checkpoint")
    assert not (tmp_path / "canary").exists()
    assert not is_torch_file(path)
    with pytest.raises(InputError, match="neither a published checkpoint"):
        load_model(path)


def test_no_file(tmp_path):
    refused(tmp_path / "nowhere.ckpt", "No such file")
    refused(tmp_path, "cannot be read")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(reference, tmp_path, share):
    whole = (reference / "trained.ckpt").read_bytes()
    path = tmp_path / "half.ckpt"
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path, "not a checkpoint")


def test_a_damaged_weight(reference, tmp_path):
    whole = bytearray((reference / "initial.ckpt").read_bytes())
    whole[len(whole) // 2] ^= 0xFF  # the zip's checksum tells
    path = tmp_path / "flipped.ckpt"
    path.write_bytes(bytes(whole))
    refused(path, "damaged")


def test_a_zip_of_something_else(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    refused(path, "not one that torch wrote")


def test_a_big_endian_one(reference, tmp_path, rewrite_zip):
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "b.ckpt", lambda name, data: b"big" if "byteorder" in name else data
    )
    refused(path, "big-endian")


@pytest.mark.parametrize("cut", [1, 10, 1000, 20000])
def test_a_pickle_that_ends_early(reference, tmp_path, rewrite_zip, cut):
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "p.ckpt", lambda name, data: data[:cut] if "data.pkl" in name else data
    )
    refused(path)


@pytest.mark.parametrize("junk", [b"", b".", b"]q\x01.", b"\x80\x02Nq\x00.", bytes(range(256))])
def test_a_pickle_of_something_else(reference, tmp_path, rewrite_zip, junk):
    path = rewrite_zip(
        reference / "initial.ckpt", tmp_path / "j.ckpt", lambda name, data: junk if "data.pkl" in name else data
    )
    refused(path)


def test_random_damage_to_the_pickle_is_refused_or_harmless(reference, tmp_path, rewrite_zip):
    data = pickle_of(reference / "initial.ckpt")
    rng = np.random.default_rng(0)
    for turn in range(6):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            damaged[place] = rng.integers(256)
        path = rewrite_zip(
            reference / "initial.ckpt",
            tmp_path / f"{turn}.ckpt",
            lambda name, old, new=bytes(damaged): new if name.endswith(".pkl") else old,
        )
        with suppress(InputError):  # anything else would be a traceback for the user
            read_published(path)


def test_of_other_dimensions(tmp_path, published_contents):
    published_contents["config"] = dict(published_contents["config"], hidden_size=64)
    refused(saved(published_contents, tmp_path / "x.ckpt"), "has shape", "its config asks for")


def test_a_parameter_it_does_not_know(tmp_path, published_contents):
    published_contents["state_dict"]["decoder.weight"] = torch.zeros(3)
    refused(saved(published_contents, tmp_path / "x.ckpt"), "'decoder.weight'", "no parameter")


def test_a_parameter_that_is_none(tmp_path, published_contents):
    name = next(iter(published_contents["state_dict"]))
    published_contents["state_dict"][name] = [1.0, 2.0]
    refused(saved(published_contents, tmp_path / "x.ckpt"), name, "no parameter")


def test_a_parameter_that_is_missing(tmp_path, published_contents):
    del published_contents["state_dict"]["modular_vector_mapping.weight"]
    refused(saved(published_contents, tmp_path / "x.ckpt"), "1 parameters are missing", "query_pool.score.weight")


def test_a_setting_that_is_missing(tmp_path, published_contents):
    published_contents["config"] = {k: v for k, v in published_contents["config"].items() if k != "hidden_size"}
    refused(saved(published_contents, tmp_path / "x.ckpt"), "'hidden_size'")


@pytest.mark.parametrize(
    ("key", "value"), [("hidden_size", 30), ("n_heads", "four"), ("drop", 2.0), ("map_size", 0), ("drop", None)]
)
def test_a_setting_that_makes_no_sense(tmp_path, published_contents, key, value):
    published_contents["config"] = dict(published_contents["config"], **{key: value})
    refused(saved(published_contents, tmp_path / "x.ckpt"), "config is not one of a GMMFormer")


def test_a_checkpoint_of_something_else(tmp_path):
    refused(saved({"model": {"weight": torch.zeros(2)}}, tmp_path / "a.ckpt"), "'config' and 'state_dict'")
    refused(saved([1, 2, 3], tmp_path / "b.ckpt"), "'config' and 'state_dict'")
    refused(saved({"config": [1], "state_dict": {}}, tmp_path / "c.ckpt"), "must be dictionaries")
    refused(saved({"config": {}, "state_dict": {}}, tmp_path / "d.ckpt"), "not a GMMFormer checkpoint")


def test_a_whole_module_pickled(tmp_path):
    refused(saved({"config": {}, "state_dict": torch.nn.Linear(2, 2)}, tmp_path / "m.ckpt"), "nothing was run")


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def checkpoint_of(config: bytes = b"}", state_dict: bytes = b"}", more: bytes = b"") -> bytes:
    """A pickle of a checkpoint whose parts are made by these instructions."""
    return b"\x80\x02}(" + text("config") + config + text("state_dict") + state_dict + more + b"u."


NESTED = b")" + b"q\x00h\x00h\x00\x86" * 60
"""A tuple of two tuples of two tuples ...: quickly written, but hashing or printing it takes 2 ** 60 steps."""
STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n%b" + text("cpu") + b"K\x01tQ"
REBUILT = b"ctorch._utils\n_rebuild_tensor_v2\n("
HOSTILE = {
    "a memo of four thousand million": checkpoint_of(b"}r\xff\xff\xff\x7f"),
    "text of 2 GiB": checkpoint_of(b"X\xff\xff\xff\x7fabc"),
    "bytes of an exabyte": b"\x80\x05\x96" + (2**60).to_bytes(8, "little") + b".",
    "a key that takes for ever to hash": b"\x80\x02}(" + NESTED + b"K\x01u.",
    "such a key alone": b"\x80\x02}" + NESTED + b"K\x01s.",
    "a set of such": b"\x80\x04\x8f(" + NESTED + b"\x90.",
    "a storage named by such": checkpoint_of(STORAGE.replace(b"%b", NESTED)),
    "a storage of no kind": checkpoint_of(b"(" + text("storage") + NESTED + text("0") + text("cpu") + b"K\x01tQ"),
    "a shape of letters": checkpoint_of(REBUILT + b"K\x00K\x00" + text("a") + b"\x4a\xff\xff\xff\x7f\x86)tR"),
    "a shape of such": checkpoint_of(REBUILT + b"K\x00K\x00" + NESTED + b"\x85)tR"),
    "a setting of such": checkpoint_of(b"}(" + b"".join(
        text(name) + NESTED
        for name in ("visual_feat_dim", "q_feat_size", "hidden_size", "n_heads", "map_size", "max_ctx_l", "max_desc_l",
                     "input_drop", "drop", "clip_scale_w", "frame_scale_w")
    ) + b"u"),
    "a whole number of a million digits": checkpoint_of(b"\x8b" + (10**6).to_bytes(4, "little") + b"\x7f" * 10**6),
    "methods replaced": checkpoint_of(
        b"ccollections\nOrderedDict\n)R}" + text("keys") + b"K\x01sb",
        b"ccollections\nOrderedDict\n)R}" + text("items") + b"K\x01sb",
    ),
    "a tensor filled like a dictionary": checkpoint_of(b"K\x01(" + text("a") + b"K\x01u"),
}  # fmt: skip


def hostile_files(folder: Path, published: Path) -> list[Path]:
    """Checkpoints that claim, or unpack to, more than they hold; each a few MB at most."""
    made = []
    for number, payload in enumerate(HOSTILE.values()):
        made.append(folder / f"{number}.ckpt")
        with zipfile.ZipFile(made[-1], "w") as archive:
            archive.writestr("a/data.pkl", payload)
    zeros = bytes(2**28)
    for name, entry in (("pickle", "a/data.pkl"), ("order", "a/byteorder")):
        made.append(folder / f"{name} that is a bomb.ckpt")
        with zipfile.ZipFile(made[-1], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(entry, zeros)
            archive.writestr("a/data.pkl" if name == "order" else "a/x", b"\x80\x02}.")
    made.append(folder / "sizes that lie.ckpt")
    data = bytearray(published.read_bytes())
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(b"/data/0"))
    data[at + 20 : at + 28] = (2**31).to_bytes(4, "little") * 2
    made[-1].write_bytes(data)
    return made


def test_a_hostile_file_is_refused_without_taking_more_memory_than_it_has_bytes(reference, tmp_path):
    files = hostile_files(tmp_path, reference / "initial.ckpt")
    code = """
import resource, sys
from gmmformer.errors import InputError
from gmmformer.model import load_model, read_published
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_published(__import__("pathlib").Path(path))
        print("taken:", path)
    except InputError as error:
        said = str(error)
        assert said.startswith(path + ": ") and said.isprintable() and len(said) < len(path) + 350, said
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if grown > 100:
        print(path, "took", grown, "MB")
        break
"""
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")


def test_weights_that_share_what_one_of_them_holds(tmp_path, published_contents):
    # every parameter is a view of one storage: made ones of their own they would be a hundred times the file
    whole = torch.zeros(512 * 512)
    published_contents["config"] = dict(published_contents["config"], hidden_size=512)
    for name, weight in published_contents["state_dict"].items():
        shape = [512 if size == 32 else size for size in weight.shape]
        published_contents["state_dict"][name] = whole[: np.prod(shape)].view(shape)
    refused(saved(published_contents, tmp_path / "shared.ckpt"), "more numbers than it holds")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_not_finite(tmp_path, published_contents, value):
    name = "clip_encoder.attn0.self.query.weight"
    weight = published_contents["state_dict"][name].double()
    weight[3, 4] = value
    published_contents["state_dict"][name] = weight
    refused(saved(published_contents, tmp_path / "nan.ckpt"), published_name(name), "NaN or infinity")


@pytest.mark.parametrize(
    ("key", "value"), [("clip_scale_w", float("nan")), ("drop", float("inf")), ("hidden_size", 10**12)]
)
def test_settings_that_are_none(tmp_path, published_contents, key, value):
    published_contents["config"] = dict(published_contents["config"], **{key: value})
    refused(saved(published_contents, tmp_path / "settings.ckpt"), "its config is not one of a GMMFormer", str(value))


def test_whole_numbers_as_weights(tmp_path, published_contents):
    name = "clip_encoder.attn0.self.query.weight"
    published_contents["state_dict"][name] = published_contents["state_dict"][name].to(torch.uint8)
    refused(saved(published_contents, tmp_path / "bytes.ckpt"), name)


def test_torch_s_older_format(tmp_path, published_contents):
    path = tmp_path / "old.ckpt"
    torch.save(published_contents, path, _use_new_zipfile_serialization=False)
    refused(path, "not a checkpoint")
    with pytest.raises(InputError, match="neither a published checkpoint"):
        load_model(path)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_way_that_torch_writes_one(reference, tmp_path, published_contents, protocol):
    torch.save(published_contents, tmp_path / "again.ckpt", pickle_protocol=protocol)
    with zipfile.ZipFile(tmp_path / "again.ckpt") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    found, expected = read_published(tmp_path / "again.ckpt"), read_published(reference / "trained.ckpt")
    assert found.config == expected.config
    assert all(torch.equal(found.state_dict[name], weight) for name, weight in expected.state_dict.items())
