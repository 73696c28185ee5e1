"""A dynamic forward as an HTTP proxy: what curl, Python and a program with proxy variables get through it."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.bed import leaks, traffic
from tests.e2e.bed.clients import talk
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import GREETING, Server, random_bytes
from tests.e2e.bed.site import NOWHERE, Address, Site
from tests.e2e.bed.traffic import MIB, Dial
from tests.e2e.bed.wait import eventually

SECRET = leaks.secret("proxy password")


@dataclass(frozen=True)
class Ports:
    """One tunnel with a proxy for everybody, one with a password, and a proxy on the server's side."""

    open: int
    locked: int
    reverse: int


@pytest.fixture(scope="module")
def ports(standing: Tunnels, _site: Site) -> Ports:
    ports = Ports(free_port(), free_port(), _site.remote_port())
    password = standing.home / "proxy-password"
    password.write_text(SECRET)
    standing.may_have_secrets.append(password)
    auth = {"username": "alice", "password_command": f"cat {password}"}
    standing.write(
        proxies={
            **_site.login(),
            "dynamic": [str(ports.open), {"listen": f"127.0.0.1:{ports.locked}", "auth": auth}],
            "remote": [f"127.0.0.1:{ports.reverse}"],
        }
    )
    standing.up("proxies")
    return ports


class Mirror(Server):
    """A web server that says what it was asked, keeps its connections, and takes bodies of any kind."""

    class handler(http.server.BaseHTTPRequestHandler):  # noqa: N801
        protocol_version = "HTTP/1.1"

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def do_GET(self) -> None:
            body = self._body()
            said = f"{self.requestline}\n{self.headers}".encode() + body
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.send_header("Connection", "keep-alive")
            self.end_headers()
            self.wfile.write(said)
            self.close_connection = False  # whatever it was asked

        do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay silent."""


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    with Mirror() as mirror:
        yield mirror


def curl(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("no curl")
    command = [program, "-q", "--silent", "--show-error", "--max-time", "20", "--noproxy", "", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, input=text)


WAYS = {
    "HTTP": lambda port: ["-x", f"http://127.0.0.1:{port}"],
    "HTTP CONNECT": lambda port: ["-x", f"http://127.0.0.1:{port}", "--proxytunnel"],
    "HTTP/1.0 CONNECT": lambda port: ["--proxy1.0", f"127.0.0.1:{port}", "--proxytunnel"],
    "SOCKS 5": lambda port: ["--socks5-hostname", f"127.0.0.1:{port}"],
    "SOCKS 4a": lambda port: ["--socks4a", f"127.0.0.1:{port}"],
}


@pytest.mark.parametrize("way", WAYS)
def test_curl_gets_a_page_in_every_language_of_the_port(ports: Ports, site: Site, way: str) -> None:
    done = curl(*WAYS[way](ports.open), f"http://{site.far.web}/by/curl")

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{GREETING}: /by/curl\n"


@pytest.mark.loopback_site
@pytest.mark.parametrize("way", WAYS)
def test_curl_gets_a_page_from_the_proxy_on_the_servers_side(ports: Ports, site: Site, way: str) -> None:
    done = curl(*WAYS[way](ports.reverse), f"http://localhost:{site.near.web.port}/by/curl")

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{GREETING}: /by/curl\n"


@pytest.mark.loopback_site
@pytest.mark.parametrize("which", ["open", "reverse"])
def test_the_server_sees_a_request_as_if_it_came_to_it_directly(
    ports: Ports, mirror: Mirror, which: str
) -> None:
    where = f"localhost:{mirror.port}"
    proxy = f"http://127.0.0.1:{getattr(ports, which)}"

    done = curl("-x", proxy, "-A", "me", "-U", "a:b", f"http://{where}/x?y#z")

    assert done.returncode == 0, done.stderr
    assert (
        done.stdout == f"GET /x?y HTTP/1.1\nHost: {where}\nUser-Agent: me\nAccept: */*\nConnection: close\n\n"
    )


@pytest.mark.loopback_site
@pytest.mark.parametrize("which", ["open", "reverse"])
@pytest.mark.parametrize("field", ["", "Transfer-Encoding: chunked"])
def test_a_form_is_sent_whole_with_or_without_a_length(
    ports: Ports, mirror: Mirror, tmp_path: Path, which: str, field: str
) -> None:
    body = tmp_path / "body"
    body.write_bytes(random_bytes(3 * MIB, 51))
    got = tmp_path / "got"
    sending = ["--data-binary", f"@{body}", "-H", "Expect: 100-continue", *(["-H", field] if field else [])]

    done = curl(
        "-x",
        f"127.0.0.1:{getattr(ports, which)}",
        *sending,
        "-o",
        str(got),
        f"http://localhost:{mirror.port}/",
    )

    assert done.returncode == 0, done.stderr
    assert got.read_bytes().endswith(body.read_bytes())


@pytest.mark.loopback_site
def test_requests_one_after_the_other_each_reach_the_server_they_are_for(
    ports: Ports, mirror: Mirror, site: Site
) -> None:
    first, second = f"http://localhost:{mirror.port}/1", f"http://{site.near.web}/2"

    done = curl("-x", f"127.0.0.1:{ports.open}", first, second, first)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("GET /1 HTTP/1.1\n") == 2
    assert f"{GREETING}: /2\n" in done.stdout


@pytest.mark.loopback_site
def test_a_second_request_on_a_connection_reaches_nobody(ports: Ports, mirror: Mirror, site: Site) -> None:
    one = f"GET http://localhost:{mirror.port}/one HTTP/1.1\r\nHost: x\r\n\r\n"
    two = f"GET http://{site.near.web}/two HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = talk(LOOPBACK, ports.open, (one + two).encode())

    assert b"GET /one HTTP/1.1\n" in answer.data
    assert b"\r\nConnection: close\r\n" in answer.data
    assert b"two" not in answer.data


# --- programs that take proxy variables -----------------------------------------------------------

FETCH = """
import sys, urllib.request
for url in sys.argv[1:]:
    sys.stdout.write(urllib.request.urlopen(url, timeout=20).read().decode())
