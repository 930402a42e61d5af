"""A server that searches a Milvus: one that asks who comes, over TLS, and that dies and comes back."""

import contextlib
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests_web_helpers import patient, until

from gmmformer.cli.serving import serve
from gmmformer.errors import InputError
from gmmformer.search import Library
from gmmformer.search.engines import exact as finding
from milvus_servers import ROOT, Server, milvus

pytest.importorskip("pymilvus")

SERVE = """
import sys
from pathlib import Path
from gmmformer.cli.serving import serve
from gmmformer.search.engines import exact as finding, milvus
finding.FEW, milvus.SEARCH_PATIENCE = 0, 1.0
sys.exit(serve(Path(sys.argv[1]), port=0, engine=sys.argv[2]))
"""
"""The command, for which no library is so small that it need not ask, and that is not patient."""
PROBLEM = {
    "type": "about:blank",
    "title": "Service Unavailable",
    "status": 503,
    "detail": "The library cannot be searched just now; the server's log says why.",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Milvus that lets in who shows `ROOT`."""
    with milvus(tmp_path_factory.mktemp("milvus"), locked=True) as started:
        yield started


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this machine, with its key."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


@pytest.fixture(scope="module")
def tls(server: Server, certificate: Path) -> Iterator[str]:
    """The address of what speaks TLS for that Milvus, as a load balancer does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])

    class Passing(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as outer,
                socket.create_connection(("127.0.0.1", server.port)) as inner,
            ):
                back = threading.Thread(target=passed_on, args=(inner, outer), daemon=True)
                back.start()
                passed_on(outer, inner)
                back.join()

    class Listening(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Listening(("127.0.0.1", 0), Passing) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"https://localhost:{listening.server_address[1]}"
        listening.shutdown()


def passed_on(source: socket.socket, sink: socket.socket) -> None:
    """What one says is told the other, until either hangs up; then both do."""
    with contextlib.suppress(OSError, ValueError):
        while said := source.recv(1 << 16):
            sink.sendall(said)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def environment(certificate: Path) -> dict[str, str]:
    """Of programs that know the token and trust the certificate."""
    own = {"GMMFORMER_MILVUS_TOKEN": ROOT, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate)}
    return {**os.environ, **own}


@pytest.fixture(scope="module")
def filled(
    server: Server,
    tls: str,
    environment: dict[str, str],
    library_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A library that the Milvus has been filled with, by either of its addresses."""
    folder = tmp_path_factory.mktemp("filled") / "library"
    shutil.copytree(library_folder, folder)
    for address in (server.address, tls):
        command = [sys.executable, "-m", "gmmformer", "library", str(folder), "rebuild", "--engine", address]
        subprocess.run(command, check=True, env=environment)
    return folder


@contextlib.contextmanager
def served(folder: Path, engine: str, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """A client of a server in a process of its own."""
    command = [sys.executable, "-c", SERVE, str(folder), engine]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serving at "), line
            with patient.Client(base_url=line.split()[2]) as client:
                yield client
        finally:
            process.terminate()
        assert process.wait(60) == 0


def test_who_does_not_show_the_token_is_told_before_anything_is_served(
    filled: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FEW", 0)
    for token in ("", "root:guess"):
        monkeypatch.setenv("GMMFORMER_MILVUS_TOKEN", token)
        with pytest.raises(InputError, match=r"refuses these credentials; set GMMFORMER_MILVUS_TOKEN"):
            serve(filled, port=0, engine=server.address)


def test_a_milvus_behind_tls_is_served_from_while_it_is_there(
    filled: Path, server: Server, tls: str, environment: dict[str, str]
) -> None:
    asked = {"q": "two red circles grow", "k": 3, "strips": False}
    with Library.open(filled, engine="exact") as exact:
        wanted = [hit.film.path for hit in exact.search(asked["q"], k=3)]
    with served(filled, tls, environment) as client:
        answer = client.get("/api/search", params=asked).json()
        assert [hit["film"] for hit in answer["hits"]] == wanted
        assert client.get("/api/library").json()["engine"] == tls
        server.kill()
        for _ in range(2):
            away = client.get("/api/search", params=asked)
            assert (away.status_code, away.headers["content-type"]) == (503, "application/problem+json")
            assert away.json() == PROBLEM
        several = client.post("/api/search", json={"queries": ["a", "b", "c"], "k": 2})
        assert several.json() == PROBLEM
        assert client.get("/healthz").status_code == client.get("/api/films").status_code == 200
        server.start()
        until(lambda: client.get("/api/search", params=asked).status_code == 200, 120)
        assert [hit["film"] for hit in client.get("/api/search", params=asked).json()["hits"]] == wanted
