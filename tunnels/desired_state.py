"""What must survive the daemon: which tunnels should be up, and whether it was ended on purpose."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunnels import paths

_VERSION = 1

#: A thousand tunnels with long names are 300 kB.
_MAX_BYTES = 4 * 1024 * 1024


class DesiredState(NamedTuple):
    """``running`` is true while a daemon lives, so true without one means that it was killed."""

    tunnels: tuple[str, ...] = ()
    running: bool = False
    config: str | None = None  #: the profile file they are from
    opened: Mapping[str, Mapping[str, Any]] = {}  #: the tables of those that are in no file, by name

    @property
    def crashed(self) -> bool:
        """Whether, given that no daemon answers, one should be started to take these tunnels up again."""
        return self.running and bool(self.tunnels)


def load(path: Path) -> DesiredState:
    """Read the state. What cannot be read counts as nothing: a tunnel too few is better than no daemon."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return DesiredState()
    if not isinstance(data, dict) or data.get("version") != _VERSION:
        return DesiredState()
    names = data.get("tunnels")
    tunnels = tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
    config, opened = data.get("config"), data.get("opened")
    return DesiredState(
        tunnels,
        data.get("running") is True,
        config if isinstance(config, str) else None,
        {name: table for name, table in opened.items() if isinstance(table, dict)}
        if isinstance(opened, dict)
        else {},
    )


def save(path: Path, state: DesiredState) -> None:
    """Replace the state in one step, so that a power cut leaves the old or the new one. Raises OSError."""
    paths.make_private(path.parent)
    document = {
        "version": _VERSION,
        "running": state.running,
        "config": state.config,
        "tunnels": list(state.tunnels),
        "opened": {name: dict(table) for name, table in state.opened.items()},
    }
    temporary = path.with_suffix(".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a file descriptor, not a path
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
