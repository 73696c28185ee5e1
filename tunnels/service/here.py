"""Which service manager this machine has, and what it is to start."""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from tunnels import paths
from tunnels.errors import ServiceError, UsageError
from tunnels.service import files
from tunnels.service.files import Account, Service
from tunnels.service.launchd import Launchd
from tunnels.service.manager import Manager
from tunnels.service.run import Runner, run
from tunnels.service.systemd import SYSTEM_UNITS, Systemd

#: Variables that say where our files are; a service does not see those of a terminal.
_PLACES = ("XDG_STATE_HOME",)

#: --config says it.
_LEFT_OUT = ("TUNNELS_CONFIG",)


def user_manager(runner: Runner = run) -> Manager:
    """The service manager of whoever runs this. Raises ServiceError where there is none that is known."""
    if sys.platform == "darwin":
        return Launchd(paths.service_file(), uid=os.getuid(), log=paths.startup_log(), runner=runner)
    if sys.platform.startswith("linux"):
        return Systemd(paths.service_file(), user=_name_of(os.getuid()), runner=runner)
    raise ServiceError(
        "this system has neither systemd nor launchd",
        hint="cron can start the daemon: `crontab -e`, and there `@reboot /the/path/of/tunnels daemon run`",
    )


def system_manager(account: Account, runner: Runner = run) -> Manager:
    """The service manager of the whole machine, for a daemon that runs as one of its users."""
    if not sys.platform.startswith("linux"):
        raise UsageError("--system needs systemd", hint="without it, `tunnels service install` works too")
    file = SYSTEM_UNITS / f"tunnels-{account.name}.service"
    return Systemd(file, user=account.name, system=True, runner=runner)


def account_of(name: str | None, environment: Mapping[str, str]) -> Account:
    """Whose daemon a service of the system is: who was named, else who has used sudo or is about to.

    Raises UsageError.
    """
    if name is None:
        me = os.geteuid()
        found = environment.get("SUDO_USER") if me == 0 else _name_of(me)
        name = None if found == "root" else found
    if not name:
        raise UsageError(
            "whose tunnels are these? A service of the system runs as one user",
            hint="--user NAME; root too has to be named",
        )
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError as exc:
        raise UsageError(f"there is no user {name}") from exc
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise UsageError(f"{name} cannot stand in the name of a unit")
    return Account(name, uid)


def config_of(account: Account) -> Path:
    """The usual profile file of another user."""
    return Path(pwd.getpwnam(account.name).pw_dir, ".config", "tunnels", "profiles.toml")


def service(config: Path, environment: Mapping[str, str], account: Account | None = None) -> Service:
    """What is to be started: this very program, with this profile file and the folders that are set now."""
    beside = Path(sys.executable).with_name("tunnels")
    program = (str(beside),) if os.access(beside, os.X_OK) else (sys.executable, "-m", "tunnels")
    return Service((*program, "--config", str(config), "daemon", "run"), _kept(environment, account), account)


def _kept(environment: Mapping[str, str], account: Account | None) -> dict[str, str]:
    """The variables that the daemon is to have, with folders that mean the same wherever it stands."""
    kept = {
        name: value
        for name, value in environment.items()
        if value and name.startswith("TUNNELS_") and name not in _LEFT_OUT
    }
    if account is None:  # those of root are not the user's
        kept |= {name: environment[name] for name in _PLACES if environment.get(name)}
    return {
        name: str(Path(value).absolute()) if name.endswith(("_DIR", "_HOME")) else value
        for name, value in kept.items()
    }


def installed(environment: Mapping[str, str], runner: Runner = run) -> Manager | None:
    """The user's service, if it is installed and has the same folders as a command with this environment."""
    try:
        manager = user_manager(runner)
        text = manager.text()
    except ServiceError:  # somebody else's file, or none that can be read
        return None
    if text is None or not files.is_for(text, _kept(environment, None)):
        return None
    return manager


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # in a container
        return str(uid)
