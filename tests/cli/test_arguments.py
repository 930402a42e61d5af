"""Options: every value that is given counts, and one that would do nothing is refused."""

import argparse
import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import tyro

from gmmformer import cli
from gmmformer.cli import GOES_WITH, NOT_WITH, options_of, read_arguments
from gmmformer.config import RunConfig
from gmmformer.errors import InputError

ONE_VALUE: dict[str, str] = {
    "--preset": "tvr",
    "--precision": "float32",
    "--device": "cpu",
    "--hidden": "384",
    "--max-ctx-l": "128",
}
"""Values of options that look into them while the command line is read."""


@functools.cache
def actions(command: str) -> tuple[argparse.Action, ...]:
    """The options as tyro's own parser has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        parser = tyro.extras.get_parser(
            cli.COMMANDS[command], config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
        )
    return tuple(action for action in parser._actions if "--help" not in action.option_strings)


def options(command: str) -> list[argparse.Action]:
    return [action for action in actions(command) if action.option_strings]


EVERY = [(command, action.option_strings[0]) for command in cli.COMMANDS for action in options(command)]
SEVERAL = [(c, a.option_strings[0]) for c in cli.COMMANDS for a in options(c) if a.nargs == "*"]
SINGLE = [(c, a.option_strings[0]) for c in cli.COMMANDS for a in options(c) if a.nargs not in ("*", 0)]


def value_of(action: argparse.Action) -> str:
    if action.choices:
        return str(next(iter(action.choices)))
    known = ONE_VALUE.get(action.option_strings[0] if action.option_strings else "")
    return known or {"INT": "3", "FLOAT": "0.5", "INT|{None}": "3", "FLOAT|{None}": "0.5"}.get(
        str(action.metavar).strip("[]").replace("{None}|", ""), "1"
    )


def minimal(command: str) -> list[str]:
    """The least that the command can be called with."""
    given = [value_of(action) for action in actions(command) if not action.option_strings and action.nargs != "?"]
    for action in options(command):
        if action.required:
            given += [action.option_strings[0], value_of(action)]
    return given


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, object]]:
    """What the function of a command is called with."""

    def run(command: str, *arguments: str) -> dict[str, object]:
        seen: dict[str, object] = {}
        function = cli.COMMANDS[command]

        @functools.wraps(function)
        def record(*values: object, **named: object) -> int:
            seen.update(named, positional=values)
            return 0

        monkeypatch.setitem(cli.COMMANDS, command, record)
        monkeypatch.setattr(cli, command.replace("-", "_"), record)
        assert cli.main([command, *arguments]) == 0
        return seen

    return run


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_options_are_read_off_the_signature_as_tyro_reads_them(command):
    ours = options_of(cli.COMMANDS[command])
    theirs = {spelling: action for action in options(command) for spelling in action.option_strings}
    assert ours.keys() == theirs.keys()
    for spelling, action in theirs.items():
        assert ours[spelling].several == (action.nargs == "*"), spelling
        assert ours[spelling].flag == (action.nargs == 0), spelling


def test_some_options_take_several_values():
    assert {("extract", "--captions"), ("serve", "--allow-host")} <= set(SEVERAL)


@pytest.mark.parametrize(("command", "option"), SEVERAL)
def test_each_option_for_several_values_takes_them_in_every_spelling(command, option, understood):
    name = option.removeprefix("--").replace("-", "_")
    key = "within" if name == "in" else name  # which is a word of Python's own
    for given in (
        [option, "a", "b", "c"],
        [option, "a", option, "b", option, "c"],
        [option, "a", "b", option, "c"],
        [f"{option}=a", option, "b", f"{option}=c"],
        [option, "a", f"--{name}", "b", "c"],
    ):
        assert tuple(map(str, understood(command, *minimal(command), *given)[key])) == ("a", "b", "c"), given
    between = [item for action in options(command) if action.nargs == 0 for item in action.option_strings[:1]]
    seen = understood(command, *minimal(command), option, "a", *between, option, "b", option, "c")
    assert tuple(map(str, seen[key])) == ("a", "b", "c")


@pytest.mark.parametrize(("command", "option"), SEVERAL)
def test_an_option_for_several_values_with_none(command, option, refused):
    refused([command, *minimal(command), option], option, "no value")


@pytest.mark.parametrize(("command", "option"), SINGLE)
def test_an_option_for_one_value_that_is_there_twice(command, option, refused):
    action = next(action for action in options(command) if option in action.option_strings)
    value = value_of(action)
    given = [item for item in minimal(command) if item != option]
    for last in action.option_strings:
        refused([command, *given, option, value, f"{last}={value}"], option, "twice")


@pytest.mark.parametrize("given", [["-k5", "-k", "6"], ["-k=5", "--k", "6"], ["--min_length", "3", "--min-length=4"]])
def test_other_spellings_of_the_same_option(given, refused):
    refused(["search", "library", "a dog", *given], "twice")


def test_lists_that_are_no_options_stay_what_they_are(understood):
    seen = understood("extract", "a", "b", "--out", "o", "--collection", "c", "--captions", "x", "--captions", "y")
    assert [str(film) for film in seen["films"]] == ["a", "b"]
    seen = understood(
        "extract", "--captions", "x", "--out", "o", "--captions", "y", "--collection", "c", "--", "-a", "b"
    )
    assert [str(film) for film in seen["films"]] == ["-a", "b"]
    assert seen["captions"] == ("x", "y")
    assert understood("library", "lib", "remove", "a", "b", "--json")["films"] == ("a", "b")


@pytest.mark.parametrize(
    ("command", "option", "needed"), [(c, o, n) for c, pairs in GOES_WITH.items() for o, n in pairs.items()]
)
def test_an_option_that_does_nothing_without_another(command, option, needed, refused):
    given = [option, value_of(next(a for a in options(command) if option in a.option_strings))]
    refused(
        [command, *minimal(command), *given[: 1 if options_of(cli.COMMANDS[command])[option].flag else 2]],
        option,
        needed,
    )


@pytest.mark.parametrize(
    ("command", "option", "useless"),
    [(c, o, u) for c, pairs in NOT_WITH.items() for o, others in pairs.items() for u in others],
)
def test_an_option_that_does_nothing_beside_another(command, option, useless, refused):
    flags = {spelling for spelling, known in options_of(cli.COMMANDS[command]).items() if known.flag}
    given = [item for each in (option, useless) for item in ([each] if each in flags else [each, "1"])]
    refused([command, *minimal(command), *given], option, useless)


def test_the_tables_name_options_that_there_are():
    for command, pairs in GOES_WITH.items():
        assert {*pairs, *pairs.values()} <= options_of(cli.COMMANDS[command]).keys()
    for command, others in NOT_WITH.items():
        assert {*others, *(name for names in others.values() for name in names)} <= options_of(
            cli.COMMANDS[command]
        ).keys()


@pytest.mark.parametrize(("command", "option"), [each for each in EVERY if each[0] == "train"])
def test_resume_takes_what_is_of_the_machine_and_refuses_the_rest_even_at_its_default(
    command, option, understood, refused
):
    action = next(action for action in options(command) if option in action.option_strings)
    given = ["--resume", "nowhere", *([] if option == "--resume" else [option])]
    given += [] if action.nargs == 0 or option == "--resume" else [str(value_of(action))]
    if option in ("--resume", "--json", "--baselines", "--device", "--workers", "--resident", "--save-minutes"):
        refused(["train", *given], "not a run")
    else:
        refused(["train", *given], option, "keeps its own settings")


def test_what_is_of_the_machine_counts_when_resumed_even_at_its_default(monkeypatch, capsys):
    import gmmformer.training

    def resume(run: Path, **more: object) -> None:
        raise InputError(f"{sorted(more.items() - {('report', None), ('progress', True)})}")

    monkeypatch.setattr(gmmformer.training, "resume", resume)
    default = RunConfig().workers
    assert cli.main(["train", "--resume", "run", "--json", "--workers", str(default)]) == 2
    assert f"[('workers', {default})]" in capsys.readouterr().err


def test_what_is_read_is_what_was_given():
    read = read_arguments("index", cli.COMMANDS["index"], ["a", "--model", "l", "-x", "--watch", "--", "--retry"])
    assert read.given == ["a", "--model", "l", "-x", "--watch", "--", "--retry"]
    assert read.options == ("--model", "--watch")
