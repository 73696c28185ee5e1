from __future__ import annotations

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file
from tunnels.client import Client


def test_what_was_touched_is_named_and_what_was_kept_is_not() -> None:
    config = str(profile_file())
    with daemon_thread(), Client.connect() as client:
        client.up(["*"], config)
        profile_file(FILE.replace("8080", "8081").replace("profiles.home", "profiles.house"))
        result = tunnels("reload")
        document = tunnels("reload", "--json").json
    assert result.out.splitlines() == [
        "work-web: restarted, its profile has changed",
        "home: stopped, it is no longer in the file",
    ]
    assert (result.code, result.err) == (0, "")
    assert document == {
        "version": 1,
        "restart": ["work-web"],
        "stop": ["home"],
        "start": [],
        "keep": ["work-db"],
    }


def test_nothing_that_has_changed_is_said_too() -> None:
    profile_file()
    with daemon_thread():
        assert tunnels("reload").out == "nothing that runs has changed\n"


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_bad_file_is_2_with_every_problem(arguments: list[str]) -> None:
    profile_file(FILE + "hosst = 1\nlocall = 2\n")
    with daemon_thread():
        result = tunnels("reload", *arguments)
    assert result.code == 2
    assert "hosst" in result.out + result.err
    assert "locall" in result.out + result.err


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_a_daemon_it_is_3_and_none_is_started(arguments: list[str]) -> None:
    profile_file()
    result = tunnels("reload", *arguments)
    assert result.code == 3
    if arguments:
        assert result.json["error"]["code"] == "daemon-not-running"
