"""What a service manager reads: the systemd unit and the launchd agent. Pure: values in, text out."""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from typing import NamedTuple
from xml.parsers.expat import ExpatError

from tunnels.errors import UsageError

#: In the first line of a unit and in the second of an agent: a file without it is not ours and is left alone.
MARKER = "Written by `tunnels service install`"

#: What launchd calls the agent.
LABEL = "tunnels.daemon"

#: Seconds without a sign of life until systemd ends the daemon and starts it again. The daemon gives one twice
#: as often, and its longest step without one (a thousand tunnels at once) takes 2 s on a small board.
WATCHDOG = 60

#: Seconds to end in. The daemon allows what serves the command line 10, its tunnels 10, their last hooks 8 and
#: the end of those 6.
STOP = 35

#: Bytes that a path in a unit may not have written plainly, and how systemd.syntax(7) has them.
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class Account(NamedTuple):
    """Whose daemon it is, where that has to be said: in a service of the whole system."""

    name: str
    uid: int


class Service(NamedTuple):
    """One daemon, as a service manager is to start it."""

    command: tuple[str, ...]  #: the first is an absolute path
    environment: Mapping[str, str]
    account: Account | None = None  #: None: a service of the user who installs it


def unit_of(service: Service) -> str:
    """Write the systemd unit. Raises UsageError where a path cannot stand in one."""
    account = service.account
    edit = f"systemctl edit tunnels-{account.name}" if account else "systemctl --user edit tunnels"
    lines = [
        f"# {MARKER}, which also replaces it. `{edit}` keeps changes of yours apart.",
        "[Unit]",
        "Description=tunnels: keeps SSH tunnels up" + (f" for {account.name}" if account else ""),
    ]
    if account:
        # Not network-online.target: the daemon copes with no network, and dials when there is one.
        lines += ["After=network.target"]
        # The control socket is where the user's own commands look for it, whether they are logged in or not:
        # the folder stays for as long as a unit wants it (user-runtime-dir@.service(5)).
        lines += [f"Wants=user-runtime-dir@{account.uid}.service"]
        lines += [f"After=user-runtime-dir@{account.uid}.service"]
    lines += [
        "# It is never given up.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
    ]
    if account:
        lines += [f"User={account.name}"]
    lines += [
        f"ExecStart={_command(service.command)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartSec=1",
        "# An event loop that is stuck is killed and started again.",
        f"WatchdogSec={WATCHDOG}",
        "# At once, and without its memory, where secrets are, being written to a disk.",
        "WatchdogSignal=SIGKILL",
        "LimitCORE=0",
        f"TimeoutStopSec={STOP}",
        "KillMode=mixed",
        "UMask=0077",
    ]
    environment = dict(service.environment)
    if account:
        environment.setdefault("XDG_RUNTIME_DIR", f"/run/user/{account.uid}")
    lines += [f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(environment.items())]
    lines += ["", "[Install]", f"WantedBy={'multi-user' if account else 'default'}.target", ""]
    return "\n".join(lines)


def agent_of(service: Service, *, log: str) -> dict[str, object]:
    """Write the launchd agent (launchd.plist(5)). ``log`` gets what the daemon says before it has a log."""
    return {
        "Label": LABEL,
        "ProgramArguments": list(service.command),
        "EnvironmentVariables": dict(sorted(service.environment.items())),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},  # launchd waits 10 s between two starts
        "ProcessType": "Interactive",  # programs wait for what the tunnels carry: not slowed down
        "ExitTimeOut": STOP,
        "Umask": 0o077,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }


def agent_text(agent: Mapping[str, object]) -> str:
    """Write an agent as XML, with the marker in its second line; the first is what makes it XML."""
    try:
        declaration, rest = plistlib.dumps(dict(agent)).decode("utf-8").split("\n", 1)
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"launchd cannot be told this: {exc}") from exc
    return f"{declaration}\n<!-- {MARKER}, which also replaces it. -->\n{rest}"


def is_ours(text: str) -> bool:
    """Whether `tunnels` has written this file."""
    return any(MARKER in line for line in text.splitlines()[:2])


def is_for(text: str, environment: Mapping[str, str]) -> bool:
    """Whether the service of this unit or agent uses the same folders as a command with this environment."""
    folders = ("TUNNELS_RUNTIME_DIR", "TUNNELS_STATE_DIR")
    wanted = {name: environment.get(name) or None for name in folders}
    if text.startswith("<?xml"):
        try:
            there = plistlib.loads(text.encode("utf-8", "replace"))["EnvironmentVariables"]
        except (ValueError, KeyError, TypeError, ExpatError):
            return False
        return isinstance(there, dict) and all(there.get(name) == value for name, value in wanted.items())
    lines = text.splitlines()
    return all(
        f"Environment={_quoted(f'{name}={value}')}" in lines if value else name not in text
        for name, value in wanted.items()
    )


def _command(command: tuple[str, ...]) -> str:
    """A command line: systemd puts variables into arguments, but not into the program's own path."""
    program, *arguments = command
    return " ".join((_quoted(program), *(_quoted(argument).replace("$", "$$") for argument in arguments)))


def _quoted(text: str) -> str:
    """One word, as systemd.syntax(7) and its specifiers (``%``) have it."""
    for char in text:
        if char not in _ESCAPES and (not char.isprintable()):
            raise UsageError(
                f"{text.encode('utf-8', 'backslashreplace').decode()} cannot stand in a systemd unit",
                hint="it has a character that is not text; use another path",
            )
    escaped = "".join(_ESCAPES.get(char, char) for char in text).replace("%", "%%")
    return f'"{escaped}"' if escaped != text or " " in text or "'" in text or not text else escaped
