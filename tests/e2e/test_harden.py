"""``tunnels harden``: the line that it prints lets its tunnel work, and nothing else, as a real sshd sees it."""

from __future__ import annotations

import shlex
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bed import clients
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NOT_AS_ASKED, OK, USAGE, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd, find_sshd

Start = Callable[..., Sshd]

pytestmark = [pytest.mark.loopback_site, pytest.mark.long]


def servers(tunnels: Tunnels, *arguments: str) -> list[dict[str, Any]]:
    """Return what is to be written on each server on the way."""
    document = tunnels.run("harden", "work", "--json", *arguments, expect=OK).json
    assert document["version"] == 1
    return list(document["servers"])


def target(tunnels: Tunnels, *arguments: str) -> dict[str, Any]:
    """Return the last of them."""
    return servers(tunnels, *arguments)[-1]


def install(sshd: Sshd, *lines: str) -> None:
    """Have these lines as the whole of authorized_keys."""
    (sshd.folder / "authorized_keys").write_text("".join(f"{line}\n" for line in lines))


def verdicts(tunnels: Tunnels, *, expect: int) -> dict[str, bool]:
    """Return what ``--test`` finds, by the names of its steps; a name is good if all steps of it are."""
    [profile] = tunnels.run("harden", "work", "--test", "--json", expect=expect).json["profiles"]
    found: dict[str, bool] = {}
    for step in profile["steps"]:
        found[step["step"]] = found.get(step["step"], True) and step["ok"] is True
    return found


def failed(tunnels: Tunnels) -> set[str]:
    """Return the steps of ``--test`` that find something wrong."""
    return {name for name, ok in verdicts(tunnels, expect=NOT_AS_ASKED).items() if not ok}


