"""Who can connect to a port is said where a person looks at it, with the networks that this machine is in."""

from __future__ import annotations

from tests.e2e.bed.faults import ECHO, Laptop
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import OK, Tunnels
from tests.e2e.bed.site import Site


def test_a_port_for_other_machines_says_which_they_are(laptop: Laptop, travelling: Tunnels) -> None:
    travelling.write(
        work={
            **laptop.sshd.login(),
            "local": [f"*:25432:{ECHO}", f"25433:{ECHO}"],
            "remote": [f"*:28080:{ECHO}"],
        }
    )
    checked = travelling.run("check", "work", expect=OK).out
    [everyone] = [line for line in checked.splitlines() if "25432" in line]
    assert "open to everyone on your networks (10.77.1.0/24" in everyone
    [alone] = [line for line in checked.splitlines() if "25433" in line]
    assert alone.endswith("(this machine only)")
    travelling.up("work")
    first, second, far = travelling.tunnel("work")["forwards"]
    assert "10.77.1.0/24" in first["audience"]
    assert second["audience"] is None
    assert "GatewayPorts" in far["audience"]
    shown = travelling.run("status", "work").out
    assert "open to everyone on your networks" in shown
    assert shown.count("open to") == 2  # and nothing about the port that is ours alone


def test_one_interface_is_one_network(laptop: Laptop, travelling: Tunnels) -> None:
    travelling.write(work={**laptop.sshd.login(), "local": [f"10.77.1.2:25432:{ECHO}"]})
    travelling.up("work")
    assert "your network (10.77.1.0/24)" in travelling.forward("work")["audience"]


def test_the_doctor_says_it_for_every_listener(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(
        work={
            **site.login(),
            "local": [f"{free_port()}:{site.far.echo}"],
            "remote": [f"{site.remote_port()}:{site.near.echo}"],
        }
    )
    shown = tunnels.run("doctor", "work", expect=OK).words
    assert "for this machine only" in shown
    assert f"for every program on {LOOPBACK}, and no other machine" in shown
