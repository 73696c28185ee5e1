"""What happened is still known afterwards, and commands and logs tell of it: against a real server."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NO_SUCH_PROFILE, NOT_AS_ASKED, OK, USAGE, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.wait import eventually

pytestmark = pytest.mark.long


def profile(site: Site, **keys: object) -> dict[str, object]:
    return {**site.login(), "local": [f"{free_port()}:{site.far.echo}"], **keys}


def drops(tunnels: Tunnels) -> list[dict[str, Any]]:
    return list(tunnels.run("why", "work", "--json", expect=OK).json["drops"])


def outage(tunnels: Tunnels, site: Site) -> None:
    site.stop()
    tunnels.wait_state("work", "backoff", "connecting")
    site.start()
    tunnels.wait_state("work", "up")


def test_why_tells_of_an_outage_of_the_server_while_it_lasts_and_afterwards(
    tunnels: Tunnels, site: Site
) -> None:
    tunnels.write(work=profile(site))
    assert "nothing has happened yet" in tunnels.run("why", "work", expect=OK).words
    tunnels.up("work")
    assert "no drop" in tunnels.run("why", "work").words
    site.stop()
    tunnels.wait_state("work", "backoff")
    assert "still going on" in tunnels.run("why", "work").words
    site.start()
    tunnels.wait_state("work", "up")
    (drop,) = drops(tunnels)
    assert (drop["cause"]["code"], drop["back"]) == ("connection-lost", True)
    assert drop["seconds"] > 0
    assert "back by itself" in tunnels.run("why", "work").words
    assert tunnels.run("why", "wrok").code == NO_SUCH_PROFILE


def test_the_history_outlives_a_daemon_that_is_ended_and_one_that_is_killed(
    tunnels: Tunnels, site: Site
) -> None:
    tunnels.write(work=profile(site))
    tunnels.up("work")
    outage(tunnels, site)
    tunnels.run("daemon", "stop", expect=OK)
    assert [drop["to"] is None for drop in drops(tunnels)] == [False, True]
    tunnels.up("work")
    tunnels.kill_daemon()
    without = tunnels.run("why", "work", expect=OK)
    assert "killed, or the machine was off" in without.words
    assert tunnels.daemon_pids() == [], "why has started a daemon"
    tunnels.up("work")
    causes = [drop["cause"]["code"] for drop in drops(tunnels)]
    assert causes == ["connection-lost", "daemon-ended", "daemon-not-running"]
    assert all(drop["back"] for drop in drops(tunnels))
    for file in tunnels.state.iterdir():
        assert file.is_dir() or file.stat().st_mode & 0o077 == 0, file
    tunnels.down("work")
    assert "stopped" in tunnels.run("why", "work").words


def test_a_tunnel_that_fails_says_why_and_what_to_do(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work=profile(site, user="nobody-there"))
    tunnels.up("work", expect=NOT_AS_ASKED)
    said = tunnels.run("why", "work", expect=OK).words
    assert "✗ work failed" in said
    assert "refused the login" in said
    assert "→" in said


def test_logs_since_a_moment_shows_what_came_after_it(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work=profile(site))
    tunnels.up("work")
    everything = tunnels.run("logs", "-n", "1000").out
    assert "work up" in everything
    assert tunnels.run("logs", "--since", "1h").out == everything
    assert tunnels.run("logs", "work", "--since", "1h", "-n", "1").out.strip().endswith("work up")
    nothing = tunnels.run("logs", "--since", "0s", expect=OK)
    assert (nothing.out, "nothing has happened since 0s" in nothing.words) == ("", True)
    wrong = tunnels.run("logs", "--since", "tea time", expect=USAGE)
    assert "hint" in wrong.err
    with tunnels.spawn("logs", "-f", "--since", "5m") as following:
        following.expect("work up")
        tunnels.down("work")
        following.expect("work stopped")


def test_hooks_run_when_it_comes_up_is_lost_and_is_taken_down(tunnels: Tunnels, site: Site) -> None:
    said = tunnels.home / "said"
    note = ["sh", "-c", f'echo "$TUNNELS_EVENT $TUNNELS_STATE $TUNNELS_ERROR_CODE" >> {said}']
    tunnels.write(work=profile(site, on_up=note, on_down=note))
    tunnels.up("work")
    outage(tunnels, site)
    tunnels.run("daemon", "stop", expect=OK)
    assert said.read_text().splitlines() == [
        "up up ",
        "down backoff connection-lost",
        "up up ",
        "down stopping ",
    ]
    assert "on_down ended with status 0" in tunnels.log


def test_new_hooks_are_in_force_after_reload_without_a_reconnect(tunnels: Tunnels, site: Site) -> None:
    keys = profile(site, on_down="touch old")
    tunnels.write(work=keys)
    tunnels.up("work")
    before = site.connections
    tunnels.write(work={**keys, "on_down": "touch new"})
    tunnels.run("reload", expect=OK)
    tunnels.down("work")
    eventually((tunnels.home / "new").exists, within=10, what="the new hook run")
    assert not (tunnels.home / "old").exists()
    assert site.connections == before


def test_a_hook_that_hangs_holds_up_neither_the_tunnel_nor_down(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work=profile(site, on_up="sleep 600", on_down="sleep 600"))
    tunnels.up("work")
    tunnels.down("work")
    tunnels.run("daemon", "stop", expect=OK)
    assert tunnels.processes() == []


def test_a_failure_is_said_to_its_hook_and_on_the_desktop(tunnels: Tunnels, site: Site) -> None:
    folder = tunnels.home / "bin"
    folder.mkdir()
    (folder / "notify-send").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tunnels.home}/desktop\n')
    (folder / "notify-send").chmod(0o755)
    tunnels.env |= {"PATH": f"{folder}:{os.environ.get('PATH', os.defpath)}", "DISPLAY": ":0"}
    failed = ["sh", "-c", "echo $TUNNELS_NAME $TUNNELS_ERROR_CODE > hook"]
    tunnels.write(work=profile(site, user="nobody-there", on_failed=failed))
    tunnels.up("work", expect=NOT_AS_ASKED)
    for file, text in (("hook", "work login-refused"), ("desktop", "work failed")):
        path = tunnels.home / file
        eventually(lambda p=path, t=text: p.exists() and t in p.read_text(), within=10, what=f"{text} said")  # type: ignore[misc]


def test_in_the_foreground_hooks_run_too(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work=profile(site, on_up="echo here", on_down="echo gone"))
    with tunnels.spawn("up", "-f", "work") as running:
        running.expect("on_up: here")
    assert "on_down: gone" in running.text
    assert not (tunnels.state / "history.jsonl").exists()
