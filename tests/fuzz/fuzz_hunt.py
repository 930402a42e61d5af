"""One hunt: Hypothesis draws cases and reduces those that go wrong; each finding is kept in a folder of its own."""

import json
import os
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import hypothesis
from fuzz_outcomes import Finding
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.strategies import SearchStrategy

PROCESS = Path(__file__).with_name("fuzz_process.py")
REDUCING_SECONDS = 45.0
"""That making a failing case simpler may take."""
ROUND = 100
"""Cases of a round where time is the limit; each begins with the simplest case, so few would often be the same ones."""
Case = TypeVar("Case")


class Plan(NamedTuple):
    """How long is hunted, with what."""

    seed: int
    seconds: float | None
    """None: as many cases as the test says, the same ones for the same seed."""
    keep: Path
    """Folder of findings."""


def plan_of(tests: int, workers: int, root: Path) -> Plan:
    """What the environment asks for: so many minutes of all workers, shared by the tests."""
    minutes = os.environ.get("GMMFORMER_FUZZ_MINUTES")
    seconds = 60 * float(minutes) * min(workers, tests) / tests if minutes else None
    return Plan(int(os.environ["GMMFORMER_TEST_SEED"]), seconds, root / "fuzz-findings")


class Hunt:
    """Tries cases in an empty folder each, and remembers what it found."""

    def __init__(self, name: str, plan: Plan, folder: Path) -> None:
        """Hunt in `folder`, which may be emptied."""
        self.plan = plan
        self.tried: Counter[str] = Counter()
        self.found: dict[str, str] = {}
        self._name, self._folder = name, folder
        self._end: float | None = None

    def __call__(
        self,
        cases: SearchStrategy[Case],
        attempt: Callable[[Case, Path], tuple[Sequence[str], Sequence[Finding]]],
        *,
        examples: int,
    ) -> None:
        """Try `examples` cases, or for as long as the plan says, and fail if there are findings.

        Args:
            cases: What is drawn.
            attempt: Makes the files of a case in the folder it is given and runs what is to be run; the command line
                that was run, and what is wrong.
            examples: How many, where the plan does not say for how long.
        """
        seed = self.plan.seed
        self._round(cases, attempt, examples if self.plan.seconds is None else ROUND, seed)
        while self._end is not None and time.monotonic() < self._end:
            seed += 1
            self._round(cases, attempt, ROUND, seed)
        if self.found:
            listed = "\n\n".join(f"{kind}\n  {text}" for kind, text in self.found.items())
            raise AssertionError(
                f"{len(self.found)} findings in {self.tried.total()} inputs, seed {self.plan.seed}:\n{listed}"
            )

    def _round(
        self,
        cases: SearchStrategy[Case],
        attempt: Callable[[Case, Path], tuple[Sequence[str], Sequence[Finding]]],
        examples: int,
        seed: int,
    ) -> None:
        """Try some cases, until there is a finding that is new, which is made simpler."""
        failing: dict[str, Finding] = {}
        first_failed: float | None = None

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
        )
        @hypothesis.given(cases)
        def one(case: Case) -> None:
            nonlocal first_failed
            key, now = repr(case), time.monotonic()
            if self._end is None and self.plan.seconds is not None:
                self._end = now + self.plan.seconds  # from the first attempt on, whatever was made ready before it
            end = self._end if first_failed is None else first_failed + REDUCING_SECONDS
            if end is not None and now > end and key not in failing:
                return  # it is simple enough, or the time is over
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            command, findings = attempt(case, self._folder)
            self.tried[command[0]] += first_failed is None
            known = next(iter(failing.values())).kind if failing else None
            for finding in findings:
                if finding.kind not in self.found and known in (None, finding.kind):
                    first_failed = first_failed or now
                    failing.pop(key, None)  # the last one is the simplest
                    failing[key] = finding
                    self._keep(finding, command, case, seed)
                    raise FoundError(finding.kind)

        try:
            one()
        except (FoundError, hypothesis.errors.Flaky):  # flaky: a crash that depends on what memory holds, say
            if not failing:
                raise
            finding = next(reversed(failing.values()))
            self.found[finding.kind] = f"{finding.text}\n  kept in {self._kept(finding)}"

    def _kept(self, finding: Finding) -> Path:
        word = "".join(letter if letter.isalnum() else "-" for letter in finding.kind)[:80]
        return self.plan.keep / f"{self._name}-{self.plan.seed}-{word}"

    def _keep(self, finding: Finding, command: Sequence[str], case: object, seed: int) -> None:
        """Keep the failing input, in the place of one that is less simple."""
        place = self._kept(finding)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._folder, place, symlinks=True)
        told = {"finding": finding.kind, "seed": seed, "case": repr(case), "text": finding.text}
        (place / "FINDING.json").write_text(json.dumps(told, indent=2))
        runs = f"{sys.executable} {PROCESS}" if command[0] == "call" else "gmmformer"
        line = f'cd "$(dirname "$0")" && {runs} {shlex.join(command)}\n'
        (place / "replay.sh").write_text(line, encoding="utf-8", errors="surrogateescape")


class FoundError(AssertionError):
    """A case went wrong."""
