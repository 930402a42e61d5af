"""A process that imports everything once and forks a child for each command: what crashes, hangs or swells, ends alone.

Standard input: a JSON object for each command. Standard output: a JSON object for what became of it. A command with
`warm` is run here, so that the children that come find loaded what it loads.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

CPU_SECONDS = 20
WALL_SECONDS = 120
"""Longer than that of the processor: other work may share the machine."""
MEMORY = 3 << 28
"""Bytes that a command may allocate beyond what is imported here, in address space; zipfile reads 1 << 30 at a time."""
FILE_BYTES = 1 << 28
"""No command that is tried writes a file as large."""

LOADED = (
    "gmmformer.cli.films",
    "gmmformer.cli.looking_after",
    "gmmformer.data",
    "gmmformer.demo.encoders",
    "gmmformer.evaluation",
    "gmmformer.media.annotations",
    "gmmformer.media.cutting",
    "gmmformer.media.encoders",
    "gmmformer.media.extract",
    "gmmformer.model",
    "gmmformer.search.engines.ann",
    "gmmformer.search.kernels",
    "gmmformer.search.pictures",
    "gmmformer.training",
    "tensorboard.summary.writer.event_file_writer",
    "torch.utils.tensorboard",
)


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    commands = os.fdopen(os.dup(0), "r")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    for name in LOADED:
        importlib.import_module(name)
    tqdm.monitor_interval = 0  # a thread
    answers.write("{}\n")
    for line in commands:
        command = json.loads(line)
        if command["warm"]:
            os.chdir(command["folder"])
            code = run(command["arguments"])
            answers.write(json.dumps({"code": code, "tasks": tasks()}) + "\n")
            continue
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        memory = pages * resource.getpagesize() + MEMORY
        gc.freeze()  # or every child copies the pages that its collector looks at
        child = os.fork()
        if child == 0:
            answers.close()
            commands.close()
            _child(command, memory)
        _, status, used = os.wait4(child, 0)
        told = {"code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None}
        told["signal"] = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
        told["seconds"], told["bytes"] = used.ru_utime + used.ru_stime, used.ru_maxrss << 10
        answers.write(json.dumps(told) + "\n")


def tasks() -> int:
    """Threads of this process, when those that have been joined are gone, which the system takes a moment for."""
    until = time.monotonic() + 5
    while (count := len([*Path("/proc/self/task").iterdir()])) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    return count


def _child(command: dict[str, Any], memory: int) -> None:
    """Run one command in its folder, and end."""
    code = 1
    try:
        os.setsid()
        for stream, name in ((1, "out"), (2, "err")):
            file = os.open(command[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, stream)
            os.close(file)
        os.chdir(command["folder"])
        os.environ["TMPDIR"] = command["scratch"]
        tempfile.tempdir = None
        for limit, most in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_FSIZE, FILE_BYTES),
        ):
            resource.setrlimit(limit, (most, resource.getrlimit(limit)[1]))  # a decoder limits itself further
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
        code = run(command["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """What `gmmformer ARGUMENTS` does; `call MODULE:FUNCTION JSON ...` is a call of a function of the package.

    Where the last JSON is an object, it is the function's named arguments. A function's InputError is told as the
    command line would tell it.
    """
    from gmmformer.cli import main as command_line
    from gmmformer.errors import InputError
    from gmmformer.media.films import printable

    try:
        if arguments[0] != "call":
            return command_line(arguments)
        module, _, name = arguments[1].partition(":")
        values = [json.loads(argument) for argument in arguments[2:]]
        named = values.pop() if values and isinstance(values[-1], dict) else {}
        _use(getattr(importlib.import_module(module), name)(*values, **named))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except InputError as error:
        sys.stderr.write(f"gmmformer: {printable(str(error))}\n")
        return 2
    return 0


def _use(result: object) -> None:
    """Take what an iterator gives, as far as a caller would."""
    if hasattr(result, "__next__"):
        for _ in result:
            pass


if __name__ == "__main__":
    main() if sys.argv[1:] == [] else sys.exit(run(sys.argv[1:]))
