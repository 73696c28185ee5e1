"""Makes ``docs/pictures``: real commands in a real shell on a terminal, against a real sshd (``make pictures``).

Everything happens in a network and in folders of its own, where the server is ``bastion.example.com`` and knows names
that this machine does not. Needs Linux, root, sshd, ip, tmux and curl.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.wait import eventually

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs/pictures"

COLUMNS, LINES = 92, 44
_PROMPT = "$ "
_INSIDE = "TUNNELS_PICTURES_INSIDE"

_PROFILES = """\
[profiles.work-db]
host = "bastion"
tags = ["work"]
local = [
  "8080:wiki.internal:80",
  { name = "postgres", listen = "5432", connect = "db.internal:5432" },
]

[profiles.home]
host = "vps.example.com"
remote = ["2222:localhost:22"]

[profiles.cafe]
host = "vps.example.com"
dynamic = ["1080"]
"""

_SSH_CONFIG = """\
Host bastion
  HostName bastion.example.com
Host *
  User me
  IdentityFile ~/.ssh/id_ed25519
"""

#: Loopback, and a way out that leads nowhere: without one, tunnels waits for a network.
_NETWORK = """\
link set lo up
link add eth0 type veth peer name eth1
link set eth1 up
link set eth0 up
addr add 192.0.2.7/24 dev eth0
route add default via 192.0.2.1"""

#: rich's own frame, without the fonts that it would fetch.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> int:
    """Make all pictures, or those that are named."""
    if _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp(
            "unshare",
            [
                "unshare",
                "-n",
                "-m",
                "--propagation",
                "private",
                sys.executable,
                "-m",
                "tools.pictures",
                *sys.argv[1:],
            ],
        )
    wanted = set(sys.argv[1:])
    PICTURES.mkdir(parents=True, exist_ok=True)
    with _world() as world:
        for scene in (up, outage, doctor, cafe, ui):
            if not wanted or scene.__name__ in wanted:
                scene(world)
                world.shell.type("clear; tunnels down --all >/dev/null; clear")
                world.shell.clear()
    return 0


class Shell:
    """An interactive shell in a terminal of its own; what is typed and what it shows is what a person would see."""

    def __init__(self, socket: Path, env: dict[str, str]) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        words = [
            "new-session",
            "-d",
            "-x",
            str(COLUMNS),
            "-y",
            str(LINES),
            f"bash --rcfile {socket.parent}/bashrc",
        ]
        subprocess.run([*self._tmux, *words], env=env, check=True)
        self.wait(lambda shown: shown.endswith(_PROMPT.strip()))

    def _run(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True).stdout

    @property
    def shown(self) -> str:
        """The text on the screen, without colours."""
        return self._run("capture-pane", "-p").rstrip()

    def wait(self, probe: Callable[[str], bool], *, within: float = 30) -> None:
        """Wait until something is on the screen."""

        def look() -> bool:
            shown = self.shown
            assert probe(shown), shown
            return True

        eventually(look, within=within, what="it on the screen")

    def keys(self, text: str) -> None:
        """Type without waiting for the end."""
        self._run("send-keys", "-l", text)
        self._run("send-keys", "Enter")

    def press(self, *names: str) -> None:
        """Press keys, by their names in tmux(1)."""
        for name in names:
            self._run("send-keys", name)
            time.sleep(0.2)

    @contextlib.contextmanager
    def of_height(self, lines: int) -> Iterator[None]:
        """Have a smaller terminal for a while."""
        self._run("resize-window", "-y", str(lines))
        try:
            yield
        finally:
            self._run("resize-window", "-y", str(LINES))

    def type(self, text: str) -> None:
        """Type a line and wait for the next prompt."""
        self.keys(text)
        time.sleep(0.3)  # until the line is taken; the prompt before it looks the same
        self.wait(lambda shown: shown[-200:].splitlines()[-1:] == [_PROMPT.strip()])

    def clear(self) -> None:
        """Begin with an empty screen."""
        self._run("send-keys", "-R")
        self.type("clear")

    def picture(self, name: str, title: str) -> None:
        """Write what is on the screen to docs/pictures."""
        lines = self._run("capture-pane", "-p", "-e").rstrip().splitlines()
        if lines and Text.from_ansi(lines[-1]).plain.strip() == _PROMPT.strip():
            del lines[-1]
        # ambiguous widths do not matter here: the console is as wide as the terminal was
        with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
            console = Console(
                record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor"
            )
            for line in lines:
                console.print(Text.from_ansi(line), no_wrap=True)
            drawn = console.export_svg(title=title, unique_id=f"tunnels-{name}")
        (PICTURES / f"{name}.svg").write_text(_FONTS.sub("", drawn), "utf-8")
        print(f"wrote docs/pictures/{name}.svg")

    def close(self) -> None:
        """End the terminal."""
        self._run("kill-server")


class World:
    """A server with what is behind it, and a shell on this side."""

    def __init__(self, shell: Shell, sshd: Sshd) -> None:
        self.shell = shell
        self.sshd = sshd


@contextlib.contextmanager
def _world() -> Iterator[World]:
    with contextlib.ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="tp-", dir="/tmp")))
        home = folder / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        (home / ".config/tunnels").mkdir(parents=True, mode=0o700)
        for words in _NETWORK.split("\n"):
            subprocess.run(["ip", *words.split()], check=True)
        near, far, users = folder / "near", folder / "far", folder / "passwd"
        near.write_text("127.0.0.1 localhost bastion.example.com vps.example.com\n")
        far.write_text("127.0.0.1 localhost\n127.77.0.1 wiki.internal\n127.77.0.2 db.internal\n")
        others = re.sub(
            r"^(root:.*):[^:]*:([^:]*)$",
            rf"\1:{home}:\2",
            Path("/etc/passwd").read_text(),
            count=1,
            flags=re.MULTILINE,
        )
        users.write_text(others + f"me:*:0:0::{home}:/bin/bash\n")
        (folder / "nobody").write_text("")
        for over, under in (
            (near, "/etc/hosts"),
            (users, "/etc/passwd"),
            (folder / "nobody", "/etc/resolv.conf"),
        ):
            subprocess.run(["mount", "--bind", str(over), under], check=True)
        sshd = Sshd(folder / "sshd", port=22)
        sshd._prefix = [  # noqa: SLF001
            *("unshare", "-m", "--propagation", "private", "sh", "-c"),
            f'mount --bind {far} /etc/hosts && exec "$@"',
            "sh",
        ]
        sshd.start()
        ending.callback(sshd.stop)
        for name in ("id", "id.pub"):
            target = home / ".ssh" / name.replace("id", "id_ed25519")
            target.write_bytes((sshd.folder / name).read_bytes())
            target.chmod(0o600)
        (home / ".ssh/config").write_text(_SSH_CONFIG)
        (home / ".config/tunnels/profiles.toml").write_text(_PROFILES)
        (home / ".config/tunnels/profiles.toml").chmod(0o600)
        ending.enter_context(_page("127.77.0.1", 80, "the wiki\n"))
        programs = folder / "bin"
        programs.mkdir()
        (programs / "tunnels").write_text(f'#!/bin/sh\nexec {sys.executable} -m tunnels "$@"\n')
        (programs / "tunnels").chmod(0o755)
        os.chdir(home)
        (folder / "bashrc").write_text(f"PS1='{_PROMPT}'\n")
        env = {
            "HOME": str(home),
            "USER": "me",
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LC_ALL": "C.UTF-8",
            "TUNNELS_RUNTIME_DIR": str(folder / "run"),
            "COLORTERM": "truecolor",
        }
        shell = Shell(folder / "tmux", env)
        ending.callback(shell.close)
        ending.callback(subprocess.run, [str(programs / "tunnels"), "daemon", "stop"], env=env, check=False)
        yield World(shell, sshd)


@contextlib.contextmanager
def _page(host: str, port: int, text: str) -> Iterator[None]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((host, port), Page)
    threading.Thread(target=functools.partial(server.serve_forever, 0.05), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


# --- the scenes -----------------------------------------------------------------------------------


def up(world: World) -> None:
    """The first time: the host key is asked for, the port works."""
    shell = world.shell
    shell.keys("tunnels up work-db")
    shell.wait(lambda shown: "Trust this key" in shown)
    shell.type("yes")
    shell.type("curl http://localhost:8080")
    shell.type("tunnels status")
    shell.picture("up", "the first time")


def _up(shell: Shell, name: str) -> None:
    shell.keys(f"tunnels up {name} >/dev/null")
    shell.wait(lambda shown: "Trust this key" in shown or shown.endswith(_PROMPT.strip()))
    if "Trust this key" in shell.shown:
        shell.type("yes")
    shell.clear()


def outage(world: World) -> None:
    """The server is away, and a client waits for it."""
    shell = world.shell
    shell.type("tunnels up work-db >/dev/null 2>&1; clear")
    shell.clear()
    world.sshd.stop()
    time.sleep(4)
    shell.type("tunnels status")
    back = threading.Timer(3, world.sshd.start)
    back.start()
    shell.type("time curl http://localhost:8080")
    back.join()
    shell.type("tunnels status")
    shell.type("tunnels why work-db")
    shell.picture("outage", "the server was away")


def doctor(world: World) -> None:
    """Where it does not go on."""
    world.shell.type("tunnels doctor work-db")
    world.shell.picture("doctor", "why does it not work?")


def cafe(world: World) -> None:
    """A program goes through, and the proof."""
    shell = world.shell
    _up(shell, "cafe")
    shell.type("tunnels exec cafe -- curl http://wiki.internal")
    shell.type("tunnels leaktest cafe")
    shell.picture("cafe", "through the server")


def ui(world: World) -> None:
    """The full-screen view, while a client is being served."""
    shell = world.shell
    _up(shell, "work-db")
    _up(shell, "cafe")
    with shell.of_height(28):
        shell.clear()
        shell.type("(while sleep 0.2; do curl -s http://localhost:8080; done >/dev/null & echo $! >~/loop)")
        shell.type("(bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; read -t 60; :' <> <(:) & echo $! >~/client)")
        shell.keys("tunnels ui")
        shell.wait(lambda shown: "work-db" in shown)
        time.sleep(20)  # the graph is of the last minute
        shell.picture("ui", "tunnels ui")
        shell.press("q")
        shell.wait(lambda shown: shown.endswith(_PROMPT.strip()))
        shell.type("kill $(cat ~/loop ~/client)")


if __name__ == "__main__":
    sys.exit(main())
