"""``tunnels doctor``: whatever keeps a tunnel from working is named where it is, with the way to mend it."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bed.faults import ECHO, Laptop
from tests.e2e.bed.netns import SERVER_4
from tests.e2e.bed.ports import LOOPBACK, RefusingPort, free_port, in_use
from tests.e2e.bed.product import COMMAND, NEEDS_PERSON, NO_SUCH_PROFILE, NOT_AS_ASKED, OK, USAGE, Tunnels
from tests.e2e.bed.site import NOWHERE, Site
from tests.e2e.bed.sshd import Sshd, make_key

Start = Callable[..., Sshd]


def examine(tunnels: Tunnels, name: str = "work", *, expect: int = NOT_AS_ASKED) -> list[dict[str, Any]]:
    """Return the steps that ``doctor --json`` tells of a profile."""
    document = tunnels.run("doctor", name, "--json", expect=expect).json
    assert document["version"] == 1
    [profile] = document["profiles"]
    assert profile["name"] == name
    assert profile["ok"] is (expect == OK)
    return list(profile["steps"])


def step(steps: list[dict[str, Any]], name: str, *, about: str | None = None) -> dict[str, Any]:
    """Return the one step of this name; ``about`` is a part of its forward or host."""
    found = [
        each
        for each in steps
        if each["step"] == name and (about is None or about in (each["forward"] or each["host"] or ""))
    ]
    assert len(found) == 1, found
    return found[0]


def failure(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the one step that has failed."""
    failed = [each for each in steps if each["ok"] is False]
    assert len(failed) == 1, failed
    return failed[0]


def said(one: dict[str, Any]) -> str:
    """Return all that a step says."""
    error = one["error"] or {}
    return " ".join(map(str, (one["detail"], one["warning"], error.get("message"), error.get("hint"))))


# --- all is well ----------------------------------------------------------------------------------


