"""ssh_config against a real server: what it says is done, or it is said that it is not."""

from __future__ import annotations

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NOT_AS_ASKED, OK, USAGE, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing


def write(tunnels: Tunnels, site: Site, *lines: str) -> int:
    """Make a profile ``work`` whose Host has these lines; return its port."""
    config = tunnels.home / "ssh_config"
    own = (
        f"HostName {site.host}\nPort {site.port}\nUser {site.user}\nIdentityFile {site.identity}\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {site.known_hosts}\nStrictHostKeyChecking yes\n"
    )
    config.write_text("Host gate\n" + own + "".join(f"{line}\n" for line in lines))
    port = free_port()
    tunnels.write(work={"host": "gate", "ssh_config": str(config), "local": [f"{port}:{site.far.echo}"]})
    return port


def test_algorithms_that_only_openssh_has_are_left_out_and_the_rest_serves(
    tunnels: Tunnels, site: Site
) -> None:
    port = write(
        tunnels,
        site,
        "KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256",
        "Ciphers aes256-ctr,aes128-ctr",
        "MACs hmac-sha2-512-etm@openssh.com",
        "PubkeyAcceptedAlgorithms +ssh-rsa",
        "PreferredAuthentications gssapi-with-mic,publickey,password",
        "RekeyLimit 1M 1h",
        "IPQoS af21 cs1",
    )
    assert "sntrup761" in tunnels.run("check", expect=OK).words
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1_000_000)
    assert tunnels.tunnel("work")["cipher"] == "aes256-ctr"


def test_a_list_of_which_nothing_is_left_is_found_by_check_and_by_up(tunnels: Tunnels, site: Site) -> None:
    write(tunnels, site, "KexAlgorithms sntrup761x25519-sha512@openssh.com")
    assert "none of the KexAlgorithms of gate is supported" in tunnels.run("check", expect=USAGE).words
    assert "none of the KexAlgorithms" in tunnels.up("work", expect=NOT_AS_ASKED).words
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "bad-setting")


def test_what_is_not_done_is_said_once_and_does_not_keep_the_tunnel_from_coming_up(
    tunnels: Tunnels, site: Site
) -> None:
    port = write(
        tunnels,
        site,
        "LocalForward 4711 localhost:22",
        "VerifyHostKeyDNS yes",
        "ControlPath /nowhere/%C",
        "CheckHostIP yes",
    )
    result = tunnels.run("check", expect=OK)
    notes = [line for line in result.err.splitlines() if line.startswith("note: ")]
    assert [line.split()[1] for line in notes] == [
        "CheckHostIP",
        "VerifyHostKeyDNS",
        "ControlPath",
        "LocalForward",
    ]
    assert all("(work)" in line for line in notes)
    assert {
        note["keyword"] for note in tunnels.run("check", "--json", expect=OK).json["profiles"][0]["notes"]
    } == {
        "CheckHostIP",
        "VerifyHostKeyDNS",
        "ControlPath",
        "LocalForward",
    }
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)


def test_a_key_of_a_kind_that_ssh_config_does_not_allow_is_not_offered(tunnels: Tunnels, site: Site) -> None:
    write(tunnels, site, "PubkeyAcceptedAlgorithms rsa-sha2-512")
    result = tunnels.up("work", expect=NOT_AS_ASKED)
    assert "PubkeyAcceptedAlgorithms" in result.words
    assert tunnels.tunnel("work")["error"]["code"] == "login-refused"


@pytest.mark.loopback_site
def test_a_connection_leaves_through_the_interface_that_is_named_or_says_that_it_is_not_there(
    tunnels: Tunnels, site: Site
) -> None:
    port = write(tunnels, site, "BindInterface lo")
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    tunnels.down("work")
    write(tunnels, site, "BindInterface nowhere7")
    tunnels.run("up", "--no-wait", "work", expect=OK)
    tunnel = tunnels.wait_state("work", "backoff")
    assert "nowhere7" in tunnel["error"]["message"]
