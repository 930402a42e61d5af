"""What a right outcome is: success, or exit code 2 with one sentence, and nothing half done."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gmmformer.media.films import printable

LONGEST_SENTENCE = 2_000
"""Characters: who gives a number of 5,000 digits does not want to read it again."""
REPORTS = ("check-data", "extract", "index", "library")
"""Commands that may end with exit code 1: all was done, and what was found is told."""
SPILT = re.compile(r"Traceback|Warning:|Exception ignored|HDF5-DIAG|^\[[a-z0-9_,]+ @ 0x|double free|malloc\(\)", re.M)
LEFT_BEHIND = re.compile(r"\..*\.(part|old|new|tmp)|.*-journal|tmp.*|core")


class Outcome(NamedTuple):
    """How one command ended."""

    arguments: tuple[str, ...]
    code: int | None
    signal: str | None
    """What killed it, if anything did."""
    out: str
    err: str
    seconds: float
    """Of the processors."""
    bytes: int
    """Most memory that it held, with what was imported before."""


class Finding(NamedTuple):
    """Something that is not right."""

    kind: str
    """The same for all that have the same cause, as far as can be told."""
    text: str


class Mother:
    """The process that runs commands; see fuzz_process."""

    def __init__(self, scratch: Path) -> None:
        """Start it; `scratch` takes what commands print and their temporary files."""
        self._scratch = scratch
        (scratch / "temporary").mkdir()
        with (scratch / "stderr").open("wb") as words:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("fuzz_process.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            )
        self._told()  # when all is imported, or the first attempt would seem to take as long

    def run(self, folder: Path, *arguments: str) -> Outcome:
        """Run `gmmformer ARGUMENTS` in `folder`, in a process of its own."""
        files = {name: str(self._scratch / name) for name in ("out", "err")}
        told = self._ask(arguments=arguments, folder=str(folder), scratch=str(self.temporary), warm=False, **files)
        out, err = (Path(path).read_bytes().decode("utf-8", "replace") for path in files.values())
        return Outcome(arguments=tuple(arguments), out=out, err=_shown(err), **told)

    def warm(self, folder: Path, *arguments: str) -> None:
        """Run a command that does no harm where all others are forked, so that they need not load what it loads."""
        told = self._ask(arguments=arguments, folder=str(folder), warm=True)
        assert told == {"code": 0, "tasks": 1}, (arguments, told)

    def _ask(self, **command: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (self._scratch / "stderr").read_text()
        told: dict[str, Any] = json.loads(line)
        return told

    @property
    def temporary(self) -> Path:
        """Where commands put temporary files."""
        return self._scratch / "temporary"

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def fault_of(outcome: Outcome, names: Sequence[str] = ()) -> Finding | None:
    """What is wrong with how a command ended; one of `names` must be in the sentence of a refusal."""
    command = " ".join(outcome.arguments[:2] if outcome.arguments[0] in ("library", "call") else outcome.arguments[:1])
    if outcome.signal is not None:
        what = {"SIGXCPU": "takes too long", "SIGALRM": "hangs"}.get(outcome.signal, f"dies of {outcome.signal}")
        return Finding(f"{command} {what}", outcome.err[-2000:])
    if "Traceback" in outcome.err:
        return Finding(f"{command}: {raised(outcome.err)}", outcome.err[-4000:])
    if spilt := SPILT.search(outcome.err):
        return Finding(
            f"{command} spills {spilt[0].strip()}: {_plain(outcome.err[spilt.start() :])}", outcome.err[:4000]
        )
    if outcome.code in (0, 1) and "--json" in outcome.arguments:
        for line in outcome.out.splitlines():
            try:
                json.loads(line, parse_constant=lambda name: 1 / 0)
            except (ValueError, ZeroDivisionError):
                return Finding(f"{command} prints what is no JSON", line[:4000])
    if outcome.code == 0 or (outcome.code == 1 and outcome.arguments[0] in REPORTS and outcome.out.strip()):
        return None
    if outcome.code != 2:
        return Finding(f"{command} ends with exit code {outcome.code}", outcome.err[:4000])
    sentence = re.fullmatch(r"gmmformer: (.+)\n", outcome.err)
    if sentence is None or not sentence[1].isprintable():
        return Finding(f"{command} does not say one line: {_plain(outcome.err)}", outcome.err[:4000])
    if "MemoryError" in sentence[1]:  # room was asked for that the input only claims to need
        return Finding(f"{command} believes a size: {_plain(outcome.err)}", outcome.err[:4000])
    if len(sentence[1]) > LONGEST_SENTENCE:
        return Finding(f"{command} says too much: {_plain(outcome.err)}", outcome.err[:4000])
    if not any(name in sentence[1] for name in (*names, "--")):
        return Finding(f"{command} names no file: {_plain(outcome.err)}", outcome.err[:4000])
    return None


def raised(err: str) -> str:
    """The kind of exception and where in the package it came through last."""
    last = err.rstrip().rpartition("\n")[2]
    frames = re.findall(r'File ".*?/gmmformer/(.+?)", line \d+, in (\S+)', err.rpartition("Traceback")[2])
    where = " in {} {}".format(*frames[-1]) if frames else ""
    return last.partition(":")[0].strip()[:80] + where


def _plain(text: str) -> str:
    """The first words of a message without what differs from one input to the next."""
    line = text.strip().partition("\n")[0].removeprefix("gmmformer: ")
    return re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*|[0-9.,]+|[^ -~]+", "~", line)[:100]


def _shown(text: str) -> str:
    """What is on the screen in the end: progress bars write over themselves, and are wiped out."""
    lines = (line.rpartition("\r")[2].rstrip() for line in text.split("\n"))
    return "".join(f"{line}\n" for line in lines if line)


Tree = Mapping[str, bytes | str]


def tree(folder: Path) -> Tree:
    """All that is in a folder: bytes of files, what else there is in words."""
    found: dict[str, bytes | str] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            key = str(path.relative_to(folder))
            if path.is_symlink():
                found[key] = f"link to {path.readlink()}"
            else:
                found[key] = "folder" if path.is_dir() else path.read_bytes()
    return found


def attempt(
    mother: Mother, folder: Path, *arguments: str, changes: Sequence[str] = (), makes: Sequence[str] = ()
) -> tuple[Outcome, list[Finding]]:
    """Run a command in `folder`, which holds its input; what became of it, and all that is wrong with that.

    Args:
        mother: Who runs it.
        folder: Where it runs.
        *arguments: The command; paths are relative to `folder`.
        changes: Names in `folder` that it may change.
        makes: Names that it may make where it is not refused.
    """
    before = tree(folder)
    outcome = mother.run(folder, *arguments)
    after, command = tree(folder), arguments[0]
    named = [printable(Path(name.strip('"')).name) for name in (*before, *arguments[1:])]
    findings = [fault_of(outcome, named)]
    allowed = {*changes, *(makes if outcome.code in (0, 1) else ())}
    for name in sorted({*before, *after}):
        if name.partition("/")[0] not in allowed and before.get(name) != after.get(name):
            done = "leaves" if name not in before else "removes" if name not in after else "changes"
            findings.append(Finding(f"{command} {done} what it should not", name))
        elif name not in before and LEFT_BEHIND.fullmatch(Path(name).name):
            findings.append(Finding(f"{command} leaves something behind", name))
    findings += [Finding(f"{command} leaves temporary files", name) for name in sorted(tree(mother.temporary))[:1]]
    return outcome, [finding for finding in findings if finding]
