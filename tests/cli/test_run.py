from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.console import Result, streams
from tests.daemon.served import daemon_thread, profile_file, tunnel
from tunnels import errors
from tunnels.cli import output, run
from tunnels.core.question import PersonNeeded
from tunnels.errors import NoSuchProfile, Problem, ProfileError, TunnelsError

#: The table of the contract.
EXIT_CODES = {
    "UsageError": 2,
    "AlreadyAnswered": 2,
    "ProfileError": 2,
    "NoSuchProfile": 4,
    "NeedsPerson": 5,
    "DaemonNotRunning": 3,
    "VersionMismatch": 3,
}

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TunnelsError) and kind.__module__ == errors.__name__
]


def ended(raised: BaseException | None = None, *, code: int | None = None, as_json: bool = False) -> Result:
    """Run a verb that raises something, or returns a code."""

    @run.verb
    def verb(*, as_json: bool) -> int | None:
        if raised is not None:
            raise raised
        return code

    with streams() as (out, err):
        with pytest.raises(SystemExit) as end:
            verb(as_json=as_json)
        assert isinstance(end.value.code, int)
        return Result(end.value.code, out.getvalue(), err.getvalue())


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_what_a_verb_returns_is_the_exit_code(returned: int | None, code: int) -> None:
    assert ended(code=returned) == Result(code, "", "")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("as_json", [False, True])
def test_each_error_has_the_exit_code_of_the_contract_and_is_shown(
    kind: type[TunnelsError], as_json: bool
) -> None:
    if kind is ProfileError:
        error: TunnelsError = ProfileError("/p.toml", [Problem(3, "profiles.x", "wrong")], hint="do this")
    else:
        error = kind("it is wrong", hint="do this")
    result = ended(error, as_json=as_json)
    assert result.code == next(
        (EXIT_CODES[it.__name__] for it in kind.__mro__ if it.__name__ in EXIT_CODES), 1
    )
    if as_json:
        assert result.err == ""
        assert result.json["error"] == {"code": kind.code, "message": error.message, "hint": "do this"}
    else:
        assert result.out == ""
        assert result.err == f"error: {error.message}\nhint: do this\n"


def test_ctrl_c_is_130_without_a_word() -> None:
    assert ended(KeyboardInterrupt()) == Result(130, "", "")


# --- bugs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_a_bug_is_an_internal_error_without_a_traceback(as_json: bool) -> None:
    result = ended(ZeroDivisionError("division by zero"), as_json=as_json)
    assert result.code == 1
    assert "ZeroDivisionError: division by zero" in result.out + result.err
    assert "TUNNELS_DEBUG" in result.out + result.err
    assert "Traceback" not in result.out + result.err
    if as_json:
        assert result.json["error"]["code"] == "internal"
        assert result.err == ""


def test_a_bug_has_its_traceback_for_who_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNELS_DEBUG", "1")

    @run.verb
    def verb() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verb()


def test_an_error_of_ours_has_no_traceback_for_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNELS_DEBUG", "1")
    assert ended(NoSuchProfile("no such")).code == 4


def test_a_verb_keeps_its_name_its_help_and_its_parameters_for_typer() -> None:
    @run.verb
    def verb(names: list[str], *, watch: bool = False) -> int:
        """Help."""
        return 0

    assert verb.__name__ == "verb"
    assert verb.__doc__ == "Help."
    assert list(verb.__wrapped__.__annotations__) == ["names", "watch", "return"]  # type: ignore[attr-defined]


def test_there_is_no_other_error_with_an_exit_code() -> None:
    def below(kind: type[TunnelsError]) -> Iterator[type[TunnelsError]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    elsewhere = {kind for kind in below(TunnelsError) if kind.__module__.startswith("tunnels.")} - set(KINDS)
    assert {kind for kind in elsewhere if "exit_code" in vars(kind)} == set()
    assert PersonNeeded in elsewhere


# --- pipes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["list", "--json"]], ids=" ".join)
def test_a_reader_that_has_seen_enough_ends_it_with_0_and_without_a_word(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is left is written when Python ends
    profile_file()
    reader, writer = os.pipe()
    os.close(reader)  # as `| head -0` does
    with daemon_thread(tunnel()):
        done = subprocess.run(
            [sys.executable, "-m", "tunnels", *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# --- the profile file -----------------------------------------------------------------------------


def test_the_file_named_behind_the_verb_wins_over_the_one_before_it(home: Path) -> None:
    with streams():
        assert run.config_path() == home / "config" / "profiles.toml"
        run.set_config("/before.toml")
        assert run.config_path() == Path("/before.toml")
        assert run.config_path("/behind.toml") == Path("/behind.toml")


def test_showing_the_error_is_left_to_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(output, "show_error", lambda error, as_json: shown.append((error.message, as_json)))
    ended(NoSuchProfile("no such"))
    ended(ZeroDivisionError("bug"), as_json=True)
    assert shown == [("no such", False), ("ZeroDivisionError: bug", True)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")  # noqa: PTH110
def test_an_output_that_is_full_is_an_error_and_no_bug() -> None:
    command = [sys.executable, "-m", "tunnels", "status", "--json"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_an_output_that_is_closed_is_no_bug() -> None:
    command = f'"{sys.executable}" -m tunnels status >&-'
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert "bug" not in done.stderr
