"""What the system around a command does not give it: one sentence, a quiet end, nothing half done."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gmmformer import cli
from gmmformer.cli import terminal
from gmmformer.cli.searching import _lines
from gmmformer.errors import InputError

RUN = f"{sys.executable} -m gmmformer"


def shell(command: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, where $G is gmmformer; variables set to "" are left out."""
    around = {**os.environ, "G": RUN, **settings}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={name: value for name, value in around.items() if value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command says."""
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.strip() and "it/s]" not in line]  # progress passes by
    assert len(said) == 1, done.stderr
    assert said[0].startswith("gmmformer: "), done.stderr
    return said[0]


@pytest.fixture(scope="module")
def data(tiny_collection) -> str:
    return f"$G check-data {tiny_collection.root} --collection tiny"


@pytest.mark.parametrize("buffered", ["", "1"])
def test_an_output_that_is_full(data, tmp_path, buffered):
    for command in ("$G --help", "$G train --help", data):
        done = shell(f"{command} > /dev/full", tmp_path, PYTHONUNBUFFERED=buffered)
        assert "the output: No space left" in sentence_of(done), command


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_has_gone(data, tmp_path, buffered):
    for command in ("$G --help", data):
        done = shell(f"({command}; echo $? > code) | true", tmp_path, PYTHONUNBUFFERED=buffered)
        assert (tmp_path / "code").read_text() == "1\n"
        assert "gmmformer: " not in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr


def test_streams_that_are_closed(data, tmp_path):
    assert "standard output is closed" in sentence_of(shell(f"{data} >&-", tmp_path))
    assert "standard output is closed" in sentence_of(shell(f"{data} <&- >&-", tmp_path))
    assert shell(f"{data} <&- >&- 2>&-", tmp_path).returncode == 2
    done = shell(f"{data} <&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert "no problems" in done.stdout


def test_an_error_that_nobody_takes(tmp_path):
    assert shell("$G evaluate nowhere --data nowhere --collection x 2> /dev/full", tmp_path).returncode == 2


def test_sentences_from_a_closed_stream(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="--sentences -: the standard input is closed"):
        next(_lines("-"))


def test_few_handles(tmp_path):
    assert "only 20 files" in sentence_of(shell("ulimit -n 20; $G convert a b", tmp_path))
    told = sentence_of(shell("ulimit -Sn 20; $G convert nowhere.ckpt b", tmp_path))
    assert "nowhere.ckpt" in told  # the limit could be raised


def test_a_working_folder_that_has_gone(data, tmp_path):
    done = shell(f"mkdir gone; cd gone; rmdir ../gone; {data}", tmp_path)
    assert "the working folder cannot be found" in sentence_of(done)


@pytest.mark.parametrize("columns", ["0", "1", "39"])
def test_help_in_a_narrow_terminal(tmp_path, columns):
    done = shell("$G search --help", tmp_path, COLUMNS=columns)
    assert done.returncode == 0
    assert "--min-length" in done.stdout


def test_what_the_terminal_cannot_show_is_escaped(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    (tmp_path / "fé☃").mkdir()
    done = shell("$G check-data . --collection fé☃", tmp_path, **ascii_only)
    assert done.returncode == 1, done.stderr
    assert done.stdout.isascii()
    assert "TextData" in done.stdout
    told = sentence_of(shell("$G convert fé☃$'\\n\\xff'.ckpt out", tmp_path, **ascii_only))
    assert told.isascii()


def test_a_home_that_is_not_there(data, tmp_path):
    done = shell(data, tmp_path, HOME="", TMPDIR="/nowhere")
    assert done.returncode == 0, done.stderr


ENDS: list[tuple[BaseException, int, str]] = [
    (MemoryError("Unable to allocate 7 TiB"), 2, "not enough memory (Unable to allocate 7 TiB)"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "not enough memory"),
    (ImportError("libx.so: failed to map segment from shared object"), 2, "not enough memory"),
    (SystemError("<function _find_and_load> returned NULL without setting an exception"), 2, "not enough memory"),
    (RuntimeError("can't start new thread"), 2, "not enough memory"),
    (RecursionError(), 2, "nested too deep"),
    (OSError(errno.EMFILE, "Too many open files", "part-1.bin"), 2, "part-1.bin: Too many open files; raise the limit"),
    (ImportError("libx.so: cannot open: Too many open files"), 2, "raise the limit"),
    (OSError(errno.ENOSPC, "No space left on device", "a.bin"), 2, "a.bin: No space left on device; free some space"),
    (PermissionError(errno.EACCES, "Permission denied", b"a\nb"), 2, "Permission denied; mend its permissions"),
    (OSError(errno.EIO, "Input/output error", "film.mp4"), 2, "film.mp4: Input/output error; check the disk"),
    (OSError("Unable to open file\nbecause"), 2, "Unable to open file because"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), 2, "write it in UTF-8"),
    (KeyboardInterrupt(), 130, "interrupted"),
]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_no_error_of_the_system_reaches_anyone_raw(command, monkeypatch, capsys):
    for error, code, said in ENDS:

        def fail(error: BaseException = error) -> int:
            raise error

        monkeypatch.setitem(cli.COMMANDS, command, fail)
        monkeypatch.setattr(cli, "_train_from", lambda *_, fail=fail: fail)
        assert cli.main([command]) == code
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert err.startswith("gmmformer: ")
        assert said in err


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("a fault"), ValueError("x"), ImportError("no module")])
def test_a_fault_of_ours_keeps_its_traceback(error, monkeypatch):
    def fail() -> int:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "convert", fail)
    with pytest.raises(type(error)):
        cli.main(["convert"])


def test_ctrl_c_while_the_command_line_is_loading(tmp_path):
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background has ignored
class Slow:
    def find_spec(self, name, *_):
        if name == "tyro":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Slow())
from gmmformer.__main__ import run
sys.exit(run())
"""
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "gmmformer: interrupted\n")


def test_the_output_is_what_it_was(capsys):
    before = sys.stdout
    assert cli.main(["convert", "nowhere.ckpt", "x"]) == 2
    assert sys.stdout is before
    output = terminal.Output(before)
    assert output.encoding == before.encoding
    assert not output.isatty()
