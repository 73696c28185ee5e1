"""Looks for the secrets of the tests where none may be: in files, arguments and environments of the product."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import psutil

_known: dict[str, str] = {}  # secret -> what it is, for the complaint


def secret(what: str = "secret") -> str:
    """Make a secret up that occurs nowhere else, and have it looked for from now on."""
    return known(f"hush-{secrets.token_hex(8)}", what)


def known(text: str, what: str) -> str:
    """Have a secret looked for from now on, in everything that this process tests."""
    _known[text] = what
    return text


def in_files(folder: Path, *, but: Iterable[Path] = ()) -> list[str]:
    """Say which files below a folder have a secret in them or in their name; ``but`` are meant to."""
    meant = {path.resolve() for path in but}
    return [
        f"{what} is in {path}"
        for path in sorted(folder.rglob("*"))
        if path.resolve() not in meant
        for what in _in(_content(path) + str(path).encode())
    ]


def in_processes(processes: Iterable[psutil.Process]) -> list[str]:
    """Say which processes have a secret among their arguments or in their environment."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            words = [*process.cmdline(), *process.environ().values()]
            found += [f"{what} is known of process {process.pid}" for what in _in("\0".join(words).encode())]
    return found


def in_text(text: str) -> list[str]:
    """Say which secrets a text has."""
    return _in(text.encode())


def _in(data: bytes) -> list[str]:
    return [
        what
        for text, what in _known.items()
        # A code is digits, and a longer number that happens to have them is none.
        if re.search(rb"(?<![0-9])%b(?![0-9])" % re.escape(text.encode()), data)
    ]


def _content(path: Path) -> bytes:
    """Everything of a file; a socket has nothing."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""