# --- the line ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bind", ["", "localhost:", "127.0.0.1:", "*:", "[::1]:"])
def test_with_the_printed_line_every_kind_of_listener_works_and_the_rest_is_refused(
    bind: str, tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    sshd = start_sshd("AllowStreamLocalForwarding no")
    there = free_port()
    tunnels.write(
        work={
            **sshd.login(),
            "local": [f"{free_port()}:{site.far.echo}", f"{free_port()}:localhost:{site.far.web.port}"],
            "remote": [f"{bind}{there}:{site.near.echo}"],
        }
    )
    install(sshd, target(tunnels)["authorized_keys"])
    found = verdicts(tunnels, expect=OK)
    assert {"command", "shell", "terminal", "other-connect", "other-listen", "sockets"} <= set(found)
    assert all(found.values())
    tunnels.up("work")
    here = tunnels.forward("work")["listen"].rpartition(":")[2]
    assert clients.talk("127.0.0.1", int(here), b"hello").data == b"hello"


def test_the_line_is_what_plain_ssh_is_held_to_as_well(
    tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    sshd = start_sshd()
    tunnels.write(work={**sshd.login(), "local": [f"{free_port()}:{site.far.echo}"]})
    install(sshd, target(tunnels)["authorized_keys"])
    ssh: list[str] = [
        "ssh",
        "-F",
        "none",
        "-i",
        str(sshd.identity),
        "-p",
        str(sshd.port),
        "-o",
        "BatchMode=yes",
    ]
    ssh += ["-o", f"UserKnownHostsFile={sshd.known_hosts}", f"{sshd.user}@{sshd.host}"]
    done = subprocess.run([*ssh, "id"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0
    assert "forwarding only" in done.stdout
    assert "uid=" not in done.stdout
    elsewhere = [*ssh[:-1], "-W", f"127.0.0.1:{sshd.port}", ssh[-1]]
    refused = subprocess.run(
        elsewhere, capture_output=True, text=True, check=False, timeout=20, stdin=subprocess.DEVNULL
    )
    assert "SSH-2.0" not in refused.stdout
    assert "prohibited" in refused.stderr


def test_a_login_for_a_remote_forward_alone_connects_to_nothing(
    tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    """A key without any permitopen may connect everywhere, so there is one that leads nowhere."""
    sshd = start_sshd("AllowStreamLocalForwarding no")
    tunnels.write(work={**sshd.login(), "remote": [f"{free_port()}:{site.near.echo}"]})
    install(sshd, target(tunnels)["authorized_keys"])
    assert all(verdicts(tunnels, expect=OK).values())


def test_a_port_that_the_server_chooses_is_allowed(tunnels: Tunnels, start_sshd: Start, site: Site) -> None:
    sshd = start_sshd("AllowStreamLocalForwarding no")
    tunnels.write(work={**sshd.login(), "remote": [f"0:{site.near.echo}"], "dynamic": [str(free_port())]})
    told = target(tunnels)
    assert any("wherever" in each or "anywhere" in each for each in told["remarks"])
    install(sshd, told["authorized_keys"])
    assert all(verdicts(tunnels, expect=OK).values())


def test_unix_sockets_are_said_to_be_all_or_nothing(tunnels: Tunnels, start_sshd: Start, site: Site) -> None:
    sshd = start_sshd()
    tunnels.write(
        work={**sshd.login(), "local": [f"{free_port()}:/run/db.sock", f"{free_port()}:{site.far.echo}"]}
    )
    told = target(tunnels)
    assert "unix sockets (/run/db.sock) cannot be told apart by sshd" in " ".join(told["remarks"])
    assert "    AllowStreamLocalForwarding local" in told["sshd_config"]


# --- the block of sshd_config ------------------------------------------------------------------------


def test_the_block_of_sshd_config_alone_does_the_same(
    tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    loose = start_sshd()
    there = free_port()
    forwards = {"local": [f"{free_port()}:{site.far.echo}"], "remote": [f"{there}:{site.near.echo}"]}
    tunnels.write(work={**loose.login(), **forwards})
    block = target(tunnels)["sshd_config"]
    loose.stop()
    strict = start_sshd(*block, "Match all", identity=loose.identity)
    tunnels.write(work={**strict.login(), **forwards})
    assert all(verdicts(tunnels, expect=OK).values())
    said = subprocess.run(
        [find_sshd() or "", "-T", "-f", strict.folder / "sshd_config", "-C", f"user={strict.user}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"permitlisten localhost:{there}" in said
    assert f"permitopen {site.far.echo}" in said
    assert "allowstreamlocalforwarding no" in said


def test_a_profile_that_others_are_to_reach_gets_its_gateway_ports(
    tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    sshd = start_sshd()
    tunnels.write(work={**sshd.login(), "remote": [f"*:{free_port()}:{site.near.echo}"]})
    assert "    GatewayPorts clientspecified" in target(tunnels)["sshd_config"]
    tunnels.write(work={**sshd.login(), "remote": [f"{free_port()}:{site.near.echo}"]})
    assert "    GatewayPorts no" in target(tunnels)["sshd_config"]


# --- jump hosts --------------------------------------------------------------------------------------


def test_a_jump_host_gets_a_line_that_leads_to_the_next_server_only(
    tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    bastion = start_sshd("AllowStreamLocalForwarding no")
    inner = start_sshd("AllowStreamLocalForwarding no", identity=bastion.identity)
    both = tunnels.home / "known"
    both.write_text(f"{bastion.known_hosts_line}\n{inner.known_hosts_line}\n")
    tunnels.write(
        work={
            **inner.login(),
            "known_hosts": str(both),
            "jump": f"{bastion.user}@{bastion.host}:{bastion.port}",
            "local": [f"{free_port()}:{site.far.echo}"],
        }
    )
    first, last = servers(tunnels)
    assert first["hop"]
    assert first["allows"]["permitopen"] == [f"{inner.host}:{inner.port}"]
    install(bastion, first["authorized_keys"])
    install(inner, last["authorized_keys"])
    assert all(verdicts(tunnels, expect=OK).values())


# --- more, or less, than it should -------------------------------------------------------------------


def test_a_loose_key_is_found_out(tunnels: Tunnels, start_sshd: Start, site: Site) -> None:
    sshd = start_sshd()
    tunnels.write(
        work={
            **sshd.login(),
            "local": [f"{free_port()}:{site.far.echo}"],
            "remote": [f"{free_port()}:{site.near.echo}"],
        }
    )
    assert failed(tunnels) == {"command", "shell", "terminal", "other-connect", "other-listen"}
    shown = tunnels.run("harden", "work", "--test", expect=NOT_AS_ASKED).words
    assert "the server runs any command for this login" in shown
    assert "tunnels harden work" in shown


def test_restrict_without_a_command_still_runs_any(tunnels: Tunnels, start_sshd: Start, site: Site) -> None:
    sshd = start_sshd("AllowStreamLocalForwarding no")
    tunnels.write(work={**sshd.login(), "local": [f"{free_port()}:{site.far.echo}"]})
    line = target(tunnels)["authorized_keys"]
    options, _, key = line.partition(",command=")
    install(sshd, f"{options} {key.split(chr(34), 2)[2].strip()}")
    assert failed(tunnels) == {"command", "shell"}


def test_a_server_that_allows_less_than_is_needed_fails_too(
    tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    sshd = start_sshd("AllowStreamLocalForwarding no")
    needed = {"local": [f"{free_port()}:{site.far.echo}"]}
    tunnels.write(work={**sshd.login(), **needed})
    install(sshd, target(tunnels)["authorized_keys"])
    tunnels.write(work={**sshd.login(), "local": [*needed["local"], f"{free_port()}:{site.far.web}"]})
    assert failed(tunnels) == {"connect"}


# --- a key of its own --------------------------------------------------------------------------------


def test_a_new_key_is_private_and_its_line_is_one_that_sshd_takes(
    tunnels: Tunnels, start_sshd: Start, site: Site
) -> None:
    sshd = start_sshd("AllowStreamLocalForwarding no")
    keys = {**sshd.login(), "local": [f"{free_port()}:{site.far.echo}"]}
    tunnels.write(work=keys)
    shown = tunnels.run("harden", "work", "--new-key", expect=OK)
    key = tunnels.home / ".ssh" / "tunnels-work"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    [line] = [each for each in shown.out.splitlines() if each.startswith("restrict,")]
    assert line.endswith("tunnels work")
    setting = f'identity_file = "{key}"'
    assert setting in shown.err
    install(sshd, line)
    tunnels.write(work={**keys, "identity_file": str(key)})
    assert all(verdicts(tunnels, expect=OK).values())
    checked = subprocess.run(
        ["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True
    ).stdout
    assert checked.split()[1] in line


def test_a_key_is_never_overwritten(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work={**site.login(), "local": [f"{free_port()}:{site.far.echo}"]})
    tunnels.run("harden", "work", "--new-key", expect=OK)
    key = tunnels.home / ".ssh" / "tunnels-work"
    before = key.read_bytes()
    again = tunnels.run("harden", "work", "--new-key")
    assert again.code != OK
    assert "exists already" in again.words
    assert key.read_bytes() == before


def test_what_makes_no_sense_together_is_said(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(work={**site.login(), "local": [f"{free_port()}:{site.far.echo}"]})
    assert "not on the server yet" in tunnels.run("harden", "work", "--test", "--new-key", expect=USAGE).words
    tunnels.run("harden", "work", "--key-file", "k", expect=USAGE)


def test_the_printed_text_can_be_pasted_as_it_is(tunnels: Tunnels, site: Site, tmp_path: Path) -> None:
    """Everything that is not for a file begins with a #; what there is to know goes to stderr."""
    tunnels.write(work={**site.login(), "local": [f"{free_port()}:{site.far.echo}"]})
    shown = tunnels.run("harden", "work", expect=OK)
    plain = [line for line in shown.out.splitlines() if line and not line.startswith("#")]
    assert plain[0].startswith("restrict,port-forwarding,permitopen=")
    assert plain[1].startswith("Match User ")
    assert all(line.startswith("    ") for line in plain[2:])
    assert "AllowStreamLocalForwarding" in shown.err
    assert shlex.split(plain[0])[0].startswith("restrict,")
