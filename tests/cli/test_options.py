from __future__ import annotations

import os
import subprocess

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels import control_socket, paths
from tunnels.cli.options import complete_profile, complete_running


def test_profiles_are_completed_from_the_file_in_its_order() -> None:
    profile_file()
    assert complete_profile("") == ["work-db", "work-web", "home"]
    assert complete_profile("work") == ["work-db", "work-web"]
    assert complete_profile("x") == []


@pytest.mark.parametrize("text", [None, FILE + "hosst = 1\n"])
def test_a_missing_or_bad_file_completes_nothing_and_says_nothing(
    text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        profile_file(text)
    assert complete_profile("") == []
    assert capsys.readouterr() == ("", "")


def test_running_tunnels_are_completed_whatever_is_in_the_file() -> None:
    with daemon_thread(tunnel("work-db"), tunnel("gone")):
        assert complete_running("") == ["work-db", "gone"]
        assert complete_running("w") == ["work-db"]


def test_without_a_daemon_nothing_is_completed_and_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    assert complete_running("") == []


def test_a_daemon_that_is_broken_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "peer_uid", lambda _: os.getuid() + 1)
    with control_socket.listen(paths.socket_path()):
        assert complete_running("") == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tunnels up wo", {"work-db", "work-web"}),
        ("tunnels restart ", {"work-db", "work-web", "home"}),
        ("tunnels check h", {"home"}),
        ("tunnels logs h", {"home"}),
        ("tunnels down ", {"running-one"}),
        ("tunnels status ", {"running-one"}),
        ("tunnels re", {"restart", "reload"}),
    ],
)
def test_the_shell_is_offered_the_right_names(
    typed: str, offered: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_file()
    monkeypatch.setenv("_TUNNELS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
    with daemon_thread(tunnel("running-one")):
        result = tunnels()
    assert (set(result.out.split()), result.err) == (offered, "")
