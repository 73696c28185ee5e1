"""The program ``ssh`` is asked once for each question, and never for longer than it may take."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.ssh.test_resolve import profile, real_ssh, target, write
from tunnels.core.profile import Profile
from tunnels.errors import BadSetting, HostUnreachable, TunnelsError
from tunnels.ssh import ask_ssh
from tunnels.ssh.destination import Route
from tunnels.ssh.resolve import resolve, resolve_all


@real_ssh
async def test_an_exec_that_does_not_end_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_ssh, "SSH_G_TIMEOUT", 0.5)
    started = home / "pid"

    with pytest.raises(HostUnreachable, match=r"within 0\.5 s"):  # it may be looking for the network
        await target(f'Match exec "echo $$ > {started}; exec sleep 30"\n', home)

    assert gone(int(started.read_text()))


@real_ssh
async def test_giving_up_ends_ssh_and_what_it_has_started(home: Path) -> None:
    started = home / "pid"
    config = f'Match exec "echo $$ > {started}.new; mv {started}.new {started}; exec sleep 30"\n'
    asking = asyncio.ensure_future(target(config, home))  # noqa: TID251 - awaited below
    while not started.exists():
        await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert gone(int(started.read_text()))


def gone(pid: int) -> bool:
    """Whether a process that was killed is gone; the kernel may take a moment."""
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout) and not state.stdout.startswith("Z")


# --- how often it is asked --------------------------------------------------------------------------


def counting(home: Path) -> str:
    """A program that writes down what it is asked, and then asks the real ssh."""
    program = home / "ssh"
    program.write_text(f'#!/bin/sh\necho "$*" >> {home}/asked\nPATH={os.environ["PATH"]} exec ssh "$@"\n')
    program.chmod(0o700)
    return str(program)


def asked(home: Path) -> list[str]:
    return [line for line in (home / "asked").read_text().splitlines() if "-F none" not in line]


def many(config: str, count: int) -> list[Profile]:
    return [Profile(f"p{number}", "work", ssh_config=config) for number in range(count)]


@real_ssh
async def test_one_command_asks_about_twenty_profiles_of_two_servers_twice(home: Path) -> None:
    program, config = counting(home), write(home, "Host work\n ProxyJump gate\n")

    routes = await resolve_all(many(config, 20), ssh_program=program)

    assert all(isinstance(route, Route) and len(route.hops) == 1 for route in routes)
    assert len(asked(home)) == 2


@real_ssh
async def test_what_ssh_does_of_itself_is_asked_once_even_by_many_at_once(home: Path) -> None:
    program = counting(home)
    several = [Profile(f"p{n}", f"host{n}", ssh_config=write(home, "")) for n in range(10)]

    await resolve_all(several, ssh_program=program)
    await resolve_all(several, ssh_program=program)

    lines = (home / "asked").read_text().splitlines()
    assert len([line for line in lines if "-F none" in line]) == 1


@real_ssh
async def test_every_attempt_asks_anew_because_a_match_exec_may_have_changed_its_mind(home: Path) -> None:
    config = write(home, f'Match exec "test -e {home}/office"\n Port 2222\n')

    before = (await resolve(profile("work", config))).target.port
    (home / "office").touch()
    after = (await resolve(profile("work", config))).target.port

    assert (before, after) == (22, 2222)


@real_ssh
async def test_one_profile_that_does_not_resolve_leaves_the_others_alone(home: Path) -> None:
    good, bad = write(home, ""), home / "bad"
    bad.write_text("Prt 22\n")
    them = [Profile("a", "work", ssh_config=good), Profile("b", "work", ssh_config=str(bad))]

    first, second = await resolve_all(them)

    assert isinstance(first, Route)
    assert isinstance(second, BadSetting)


async def test_a_machine_out_of_descriptors_is_said_of_each_profile(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(ask_ssh.OpenSSH, "ask", ask)
    (found,) = await resolve_all(many("/x", 1), ssh_program="sh")
    assert isinstance(found, TunnelsError)
    assert found.retryable
    assert "Too many open files" in found.message


# --- what it says besides ---------------------------------------------------------------------------


@real_ssh
async def test_the_absence_of_a_terminal_is_nothing_to_complain_about(home: Path) -> None:
    assert (await target("", home)).notes == ()


async def test_a_config_that_others_may_write_is_refused_in_the_words_of_ssh(home: Path) -> None:
    program = home / "ssh"  # the real one looks at the owner's own ~/.ssh/config only
    program.write_text('#!/bin/sh\necho "Bad owner or permissions on /home/me/.ssh/config" >&2\nexit 255\n')
    program.chmod(0o700)

    with pytest.raises(BadSetting, match="Bad owner or permissions on /home/me/.ssh/config"):
        await resolve(Profile("p", "work"), ssh_program=str(program))


async def test_a_chatty_match_exec_is_cut_short(home: Path) -> None:
    program = home / "ssh"
    program.write_text("#!/bin/sh\nseq 100 >&2\necho hostname h\n")
    program.chmod(0o700)

    route = await resolve(Profile("p", "work"), ssh_program=str(program))

    assert len(route.target.notes) == ask_ssh.MAX_COMPLAINTS
