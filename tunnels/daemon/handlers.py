"""What each command of the control protocol does."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tunnels import __version__, profiles
from tunnels.core import protocol
from tunnels.core.protocol import Command
from tunnels.core.status import DaemonStatus, Json, Snapshot
from tunnels.daemon.config import Config
from tunnels.errors import ProfileError, UsageError
from tunnels.profiles import ProfileFile
from tunnels.supervisor.supervisor import Supervisor

_log = logging.getLogger("tunnels")

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
        self._absent: tuple[str, ...] = ()  # should be up, but the file lacks them for now

    @property
    def absent(self) -> tuple[str, ...]:
        """What should be up and cannot be, because the profile file does not have it at the moment."""
        return self._absent

    async def handle(self, command: Command) -> Json:
        """Do what a command says. Raises TunnelsError."""
        match command:
            case protocol.Up(names, config):
                return await self._up(names, config)
            case protocol.Down(names, everything):
                if everything:
                    names = [*self._absent, *self._supervisor.names]
                self._absent = tuple(name for name in self._absent if name not in names)
                return {"stopped": list(await self._supervisor.down(names))}
            case protocol.Restart(names, config):
                self._use(config)
                file = self._config.load()
                await self._supervisor.restart(profiles.select(file, names))
                return {}
            case protocol.Reload():
                return await self.reload()
            case protocol.Status():
                return self.snapshot().to_json()
            case protocol.Answer(name, question_id, answer):
                self._supervisor.answer(name, question_id, answer)
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
        daemon = DaemonStatus(
            pid=os.getpid(),
            version=__version__,
            started_at=self._started_at,
            config=str(self._config.path),
            config_error=None if error is None else error.message,
        )
        return Snapshot(daemon, self._supervisor.statuses())

    async def reload(self) -> Json:
        """Apply the changed file. Raises ProfileError, and then nothing has changed."""
        file = self._config.load()
        plan = await self._supervisor.reload(file.profiles)
        await self._take_up_absent(file)
        _log.info(
            "reloaded: %d restarted, %d stopped, %d kept", len(plan.restart), len(plan.stop), len(plan.keep)
        )
        return {"restart": list(plan.restart), "stop": list(plan.stop), "keep": list(plan.keep)}

    async def take_up(self, names: tuple[str, ...]) -> None:
        """Start what should be up when the daemon starts: these, and what has ``autostart``."""
        self._absent = names
        try:
            file = self._config.load()
        except ProfileError as error:
            _log.error("%s", error.message)
            return
        wanted = [
            profile for profile in file.profiles.values() if profile.autostart and profile.name not in names
        ]
        await self._take_up_absent(file)
        await asyncio.gather(*(self._supervisor.up(profile) for profile in wanted))
        for name in self._absent:
            _log.warning("%s should be up, but is not in %s", name, self._config.path)

    async def _take_up_absent(self, file: ProfileFile) -> None:
        """Start what should have been up all the time and is in the file again."""
        found = [name for name in self._absent if name in file.profiles]
        await asyncio.gather(*(self._supervisor.up(file.profiles[name]) for name in found))
        # Only now: what should be up is written down with each of them, and a power cut loses none.
        self._absent = tuple(name for name in self._absent if name not in found)

    async def _up(self, names: list[str], config: str) -> Json:
        self._use(config)
        file = self._config.load()
        wanted = profiles.select(file, names)
        await self._take_up_absent(file)
        found = await asyncio.gather(*(self._supervisor.up(profile) for profile in wanted))
        return {"tunnels": {profile.name: what.value for profile, what in zip(wanted, found, strict=True)}}

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
