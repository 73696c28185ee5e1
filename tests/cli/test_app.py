from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.cli.console import tunnels
from tunnels import __version__
from tunnels.cli import app as command_line
from tunnels.cli.app import VERBS, app

HELPERS = {
    *(
        "asking",
        "app",
        "be_daemon",
        "glance",
        "known",
        "main",
        "mistyped",
        "options",
        "output",
        "render",
        "run",
        "running",
        "through",
    ),
    "waiting",
}
"""Modules of the command line that are not a verb."""

GROUPS = {"daemon": ("run", "stop", "status"), "service": ("install", "uninstall", "status")}

COMMANDS = [[verb] for verb in VERBS if verb not in GROUPS] + [
    [group, verb] for group, verbs in GROUPS.items() for verb in verbs
]

TYPED = """
import sys
from tunnels.cli.main import main
sys.argv[1:] = ["reload", "--help"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_every_verb_is_listed_and_every_file_is_a_verb() -> None:
    listed = {module for module, _ in VERBS.values()}
    files = {path.stem for path in Path(command_line.__file__).parent.glob("*.py")}
    assert listed == files - HELPERS - {"__init__"}


def test_the_help_names_every_verb_in_its_order() -> None:
    text = tunnels("--help").out
    said = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.strip()]
    assert said == list(VERBS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_has_help_with_an_example(command: list[str]) -> None:
    result = tunnels(*command, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"Example: tunnels {' '.join(command)}" in result.out


@pytest.mark.parametrize("group", GROUPS)
def test_completion_is_installed_for_the_whole_program_and_not_for_a_group(group: str) -> None:
    assert "--install-completion" in tunnels("--help").out
    assert "--install-completion" not in tunnels(group, "--help").out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_line_of_the_help_fits_a_terminal(command: list[str]) -> None:
    assert all(len(line) <= 80 for line in tunnels(*command, "--help").out.splitlines())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_short_help_option_works_everywhere(command: list[str]) -> None:
    assert tunnels(*command, "-h").out == tunnels(*command, "--help").out


def test_every_option_says_what_it_is_for() -> None:
    silent = []
    for verb, (module, attribute) in VERBS.items():
        target = getattr(importlib.import_module(f"tunnels.cli.{module}"), attribute)
        if not isinstance(target, typer.Typer):
            single = typer.Typer()
            single.command(verb)(target)
            target = single
        command = typer.main.get_command(target)
        for each in getattr(command, "commands", {verb: command}).values():
            silent += [
                f"{verb} {option.name}"
                for option in each.params
                if not (getattr(option, "help", None) or getattr(option, "hidden", False))
                and option.name not in {"install_completion", "show_completion"}
            ]
    assert silent == []


def test_only_the_verb_that_is_typed_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TYPED],
        capture_output=True,
        text=True,
        check=True,
    )
    verbs = {f"tunnels.cli.{module}" for module, _ in VERBS.values()}
    assert set(done.stderr.split()) & verbs == {"tunnels.cli.reload"}


def test_a_verb_that_does_not_exist_is_a_bad_command_line() -> None:
    result = tunnels("frobnicate")
    assert (result.code, result.out) == (2, "")
    assert "frobnicate" in result.err


def test_no_verb_at_all_shows_the_help_and_is_a_bad_command_line() -> None:
    result = tunnels()
    assert result.code == 2
    assert "up " in result.out + result.err


def test_the_version_is_asked_for_without_a_verb() -> None:
    assert tunnels("--version").out.split() == ["tunnels", __version__]


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in tunnels("--help").out
    assert app.info.name == "tunnels"
