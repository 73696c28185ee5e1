"""``tunnels init``: a commented profile file to begin with."""

from __future__ import annotations

import os

from tunnels import profiles
from tunnels.cli import output
from tunnels.cli.options import ConfigOption
from tunnels.cli.run import config_path, verb
from tunnels.errors import UsageError


@verb
def init(config: ConfigOption = None) -> int:
    """Write a commented profile file to begin with.

    Example: tunnels init
    """
    path = config_path(config)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise UsageError(f"{path} exists already", hint="`tunnels edit` opens it") from exc
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror or exc}") from exc
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a file descriptor, not a path
        file.write(profiles.template())
    output.out().print(str(path), markup=False, soft_wrap=True)
    output.note("`tunnels edit` opens it; `tunnels check` validates it")
    return 0
