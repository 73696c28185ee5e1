from __future__ import annotations

import runpy
import subprocess
import sys

import pytest

import tunnels as package
from tests.cli.console import tunnels
from tests.daemon.served import daemon_thread, profile_file, tunnel
from tunnels.cli.main import main


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_quick_way_of_status_says_the_same_as_the_long_one(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunnels.cli.glance.time.time", lambda: 1_800_000_060.0)
    with daemon_thread(tunnel("work-db"), tunnel("home")):
        quick = tunnels("status", *arguments)
        monkeypatch.setattr("tunnels.cli.main._QUICK", {})
        long = tunnels("status", *arguments)
    assert quick == long
    assert "work-db" in quick.out


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_quick_way_of_status_without_a_daemon_says_the_same_as_the_long_one(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tunnels("status", *arguments)
    monkeypatch.setattr("tunnels.cli.main._QUICK", {})
    assert tunnels("status", *arguments) == quick
    assert quick.code == 0


def test_a_bug_on_the_quick_way_is_shown_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("tunnels.cli.glance.show", broken)
    result = tunnels("status", "--json")
    assert result.code == 1
    assert result.json["error"]["code"] == "internal"


@pytest.mark.parametrize("arguments", [["--version"], ["status", "--help"], ["-h"]])
def test_everything_else_goes_the_long_way(arguments: list[str]) -> None:
    result = tunnels(*arguments)
    assert result.code == 0
    assert result.out


def test_a_bad_command_line_is_2_and_starts_nothing() -> None:
    for arguments in (["frobnicate"], ["up", "--frobnicate"], ["down", "--timeout"], ["logs", "-n", "many"]):
        result = tunnels(*arguments)
        assert (result.code, result.out) == (2, "")
        assert result.err


def test_python_dash_m_is_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tunnels", "--version"])
    monkeypatch.delitem(sys.modules, "tunnels.__main__", raising=False)  # another test may have imported it
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("tunnels", run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out == f"tunnels {package.__version__}\n"


def test_importing_the_command_line_does_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import tunnels.__main__, tunnels.cli.app"],
        capture_output=True,
        check=True,
    )
    assert done.stdout + done.stderr == b""


def test_the_profile_file_before_the_verb_is_the_one_that_is_used() -> None:
    path = profile_file()
    other = path.with_name("other.toml")
    other.write_text(path.read_text().replace("work-db", "elsewhere"))
    other.chmod(0o600)
    assert "elsewhere" in tunnels("--config", str(other), "list").out
    assert "elsewhere" not in tunnels("list").out


def test_a_command_does_not_search_what_it_imported_for_garbage_when_it_ends() -> None:
    script = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print('kept:', gc.get_freeze_count() > 10_000))\n"
        "sys.argv = ['tunnels', '--version']\n"
        "from tunnels.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"tunnels {package.__version__}\nkept: True\n"


def test_ctrl_c_while_a_command_is_still_being_imported_is_130_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tunnels.cli.main._main", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
