"""What is hunted with finds what is wrong: each kind of wrong, done on purpose, is a finding."""

from pathlib import Path

import pytest
from fuzz_hunt import Hunt, Plan
from fuzz_material import write
from fuzz_mutations import Json
from fuzz_outcomes import Finding, Mother, Outcome, Tree, attempt, fault_of
from hypothesis import strategies as st
from test_libraries import DATABASE, Settings

RIGHT = Outcome(("search", "--json"), 0, None, "{}\n", "", 0.0, 0)
REFUSED = RIGHT._replace(code=2, out="", err="gmmformer: films/a.mp4: no film; give another\n")


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (RIGHT, None),
        (REFUSED, None),
        (RIGHT._replace(code=1), "ends with exit code 1"),
        (RIGHT._replace(code=None, signal="SIGSEGV"), "dies of SIGSEGV"),
        (RIGHT._replace(code=None, signal="SIGALRM"), "hangs"),
        (RIGHT._replace(out='{"score": NaN}\n'), "no JSON"),
        (RIGHT._replace(err="x.py:1: UserWarning: odd\n"), "spills"),
        (
            REFUSED._replace(err='Traceback\n  File "a/gmmformer/b.py", line 3, in c\nKeyError: 1\n'),
            "KeyError in b.py c",
        ),
        (REFUSED._replace(err=2 * REFUSED.err), "does not say one line"),
        (REFUSED._replace(err="gmmformer: it cannot be read\n"), "names no file"),
        (REFUSED._replace(err=f"gmmformer: a.mp4: {'no ' * 1000}\n"), "says too much"),
    ],
)
def test_outcomes_that_are_not_right(wrong: Outcome, kind: str | None) -> None:
    found = fault_of(wrong, ["a.mp4"])
    assert (found is None) if kind is None else (found is not None and kind in found.kind)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (("builtins:bytearray", "500000000"), None),
        (("builtins:bytearray", "1200000000"), "MemoryError"),
        (("os:abort",), "dies of SIGABRT"),
        (("os:mkdir", '"left"'), "leaves what it should not"),
        (("os:unlink", '"mine"'), "removes what it should not"),
        (("os:truncate", '"mine"', "1"), "changes what it should not"),
        (("tempfile:mkdtemp",), "leaves temporary files"),
    ],
)
def test_commands_that_are_not_right(mother: Mother, call: tuple[str, ...], kind: str | None, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    _, findings = attempt(mother, tmp_path, "call", *call)
    for path in mother.temporary.iterdir():
        path.rmdir()
    assert [finding for finding in findings if kind is None or kind not in finding.kind] == []
    assert len(findings) == (kind is not None)


@pytest.mark.parametrize("seconds", [None, 0.05])
def test_what_fails_is_made_simpler_and_kept(seconds: float | None, tmp_path: Path) -> None:
    hunt = Hunt("mine", Plan(7, seconds, tmp_path / "findings"), tmp_path / "case")

    def wrong(case: int, folder: Path) -> tuple[tuple[str, ...], list[Finding]]:
        (folder / "input").write_text(str(case))
        return ("check-data", "input"), [Finding("check-data is wrong", str(case))] if case > 9 else []

    with pytest.raises(AssertionError, match=r"1 findings in .*, seed 7:\ncheck-data is wrong\n  10"):
        hunt(st.integers(0, 1000), wrong, examples=50)
    (kept,) = (tmp_path / "findings").iterdir()
    assert (kept / "input").read_text() == "10"
    assert (kept / "replay.sh").read_text().endswith("gmmformer check-data input\n")


def test_spoilt_settings_have_a_checksum_that_fits(mother: Mother, library: Tree, tmp_path: Path) -> None:
    data = library[DATABASE]
    assert isinstance(data, bytes)
    write(tmp_path, {**library, DATABASE: Settings(Json(1, 0))(data)})
    outcome = mother.run(tmp_path, "library", "library", "info")
    assert outcome.code == 2
    assert "settings are damaged" in outcome.err
    assert "checksum" not in outcome.err
