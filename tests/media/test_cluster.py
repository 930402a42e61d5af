"""A cluster of two nodes on this machine, one of which is killed."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmmformer.cli import main
from gmmformer.config import DecodeConfig
from gmmformer.demo.encoders import ShapeFrames
from gmmformer.errors import InputError, MissingExtraError
from gmmformer.media.cluster import featurise_on
from gmmformer.media.decoding import FilmEnd
from gmmformer.media.featurise import FilmFeatures, featurise
from gmmformer.search import Library
from tiny_models import untrained

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'gmmformer[ray]'")
SETTINGS = DecodeConfig(decoders=1, fps=30.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with a processor; tests add a second node."""
    from ray.cluster_utils import Cluster

    soon = {"health_check_period_ms": 500, "health_check_initial_delay_ms": 500}  # it is known that a node is dead
    head = {"num_cpus": 1, "object_store_memory": 200 << 20, "include_dashboard": False, "_system_config": soon}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def films(tmp_path_factory, another_film, short_film) -> list[Path]:
    """Short films, one of more than a chunk of frames at 30 per second, and two that fail."""
    folder = tmp_path_factory.mktemp("cluster")
    found = [folder / f"{number} \u732b.mp4" for number in range(10)]
    for number, film in enumerate(found):
        film.write_bytes(another_film(number))
    found += [short_film(folder / "long.mp4", first=300, seconds=6), folder / "broken.mp4", folder / "missing.mp4"]
    found[-2].write_bytes(b"no film")
    found.append(folder / os.fsdecode(b"\xff.mp4"))
    shutil.copy(found[0], found[-1])
    return found


def by_film(results: Iterator[FilmFeatures | FilmEnd]) -> dict[Path, FilmFeatures | FilmEnd]:
    found: dict[Path, FilmFeatures | FilmEnd] = {}
    for result in results:
        assert result.path not in found
        found[result.path] = result
    return found


@pytest.fixture(scope="module")
def local(films) -> dict[Path, FilmFeatures | FilmEnd]:
    return by_film(featurise(films, ShapeFrames(), SETTINGS))


def assert_same(found: dict[Path, Any], expected: dict[Path, Any]) -> None:
    assert found.keys() == expected.keys()
    for path, film in expected.items():
        if isinstance(film, FilmEnd):
            assert found[path] == film
        else:
            np.testing.assert_array_equal(found[path].features, film.features)
            np.testing.assert_array_equal(found[path].seconds, film.seconds)
            assert found[path].features.dtype == np.float32
            assert found[path][3:] == film[3:]


def until(come_about: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not come_about():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.05)


