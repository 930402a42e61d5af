"""A server as a process: how it begins, and how it ends with requests open."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests_web_helpers import patient, served

from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.web import ServeConfig, serve, server

SERVE = """
import sys
from pathlib import Path
from gmmformer.cli.serving import serve
sys.exit(serve(Path(sys.argv[1]), port=0))
"""


@contextlib.contextmanager
def process(folder: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    ) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            assert line.startswith("serving at http://127.0.0.1:"), running.stderr and running.stderr.read()
            yield running, line.split()[2].partition("?")[0].rstrip("/")
        finally:
            running.kill()


def test_told_to_end_it_ends_streams_finishes_answers_and_leaves_nothing(library_folder: Path, tmp_path: Path) -> None:
    hidden = {"authorization": "Bearer hidden and long enough"}
    with (
        process(library_folder, GMMFORMER_TOKEN="hidden and long enough", TMPDIR=str(tmp_path)) as (running, url),
        patient.Client(base_url=url, headers=hidden) as client,
    ):
        assert patient.get(f"{url}/api/films").status_code == 401
        assert "hidden" not in Path(f"/proc/{running.pid}/cmdline").read_text()
        assert client.get("/api/films/1/thumbnail?t=1").status_code == 200
        heard: list[str] = []
        opened, answers = threading.Event(), []

        def listen() -> None:
            with client.stream("GET", "/api/events") as stream:
                for line in stream.iter_lines():
                    heard.append(line)
                    opened.set()

        def ask() -> None:
            answers.append(client.get("/api/films/1/preview?start=0&end=4"))

        threads = [threading.Thread(target=target) for target in (listen, ask)]
        for thread in threads:
            thread.start()
        assert opened.wait(60)
        while "requests_in_progress 3.0" not in client.get("/metrics").text and not answers:
            time.sleep(0.01)
        threads_of = Path(f"/proc/{running.pid}/task").iterdir()
        children = [child for thread in threads_of for child in (thread / "children").read_text().split()]
        assert children
        assert list(tmp_path.glob("gmmformer-serve-*"))
        running.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert answers[0].status_code == 200
        assert heard[0] == "retry: 2000"
        assert running.wait(60) == 0
        assert running.stderr is not None
        assert "Traceback" not in running.stderr.read()
        assert not list(tmp_path.glob("gmmformer-serve-*"))
        until = time.monotonic() + 60
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < until
            time.sleep(0.02)


def test_an_address_that_is_taken(library: Library) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--host 127.0.0.1 --port {port}: cannot be used"):
            serve(library, ServeConfig(port=port))
    with pytest.raises(InputError, match="cannot be used"):
        serve(library, ServeConfig(host="203.0.113.7", token="x" * 16, port=0))


def test_a_download_that_does_not_end_does_not_keep_the_server_up(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given its seconds, and cut off then."""
    monkeypatch.setattr(server, "SHUTDOWN_SECONDS", 1)
    asked = f"GET /media/{library.store.films()[0].id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with contextlib.ExitStack() as stack, served(library, ServeConfig(port=0)) as url:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))))
        connection.sendall(asked * 500)  # answers of 70 MB in all, none of which is read
        assert connection.recv(1)
