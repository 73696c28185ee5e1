"""What the README and the pages tell a newcomer to write and to type, written and typed, against a real sshd.

Only what differs from one machine to the next is put in its place: the server, its key, and free ports.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import OK, Tunnels, profile
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]


def shown_profile(page: str, name: str) -> dict[str, Any]:
    """The first profile of this name on a page."""
    for block in re.findall(
        r"^```toml\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    ):
        found = tomllib.loads(block).get("profiles", {})
        if name in found:
            return dict(found[name])
    raise AssertionError(f"{page} has no profile {name}")


def shown_line(page: str, begins: str) -> list[str]:
    """The words of the first command line on a page that begins like this, without `tunnels`."""
    found = re.search(rf"^\$ tunnels ({begins}.*)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert found, f"{page} has no `tunnels {begins}`"
    return shlex.split(found[1], comments=True)


def here(text: str, site: Site, port: int) -> str:
    """A forward or a command line as shown, with the places of this test."""
    text = text.replace("5432:db.internal:5432", f"{port}:{site.far.echo}")
    text = re.sub(r" -L 6379:\S+", "", text)
    flags = f"-F none -i {site.identity} -o UserKnownHostsFile={site.known_hosts} -p {site.port}"
    return re.sub(r"\S+@\S+$", f"{flags} {site.user}@{site.host}", text)


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_laptop(site: Site, tunnels: Tunnels, page: str) -> None:
    port = free_port()
    keys = shown_profile(page, "work-db")
    keys["local"] = [here(forward, site, port) for forward in keys["local"]]
    tunnels.write_profiles(profile("work-db", {**keys, **site.login()}))
    tunnels.run("check", expect=OK)
    tunnels.up("work-db")
    traffic.check_echo(dialing(port), 1000)
    tunnels.run("status", expect=OK)
    tunnels.down("work-db")


@pytest.mark.parametrize("page", ["docs/index.md", "docs/laptop.md", "README.md"])
def test_the_line_from_the_notes(site: Site, tunnels: Tunnels, page: str) -> None:
    port = free_port()
    verb, name, line = shown_line(page, "add ")
    tunnels.run(verb, name, here(line, site, port), expect=OK)
    tunnels.up(name)
    traffic.check_echo(dialing(port), 1000)
    back = tunnels.run("check", name, "--ssh", expect=OK)
    assert f"{port}:{site.far.echo}" in back.out


def test_a_tunnel_without_a_profile(site: Site, tunnels: Tunnels) -> None:
    port = free_port()
    verb, *flags = shown_line("docs/index.md", "open -L")
    tunnels.run(verb, *shlex.split(here(" ".join(flags), site, port)), expect=OK)
    traffic.check_echo(dialing(port), 1000)
    tunnels.down(site.host)


@pytest.mark.loopback_site
@pytest.mark.parametrize("page", ["README.md", "docs/home-box.md"])
def test_the_home_box(site: Site, tunnels: Tunnels, page: str) -> None:
    there = free_port()
    keys = shown_profile(page, "home")
    keys["remote"] = [
        each.replace("2222:localhost:22", f"{there}:{site.near.echo}") for each in keys["remote"]
    ]
    tunnels.write_profiles(profile("home", {**keys, **site.login()}))
    tunnels.run("check", expect=OK)
    tunnels.up("home")
    traffic.check_echo(dialing(there), 1000)
    site.stop()
    tunnels.wait_state("home", "backoff")
    site.start()
    tunnels.wait_state("home", "up")
    assert "1 drop" in tunnels.run("why", "home", expect=OK).out


@pytest.mark.parametrize("page", ["README.md", "docs/cafe.md"])
def test_the_cafe(site: Site, tunnels: Tunnels, page: str) -> None:
    port = free_port()
    keys = shown_profile(page, "cafe")
    assert keys["dynamic"] == ["1080"]
    tunnels.write_profiles(profile("cafe", {**keys, **site.login(), "dynamic": [f"{LOOPBACK}:{port}"]}))
    fetch = (
        "import os, urllib.request as r\n"
        "opener = r.build_opener(r.ProxyHandler({'http': os.environ['http_proxy']}))\n"
        f"print(opener.open('http://{site.far.web}/').status)"
    )
    assert tunnels.run("exec", "cafe", "--", sys.executable, "-c", fetch, expect=OK).out == "200\n"
    tunnels.down("cafe")
