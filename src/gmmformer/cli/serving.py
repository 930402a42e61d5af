"""The command that shows a library in a browser: serve."""

import os
import sys
from pathlib import Path

from tyro.conf import Positional

from gmmformer.cli.shared import bars, report_epoch
from gmmformer.errors import InputError

DEMO = Path("demo-out")


def serve(
    library: Positional[Path | None] = None,
    *,
    demo: bool = False,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    allow_host: tuple[str, ...] = (),
    proxy: tuple[str, ...] = (),
    engine: str = "auto",
    device: str = "auto",
    trust_encoder: bool = False,
) -> int:
    """Search a library of films in a browser, and over HTTP: gmmformer serve DIR

    Serves until Ctrl-C or SIGTERM. A library that grows meanwhile is seen. The interface is described at /openapi.json.

    Args:
        library: Folder of the library; with --demo the folder of the demo (default: demo-out).
        demo: Serve the demo's films, and make the demo first if it is missing, which takes a few minutes.
        host: Address to bind to. Any other than this machine's own, such as 0.0.0.0, needs a token.
        port: Port to bind to; 0 takes a free one.
        token: What clients must show, 16 characters or more. Default: what GMMFORMER_TOKEN holds, which other users of
            this machine cannot see, else none.
        allow_host: Names by which the server may be called beside localhost and --host.
        proxy: Addresses of reverse proxies, such as 127.0.0.1, whose X-Forwarded-For and -Proto are believed.
        engine: What searches: "auto", "exact", "ann", or the address of a Milvus server, http://host:port or https://...,
            that was filled by `index` with the same --engine; GMMFORMER_MILVUS_TOKEN holds what it wants to be shown.
        device: "auto", "cpu", "cuda" or "mps": where sentences are embedded.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            library names it.
    """
    from gmmformer.config import Running
    from gmmformer.search import Library
    from gmmformer.web import ServeConfig
    from gmmformer.web import serve as serve_library

    config = ServeConfig(
        host=host,
        port=port,
        token=token if token is not None else os.environ.get("GMMFORMER_TOKEN") or None,
        allow_hosts=allow_host,
        proxies=proxy,
    )
    if library is None and not demo:
        raise InputError("name the library to serve: gmmformer serve DIR; or gmmformer serve --demo")
    folder = _demo_library(library or DEMO) if demo else library
    assert folder is not None
    running = Running(device=device, trust_encoder=trust_encoder)
    with Library.open(folder, engine=engine, running=running) as opened:
        serve_library(opened, config, ready=lambda address: _tell(address, config.token is not None))
    return 0


def _demo_library(out: Path) -> Path:
    """The library of the demo in `out`, made if it is missing."""
    from gmmformer.demo.run import run_demo
    from gmmformer.search import is_library

    folder = out / "library"
    if is_library(folder):
        return folder
    with bars() as progress:
        return run_demo(out, progress=progress, say=print, report=report_epoch).library


def _tell(address: str, token: bool) -> None:
    print(f"serving at {address}{'?token=TOKEN (put the token there once)' if token else ''}", flush=True)
    print("Ctrl-C ends it", file=sys.stderr)
