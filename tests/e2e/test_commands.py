"""What each command promises: exit codes, what is printed, and what is there when it returns."""

from __future__ import annotations

import json
import signal
import stat
from datetime import datetime

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port, in_use
from tests.e2e.bed.product import (
    NO_SUCH_PROFILE,
    NOT_AS_ASKED,
    NOT_RUNNING,
    OK,
    USAGE,
    Tunnels,
)
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually


@pytest.fixture
def port(tunnels: Tunnels, site: Site) -> int:
    """Have a profile ``work`` with one local forward; nothing is started."""
    port = free_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
    return port


@pytest.fixture(scope="module")
def running(standing: Tunnels, _site: Site) -> Tunnels:
    """Have a tunnel ``work`` that is up, for those who do not touch it."""
    standing.write(work={**_site.login(), "local": [f"{free_port()}:{_site.far.echo}"]})
    standing.up("work")
    return standing


# --- up and down ----------------------------------------------------------------------------------


def test_up_prints_a_line_for_each_forward_and_the_port_works_when_it_returns(
    tunnels: Tunnels, site: Site
) -> None:
    local, proxy, remote = free_port(), free_port(), site.remote_port()
    tunnels.write(
        work={
            **site.login(),
            "local": [f"{local}:{site.far.echo}"],
            "remote": [f"127.0.0.1:{remote}:{site.near.echo}"],
            "dynamic": [str(proxy)],
        }
    )
    result = tunnels.up("work")
    for words in ([str(local), str(site.far.echo)], [str(remote), str(site.near.echo)], [str(proxy)]):
        assert any(all(word in line for word in words) for line in result.out.splitlines()), str(result)
    traffic.check_echo(dialing(local), 1000)


def test_up_of_a_tunnel_that_is_up_is_a_success_and_changes_nothing(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    before = tunnels.tunnel("work")
    tunnels.up("work")
    after = tunnels.tunnel("work")
    assert (after["since"], after["reconnects"]) == (before["since"], before["reconnects"])


def test_the_port_is_free_when_down_returns(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    with dialing(port)() as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        tunnels.down("work")
        assert not in_use(port)
    assert tunnels.run("status", "work").code == NOT_RUNNING
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)


def test_tunnels_are_chosen_by_glob_tag_and_all(tunnels: Tunnels, site: Site) -> None:
    ports = {name: free_port() for name in ("db-one", "db-two", "web")}
    tags = {"db-one": ["work"], "db-two": [], "web": ["work"]}
    tunnels.write(
        **{
            name: {**site.login(), "tags": tags[name], "local": [f"{port}:{site.far.echo}"]}
            for name, port in ports.items()
        }
    )

    def running() -> set[str]:
        return {tunnel["name"] for tunnel in tunnels.status_json()["tunnels"] if tunnel["state"] == "up"}

    tunnels.up("db-*")
    assert running() == {"db-one", "db-two"}
    tunnels.run("down", "db-*", expect=OK)
    assert running() == set()
    tunnels.run("up", "--tag", "work", expect=OK)
    assert running() == {"db-one", "web"}
    tunnels.run("up", "--all", expect=OK)
    assert running() == {"db-one", "db-two", "web"}
    tunnels.run("down", "--tag", "work", expect=OK)
    assert running() == {"db-two"}
    tunnels.run("down", "--all", expect=OK)
    assert running() == set()
    assert not any(map(in_use, ports.values()))


def test_a_tunnel_outlives_the_terminal_it_was_started_from(port: int, tunnels: Tunnels) -> None:
    with tunnels.terminal("up", "work") as terminal:
        assert terminal.wait() == OK
        assert str(port) in terminal.text
    traffic.check_echo(dialing(port), 1000)
    assert tunnels.tunnel("work")["state"] == "up"


def test_five_ups_at_the_same_moment_start_one_daemon(port: int, tunnels: Tunnels) -> None:
    running = [tunnels.spawn("up", "work") for _ in range(5)]
    codes = [(each.wait(within=30), each.text) for each in running]
    assert [code for code, _ in codes] == [OK] * 5, codes
    assert len(tunnels.daemon_pids()) == 1
    traffic.check_echo(dialing(port), 1000)


def test_restart_makes_a_new_connection(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    with dialing(port)() as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        tunnels.run("restart", "work", expect=OK)
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    traffic.check_echo(dialing(port), 1000)
    assert tunnels.tunnel("work")["state"] == "up"


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["frobnicate"], ["up"], ["up", "--frobnicate", "work"], ["down"]])
def test_a_bad_command_line_is_exit_code_2(command: list[str], port: int, tunnels: Tunnels) -> None:
    result = tunnels.run(*command, expect=USAGE)
    assert result.out == ""
    assert tunnels.processes() == []


