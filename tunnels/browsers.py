"""Finds the person's browser: on PATH, as a bundle of macOS, as a snap or as a flatpak."""

from __future__ import annotations

import contextlib
import os
import plistlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tunnels.core.browser import KINDS, Family, Kind, family_of, kind_named
from tunnels.errors import UsageError

#: A script that starts a snap is a few lines; a browser is not.
_SCRIPT_BYTES = 4096

#: Seconds for the desktop to say which browser is its default.
_ASK_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser that is installed here."""

    title: str
    family: Family
    command: Path
    home: Path | None = None  #: the only place where it may have its profiles, if it is shut in


def find_browser(wanted: str | None) -> Browser:
    """The browser that is wanted, by name or path; or the person's own.

    Their own is what ``$BROWSER`` names, what the desktop opens links with, or the first there is; one that we
    cannot tell to use a proxy is passed over. Raises UsageError where there is none.
    """
    if wanted is not None:
        return _wanted(wanted)
    for name in (*os.environ.get("BROWSER", "").split(os.pathsep), _default_of_the_desktop()):
        kind = kind_named(Path(name).name) if name else None
        found = _installed(kind) if kind is not None else None
        if found is not None:
            return found
    for kind in KINDS:
        if (found := _installed(kind)) is not None:
            return found
    raise UsageError(
        f"there is no browser here that could be sent through the tunnel: {_known()}",
        hint="install one of them, or say where it is with --browser PATH",
    )


def _wanted(wanted: str) -> Browser:
    if "/" not in wanted:
        kind = kind_named(wanted)
        found = _installed(kind) if kind is not None else _on_path(wanted)
        if found is not None:
            return found
        if kind is not None:
            raise UsageError(f"{kind.title} is not installed here", hint="--browser takes a path, too")
        raise UsageError(f"there is no browser {wanted} here", hint=f"one of {_known()}, or a path")
    path = Path(wanted).expanduser().absolute()
    if path.suffix == ".app":
        inside = path / "Contents" / "MacOS"
        kind = kind_named(path.stem)
        path = inside / (kind.binary if kind is not None else path.stem)
    if not os.access(path, os.X_OK) or not path.is_file():
        raise UsageError(f"{path} is not a program", hint=f"one of {_known()}, or a path")
    return _told_apart(path)


def _known() -> str:
    return ", ".join(kind.name for kind in KINDS)


def _on_path(name: str) -> Browser | None:
    found = shutil.which(name)
    return None if found is None else _told_apart(Path(found))


def _told_apart(path: Path) -> Browser:
    kind = kind_named(path.name)
    family = kind.family if kind is not None else family_of(path.name)
    if family is None:
        raise UsageError(
            f"{path.name} is neither a Firefox nor a Chromium by its name, and only these can be told to use a proxy",
            hint=f"one of {_known()}",
        )
    return Browser(kind.title if kind is not None else path.name, family, path, _home_of_snap(path))


def _installed(kind: Kind) -> Browser | None:
    for name in kind.commands:
        found = shutil.which(name)
        if found is not None:
            return Browser(kind.title, kind.family, Path(found), _home_of_snap(Path(found)))
    if sys.platform == "darwin":
        for applications in (Path("/Applications"), Path.home() / "Applications"):
            program = applications / f"{kind.app}.app" / "Contents" / "MacOS" / kind.binary
            if program.exists():
                return Browser(kind.title, kind.family, program)
    elif kind.flatpak is not None:
        for exports in (
            Path.home() / ".local/share/flatpak/exports/bin",
            Path("/var/lib/flatpak/exports/bin"),
        ):
            if (exports / kind.flatpak).exists():
                home = Path.home() / ".var" / "app" / kind.flatpak / "cache" / "tunnels"
                return Browser(kind.title, kind.family, exports / kind.flatpak, home)
    return None


def _home_of_snap(path: Path) -> Path | None:
    """Where a snap may write; ``None`` for what is none. Ubuntu's commands are scripts that start one."""
    text = str(path)
    if not text.startswith("/snap/"):
        try:
            if path.stat().st_size > _SCRIPT_BYTES:
                return None
            text = path.read_text("utf-8", "replace")
        except OSError:
            return None
    _, found, name = text.partition("/snap/bin/")
    word = "".join(char for char in name.split()[0] if char.isalnum() or char in "-_.") if name else ""
    return Path.home() / "snap" / word / "common" / "tunnels" if found and word else None


def _default_of_the_desktop() -> str | None:
    """What opens links here; ``None`` where nobody has said."""
    if sys.platform == "darwin":
        return _default_on_macos()
    if shutil.which("xdg-settings") is None or not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["xdg-settings", "get", "default-web-browser"],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT,
            check=False,
        )
        return done.stdout.strip() or None
    return None


def _default_on_macos() -> str | None:
    """The bundle that LaunchServices has for https; a Mac on which nobody chose has no entry."""
    settings = (
        Path.home() / "Library/Preferences/com.apple.LaunchServices/com.apple.launchservices.secure.plist"
    )
    try:
        handlers = plistlib.loads(settings.read_bytes()).get("LSHandlers", [])
        for handler in handlers:
            if handler.get("LSHandlerURLScheme") == "https":
                return str(handler["LSHandlerRoleAll"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError, plistlib.InvalidFileException):
        pass
    return None
