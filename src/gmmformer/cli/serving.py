"""Commands that let others look into a library: serve, for browsers and programs, and mcp, for assistants."""

import asyncio
import contextlib
import json as json_format
import os
import sys
from pathlib import Path

from tyro.conf import Positional

from gmmformer.cli.terminal import bars, telling
from gmmformer.config import Running
from gmmformer.errors import InputError, of_extra

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
    roots: tuple[str, ...] = (),
    uploads: float = 0.0,
    mcp: bool = False,
    clips: Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    trust_encoder: bool = False,
    json: bool = False,
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
        roots: Folders from which films can be added to the library in the page, which can take films out too then;
            their files are never touched.
        uploads: GiB that a film may have which the page sends into one of --roots; 0: none can be sent.
        mcp: Answer assistants too, at /mcp, by the Model Context Protocol; they show the same token.
        clips: Folder that assistants may write clips to, and to no other; without it they can cut none.
        engine: What searches: "auto", "exact", "ann", or the address of a Milvus server, http://host:port or https://...,
            that was filled by `index` with the same --engine; GMMFORMER_MILVUS_TOKEN holds what it wants to be shown.
        device: "auto", "cpu", "cuda" or "mps": where sentences are embedded.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            library names it.
        json: Print the server's address as one JSON object, and nothing else, on stdout.
    """
    from gmmformer.search import Library
    from gmmformer.web import ServeConfig
    from gmmformer.web import serve as serve_library

    config = ServeConfig(
        host=host,
        port=port,
        token=token if token is not None else os.environ.get("GMMFORMER_TOKEN") or None,
        allow_hosts=allow_host,
        proxies=proxy,
        roots=roots,
        uploads=uploads,
        mcp=mcp,
        clips=clips,
    )
    if library is None and not demo:
        raise InputError("name the library to serve: gmmformer serve DIR; or gmmformer serve --demo")
    folder = _demo_library(library or DEMO, json) if demo else library
    assert folder is not None
    running = Running(device=device, trust_encoder=trust_encoder)
    with Library.open(folder, engine=engine, running=running) as opened:
        serve_library(opened, config, ready=lambda address: _tell(address, config.token is not None, json))
    return 0


def mcp(
    library: Positional[Path],
    *,
    clips: Path | None = None,
    engine: str = "auto",
    device: str = "auto",
    trust_encoder: bool = False,
) -> int:
    """Let an assistant search a library, by the Model Context Protocol over stdin and stdout: gmmformer mcp DIR

    An assistant's program starts it, and ends it by closing stdin. Over HTTP: gmmformer serve DIR --mcp

    Args:
        library: Folder of the library.
        clips: Folder that the assistant may write clips to, and to no other; without it it can cut none.
        engine: "auto", "exact", "ann", or the address of a Milvus server, as for `search`.
        device: "auto", "cpu", "cuda" or "mps": where sentences are embedded.
        trust_encoder: Whether an encoder that is Python code (package.module:factory) may be imported because the
            library names it.
    """
    with contextlib.redirect_stdout(sys.stderr):  # what is printed on stdout must be of the protocol
        assistants = of_extra("gmmformer.web.assistants", "answering assistants", "mcp")
        from gmmformer.search import Library
        from gmmformer.web.files import clips_folder

        folder = None if clips is None else clips_folder(clips)
        running = Running(device=device, trust_encoder=trust_encoder)
        with (
            Library.open(library, engine=engine, running=running) as opened,
            contextlib.redirect_stdout(sys.__stdout__),
        ):
            asyncio.run(assistants.over_stdio(opened, folder))
    return 0


def _demo_library(out: Path, json: bool) -> Path:
    """The library of the demo in `out`, made if it is missing."""
    from gmmformer.demo.run import run_demo
    from gmmformer.search import is_library

    folder = out / "library"
    if is_library(folder):
        return folder
    with bars() as progress:
        return run_demo(out, progress=progress, **telling(json)).library


def _tell(address: str, token: bool, json: bool) -> None:
    if json:
        print(json_format.dumps({"address": address}), flush=True)
        return
    print(f"serving at {address}{'?token=TOKEN (put the token there once)' if token else ''}", flush=True)
    print("Ctrl-C ends it", file=sys.stderr)
