"""``tunnels exec`` and ``tunnels env``: programs of the system through a real server, by names that it alone knows."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.bed import pages
from tests.e2e.bed.cafe import PROXY, Cafe
from tests.e2e.bed.faults import Laptop
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NOT_AS_ASKED, OK, USAGE, Tunnels
from tests.e2e.bed.site import Site

pytestmark = pytest.mark.long

URL = f"http://{pages.NAME}:{pages.PORT}/file"
SAID = "hello from the far side\n"

#: Of what comes by SOCKS, and of what comes by HTTP.
SOCKS = ["env", "-u", "http_proxy"]

JAVA = """
public class Fetch {
  public static void main(String[] words) throws Exception {
    System.out.write(new java.net.URL(words[0]).openStream().readAllBytes());
    System.out.flush();
  }
}
"""


@pytest.fixture
def cafe(laptop: Laptop, travelling: Tunnels, tmp_path: Path) -> Iterator[Cafe]:
    made = Cafe(laptop, travelling, tmp_path)
    yield made
    made.close()


def repository(folder: Path) -> None:
    """Put a git repository where the far site serves it (the dumb protocol, gitprotocol-http(5))."""
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    run(*git, "init", "-q", str(folder / "work"))
    (folder / "work" / "README").write_text("cloned\n")
    run(*git, "-C", str(folder / "work"), "add", "README")
    run(*git, "-C", str(folder / "work"), "commit", "-qm", "first")
    run(*git, "clone", "-q", "--bare", str(folder / "work"), str(folder / "files" / "it.git"))
    run(*git, "-C", str(folder / "files" / "it.git"), "update-server-info")


def package(folder: Path) -> None:
    """Put an index with one package beside it (PEP 503)."""
    import zipfile

    simple = folder / "files" / "simple" / "farpackage"
    simple.mkdir(parents=True)
    name = "farpackage-1.0-py3-none-any.whl"
    with zipfile.ZipFile(simple / name, "w") as wheel:
        info = "farpackage-1.0.dist-info"
        wheel.writestr("farpackage.py", "")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: farpackage\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (simple / "index.html").write_text(f'<a href="{name}">{name}</a>')
    npm = folder / "files" / "farmodule"
    npm.mkdir()
    version = {"name": "farmodule", "version": "1.2.3", "dist": {}}
    document = {"name": "farmodule", "dist-tags": {"latest": "1.2.3"}, "versions": {"1.2.3": version}}
    (npm / "index.html").write_text(json.dumps(document))


@pytest.mark.loopback_site
def test_programs_reach_what_only_the_far_side_knows_and_ask_nobody_here(cafe: Cafe, tmp_path: Path) -> None:
    """All of them in one network: it takes longer to make than they take."""
    repository(tmp_path)
    package(tmp_path)
    (tmp_path / "Fetch.java").write_text(JAVA)
    far = cafe.files

    def through(*command: str) -> str:
        return cafe.product.run("exec", "cafe", "--", *command, expect=OK, timeout=60).out

    assert through(*SOCKS, "curl", "-sS", URL) == SAID
    through(*SOCKS, "git", "clone", "-q", f"{far}/it.git", str(tmp_path / "by-socks"))
    assert (tmp_path / "by-socks" / "README").read_text() == "cloned\n"
    assert through("curl", "-sS", URL) == SAID
    assert through("wget", "-qO-", URL) == SAID
    fetch = f"import urllib.request; print(urllib.request.urlopen({URL!r}).read().decode(), end='')"
    assert through(sys.executable, "-c", fetch) == SAID
    through("git", "clone", "-q", f"{far}/it.git", str(tmp_path / "by-http"))
    assert (tmp_path / "by-http" / "README").read_text() == "cloned\n"
    host = pages.NAME
    pip = ("download", "-q", "--no-deps", "--disable-pip-version-check", "-d", str(tmp_path / "pip"))
    through(sys.executable, "-m", "pip", *pip, "-i", f"{far}/simple", "--trusted-host", host, "farpackage")
    assert (tmp_path / "pip" / "farpackage-1.0-py3-none-any.whl").exists()
    if shutil.which("npm"):
        assert through("npm", "view", f"--registry={far}", "farmodule", "version").strip() == "1.2.3"
    if shutil.which("javac"):
        assert through("java", str(tmp_path / "Fetch.java"), URL) == SAID
    assert cafe.leaked() == {"outside": 0, "asked": 0}
    assert cafe.product.forward("cafe")["by_address"] == 0


@pytest.mark.loopback_site
def test_the_watch_of_these_tests_sees_what_goes_past_a_proxy(cafe: Cafe) -> None:
    inside = cafe.laptop.client.inside
    subprocess.run(
        [*inside, "curl", "-s", "-m", "5", "http://10.77.9.2:8080/"], check=True, capture_output=True
    )
    subprocess.run([*inside, "getent", "hosts", "a.name.corp"], check=False, capture_output=True)
    leaked = cafe.leaked()
    assert leaked["outside"] > 0
    assert leaked["asked"] > 0


@pytest.mark.loopback_site
def test_the_leak_test_passes_and_names_a_program_that_resolves_by_itself(cafe: Cafe) -> None:
    def results(*more: str) -> dict[str, str]:
        found = cafe.product.run("leaktest", "cafe", "--json", *more, expect=OK).json
        assert found["leaks"] is False
        return {check["check"]: check["result"] for check in found["checks"]}

    first = results("--name", f"{pages.NAME}:{pages.PORT}", "--url", URL)
    assert first == {
        **dict.fromkeys(("udp", "bind", "names", "far-name", "exit-address", "reach"), "passed"),
        "by-address": "unknown",
    }
    cafe.laptop.client.know({pages.NAME: "10.77.9.2"})  # as somebody's name server might
    local = ["curl", "-sS", "--socks5", f"127.0.0.1:{PROXY}", URL]
    assert (
        subprocess.run(
            [*cafe.laptop.client.inside, *local], capture_output=True, check=True, text=True
        ).stdout
        == SAID
    )
    assert results()["by-address"] == "noticed"
    said = cafe.product.run("leaktest", "cafe", expect=OK)
    assert "1 request so far came with an address and not with a name" in said.words
    assert "1 request by address" in cafe.product.run("status", "cafe").words


@pytest.mark.loopback_site
def test_the_leak_test_sees_a_question_that_is_asked_here(cafe: Cafe) -> None:
    """A proxy that resolves names by itself stands where ours should be."""
    leaky = (
        "import asyncio, socket, sys\n"
        "async def serve(r, w):\n"
        "    await r.readexactly(3); w.write(b'\\5\\0')\n"
        "    head = await r.readexactly(5); name = await r.readexactly(head[4] + 2)\n"
        "    if head[1] == 1:\n"
        "        try: socket.getaddrinfo(name[:-2].decode(), 80)\n"
        "        except OSError: pass\n"
        "    w.write(bytes([5, 4 if head[1] == 1 else 7, 0, 1, 0, 0, 0, 0, 0, 0])); await w.drain(); w.close()\n"
        "async def main():\n"
        "    server = await asyncio.start_server(serve, '127.0.0.1', 1090)\n"
        "    print('ready', flush=True); await server.serve_forever()\n"
        "asyncio.run(main())\n"
    )
    probe = (
        "from tunnels.cli.leaktest import _Asked\n"
        "from tunnels.core.proxy_address import ProxyAddress\n"
        "from types import SimpleNamespace\n"
        "print(_Asked(SimpleNamespace(proxy=ProxyAddress('127.0.0.1', 1090))).names().verdict.value)\n"
    )
    inside = cafe.laptop.client.inside
    with subprocess.Popen(
        [*inside, sys.executable, "-c", leaky], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        done = subprocess.run(
            [*inside, sys.executable, "-c", probe],
            env=cafe.product.env,
            capture_output=True,
            text=True,
            check=True,
        )
        server.kill()
    assert done.stdout == "failed\n"


# --- the command itself ---------------------------------------------------------------------------


@pytest.fixture
def proxied(tunnels: Tunnels, site: Site) -> Tunnels:
    tunnels.write(cafe={**site.login(), "dynamic": [str(free_port())]})
    return tunnels


def test_the_exit_code_is_the_commands(proxied: Tunnels) -> None:
    first = proxied.run("exec", "cafe", "--", "sh", "-c", "echo out; exit 42", expect=42)
    assert first.out == "out\n"
    assert "cafe is up, and stays up" in first.err
    again = proxied.run("exec", "cafe", "sh", "-c", "exit 0", expect=OK)
    assert again.err == "", "of a tunnel that was up there is nothing to say"
    proxied.run("exec", "cafe", "--", "no-such-command", expect=127)
    proxied.run("exec", "cafe", "--", "/etc/passwd", expect=126)


def test_signals_are_the_commands(proxied: Tunnels) -> None:
    script = "trap 'echo heard; exit 3' TERM; echo began; while :; do sleep 0.05; done"
    with proxied.spawn("exec", "cafe", "--", "sh", "-c", script) as running:
        running.expect("began")
        running.signal(signal.SIGTERM)
        assert running.wait() == 3
        assert "heard" in running.text
    with proxied.spawn("exec", "cafe", "--", "sh", "-c", "echo began; exec sleep 1000") as running:
        running.expect("began")
        running.signal(signal.SIGTERM)
        assert running.wait() == -signal.SIGTERM


def test_a_reader_that_leaves_ends_the_command_as_without_us(proxied: Tunnels) -> None:
    """Python ignores SIGPIPE, and what is ignored stays ignored in the command that takes its place."""
    shown = proxied.run("exec", "cafe", "--", "grep", "SigIgn", "/proc/self/status", expect=OK)
    assert int(shown.out.split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


def test_a_shell_that_evaluates_env_goes_through_the_tunnel_and_back(proxied: Tunnels, site: Site) -> None:
    command = f"{sys.executable} -m tunnels env cafe --shell sh"
    script = (
        f'eval "$({command})"; echo "$ALL_PROXY $no_proxy"; eval "$({command} --unset)"; echo "<$ALL_PROXY>"'
    )
    done = subprocess.run(
        ["sh", "-c", script], env=proxied.env, capture_output=True, text=True, check=True, timeout=60
    )
    port = proxied.forward("cafe")["listen"].rpartition(":")[2]
    assert done.stdout == f"socks5h://127.0.0.1:{port} localhost,127.0.0.1,::1\n<>\n"


def test_what_cannot_be_brought_up_runs_nothing(tunnels: Tunnels, site: Site, tmp_path: Path) -> None:
    tunnels.write(
        refused={**site.login(), "user": "nobody-of-that-name", "dynamic": [str(free_port())]},
        plain={**site.login(), "local": ["5432:db:5432"]},
    )
    marker = tmp_path / "ran"
    for name, code in (("refused", NOT_AS_ASKED), ("plain", USAGE)):
        result = tunnels.run("exec", name, "--timeout", "10s", "--", "touch", str(marker), expect=code)
        assert "hint:" in result.err
    assert not marker.exists()
