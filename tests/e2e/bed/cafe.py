"""A café: a laptop, a site behind its tunnel that only the server's side knows, and a watch on its packets."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.bed import pages
from tests.e2e.bed.faults import PORT, Laptop
from tests.e2e.bed.netns import SERVER_4, run
from tests.e2e.bed.ports import accepts
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.wait import eventually
from tunnels.core.captive import NOBODY

PROXY = 1080

# What the kernel says by itself to its IPv6 neighbours is nobody's traffic. While the server is away the daemon
# asks for a login page at the address of nobody: that is its own question, and no page of a browser goes there.
_WATCH = f"""
table inet watch {{
  counter outside {{}}
  counter asked {{}}
  chain out {{
    type filter hook output priority 0; policy accept;
    oifname != "lo" ip daddr {SERVER_4} tcp dport {PORT} accept
    oifname != "lo" ip daddr {NOBODY} tcp dport 80 accept
    oifname != "lo" icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }} accept
    oifname != "lo" icmpv6 type {{ mld-listener-report, mld2-listener-report }} accept
    oifname != "lo" counter name outside
    udp dport {{ 53, 1900, 5353, 5355 }} counter name asked
    tcp dport 53 counter name asked
  }}
}}
"""


class Cafe:
    """A laptop in a café, with a profile ``cafe`` that is a proxy."""

    def __init__(self, laptop: Laptop, product: Tunnels, folder: Path) -> None:
        self.laptop = laptop
        self.product = product
        self._log = folder / "requests"
        self._log.touch()
        laptop.server.know({pages.NAME: SERVER_4})
        # Firefox asks for the address of this machine's own name, for the lock in its profile (nsProfileLock.cpp);
        # distributions have that in the file, or a module of their resolver knows it.
        laptop.client.know({socket.gethostname(): "127.0.1.1"})
        laptop.client.nft(_WATCH)
        self._site = subprocess.Popen(
            [*laptop.server.inside, sys.executable, pages.__file__, str(self._log), str(folder / "files")],
            stdin=subprocess.DEVNULL,
        )
        eventually(lambda: laptop.server.call(lambda: accepts(pages.PORT)), within=10, what="the far site")
        product.write(cafe={**laptop.login(), "dynamic": [str(PROXY)]})

    def close(self) -> None:
        """Close the site."""
        self._site.kill()
        self._site.wait(10)

    @property
    def page(self) -> str:
        """The address of the page."""
        return f"http://{pages.NAME}:{pages.PORT}/"

    @property
    def files(self) -> str:
        """The address of what is in the folder ``files``."""
        return f"http://{pages.NAME}:{pages.PORT}/files"

    def requests(self, path: str) -> list[dict[str, Any]]:
        """What the site was asked for so far under this path."""
        found = [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]
        return [each for each in found if each["path"] == path]

    def asked(self, path: str, *, within: float = 20) -> dict[str, Any]:
        """Wait until the site is asked for this."""
        return eventually(lambda: self.requests(path), within=within, what=f"a request for {path}")[0]

    def leaked(self) -> dict[str, int]:
        """How many packets went out beside the SSH connection, and how many questions for names were sent."""
        shown = run(*self.laptop.client.inside, "nft", "list", "counters", "table", "inet", "watch")
        return {name: int(count) for name, count in re.findall(r"counter (\w+) \{\s+packets (\d+)", shown)}

    def clients_so_far(self) -> int:
        """How many have connected to the proxy."""
        return int(self.product.forward("cafe")["clients_total"])
