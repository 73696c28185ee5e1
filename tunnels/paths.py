"""Every file and folder of `tunnels`; the only user of platformdirs.

Folders are 0700 and files 0600. ``TUNNELS_RUNTIME_DIR`` and ``TUNNELS_STATE_DIR`` override both kinds,
so that tests and several daemons of one user never meet; ``TUNNELS_CONFIG`` names the profile file.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from functools import cache
from pathlib import Path

from platformdirs import PlatformDirs

from tunnels.errors import BadSetting, UsageError

#: sun_path is 104 bytes on macOS and the BSDs, 108 on Linux (unix(7)); one is the final NUL.
MAX_SOCKET_PATH = 103


@cache
def _dirs() -> PlatformDirs:
    return PlatformDirs("tunnels", appauthor=False)


def config_file(override: str | None = None) -> Path:
    """The profile file: what ``--config`` says, else ``TUNNELS_CONFIG``, else the usual place."""
    named = override or os.environ.get("TUNNELS_CONFIG")
    if not named:
        return usual_config_file()
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as exc:  # ~somebody
        raise UsageError(f"{named}: there is no such user", hint="write the path from / on") from exc


def usual_config_file() -> Path:
    """Where the profile file is if nobody says another place."""
    return _dirs().user_config_path / "profiles.toml"


def runtime_dir() -> Path:
    """Where the socket is."""
    named = os.environ.get("TUNNELS_RUNTIME_DIR")
    if named:
        return Path(named).absolute()
    with warnings.catch_warnings():  # platformdirs warns where it has to fall back; make_private checks it
        warnings.simplefilter("ignore")
        return _dirs().user_runtime_path


def state_dir() -> Path:
    """Where what must survive a reboot is."""
    named = os.environ.get("TUNNELS_STATE_DIR")
    return Path(named).absolute() if named else _dirs().user_state_path


def log_dir() -> Path:
    """Where the log is."""
    return state_dir() / "log" if os.environ.get("TUNNELS_STATE_DIR") else _dirs().user_log_path


def socket_path() -> Path:
    """The control socket."""
    path = runtime_dir() / "control.sock"
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise BadSetting(
            f"{path} is too long for a unix socket (at most {MAX_SOCKET_PATH} bytes)",
            hint="set TUNNELS_RUNTIME_DIR to a shorter folder",
        )
    return path


def lock_file() -> Path:
    """Held by the daemon for as long as it lives, which may be longer than the runtime folder does."""
    return state_dir() / "daemon.lock"


def state_file() -> Path:
    """Which tunnels should be up."""
    return state_dir() / "state.json"


def history_file() -> Path:
    """What happened to the tunnels."""
    return state_dir() / "history.jsonl"


def alive_file() -> Path:
    """Its time is that of the daemon's last sign of life that was to outlive the machine."""
    return state_dir() / "alive"


def pulse_file() -> Path:
    """Its time is that of the daemon's last sign of life, every few seconds; most often in memory."""
    return runtime_dir() / "alive"


def browsers_dir() -> Path:
    """Where browsers have their profiles that are thrown away: gone with the session, whatever happens."""
    return runtime_dir() / "browsers"


def kept_browsers_dir() -> Path:
    """Where browsers have their profiles that are kept."""
    return state_dir() / "browsers"


def log_file() -> Path:
    """What happened, one line each."""
    return log_dir() / "tunnels.log"


def startup_log() -> Path:
    """What a daemon printed before it had a log, or when it crashed."""
    return log_dir() / "startup.log"


def service_file() -> Path:
    """The user's unit for systemd, or on macOS the agent for launchd; there where it has been installed."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "LaunchAgents" / "tunnels.daemon.plist"
    named = os.environ.get("XDG_CONFIG_HOME")
    return Path(named or Path.home() / ".config").absolute() / "systemd" / "user" / "tunnels.service"


def make_private(folder: Path) -> Path:
    """Make a folder that only its user can enter, and refuse one that is somebody else's.

    A runtime folder may lie where everybody can write. Raises BadSetting.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, link, parent = folder.stat(), folder.lstat(), folder.parent.stat()
    except OSError as exc:
        raise BadSetting(f"{folder}: {exc.strerror or exc}") from exc
    if not stat.S_ISDIR(found.st_mode):
        raise BadSetting(f"{folder} is not a folder")
    me = os.getuid()
    if found.st_uid != me or link.st_uid not in (me, 0) or parent.st_uid not in (me, 0):
        raise BadSetting(
            f"{folder} belongs to another user, or the folder above it does",
            hint="set TUNNELS_RUNTIME_DIR or TUNNELS_STATE_DIR",
        )
    if stat.S_IMODE(found.st_mode) & 0o022:  # a folder that is meant to be shared is not ours to close
        raise BadSetting(
            f"others may write to {folder}", hint=f"chmod go-w {folder}, or name a folder for tunnels alone"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)
    return folder
