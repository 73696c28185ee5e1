"""``tunnels env``: standard output is for the shell, and for nothing else."""

from __future__ import annotations

import pytest

from tests.cli.console import tunnels
from tests.cli.fake_client import FakeClient, run
from tests.cli.test_through import FILE, cafe
from tests.daemon.served import profile_file


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file(FILE)


def test_there_is_nothing_but_commands_on_standard_output() -> None:
    lines = run(FakeClient((cafe(),)), "env", "cafe", "--shell", "zsh").out.splitlines()
    assert lines
    assert all(line.startswith("export ") for line in lines)


def test_the_shell_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert run(FakeClient((cafe(),)), "env", "cafe").out.startswith("set -gx ALL_PROXY ")
    monkeypatch.delenv("SHELL")
    assert run(FakeClient((cafe(),)), "env", "cafe").out.startswith("export ALL_PROXY=")


def test_a_shell_with_another_language_is_refused() -> None:
    result = tunnels("env", "cafe", "--shell", "tcsh")
    assert (result.code, result.out) == (2, "")
    assert "bash, zsh, sh, fish, powershell" in result.words


def test_to_undo_it_takes_no_tunnel() -> None:
    result = tunnels("env", "cafe", "--shell", "bash", "--unset")
    assert (result.code, result.err) == (0, "")
    assert "unset ALL_PROXY\n" in result.out


def test_for_programs_that_stumble_over_socks_there_is_none() -> None:
    assert "socks" not in run(FakeClient((cafe(),)), "env", "cafe", "--shell", "sh", "--http").out


def test_what_is_in_a_variable_already_comes_out_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    given = "-Da=x:fire:y\t-Db=[bold]\x0bz"
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", given)
    assert (
        f"export JAVA_TOOL_OPTIONS='{given} "
        in run(FakeClient((cafe(),)), "env", "cafe", "--shell", "sh").out
    )
