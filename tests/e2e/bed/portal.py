"""A Wi-Fi that wants somebody to log in with a browser first: rules and a login page in the router.

Run as a program it is the login page: it answers whatever it is asked over HTTP, until it is killed.
"""

from __future__ import annotations

import contextlib
import http.server
import subprocess
import sys
from collections.abc import Iterator

from tests.e2e.bed.faults import PORT, Laptop
from tests.e2e.bed.ports import accepts
from tests.e2e.bed.wait import eventually

PAGE_PORT = 8880

URL = "http://login.hotel.example/welcome"
"""Where it sends browsers to; what follows, it adds for each of them."""

#: What it does to SSH, by name. It catches plain HTTP in any case.
TO_SSH = {
    "answers": f"tcp dport {{ 80, {PORT} }} redirect to :{PAGE_PORT}",
    "drops": f"tcp dport 80 redirect to :{PAGE_PORT}",
}


@contextlib.contextmanager
def login_page(laptop: Laptop, *, ssh: str, inline: bool = False) -> Iterator[None]:
    """Have a Wi-Fi with a login page; at the end of the block somebody has logged in.

    ``inline``: it shows its page wherever a browser goes, instead of sending it somewhere.
    """
    page = subprocess.Popen(
        [*laptop.router.inside, sys.executable, __file__, *(["inline"] if inline else [])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: laptop.router.call(lambda: accepts(PAGE_PORT)), within=10, what="the login page")
        laptop.router.nft(
            "table ip portal {\n"
            f'chain catch {{ type nat hook prerouting priority -100; iifname "c0" {TO_SSH[ssh]}; }}\n'
            "chain stop { type filter hook forward priority 1; ip protocol tcp drop; }\n"
            "}\n"
        )
        yield
        laptop.router.nft("delete table ip portal\n")
    finally:
        page.kill()
        page.wait(10)


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "inline" in sys.argv:
            body = b"<html>room number, please</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_response(302)
            self.send_header("Location", f"{URL}?mac=02:00:00:00:00:01&session=hunter2")
            self.send_header("Content-Length", "0")
            self.end_headers()


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", PAGE_PORT), _Page).serve_forever()
