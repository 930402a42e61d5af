"""A real Milvus server for tests, which can be stopped, killed and started again."""

import contextlib
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = "root:Milvus"
"""Whom a server that asks knows from the beginning."""
START_SECONDS = 45
STARTS = 3
FREE_SECONDS = 20
"""In which a server that was killed has given up its ports."""
ETCD_PORTS = (2379, 2380)
"""Fixed in the server: two cannot run on one machine."""
SERVE = """
import sys
import time
from milvus import MilvusServer
server = MilvusServer()
server.set_base_dir(sys.argv[1])
server.listen_port = int(sys.argv[2])
server.config.set("authorization_enabled", sys.argv[3] == "locked")
server.config.set("common.session.ttl", 5)
server.start()
print("up", flush=True)
sys.stdin.read()
server.stop()
"""


def milvus_python() -> Path:
    """A Python with the server, in an environment of its own, as what it needs is old; made once a machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gmmformer-tests" / "milvus-2.3.5"
    python, ready = cache / "bin" / "python", cache / "ready"
    if not ready.exists():
        try:
            subprocess.run([sys.executable, "-m", "venv", str(cache)], check=True, capture_output=True)
            wanted = ["milvus==2.3.5", "setuptools<80"]
            command = [str(python), "-m", "pip", "install", "-q", *wanted]
            subprocess.run(command, check=True, capture_output=True, timeout=240)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"the Milvus server, milvus==2.3.5, cannot be installed here: {error}")
        ready.touch()
    return python


class Server:
    """A server that can be stopped, killed and started again."""

    def __init__(self, folder: Path, *, locked: bool = False) -> None:
        """Start it in a folder of its own; if `locked` it lets in root alone, with `ROOT`."""
        python = milvus_python()
        unpacked = python.parents[1] / "unpacked"
        unpacked.mkdir(exist_ok=True)
        (folder / "bin").symlink_to(unpacked)  # else half a gigabyte is unpacked anew each time
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._token = ROOT if locked else ""
        self._command = [str(python), "-c", SERVE, str(folder), str(self.port), "locked" if locked else ""]
        self.start()

    def start(self) -> None:
        """Start it; one that was killed may not get up at once, as what it held can take seconds to be free again.

        It is up when it answers, told by a client that has nothing to do with what is tested.
        """
        for _ in range(STARTS):
            if self._started():
                return
            self.kill()
        pytest.fail(f"the Milvus server did not start, {STARTS} times, within {START_SECONDS} s")

    def _started(self) -> bool:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        end = time.monotonic() + START_SECONDS
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        return bool(ready) and self._process.stdout.readline() == "up\n" and self._works(end)

    def _works(self, end: float) -> bool:
        """Whether it does what it is asked before then: one that was killed can be up, and never answer."""
        import pymilvus

        while time.monotonic() < end:
            try:
                client = pymilvus.MilvusClient(uri=self.address, token=self._token, timeout=3, dedicated=True)
                try:
                    client.list_collections(timeout=3)
                finally:
                    client.close()
            except pymilvus.MilvusException:
                time.sleep(0.2)
            else:
                return True
        return False

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.communicate()


def _answers(port: int) -> bool:
    with socket.socket() as other:
        return other.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def milvus(folder: Path, *, locked: bool = False) -> Iterator[Server]:
    """Such a server, while the block lasts; another test's is waited for. Skipped where there can be none."""
    with (milvus_python().parents[1] / "one at a time").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        until = time.monotonic() + FREE_SECONDS
        while held := [port for port in ETCD_PORTS if _answers(port)]:
            if time.monotonic() > until:
                pytest.skip(f"a Milvus or an etcd that runs already holds port {held[0]}, which the server needs")
            time.sleep(0.1)
        server = Server(folder, locked=locked)
        try:
            yield server
        finally:
            server.kill()
            shutil.rmtree(folder)