def decoding_on(node: Any) -> bool:
    """Whether a worker of a node is decoding a film."""
    raylet = node.all_processes["raylet"][0].process.pid
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"\nPPid:\t{raylet}\n" in status.read_text() and b"decode" in (status.parent / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def test_a_node_that_is_killed_costs_a_retry_not_the_run(cluster, films, local):
    node = cluster.add_node(num_cpus=1, object_store_memory=200 << 20)
    cluster.wait_for_nodes()
    first, killed = threading.Event(), threading.Event()

    def kill() -> None:
        first.wait()
        until = time.monotonic() + 30
        while not decoding_on(node) and time.monotonic() < until:
            time.sleep(0.002)
        if time.monotonic() < until:
            cluster.remove_node(node, allow_graceful=False)
            killed.set()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    told: list[int] = []
    source = featurise_on(cluster.address, ShapeFrames)
    found = {}
    for result in source(films, ShapeFrames(), SETTINGS, on_frames=told.append):
        assert result.path not in found
        found[result.path] = result
        first.set()
    killer.join()
    assert killed.is_set(), "the node was never seen decoding"
    until(lambda: len([node for node in ray.nodes() if node["Alive"]]) == 1)  # the cluster hears of it a little later
    assert_same(found, local)
    assert sum(told) == sum(len(film.features) for film in local.values() if isinstance(film, FilmFeatures))
    assert len(local[films[10]].features) == 180


def test_the_command_does_the_same_on_a_cluster(cluster, films, tmp_path):
    folder = films[0].parent
    words = ["extract", str(folder), "--collection", "mine", "--decoders", "1", "--video-encoder", ShapeFrames.name]
    assert main([*words, "--out", str(tmp_path / "here")]) == 0
    command = [sys.executable, "-m", "gmmformer", *words, "--out", str(tmp_path / "there"), "--ray", cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "decoded 11 films" in done.stdout
    assert re.sub(r"films: .*", "", done.stderr).strip() == ""
    here, there = (tmp_path / name / "mine/FeatureData/ShapeFrames" for name in ("here", "there"))
    for name in ("feature.bin", "id.txt", "video2frames.txt", "times.npy", "films.jsonl", "shape.txt"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
    failures = [(tmp_path / name / "mine/failures.jsonl").read_text() for name in ("here", "there")]
    assert failures[0] == failures[1] != ""


def test_two_nodes_index_one_folder_into_one_library(cluster, films, tmp_path):
    """Killed on its way and called again, it ends as a single process does."""
    node = cluster.add_node(num_cpus=1, object_store_memory=200 << 20)
    cluster.wait_for_nodes()
    model, (here, there) = untrained(tmp_path / "model", seed=3), (tmp_path / name for name in ("here", "there"))
    assert main(["index", str(here), str(films[0].parent), "--model", str(model), "--decoders", "1"]) == 0
    words = [sys.executable, "-m", "gmmformer", "index", str(there)]
    more = ["--model", str(model), "--ray", cluster.address]
    subprocess.run([*words, *map(str, films[:3]), *more], capture_output=True, check=True)
    killed = subprocess.Popen(
        [*words, str(films[0].parent), *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not decoding_on(cluster.head_node) and not decoding_on(node):
        assert killed.poll() is None, "it was over before it was seen decoding"
        time.sleep(0.002)
    killed.kill()
    killed.wait()
    done = subprocess.run([*words, str(films[0].parent), *more, "--json"], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert len(report["added"]) + report["unchanged"] == 12
    assert len(report["failed"]) == 1
    cluster.remove_node(node, allow_graceful=False)
    with Library.open(here) as expected, Library.open(there) as found:
        assert {film.path for film in found} == {film.path for film in expected}
        assert [failure.path for failure in found.store.failures()] == [
            failure.path for failure in expected.store.failures()
        ]
        for film in expected:
            for one_half, other in zip(
                expected.store.features_of(film.path), found.store.features_of(film.path), strict=True
            ):
                np.testing.assert_equal(other, one_half)
        for moment, same in zip(expected.search("a red square", 12), found.search("a red square", 12), strict=True):
            assert (moment.score, moment.start, moment.end) == (same.score, same.start, same.end)


def test_what_goes_wrong_in_an_encoder_is_raised(cluster, films):
    def broken() -> Any:
        raise InputError("some/folder: is not on this node")

    source = featurise_on(cluster.address, broken)
    with pytest.raises(InputError, match="some/folder: is not on this node"):
        list(source(films[:1], ShapeFrames(), SETTINGS))


def test_a_client_cannot_stream():
    with pytest.raises(InputError, match=r"--ray ray://there:10001: a Ray client cannot stream"):
        featurise_on("ray://there:10001", ShapeFrames)


def test_no_films_no_cluster():
    assert list(featurise_on("nowhere:1", ShapeFrames)([], ShapeFrames(), SETTINGS)) == []


def test_no_cluster_is_one_sentence(films, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(**settings: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nMore about it.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(InputError) as caught:
        list(featurise_on("auto", ShapeFrames)(films, ShapeFrames(), SETTINGS))
    assert str(caught.value).startswith("--ray auto: no Ray cluster could be reached there (Could not find any running")
    assert "\n" not in str(caught.value)


def test_without_ray_the_line_that_installs_it_is_given(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gmmformer\[ray\]'"):
        featurise_on("auto", ShapeFrames)
