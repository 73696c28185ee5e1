"""What each command of the control protocol does."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tunnels import __version__, open_files, opened, profiles, system_keyring
from tunnels.core import protocol
from tunnels.core.protocol import Command
from tunnels.core.question import Answer
from tunnels.core.state import TunnelState
from tunnels.core.status import DaemonStatus, Json, Snapshot, TunnelStatus
from tunnels.daemon.config import Config
from tunnels.errors import ErrorInfo, ProfileError, UsageError
from tunnels.profiles import Fingerprint, ProfileFile
from tunnels.ssh.agent_places import places
from tunnels.supervisor.supervisor import Supervisor

_log = logging.getLogger("tunnels")

#: Seconds between two looks at a file that was wrong when the daemon started.
FILE_INTERVAL = 2.0

#: A watcher that asks for more than this many snapshots a second gets this many.
_MIN_INTERVAL = 0.1
_MAX_INTERVAL = 10.0


class Handlers:
    """The daemon, as the command line sees it."""

    def __init__(
        self, supervisor: Supervisor, config: Config, *, started_at: float, shutdown: Callable[[], None]
    ) -> None:
        self._supervisor = supervisor
        self._config = config
        self._started_at = started_at
        self._shutdown = shutdown
        self._autostarts = False  # until a good file has been seen
        self._tried: Fingerprint | None = None  # the file that was looked at last for what should be up
        self._absent: tuple[str, ...] = ()  # should be up, but the file lacks them for now

    @property
    def absent(self) -> tuple[str, ...]:
        """What should be up and cannot be, because the profile file does not have it at the moment."""
        return self._absent

    async def handle(self, command: Command) -> Json:
        """Do what a command says. Raises TunnelsError."""
        if isinstance(command, protocol.Up | protocol.Open | protocol.Restart | protocol.Answer):
            places.hand_over(command.agent)
        match command:
            case protocol.Up(names, config):
                return await self._up(names, config)
            case protocol.Open():
                return await self._open(command)
            case protocol.Down(names, everything):
                if everything:
                    names = [*self._absent, *self._supervisor.names]
                self._absent = tuple(name for name in self._absent if name not in names)
                stopped = await self._supervisor.down(names)
                self._config.forget(names)
                return {"stopped": list(stopped)}
            case protocol.Restart(names, config):
                self._use(config)
                file = self._config.load()
                await self._supervisor.restart(profiles.select(file, names))
                return {}
            case protocol.Reload():
                return await self.reload()
            case protocol.Status():
                return self.snapshot().to_json()
            case protocol.Clients(names):
                return self._supervisor.clients(names).to_json()
            case protocol.Answer(name, question_id, answer, save):
                if save:  # the answer would be gone before it turned out that it cannot be
                    await system_keyring.check()
                self._supervisor.answer(name, question_id, Answer(answer, save))
                return {}
            case protocol.Shutdown():
                self._shutdown()
                return {"tunnels": list(self._supervisor.names)}
            case protocol.Watch():
                raise AssertionError("watch has many answers")

    async def watch(self, command: protocol.Watch) -> AsyncIterator[Json]:
        """Snapshots, for as long as somebody reads them."""
        interval = min(max(command.interval, _MIN_INTERVAL), _MAX_INTERVAL)
        with self._supervisor.bus.watch() as watch:
            while True:
                yield self.snapshot().to_json()
                await watch.wait(interval)

    def snapshot(self) -> Snapshot:
        """Everything, now."""
        error = self._config.check()
        if self._config.does_without and not self._absent:
            error = None
        daemon = DaemonStatus(
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at,
            config=str(self._config.path),
            config_error=None if error is None else error.message,
            file_limit=open_files.ours.limit,
            turned_away=open_files.ours.turned_away,
        )
        waiting = tuple(self._waiting(name, error) for name in self._absent)
        return Snapshot(daemon, (*self._supervisor.statuses(), *waiting))

    def _waiting(self, name: str, error: ProfileError | None) -> TunnelStatus:
        """A tunnel that should be up, and whose profile cannot be had."""
        why = ErrorInfo(
            "profile-file",
            "it should be up, and the profile file has a problem"
            if error is not None
            else f"it should be up, and is not in {self._config.path}",
            "mend it with `tunnels edit`" if error is not None else f"`tunnels down {name}` forgets it",
        )
        return TunnelStatus(name, "", TunnelState.FAILED, self._started_at, error=why)

    async def reload(self) -> Json:
        """Apply the changed file. Raises ProfileError, and then nothing has changed."""
        file = self._config.load()
        plan = await self._supervisor.reload(file.profiles)
        started = await self._take_up_all(file)
        _log.info(
            "reloaded: %d restarted, %d stopped, %d started, %d kept",
            *map(len, (plan.restart, plan.stop, started, plan.keep)),
        )
        return {
            "restart": list(plan.restart),
            "stop": list(plan.stop),
            "start": started,
            "keep": list(plan.keep),
        }

    async def take_up(self, names: tuple[str, ...]) -> None:
        """Start what should be up when the daemon starts: these, and what has ``autostart``."""
        self._absent = names
        self._autostarts = True
        await self._try_to_take_up()

    async def _try_to_take_up(self) -> None:
        self._tried = profiles.fingerprint(self._config.path)
        try:
            file = self._config.load()
        except ProfileError as error:
            if self._absent or not self._config.does_without:
                _log.error("%s", error.message)
            return
        await self._take_up_all(file)
        for name in self._absent:
            _log.warning("%s should be up, but is not in %s", name, self._config.path)

    async def wait_for_the_file(self) -> None:
        """Start what should be up as soon as a file is mended that was wrong when the daemon started."""
        while self._autostarts:
            await asyncio.sleep(FILE_INTERVAL)
            if profiles.fingerprint(self._config.path) != self._tried:
                await self._try_to_take_up()

    async def _take_up_all(self, file: ProfileFile) -> list[str]:
        """Start what should have been up all the time and is in the file again. Returns the names."""
        found = [name for name in self._absent if name in file.profiles]
        if self._autostarts and self._config.is_there:
            self._autostarts = False
            running = {*self._supervisor.names, *found}
            found += [p.name for p in file.profiles.values() if p.autostart and p.name not in running]
        await asyncio.gather(*(self._supervisor.up(file.profiles[name]) for name in found))
        # Only now: what should be up is written down with each of them, and a power cut loses none.
        self._absent = tuple(name for name in self._absent if name not in found)
        return found

    async def _up(self, names: list[str], config: str) -> Json:
        self._use(config)
        file = self._config.load()
        wanted = profiles.select(file, names)
        await self._take_up_all(file)
        found = await asyncio.gather(*(self._supervisor.up(profile) for profile in wanted))
        return {"tunnels": {profile.name: what.value for profile, what in zip(wanted, found, strict=True)}}

    async def _open(self, command: protocol.Open) -> Json:
        """Start a tunnel that is in no file, unless the same one has been opened before."""
        self._use(command.config)
        known, table = self._config.opened, command.profile
        same = [name for name, other in known.items() if other == table and command.name in {"", name}]
        if same:
            name, profile = same[0], self._config.open(same[0], table)
        else:
            taken = {*self._config.names(), *self._supervisor.names, *self._absent, *known}
            if command.name in taken:
                raise UsageError(
                    f"there is a tunnel or a profile that is called {command.name}",
                    hint=f"--name another one, or `tunnels up {command.name}`",
                )
            name = command.name or opened.choose_name(str(table.get("host", "")), taken)
            profile = self._config.open(name, table)
        try:
            what = await self._supervisor.up(profile)
        except BaseException:
            if name not in self._supervisor.names:
                self._config.forget([name])
            raise
        return {"name": name, "what": what.value}

    def _use(self, config: str) -> None:
        """One daemon has one profile file; another one is taken only while nothing runs."""
        if config == str(self._config.path):
            return
        if self._supervisor.names:
            raise UsageError(
                f"the daemon works with {self._config.path}, not with {config}",
                hint="`tunnels daemon stop` first; or a second daemon: TUNNELS_RUNTIME_DIR, TUNNELS_STATE_DIR",
            )
        self._config.use(Path(config))
        self._absent = ()
