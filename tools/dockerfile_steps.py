"""Runs the steps of the Dockerfile where Docker cannot run: in a bare virtual environment, and says what it ran.

    python3.13 tools/dockerfile_steps.py LIBRARY [--folder FOLDER] [--any-index]

/opt/gmmformer and /source become folders below FOLDER. Both builds are one, so that COPY --from copies nothing; users
are not made. At the end the ENTRYPOINT serves LIBRARY, with the environment of the image and nothing else, until the
HEALTHCHECK passes. Fetches some hundreds of megabytes.
"""

import argparse
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVED_WITHIN = 120
"""Seconds."""


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with what they say, on one line each."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


class Steps:
    """A build, as far as it goes without Docker."""

    def __init__(self, folder: Path, library: Path, *, any_index: bool) -> None:
        self._folder, self._library, self._any_index = folder, library, any_index
        self._at = folder
        self._pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        self._command: list[str] = []
        self._health: list[str] = []

    def run(self, word: str, rest: str) -> None:
        """Run one instruction."""
        moved = rest.replace("/opt/gmmformer", f"{self._folder}/opt/gmmformer").replace(
            "/source", f"{self._folder}/source"
        )
        print(f"{word} {rest}", flush=True)
        if word == "WORKDIR":
            self._at = Path(moved)
            self._at.mkdir(parents=True)
        elif word == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            for source in sources:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, self._at / (source if target == "./" else target))
        elif word == "RUN" and not rest.startswith("useradd"):
            moved = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", moved)
            if self._any_index and "--index-url" in moved:
                moved = re.sub(r"--index-url \S+ ", "", moved)
                print("  - from pip's own index instead")
            environment = self._environment | self._pip
            subprocess.run(["/bin/sh", "-c", moved], cwd=self._at, env=environment, check=True)
        elif word == "ENV":
            for one in moved.split():
                name, _, value = one.partition("=")
                self._environment[name] = value.replace("$PATH", self._environment["PATH"])
        elif word == "HEALTHCHECK":
            self._health = json.loads(rest[rest.index("[") :])
        elif word in ("ENTRYPOINT", "CMD"):
            self._command += [str(self._library) if part == "/library" else part for part in json.loads(rest)]
        else:
            print("  - not run here")

    def serve(self) -> None:
        """Serve the library as the image would, until it says that it is well."""
        environment = {**self._environment, "GMMFORMER_TOKEN": secrets.token_urlsafe(), "TMPDIR": str(self._folder)}
        print(f"serving: {shlex.join(self._command)}", flush=True)
        program = shutil.which(self._command[0], path=environment["PATH"])
        with subprocess.Popen([program or self._command[0], *self._command[1:]], env=environment, cwd="/") as server:
            try:
                until = time.monotonic() + SERVED_WITHIN
                while subprocess.run(self._health, env=environment, check=False, stderr=subprocess.DEVNULL).returncode:
                    if server.poll() is not None or time.monotonic() > until:
                        sys.exit("the server does not pass its health check")
                    time.sleep(1)
                print("the health check passes", flush=True)
            finally:
                server.terminate()
        if server.returncode:
            sys.exit(f"the server ended with {server.returncode}")
        print("it ended with 0 when it was told to")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--folder", type=Path, help="where to build; default: a temporary folder, removed afterwards")
    parser.add_argument("--any-index", action="store_true", help="install torch from pip's own index, CUDA or not")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gmmformer-build-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        steps = Steps(folder, arguments.library.resolve(), any_index=arguments.any_index)
        for word, rest in instructions((ROOT / "Dockerfile").read_text()):
            steps.run(word, rest)
        steps.serve()


if __name__ == "__main__":
    main()
