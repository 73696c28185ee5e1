from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tunnels.errors import UsageError
from tunnels.service import files
from tunnels.service.files import Account, Service

COMMAND = ("/usr/bin/tunnels", "--config", "/home/me/profiles.toml", "daemon", "run")
MINE = Service(COMMAND, {})
THEIRS = Service(COMMAND, {}, Account("me", 1000))


Render = Callable[[Service], str]


def lines(service: Service) -> list[str]:
    return files.unit_of(service).splitlines()


# --- systemd --------------------------------------------------------------------------------------


def test_the_unit_of_a_user_is_watched_and_never_given_up() -> None:
    unit = lines(MINE)
    assert files.MARKER in unit[0]
    assert unit[0].startswith("#")
    for line in (
        "Type=notify",
        "NotifyAccess=main",
        "ExecStart=/usr/bin/tunnels --config /home/me/profiles.toml daemon run",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartSec=1",
        "StartLimitIntervalSec=0",
        "WatchdogSec=60",
        "WatchdogSignal=SIGKILL",
        "LimitCORE=0",
        "TimeoutStopSec=35",
        "KillMode=mixed",
        "UMask=0077",
        "WantedBy=default.target",
    ):
        assert line in unit
    assert not [line for line in unit if line.startswith(("User=", "Environment=", "After="))]


def test_the_unit_of_the_system_runs_as_its_user_and_does_not_wait_for_a_network() -> None:
    unit = lines(THEIRS)
    assert "User=me" in unit
    assert "WantedBy=multi-user.target" in unit
    assert "After=network.target" in unit
    assert "network-online" not in "".join(unit)


def test_the_control_socket_of_a_system_service_is_where_its_user_looks_for_it() -> None:
    unit = lines(THEIRS)
    assert "Environment=XDG_RUNTIME_DIR=/run/user/1000" in unit
    assert "Wants=user-runtime-dir@1000.service" in unit
    assert "After=user-runtime-dir@1000.service" in unit


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/plain", "Environment=TUNNELS_STATE_DIR=/plain"),
        ("/a b", 'Environment="TUNNELS_STATE_DIR=/a b"'),
        ('/a"b', 'Environment="TUNNELS_STATE_DIR=/a\\"b"'),
        ("/a'b", 'Environment="TUNNELS_STATE_DIR=/a\'b"'),
        ("/a\\b", 'Environment="TUNNELS_STATE_DIR=/a\\\\b"'),
        ("/100%h", 'Environment="TUNNELS_STATE_DIR=/100%%h"'),
        ("/a\nb", 'Environment="TUNNELS_STATE_DIR=/a\\nb"'),
        ("/$HOME", "Environment=TUNNELS_STATE_DIR=/$HOME"),
    ],
)
def test_a_variable_means_in_the_unit_what_it_means_here(value: str, written: str) -> None:
    assert written in lines(Service(COMMAND, {"TUNNELS_STATE_DIR": value}))


def test_an_argument_means_in_the_unit_what_it_means_here() -> None:
    (start,) = [
        line
        for line in lines(Service(("/o p/tunnels", "--config", '/$a/%b/"c d"'), {}))
        if line.startswith("ExecStart=")
    ]
    assert start == 'ExecStart="/o p/tunnels" --config "/$$a/%%b/\\"c d\\""'


def test_what_cannot_stand_in_a_unit_is_said() -> None:
    with pytest.raises(UsageError, match="cannot stand in a systemd unit"):
        files.unit_of(Service(("/usr/bin/tunnels", "--config", "/\udce9"), {}))


NASTY = {
    "TUNNELS_STATE_DIR": '/a b/100%/"quoted"/it\'s/back\\slash/$HOME',
    "TUNNELS_RUNTIME_DIR": "/run/plain",
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here: nothing to ask")
@pytest.mark.parametrize("environment", [{}, NASTY], ids=["plain", "nasty"])
@pytest.mark.parametrize("system", [False, True], ids=["user", "system"])
def test_systemd_finds_nothing_wrong_with_the_unit(
    system: bool, environment: Mapping[str, str], home: Path
) -> None:
    """With --recursive-errors=no an unknown key is an error too; without it systemd only mentions it."""
    program = home / "tun nels"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    account = Account("root", 0) if system else None
    unit = home / "tunnels.service"
    unit.write_text(
        files.unit_of(Service((str(program), "--config", "/a %b/$c", "daemon", "run"), environment, account))
    )
    command = ["systemd-analyze", *([] if system else ["--user"]), "verify", "--man=no"]
    done = subprocess.run(
        [*command, "--recursive-errors=no", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(home / "run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_text(unit.read_text().replace("WatchdogSec=60", "WatchdogSeconds=60"))
    done = subprocess.run(
        [*command, "--recursive-errors=no", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(home / "run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0, "it would not have been found"


# --- launchd --------------------------------------------------------------------------------------


def test_the_agent_starts_at_login_and_again_when_it_fails_and_launchd_can_read_it() -> None:
    service = Service(COMMAND, {"TUNNELS_STATE_DIR": "/a <b> & c"})
    text = files.agent_text(files.agent_of(service, log="/log/startup.log"))
    agent = plistlib.loads(text.encode())
    assert agent == files.agent_of(service, log="/log/startup.log")
    assert agent["ProgramArguments"] == list(COMMAND)
    assert agent["EnvironmentVariables"] == {"TUNNELS_STATE_DIR": "/a <b> & c"}
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["Umask"] == 0o077
    types = {
        "Label": str,
        "ProgramArguments": list,
        "EnvironmentVariables": dict,
        "RunAtLoad": bool,
        "KeepAlive": dict,
        "ProcessType": str,
        "ExitTimeOut": int,
        "Umask": int,
        "StandardOutPath": str,
        "StandardErrorPath": str,
    }
    assert {key: type(value) for key, value in agent.items()} == types


def test_what_cannot_stand_in_an_agent_is_said() -> None:
    with pytest.raises(UsageError):
        files.agent_text(files.agent_of(Service(("/a\x01b",), {}), log="/log"))


# --- whose a file is ------------------------------------------------------------------------------


def agent(service: Service) -> str:
    return files.agent_text(files.agent_of(service, log="/log"))


@pytest.mark.parametrize("render", [files.unit_of, agent])
def test_what_was_written_here_is_known_again_and_nothing_else(render: Render) -> None:
    assert files.is_ours(render(MINE))
    assert not files.is_ours("[Unit]\nDescription=mine\n# " + files.MARKER)
    assert not files.is_ours("")


@pytest.mark.parametrize("render", [files.unit_of, agent])
def test_a_service_is_that_of_a_command_only_if_both_have_the_same_folders(render: Render) -> None:
    plain, elsewhere = render(MINE), render(Service(COMMAND, {"TUNNELS_STATE_DIR": "/a %b&"}))
    assert files.is_for(plain, {"HOME": "/home/me"})
    assert not files.is_for(plain, {"TUNNELS_STATE_DIR": "/a %b&"})
    assert files.is_for(elsewhere, {"TUNNELS_STATE_DIR": "/a %b&"})
    assert not files.is_for(elsewhere, {})
    assert not files.is_for(elsewhere, {"TUNNELS_STATE_DIR": "/a"})
    assert not files.is_for(elsewhere, {"TUNNELS_STATE_DIR": "/a %b&", "TUNNELS_RUNTIME_DIR": "/run/x"})


def test_an_agent_that_cannot_be_read_is_nobodys() -> None:
    assert not files.is_for("<?xml version='1.0'?>\n<plist><dict>", {})
