"""systemd, the one of the user or the one of the system, through ``systemctl``."""

from __future__ import annotations

from pathlib import Path

from tunnels.errors import ServiceError
from tunnels.service import files
from tunnels.service.manager import Manager, State
from tunnels.service.run import Done, Runner, run

#: Where units of the administrator are (systemd.unit(5)).
SYSTEM_UNITS = Path("/etc/systemd/system")

#: systemd-logind keeps a file here for each user whose services go on without a login.
LINGER = Path("/var/lib/systemd/linger")

#: This folder is there where systemd is what started the machine (sd_booted(3)).
BOOTED = Path("/run/systemd/system")

#: What to do where nobody starts services.
WITHOUT = (
    "without systemd, cron can start the daemon: `crontab -e`, and there `@reboot /the/path/of/tunnels daemon run`;"
    " for other programs that start programs, `tunnels daemon run`"
)

_ASKED = (
    "ActiveState",
    "SubState",
    "UnitFileState",
    "MainPID",
    "ActiveEnterTimestampMonotonic",
    "StatusText",
    "NRestarts",
)


class Systemd(Manager):
    """A unit of the user, or, with an account, one of the system that runs as that account."""

    def __init__(
        self,
        file: Path,
        *,
        user: str,
        system: bool = False,
        runner: Runner = run,
        linger: Path = LINGER,
        booted: Path = BOOTED,
    ) -> None:
        super().__init__(file, runner)
        self.kind = "systemd-system" if system else "systemd-user"
        self._system = system
        self._linger = linger / user
        self._booted = booted

    @property
    def _mode(self) -> int:
        return 0o644 if self._system else 0o600

    @property
    def lingering(self) -> bool | None:
        """Whether the user's services run without a login; None for the system's, which do anyway."""
        return None if self._system else self._linger.exists()

    def render(self, service: files.Service) -> str:
        """Return the text of the unit."""
        return files.unit_of(service)

    def check(self) -> None:
        """See whether systemd answers."""
        try:
            done = self._systemctl("show", "--property=Version", "--value")
        except ServiceError as error:
            raise ServiceError(error.message, hint=WITHOUT) from error
        if done.code == 0 and done.out.strip():
            return
        if not self._booted.is_dir():
            hint = WITHOUT
        elif self._system:
            hint = "`systemctl is-system-running` may say more"
        else:
            hint = (
                "log in as this user instead of using su or sudo, or `sudo tunnels service install --system`"
            )
        raise ServiceError(f"systemd does not answer: {done.why}", hint=hint)

    def start(self) -> None:
        """Start the unit; Type=notify has this wait until the daemon can be asked."""
        self._must("start", self.file.name)

    def restart(self) -> None:
        """End the daemon and start it again."""
        self._must("restart", self.file.name)

    def state(self, *, now: float, monotonic: float) -> State:
        """Return how it stands; ``now`` and ``monotonic`` are the two clocks at this moment, in seconds."""
        installed = self.text() is not None
        if not installed:
            return State(self.kind, str(self.file), lingering=self.lingering)
        done = self._must("show", self.file.name, f"--property={','.join(_ASKED)}")
        found = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
        entered = _number(found, "ActiveEnterTimestampMonotonic")
        active = found.get("ActiveState") in {"active", "reloading"}
        return State(
            self.kind,
            str(self.file),
            installed=True,
            enabled=found.get("UnitFileState") in {"enabled", "enabled-runtime"},
            active=active,
            state=f"{found.get('ActiveState', 'unknown')} ({found.get('SubState', 'unknown')})",
            since=now - (monotonic - entered / 1e6) if active and entered else None,
            pid=_number(found, "MainPID") or None,
            status=found.get("StatusText") or None,
            restarts=_number(found, "NRestarts"),
            lingering=self.lingering,
        )

    def _learn(self) -> None:
        self._must("daemon-reload")
        self._must("enable", self.file.name)

    def _forget(self) -> None:
        self._must("disable", "--now", self.file.name)

    def _learn_removal(self) -> None:
        self._must("daemon-reload")

    def _systemctl(self, *arguments: str) -> Done:
        return self._run(("systemctl", *(() if self._system else ("--user",)), *arguments))

    def _must(self, *arguments: str) -> Done:
        done = self._systemctl(*arguments)
        if done.code:
            user = "" if self._system else "--user "
            raise ServiceError(
                f"`systemctl {user}{arguments[0]}` failed: {done.why}",
                hint=f"`systemctl {user}status {self.file.name}` may say more",
            )
        return done


def _number(found: dict[str, str], key: str) -> int:
    value = found.get(key, "")
    return int(value) if value.isdecimal() else 0