@pytest.mark.parametrize("command", ["up", "down", "restart", "status", "logs", "check"])
def test_a_profile_that_does_not_exist_is_exit_code_4_with_the_close_names(
    command: str, running: Tunnels
) -> None:
    result = running.run(command, "wrok", expect=NO_SUCH_PROFILE)
    assert result.out == ""
    assert "wrok" in result.err
    assert "work" in result.err.replace("wrok", "")
    assert running.tunnel("work")["state"] == "up"


def test_status_of_a_tunnel_that_is_not_up_is_exit_code_3(port: int, tunnels: Tunnels) -> None:
    tunnels.run("status", "work", expect=NOT_RUNNING)
    tunnels.up("work")
    tunnels.run("status", "work", expect=OK)
    tunnels.down("work")
    tunnels.run("status", "work", expect=NOT_RUNNING)


def test_commands_that_need_the_daemon_do_not_start_one(port: int, tunnels: Tunnels) -> None:
    tunnels.run("daemon", "status", expect=NOT_RUNNING)
    tunnels.run("reload", expect=NOT_RUNNING)
    tunnels.run("status", "--json")
    tunnels.run("list", expect=OK)
    assert tunnels.processes() == []


# --- status ---------------------------------------------------------------------------------------


def test_status_as_json_has_the_shape_of_the_contract(tunnels: Tunnels, site: Site) -> None:
    local, proxy, remote = free_port(), free_port(), site.remote_port()
    tunnels.write(
        work={
            **site.login(),
            "local": [{"name": "echo", "listen": f"127.0.0.1:{local}", "connect": str(site.far.echo)}],
            "remote": [f"127.0.0.1:{remote}:{site.near.echo}"],
            "dynamic": [str(proxy)],
        }
    )
    tunnels.up("work")
    tunnels.wait_tunnel("work", lambda it: it["rtt_ms"] is not None, what="a keepalive answered")
    status = tunnels.status_json()
    assert status["version"] == 1
    assert shape(status["daemon"]) == {
        "pid": int,
        "version": str,
        "started_at": str,
        "config": str,
        "config_error": type(None),
    }
    assert status["daemon"]["pid"] == tunnels.daemon_pid()
    assert status["daemon"]["config"] == str(tunnels.profiles)
    datetime.strptime(status["daemon"]["started_at"], "%Y-%m-%dT%H:%M:%S%z")
    (tunnel,) = status["tunnels"]
    wanted = {
        "name": str,
        "host": str,
        "state": str,
        "since": str,
        "attempt": int,
        "retry_at": type(None),
        "error": type(None),
        "rtt_ms": float,
        "reconnects": int,
        "cipher": str,
        "forwards": list,
    }
    assert {key: shape(tunnel).get(key) for key in wanted} == wanted
    assert (tunnel["name"], tunnel["state"], tunnel["reconnects"]) == ("work", "up", 0)
    assert tunnel["since"].endswith("Z")
    assert {**tunnels.tunnel("work"), "rtt_ms": None} == {**tunnel, "rtt_ms": None}, "all other tests ask so"
    forwards = {forward["kind"]: forward for forward in tunnel["forwards"]}
    assert set(forwards) == {"local", "remote", "dynamic"}
    for forward in forwards.values():
        assert forward["state"] == "listening"
        assert forward["error"] is None
        for counter in ("clients", "clients_total", "held", "bytes_in", "bytes_out"):
            assert forward[counter] == 0
    assert (forwards["local"]["name"], forwards["local"]["connect"]) == ("echo", str(site.far.echo))
    assert forwards["local"]["listen"] == f"127.0.0.1:{local}"
    assert forwards["remote"]["name"] is None
    assert forwards["remote"]["listen"] == f"127.0.0.1:{remote}"
    assert forwards["dynamic"]["connect"] is None
    assert forwards["dynamic"]["listen"] == f"localhost:{proxy}"