def test_of_a_tunnel_that_would_work_every_step_is_good(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(
        work={
            **site.login(),
            "local": [f"{free_port()}:{site.far.echo}"],
            "remote": [f"{site.remote_port()}:{site.near.echo}"],
            "dynamic": [str(free_port())],
        }
    )
    steps = examine(tunnels, expect=OK)
    assert [each["step"] for each in steps if each["forward"] is None] == (
        ["profile", "way", "tcp", "banner", "kex", "host-key", "login"]
        if site.host == LOOPBACK
        else ["profile", "way", "name", "tcp", "banner", "kex", "host-key", "login"]
    )
    assert all(each["ok"] for each in steps)
    assert "SSH-2.0-OpenSSH" in step(steps, "banner")["detail"]
    assert f"{site.known_hosts}:" in step(steps, "host-key")["detail"]
    assert f"{site.identity} accepted" in step(steps, "login")["detail"]
    assert step(steps, "tcp")["ms"] > 0
    shown = tunnels.run("doctor", expect=OK)  # the only profile of the file
    assert "work: everything works" in shown.words


def test_it_logs_in_once_and_leaves_nothing_behind(tunnels: Tunnels, site: Site) -> None:
    port, there = free_port(), site.remote_port()
    socket_here = tunnels.home / "s"
    login = {**site.login(), "local": [f"{port}:{site.far.echo}", f"{socket_here}:{site.far.echo}"]}
    tunnels.write(work={**login, "remote": [f"{there}:{site.near.echo}"]})
    before = site.connections
    files = {path for path in tunnels.home.rglob("*") if ".cache" not in path.parts}
    examine(tunnels, expect=OK)
    assert site.connections - before == 1
    assert not in_use(port)
    assert {path for path in tunnels.home.rglob("*") if ".cache" not in path.parts} == files
    assert tunnels.status_json()["daemon"] is None
    assert site.talk(there, b"anybody?").data == b""


def test_what_the_running_tunnel_holds_is_not_in_its_way_and_stays_up(tunnels: Tunnels, site: Site) -> None:
    port, there = free_port(), site.remote_port()
    tunnels.write(
        work={
            **site.login(),
            "local": [f"{port}:{site.far.echo}"],
            "remote": [f"{there}:{site.near.echo}"],
        },
        other={**site.login(), "local": [f"{port}:{site.far.echo}"]},
    )
    tunnels.up("work")
    since = tunnels.tunnel("work")["since"]
    steps = examine(tunnels, expect=OK)
    for flag in ("-L", "-R"):
        assert "held by this very tunnel" in step(steps, "listen", about=flag)["detail"]
    taken = failure(examine(tunnels, "other"))
    assert (taken["step"], "`tunnels down work`" in said(taken)) == ("listen", True)
    assert tunnels.tunnel("work")["since"] == since
    assert site.talk(there, b"still here").data == b"still here"


def test_every_hop_has_its_own_steps_and_what_follows_a_failure_is_not_tried(
    tunnels: Tunnels, site: Site
) -> None:
    config = tunnels.home / "ssh_config"
    config.write_text(
        f"Host gate\n  HostName {site.host}\n  Port {site.port}\n"
        f"Host inner\n  HostName {site.inner.host}\n  Port {site.inner.port}\n  ProxyJump gate\n"
        f"Host dead\n  HostName {site.far.refusing.host}\n  Port {site.far.refusing.port}\n  ProxyJump gate\n"
        f"Host *\n  User {site.user}\n  IdentityFile {site.identity}\n"
        f"  UserKnownHostsFile {site.known_hosts}\n  StrictHostKeyChecking yes\n"
    )
    common = {"ssh_config": str(config), "local": [f"{free_port()}:{site.far.echo}"]}
    tunnels.write(work={"host": "inner", **common}, broken={"host": "dead", **common})
    steps = examine(tunnels, expect=OK)
    assert [each["ok"] for each in steps if each["step"] == "login"] == [True, True]
    steps = examine(tunnels, "broken")
    refused = failure(steps)
    assert (refused["step"], f":{site.far.refusing.port}" in refused["host"]) == ("tcp", True)
    assert "refused the connection from jump host" in said(refused)
    after = steps[steps.index(refused) + 1 :]
    assert [(each["step"], each["ok"]) for each in after] == [
        *(("banner", None), ("kex", None), ("host-key", None), ("login", None)),
        *(("listen", True), ("connect", None)),
    ]


# --- the way to the server ------------------------------------------------------------------------


@contextlib.contextmanager
def pretender(says: bytes) -> Iterator[int]:
    """Have a server that says something to everybody, hangs up, and speaks no SSH. Gives its port."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    with client:
                        client.recv(256)  # what SSH clients say first
                        client.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield int(server.getsockname()[1])
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", ["web server", "with a browser"], id="web"),
        pytest.param(b"", ["hangs up before it says anything", "fail2ban"], id="hangs-up"),
        pytest.param(b"Exceeded MaxStartups\r\n", ["too many logins going on"], id="MaxStartups"),
        pytest.param(b"Not allowed at this time\r\n", ["PerSourcePenalties"], id="penalty"),
        pytest.param(b"220 ftp.example.com\r\n", ["no SSH server", "“220 ftp.example.com”"], id="ftp"),
    ],
)
def test_what_is_no_ssh_server_is_recognised_by_what_it_says(
    tunnels: Tunnels, site: Site, says: bytes, words: list[str]
) -> None:
    with pretender(says) as port:
        login = {**site.login(), "host": LOOPBACK, "port": port}
        tunnels.write(work={**login, "local": [f"{free_port()}:localhost:1"]})
        wrong = failure(examine(tunnels))
    assert wrong["step"] == "banner"
    assert [word for word in words if word not in said(wrong)] == []


def test_a_refused_connection_and_an_unknown_name_end_at_their_own_steps(
    tunnels: Tunnels, site: Site
) -> None:
    with RefusingPort() as nobody:
        local = {"local": [f"{free_port()}:localhost:1"]}
        tunnels.write(
            work={**site.login(), "host": LOOPBACK, "port": nobody.port, **local},
            lost={**site.login(), "host": NOWHERE, **local},
        )
        assert failure(examine(tunnels))["step"] == "tcp"
        assert failure(examine(tunnels, "lost"))["step"] == "name"


@pytest.mark.loopback_site
def test_where_no_algorithm_is_common_the_hint_mends_it(
    start_sshd: Start, tunnels: Tunnels, site: Site
) -> None:
    login = start_sshd("Ciphers aes256-cbc").login()
    local = {"local": [f"{free_port()}:{site.far.echo}"]}
    tunnels.write(work={**login, **local})
    wrong = failure(examine(tunnels))
    assert wrong["step"] == "kex"
    assert '`ciphers = "aes256-cbc"`' in said(wrong)
    tunnels.write(work={**login, **local, "ciphers": "aes256-cbc"})
    assert "weak" in step(examine(tunnels, expect=OK), "kex")["warning"]


# --- host key and login ---------------------------------------------------------------------------


@pytest.mark.loopback_site
def test_a_changed_host_key_is_told_with_both_fingerprints(start_sshd: Start, tunnels: Tunnels) -> None:
    sshd = start_sshd()
    old = sshd.fingerprint
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    tunnels.write(work={**sshd.login(), "local": [f"{free_port()}:localhost:1"]})
    wrong = failure(examine(tunnels))
    assert wrong["step"] == "host-key"
    assert all(word in said(wrong) for word in (old, sshd.fingerprint, "ssh-keygen -R"))


def test_an_unknown_host_key_needs_an_answer_and_there_is_nobody(tunnels: Tunnels, site: Site) -> None:
    known_hosts = tunnels.home / "known_hosts"
    login = {**site.login(), "known_hosts": str(known_hosts), "host_key_policy": "ask"}
    tunnels.write(work={**login, "local": [f"{free_port()}:{site.far.echo}"]})
    wrong = failure(examine(tunnels, expect=NEEDS_PERSON))
    assert (wrong["step"], wrong["error"]["code"]) == ("host-key", "needs-input")
    assert "tunnels up work" in wrong["error"]["hint"]
    assert not known_hosts.exists()


def test_on_a_terminal_the_host_key_is_asked_about_once_and_a_yes_is_written_down(
    tunnels: Tunnels, site: Site
) -> None:
    known_hosts = tunnels.home / "known_hosts"
    login = {**site.login(), "known_hosts": str(known_hosts), "host_key_policy": "ask"}
    tunnels.write(work={**login, "local": [f"{free_port()}:{site.far.echo}"]})
    with tunnels.terminal("doctor", columns=80) as terminal:
        terminal.expect(r"yes/no/fingerprint")
        terminal.send("yes")
        terminal.expect("everything works")
        assert terminal.wait() == OK
    assert terminal.text.count("answered on port") == 1
    assert known_hosts.read_text().count("ssh-ed25519") == 1


def test_accept_new_is_taken_for_this_run_and_not_written_down(tunnels: Tunnels, site: Site) -> None:
    known_hosts = tunnels.home / "known_hosts"
    login = {**site.login(), "known_hosts": str(known_hosts), "host_key_policy": "accept-new"}
    tunnels.write(work={**login, "local": [f"{free_port()}:{site.far.echo}"]})
    assert "not on file yet" in step(examine(tunnels, expect=OK), "host-key")["warning"]
    assert not known_hosts.exists()


def test_a_refused_login_says_what_the_server_takes_and_what_became_of_each_key(
    tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        make_key(tmp_path / name)
    keys = [str(tmp_path / name) for name in ("one", "two")]
    tunnels.write(work={**site.login(), "identity_file": keys, "local": [f"{free_port()}:localhost:1"]})
    before = site.connections
    wrong = failure(examine(tunnels))
    assert (wrong["step"], wrong["error"]["code"]) == ("login", "login-refused")
    assert f"takes publickey; {keys[0]} refused; {keys[1]} refused" in wrong["detail"]
    assert "right user" in wrong["error"]["hint"]
    assert site.connections - before == 1


def test_a_key_that_others_may_read_is_named_with_what_mends_it(
    tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    key = tmp_path / "open"
    make_key(key)
    key.chmod(0o644)
    tunnels.write(work={**site.login(), "identity_file": str(key), "local": [f"{free_port()}:localhost:1"]})
    assert f"chmod 600 {key}" in said(failure(examine(tunnels)))


@pytest.mark.loopback_site
def test_an_expired_certificate_is_seen(start_sshd: Start, tunnels: Tunnels, tmp_path: Path) -> None:
    for name in ("ca", "user"):
        make_key(tmp_path / name)
    subprocess.run(
        ["ssh-keygen", "-q", "-s", "ca", "-I", "me", "-n", "root", "-V", "-2h:-1h", "user.pub"],
        cwd=tmp_path,
        check=True,
    )
    sshd = start_sshd(f"TrustedUserCAKeys {tmp_path / 'ca.pub'}")
    login = {**sshd.login(), "identity_file": str(tmp_path / "user")}
    tunnels.write(work={**login, "local": [f"{free_port()}:localhost:1"]})
    assert "certificate, expired on" in said(failure(examine(tunnels)))


@pytest.mark.loopback_site
def test_too_many_keys_are_told_apart_from_wrong_ones(
    start_sshd: Start, tunnels: Tunnels, tmp_path: Path
) -> None:
    sshd = start_sshd("MaxAuthTries 2")
    for name in "abc":
        make_key(tmp_path / name)
    keys = [*(str(tmp_path / name) for name in "abc"), str(sshd.identity)]
    tunnels.write(work={**sshd.login(), "identity_file": keys, "local": [f"{free_port()}:localhost:1"]})
    assert "MaxAuthTries" in said(failure(examine(tunnels)))


# --- forwards -------------------------------------------------------------------------------------


def test_a_destination_is_tried_from_the_server_and_its_siblings_go_on(tunnels: Tunnels, site: Site) -> None:
    good, refused, unknown = free_port(), free_port(), free_port()
    destinations = {good: site.far.echo, refused: site.far.refusing, unknown: f"{NOWHERE}:80"}
    tunnels.write(work={**site.login(), "local": [f"{port}:{where}" for port, where in destinations.items()]})
    steps = examine(tunnels)
    assert step(steps, "connect", about=f"-L {good}")["ok"]
    assert "nobody listens there, as seen from the server" in said(
        step(steps, "connect", about=f"-L {refused}")
    )
    assert "looked up on the server" in said(step(steps, "connect", about=f"-L {unknown}"))


def test_a_port_that_a_program_holds_is_told_with_its_name(tunnels: Tunnels, site: Site) -> None:
    with socket.create_server((LOOPBACK, 0)) as stranger:
        port = stranger.getsockname()[1]
        tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"], "dynamic": [str(port + 1)]})
        wrong = step(examine(tunnels), "listen", about=f"-L {port}")
    assert f"port {port} is in use by" in said(wrong)
    assert "kill" in said(wrong)


@pytest.mark.loopback_site
@pytest.mark.parametrize(
    ("line", "failed"),
    [
        (
            "AllowTcpForwarding no",
            {"-L": "AllowTcpForwarding", "-R": "AllowTcpForwarding", "-D": "PermitOpen"},
        ),
        ("AllowTcpForwarding local", {"-R": "AllowTcpForwarding"}),
        ("AllowTcpForwarding remote", {"-L": "AllowTcpForwarding", "-D": "AllowTcpForwarding"}),
        ("PermitOpen none", {"-L": "PermitOpen", "-D": "PermitOpen"}),
        ("PermitListen 4711", {"-R": "PermitListen"}),
    ],
)
def test_what_the_server_does_not_allow_is_named_with_its_line(
    start_sshd: Start, tunnels: Tunnels, site: Site, line: str, failed: dict[str, str]
) -> None:
    sshd = start_sshd(line)
    tunnels.write(
        work={
            **sshd.login(),
            "local": [f"{free_port()}:{site.far.echo}"],
            "remote": [f"{free_port()}:{site.near.echo}"],
            "dynamic": [str(free_port())],
        }
    )
    wrong = {each["forward"][:2]: said(each) for each in examine(tunnels) if each["ok"] is False}
    assert wrong.keys() == failed.keys()
    assert [flag for flag, word in failed.items() if word not in wrong[flag]] == []


@pytest.mark.loopback_site
def test_a_taken_port_on_the_server_is_told_apart_from_a_forbidden_one(
    start_sshd: Start, tunnels: Tunnels, site: Site
) -> None:
    sshd = start_sshd()
    with socket.create_server((LOOPBACK, 0)) as stranger:
        port = stranger.getsockname()[1]
        # an address, because sshd takes what it gets of "localhost", which is two
        tunnels.write(work={**sshd.login(), "remote": [f"{LOOPBACK}:{port}:{site.near.echo}"]})
        wrong = said(step(examine(tunnels), "listen"))
        assert f"port {port} is in use on the server" in wrong
        tunnels.write(work={**sshd.login(), "remote": [f"{port}:{site.near.echo}"]})
        half = step(examine(tunnels, expect=OK), "listen")
        assert "another program on the server has port" in half["warning"]


def test_the_destination_of_a_remote_forward_is_tried_from_here(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work={**site.login(), "remote": [f"{site.remote_port()}:{site.near.refusing}"]})
    wrong = failure(examine(tunnels))
    assert wrong["step"] == "connect"
    assert "as seen from this machine" in said(wrong)


# --- a network ------------------------------------------------------------------------------------


def test_gateway_ports_are_looked_at_from_outside(
    laptop_of: Callable[..., Laptop],
) -> None:
    laptop = laptop_of("GatewayPorts no")
    product = Tunnels(laptop.client.inside)
    try:
        product.write(work={**laptop.login(), "remote": [f"*:4711:{ECHO}"]})
        steps = product.run("doctor", "--json").json["profiles"][0]["steps"]
    finally:
        product.close()
    assert "GatewayPorts clientspecified" in step(steps, "listen")["warning"]


def test_a_filtered_server_is_bounded_in_time_and_its_private_address_is_pointed_out(
    laptop: Laptop, travelling: Tunnels
) -> None:
    login = {**laptop.login(), "connect_timeout": "2s"}
    travelling.write(work={**login, "local": [f"4711:{SERVER_4}:22"]})
    with laptop.black_hole():
        wrong = failure(examine(travelling))
        assert wrong["step"] == "tcp"
        assert "private network" in said(wrong)
        assert 1500 < wrong["ms"] < 8000


def test_where_no_address_of_a_name_answers_each_has_its_reason(laptop: Laptop, travelling: Tunnels) -> None:
    laptop.client.know({"server.test": "10.77.9.77", "server.test other.test": SERVER_4})  # it has both
    login = {**laptop.login(host="server.test"), "port": 2222, "connect_timeout": "2s"}
    travelling.write(work={**login, "local": [f"4711:{ECHO}"]})
    wrong = failure(examine(travelling))
    assert wrong["step"] == "tcp"
    assert f"{SERVER_4} refuses the connection" in said(wrong)
    assert "10.77.9.77 " in said(wrong)


# --- the command ----------------------------------------------------------------------------------


def test_ctrl_c_ends_it_with_130_at_once(tunnels: Tunnels, site: Site) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        login = {**site.login(), "host": LOOPBACK, "port": silent.getsockname()[1]}
        tunnels.write(work={**login, "local": [f"{free_port()}:localhost:1"]})
        with tunnels.terminal("doctor", "work") as terminal:
            terminal.expect("waiting for its banner")
            terminal.interrupt()
            assert terminal.wait(within=5) == 130
            assert terminal.raw.rfind("\x1b[?25h") > terminal.raw.rfind("\x1b[?25l"), "the cursor is back"


def test_with_several_profiles_one_must_be_named_or_all(tunnels: Tunnels, site: Site) -> None:
    login = {**site.login(), "local": [f"{free_port()}:{site.far.echo}"]}
    tunnels.write(one=login, two={**site.login(), "dynamic": [str(free_port())]})
    assert "which profile" in tunnels.run("doctor", expect=USAGE).words
    tunnels.run("doctor", "three", expect=NO_SUCH_PROFILE)
    shown = tunnels.run("doctor", "--all", expect=OK).words
    assert "one: everything works" in shown
    assert "two: everything works" in shown


def test_a_pipe_that_is_closed_early_is_no_error(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work={**site.login(), "local": [f"{free_port()}:{site.far.echo}"]})
    command = f"{shlex.join([*COMMAND, 'doctor', 'work'])} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], env=tunnels.env, cwd=tunnels.home, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("work\n", "")
