"""``tunnels exec``: which part of the line is the command, and what it is told; the real thing is in e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.console import Result
from tests.cli.fake_client import FakeClient, run
from tests.cli.test_through import FILE, cafe
from tests.daemon.served import profile_file


@pytest.fixture(autouse=True)
def _file(monkeypatch: pytest.MonkeyPatch) -> None:
    profile_file(FILE)
    monkeypatch.setattr("tunnels.cli.execute.signal.signal", lambda *_: None)  # this process goes on


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    found: list[tuple[list[str], dict[str, str]]] = []

    def become(program: str, command: list[str], environment: dict[str, str]) -> None:
        assert program == command[0]
        found.append((command, environment))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execvpe", become)
    return found


def execute_(*arguments: str) -> Result:
    return run(FakeClient((cafe(),)), "exec", *arguments)


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (["cafe", "--", "curl", "-v"], ["curl", "-v"]),
        (["cafe", "curl", "-v", "--help"], ["curl", "-v", "--help"]),
        (["cafe", "git", "log", "--", "file"], ["git", "log", "--", "file"]),
        (["--forward", "second", "cafe", "ls", "--http"], ["ls", "--http"]),
        (["cafe", "--forward", "second", "--", "ls", "--", "x"], ["ls", "--", "x"]),
        (["cafe", "--forward=second", "--http", "ls"], ["ls"]),
        (["--", "cafe", "ls", "-l"], ["ls", "-l"]),
    ],
)
def test_what_comes_behind_the_name_is_the_command(
    typed: list[str], command: list[str], became: list[tuple[list[str], dict[str, str]]]
) -> None:
    assert execute_(*typed).code == 0
    ((found, environment),) = became
    assert found == command
    port = 1081 if "second" in " ".join(typed) else 1080
    assert environment["http_proxy"] == f"http://127.0.0.1:{port}"
    assert environment["HOME"] == os.environ["HOME"]


def test_without_a_command_there_is_nothing_to_run() -> None:
    assert execute_("cafe").code == 2


@pytest.mark.parametrize(("kind", "code"), [("missing", 127), ("not executable", 126), ("below a file", 127)])
def test_a_command_that_cannot_be_run_ends_as_in_a_shell(kind: str, code: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    if kind != "missing":
        file.write_text("")
    command = file / "x" if kind == "below a file" else file
    result = execute_("cafe", "--", str(command))
    assert (result.code, result.out) == (code, "")
    assert str(command) in result.words