def shape(document: dict[str, object]) -> dict[str, type]:
    return {key: type(value) for key, value in document.items()}


@pytest.mark.parametrize("arguments", [["status", "wrok", "--json"], ["status", "work", "--json"]])
def test_status_as_json_is_one_document_also_when_something_is_wrong(
    arguments: list[str], port: int, tunnels: Tunnels
) -> None:
    result = tunnels.run(*arguments)
    assert result.code in {NOT_RUNNING, NO_SUCH_PROFILE}
    assert isinstance(json.loads(result.out), dict)


def test_status_without_a_terminal_has_no_colours(port: int, tunnels: Tunnels) -> None:
    up = tunnels.up("work")
    status = tunnels.run("status", expect=OK)
    assert "\x1b" not in up.text + status.text
    assert "work" in status.out
    assert str(port) in status.out


def test_status_on_a_terminal_honours_no_color(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    tunnels.env["NO_COLOR"] = "1"
    with tunnels.terminal("status") as terminal:
        assert terminal.wait() == OK
        assert "\x1b[3" not in terminal.raw
        assert "work" in terminal.text


def test_watching_the_status_shows_a_change_and_ends_with_ctrl_c(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    with tunnels.terminal("status", "--watch") as terminal:
        terminal.expect("work")
        tunnels.down("work")
        terminal.expect("stopped|not running|no tunnel|nothing")
        terminal.interrupt()
        assert terminal.wait() in {OK, 130}


def test_status_does_not_import_asyncssh(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    result = tunnels.run("status", expect=OK, env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.rpartition("|")[2].strip() for line in result.err.splitlines() if "|" in line}
    assert "tunnels" in imported
    heavy = {"asyncssh", "cryptography", "pydantic", "uvloop"}
    assert heavy & {name.split(".")[0] for name in imported} == set()


# --- reload ---------------------------------------------------------------------------------------


def test_reload_touches_only_tunnels_whose_meaning_changed(tunnels: Tunnels, site: Site) -> None:
    kept, old, new = free_port(), free_port(), free_port()
    keep = {**site.login(), "local": [f"{kept}:{site.far.echo}"]}
    tunnels.write(keep=keep, change={**site.login(), "local": [f"{old}:{site.far.echo}"]})
    tunnels.up("keep", "change")
    before = tunnels.tunnel("keep")
    with dialing(kept)() as client:
        client.sendall(b"before")
        assert client.recv(10) == b"before"
        tunnels.write(
            keep={**keep, "description": "says something now"},
            change={**site.login(), "local": [f"{new}:{site.far.echo}"]},
        )
        tunnels.run("reload", expect=OK)
        client.sendall(b"after")
        assert client.recv(10) == b"after"
    traffic.check_echo(dialing(new), 1000)
    eventually(lambda: not in_use(old), within=5, what="the old port free")
    after = tunnels.tunnel("keep")
    assert (after["since"], after["reconnects"]) == (before["since"], 0)


def test_reload_stops_a_tunnel_whose_profile_is_gone(tunnels: Tunnels, site: Site) -> None:
    kept, gone = free_port(), free_port()
    keep = {**site.login(), "local": [f"{kept}:{site.far.echo}"]}
    tunnels.write(keep=keep, gone={**site.login(), "local": [f"{gone}:{site.far.echo}"]})
    tunnels.up("keep", "gone")
    tunnels.write(keep=keep)
    tunnels.run("reload", expect=OK)
    eventually(lambda: not in_use(gone), within=5, what="the port of the removed profile free")
    assert tunnels.tunnel("keep")["state"] == "up"


def test_a_bad_edit_leaves_running_tunnels_alone_and_status_says_so(
    port: int, tunnels: Tunnels, site: Site
) -> None:
    tunnels.up("work")
    good = tunnels.profiles.read_text()
    with dialing(port)() as client:
        client.sendall(b"before")
        assert client.recv(10) == b"before"
        tunnels.write_profiles(good + 'hosst = "typo"\n')
        refused = tunnels.run("reload", expect=USAGE)
        assert "hosst" in refused.err
        status = tunnels.status_json()
        assert "hosst" in status["daemon"]["config_error"]
        assert status["tunnels"][0]["state"] == "up"
        assert "hosst" in tunnels.run("status", expect=OK).words
        client.sendall(b"after")
        assert client.recv(10) == b"after"
    tunnels.write_profiles(good)
    tunnels.run("reload", expect=OK)
    assert tunnels.status_json()["daemon"]["config_error"] is None


# --- the daemon -----------------------------------------------------------------------------------


def test_after_the_daemon_was_killed_status_brings_the_tunnels_back(
    port: int, tunnels: Tunnels, site: Site
) -> None:
    other = free_port()
    tunnels.write(
        work={**site.login(), "local": [f"{port}:{site.far.echo}"]},
        down={**site.login(), "local": [f"{other}:{site.far.echo}"]},
    )
    tunnels.up("work", "down")
    tunnels.down("down")
    first = tunnels.daemon_pid()
    tunnels.kill_daemon()
    eventually(lambda: not in_use(port), within=5, what="the port of a killed daemon free")
    tunnels.run("status", timeout=15)
    tunnels.wait_state("work", "up")
    assert tunnels.daemon_pid() != first
    traffic.check_echo(dialing(port), 1000)
    assert not in_use(other), "a tunnel that was taken down has come back"


def test_after_the_daemon_was_killed_up_works_at_once(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    tunnels.kill_daemon()
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)


def test_the_daemon_can_be_asked_for_and_stopped(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    assert str(tunnels.daemon_pid()) in tunnels.run("daemon", "status", expect=OK).out
    tunnels.run("daemon", "stop", expect=OK)
    assert tunnels.processes() == []
    assert not in_use(port)
    tunnels.run("daemon", "status", expect=NOT_RUNNING)


def test_the_daemon_runs_in_the_foreground_and_ends_cleanly(port: int, tunnels: Tunnels) -> None:
    with tunnels.spawn("daemon", "run") as daemon:
        eventually(
            lambda: tunnels.run("daemon", "status").code == OK, within=15, what="a daemon that answers"
        )
        tunnels.up("work")
        assert tunnels.daemon_pids() == [daemon.pid]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == OK
    assert not in_use(port)


def test_nobody_else_can_read_what_the_product_keeps(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    found = 0
    for folder in (tunnels.runtime, tunnels.state):
        for path in [folder, *folder.rglob("*")]:
            mode = path.lstat().st_mode
            assert stat.S_IMODE(mode) & 0o077 == 0, f"{path} has mode {stat.S_IMODE(mode):o}"
            found += stat.S_ISSOCK(mode)
    assert found == 1


# --- logs -----------------------------------------------------------------------------------------


def test_logs_show_what_happened_to_a_tunnel(port: int, tunnels: Tunnels, site: Site) -> None:
    tunnels.up("work")
    tunnels.down("work")
    lines = tunnels.run("logs", "work", expect=OK).out.splitlines()
    assert len(lines) >= 2
    assert all("work" in line for line in lines)
    assert tunnels.run("logs", "work", "-n", "1", expect=OK).out.splitlines() == lines[-1:]


def test_logs_of_one_tunnel_leave_out_the_others(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(
        first={**site.login(), "local": [f"{free_port()}:{site.far.echo}"]},
        second={**site.login(), "local": [f"{free_port()}:{site.far.echo}"]},
    )
    tunnels.up("first", "second")
    assert "first" not in tunnels.run("logs", "second", expect=OK).out
    everything = tunnels.run("logs", expect=OK).out
    assert "first" in everything
    assert "second" in everything


def test_logs_can_be_followed(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    with tunnels.spawn("logs", "-f", "work") as logs:
        logs.expect("work")
        seen = len(logs.text)
        tunnels.down("work")
        eventually(lambda: len(logs.text) > seen, within=10, what="a new line")
        logs.signal(signal.SIGINT)
        assert logs.wait() in {OK, 130}
    assert "Traceback" not in logs.text


# --- in the foreground ----------------------------------------------------------------------------


def test_up_in_the_foreground_needs_no_daemon_and_ends_cleanly_on_sigterm(
    port: int, tunnels: Tunnels
) -> None:
    with tunnels.spawn("up", "-f", "work") as foreground:
        eventually(lambda: in_use(port), within=15, what="the port bound")
        traffic.check_echo(dialing(port), 1000)
        assert [process.pid for process in tunnels.processes()] == [foreground.pid]
        foreground.expect("work")
        foreground.signal(signal.SIGTERM)
        assert foreground.wait() == OK
    assert "Traceback" not in foreground.text
    assert not in_use(port)


def test_the_ready_file_of_the_foreground_is_there_exactly_while_the_tunnel_is_up(
    port: int, tunnels: Tunnels, site: Site
) -> None:
    ready = tunnels.home / "ready"
    ready.write_text("ready\n")
    with tunnels.spawn("up", "-f", "work", "--ready-file", str(ready)) as foreground:
        foreground.expect("connecting")
        eventually(ready.exists, within=15, what="the ready file")
        traffic.check_echo(dialing(port), 1000)
        site.stop()
        eventually(lambda: not ready.exists(), within=15, what="no ready file")
        site.start()
        eventually(ready.exists, within=15, what="the ready file again")
        foreground.signal(signal.SIGTERM)
        assert foreground.wait() == OK
    assert not ready.exists()


def test_the_foreground_ends_with_1_when_nothing_is_left_that_could_come_up(
    tunnels: Tunnels, site: Site
) -> None:
    missing = {**site.login(), "identity_file": str(tunnels.home / "no-such-key")}
    tunnels.write(work={**missing, "local": [f"{free_port()}:{site.far.echo}"]})
    result = tunnels.run("up", "-f", "work", expect=NOT_AS_ASKED)
    assert "no-such-key" in result.words


def test_up_in_the_foreground_reloads_on_sighup(port: int, tunnels: Tunnels, site: Site) -> None:
    new = free_port()
    with tunnels.spawn("up", "-f", "work") as foreground:
        eventually(lambda: in_use(port), within=15, what="the port bound")
        traffic.check_echo(dialing(port), 1000)
        tunnels.write(work={**site.login(), "local": [f"{new}:{site.far.echo}"]})
        foreground.signal(signal.SIGHUP)
        eventually(lambda: in_use(new), within=15, what="the new port bound")
        traffic.check_echo(dialing(new), 1000)
        foreground.signal(signal.SIGTERM)
        assert foreground.wait() == OK


def test_ctrl_c_ends_the_foreground(port: int, tunnels: Tunnels) -> None:
    with tunnels.terminal("up", "-f", "work") as terminal:
        eventually(lambda: in_use(port), within=15, what="the port bound")
        terminal.interrupt()
        assert terminal.wait() in {OK, 130}
    assert not in_use(port)


def test_ctrl_c_ends_a_waiting_up_with_exit_code_130(port: int, tunnels: Tunnels, site: Site) -> None:
    site.stop()
    with tunnels.terminal("up", "work") as terminal:
        eventually(lambda: in_use(port), within=15, what="the port bound")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text


# --- the demo -------------------------------------------------------------------------------------


def test_the_demo_works_without_ssh_and_profiles_and_leaves_nothing_running(tunnels: Tunnels) -> None:
    nothing = tunnels.home / "nothing"
    nothing.mkdir()
    result = tunnels.run("demo", expect=OK, timeout=20, env={"PATH": str(nothing)})
    assert result.out
    assert tunnels.processes() == []
    assert not tunnels.profiles.exists()