"""


@pytest.mark.loopback_site
def test_a_python_program_with_proxy_variables_goes_through_the_tunnel(ports: Ports, mirror: Mirror) -> None:
    proxy = f"http://alice:{SECRET}@127.0.0.1:{ports.locked}"
    env = {"PATH": os.environ["PATH"], "http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}
    urls = [f"http://localhost:{mirror.port}/{number}" for number in range(3)]

    done = subprocess.run(
        [sys.executable, "-c", FETCH, *urls], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("GET")] == [
        f"GET /{number} HTTP/1.1" for number in range(3)
    ]
    assert SECRET not in done.stdout  # it is for the proxy, and not for the server


# --- through CONNECT ------------------------------------------------------------------------------


def connecting(port: int, to: Address) -> Dial:
    """Dial through CONNECT."""

    def dial() -> socket.socket:
        sock = socket.create_connection((LOOPBACK, port), timeout=20)
        sock.sendall(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = sock.recv(1)
            assert piece, head
            head += piece
        assert head.startswith(b"HTTP/1.1 200 "), head
        return sock

    return dial


@pytest.fixture(params=["open", pytest.param("reverse", marks=pytest.mark.loopback_site)])
def through(request: pytest.FixtureRequest, ports: Ports) -> Callable[[Address], Dial]:
    return lambda to: connecting(getattr(ports, request.param), to)


def test_a_mebibyte_arrives_whole_in_each_direction_of_a_connect(
    through: Callable[[Address], Dial], site: Site
) -> None:
    traffic.check_echo(through(site.far.echo))
    traffic.check_download(through(site.far.source))
    traffic.check_upload(through(site.far.digest))


def test_either_side_of_a_connect_may_end_first(through: Callable[[Address], Dial], site: Site) -> None:
    traffic.check_upload(through(site.far.digest), count=17)
    traffic.check_server_may_end_first(through(site.far.mailbox), through(site.far.mailbox))


def test_a_reader_that_stops_stops_the_server_behind_a_connect(
    through: Callable[[Address], Dial], site: Site, standing: Tunnels
) -> None:
    def moved() -> int:
        return sum(each["bytes_in"] + each["bytes_out"] for each in standing.tunnel("proxies")["forwards"])

    counts = [moved()]

    def at_rest() -> bool:
        counts.append(moved())
        return counts[-1] == counts[-2]

    with through(site.far.source)() as stalled:
        stalled.sendall(b"200000000 7\n")
        assert stalled.recv(10)
        eventually(at_rest, within=15, what="nothing more to come from the server")
        assert counts[-1] - counts[0] < 50 * MIB
        traffic.check_echo(through(site.far.echo))
        assert stalled.recv(10)


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["open", pytest.param("reverse", marks=pytest.mark.loopback_site)])
def test_a_destination_that_refuses_is_named_with_the_reason(ports: Ports, site: Site, which: str) -> None:
    proxy = f"127.0.0.1:{getattr(ports, which)}"
    refusing = site.far.refusing if which == "open" else site.near.refusing

    plain = curl("-x", proxy, "-w", "%{http_code}", f"http://{refusing}/")
    tunnel = curl("-x", proxy, "--proxytunnel", f"http://{refusing}/")

    assert (plain.returncode, plain.stdout) == (0, f"{refusing}: connection refused.\n502")
    assert tunnel.returncode == 56
    assert "CONNECT tunnel failed, response 502" in tunnel.stderr


@pytest.mark.parametrize("which", ["open", pytest.param("reverse", marks=pytest.mark.loopback_site)])
def test_an_unknown_name_is_named_with_the_reason(ports: Ports, which: str) -> None:
    done = curl("-x", f"127.0.0.1:{getattr(ports, which)}", f"http://{NOWHERE}/")

    assert (done.returncode, done.stdout) == (0, f"{NOWHERE}: name not resolved.\n")


@pytest.mark.parametrize("which", ["open", pytest.param("reverse", marks=pytest.mark.loopback_site)])
def test_a_refused_upload_still_gets_its_answer(ports: Ports, site: Site, tmp_path: Path, which: str) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(8 * MIB))
    refusing = site.far.refusing if which == "open" else site.near.refusing
    for _ in range(5):
        done = curl(
            "-x",
            f"127.0.0.1:{getattr(ports, which)}",
            "-H",
            "Expect:",
            "-T",
            str(body),
            f"http://{refusing}/",
        )
        assert "connection refused." in done.stdout, done


def test_a_server_that_speaks_no_http_is_told_of(ports: Ports, site: Site) -> None:
    done = curl("-x", f"127.0.0.1:{ports.open}", f"http://{site.far.ticker}/")

    assert "did not answer in HTTP" in done.stdout


@pytest.mark.parametrize("way", ["HTTP", "HTTP CONNECT", "SOCKS 5"])
def test_with_a_password_only_who_knows_it_gets_through(ports: Ports, site: Site, way: str) -> None:
    proxy, url = WAYS[way](ports.locked), f"http://{site.far.web}/x"

    nobody = curl(*proxy, url)
    wrong = curl(*proxy, "-U", "alice:wrong", url)
    right = curl(*proxy, "-U", f"alice:{SECRET}", url)

    assert right.stdout == f"{GREETING}: /x\n"
    for done in (nobody, wrong):
        assert GREETING not in done.stdout
        assert done.returncode == {"HTTP": 0, "HTTP CONNECT": 56, "SOCKS 5": 97}[way]


# --- the port itself ------------------------------------------------------------------------------


def test_the_port_explains_itself_and_has_a_pac_file(ports: Ports) -> None:
    here = f"http://localhost:{ports.open}"

    page = curl(f"{here}/")
    pac = curl("-D", "-", f"{here}/proxy.pac")
    head = curl("-I", f"{here}/proxy.pac")
    rebound = curl("-H", f"Host: evil.example:{ports.open}", "-w", "%{http_code}", f"{here}/proxy.pac")

    assert f"curl -x {here} " in page.stdout
    assert f'return "PROXY localhost:{ports.open}";' in pac.stdout
    assert "Content-Type: application/x-ns-proxy-autoconfig\n" in pac.stdout
    assert head.returncode == 0
    assert "PROXY" not in rebound.stdout
    assert rebound.stdout.endswith("403")


def test_what_is_no_proxy_protocol_gets_an_answer_and_never_hangs(ports: Ports) -> None:
    tls = curl(f"https://localhost:{ports.open}/")
    assert tls.returncode == 35
    assert "wrong version number" in tls.stderr
    for nonsense in (
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"hello?\r\n",
        b"GET / HTTP/1.0\n\n",
        b"G" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        assert b"proxy" in talk(LOOPBACK, ports.open, nonsense).data or nonsense.startswith(b"GET")
