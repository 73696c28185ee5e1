"""Asks the daemon again and again, in a thread of its own: whatever blocks does so here, and not on the screen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tunnels import paths, profiles, spawn
from tunnels.cli import known
from tunnels.client import Client
from tunnels.core.client_status import Clients, ClientStatus
from tunnels.core.profile import Profile
from tunnels.core.status import Snapshot
from tunnels.errors import ControlError, DaemonNotRunning, ProfileError, TunnelsError
from tunnels.programs import Program, Programs
from tunnels.ui.log_book import LogBook

#: Seconds between two looks, and while something happens.
INTERVAL = 1.0
SOON = 0.25

#: Looks that are taken sooner after something has happened.
_SOONER = 12


class News(NamedTuple):
    """What there is to show."""

    snapshot: Snapshot
    profiles: tuple[Profile, ...] = ()
    trouble: str = ""  #: why there is no daemon to ask
    file_problem: str = ""  #: the profile file cannot be read
    clients: Clients = Clients()  #: of the selected tunnel
    programs: dict[ClientStatus, Program] = {}  # noqa: RUF012 - nobody writes into it
    log: tuple[str, ...] = ()  #: of the selected tunnel


class Feed:
    """Tells ``tell`` what there is to show, about once a second, from its own thread."""

    def __init__(
        self, config: Path | None, tell: Callable[[News], None], fail: Callable[[Exception], None]
    ) -> None:
        """``config`` is the profile file that was asked for; without it, the daemon's, or the usual one."""
        self._chosen = config
        self._tell = tell
        self._fail = fail
        self._selected = ""
        self._wake = threading.Event()
        self._over = threading.Event()
        self._sooner = _SOONER
        self._client: Client | None = None
        self._log = LogBook(paths.log_file())
        self._programs = Programs()
        self._profiles: tuple[Profile, ...] = ()
        self._problem = ""
        self._fingerprint: object = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, and do not wait for it: the daemon may take its time to answer."""
        self._over.set()
        self._wake.set()

    def select(self, name: str) -> None:
        """Tell more about this tunnel."""
        if name != self._selected:
            self._selected = name
            self._wake.set()

    def hurry(self) -> None:
        """Something happens now: look at once, and more often for a while."""
        self._sooner = _SOONER
        self._wake.set()

    def config(self, snapshot: Snapshot) -> Path:
        """The profile file that commands are about."""
        if self._chosen is not None:
            return self._chosen
        return paths.config_file(None if snapshot.daemon is None else snapshot.daemon.config)

    def _run(self) -> None:
        try:
            self._go_on()
        except Exception as exc:  # noqa: BLE001 - a view that stands still would say what is no longer true
            if not self._over.is_set():
                self._fail(exc)
        finally:
            self._log.close()
            if self._client is not None:
                self._client.close()

    def _go_on(self) -> None:
        before: object = None
        while not self._over.is_set():
            self._wake.clear()
            news = self.look()
            if self._over.is_set():
                break
            self._tell(news)
            states = [(tunnel.name, tunnel.state, tunnel.question) for tunnel in news.snapshot.tunnels]
            if before is not None and states != before:
                self._sooner = _SOONER
            before = states
            self._sooner = max(0, self._sooner - 1)
            # A look at 200 tunnels costs some 30 ms of a core: so many are looked at every other second.
            at_rest = INTERVAL * max(1.0, len(states) / 100)
            self._wake.wait(SOON if self._sooner else at_rest)
            if self._wake.is_set():
                time.sleep(0.03)  # keys come in bursts

    def look(self) -> News:
        """Ask once."""
        selected, clients, trouble = self._selected, Clients(), ""
        snapshot = Snapshot(None)
        try:
            if self._client is None:
                self._client = spawn.find_daemon()
            snapshot = self._client.status()
            busy = any(it.name == selected and any(f.clients for f in it.forwards) for it in snapshot.tunnels)
            clients = self._client.clients([selected]) if busy else clients
        except TunnelsError as error:
            if self._client is not None:
                self._client.close()
                self._client = None
            snapshot, trouble = Snapshot(None), error.message
            if not isinstance(error, DaemonNotRunning | ControlError) and error.hint:
                trouble += f"; {error.hint}"
        self._load(self.config(snapshot))
        self._log.read()
        return News(
            snapshot,
            self._profiles,
            trouble,
            self._problem,
            clients,
            self._programs.of(clients.shown),
            self._log.of(selected),
        )

    def _load(self, config: Path) -> None:
        """Read the profile file if it is not as it was. A bad one changes nothing but what is said."""
        state = paths.state_file()
        found = (config, profiles.fingerprint(config), profiles.fingerprint(state))
        if found == self._fingerprint:
            return
        self._fingerprint = found
        try:
            self._profiles, self._problem = tuple(known.load(config).profiles.values()), ""
        except TunnelsError as error:
            # Who only opens tunnels has no file, and needs none.
            unneeded = self._chosen is None and config == paths.usual_config_file()
            if unneeded and isinstance(error, ProfileError) and profiles.is_missing(error):
                self._profiles, self._problem = (), ""
            else:
                self._problem = error.message
