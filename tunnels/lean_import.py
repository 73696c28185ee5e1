"""Has asyncssh imported without what no tunnel needs of it.

On import asyncssh 2.24.1 loads every optional library that it finds: for smart cards (ours has its own code for
those, `tunnels.ssh.pkcs11_token`), for security keys (`tunnels.ssh.security_keys` loads it when a key wants it)
and for GSSAPI (never used). With the extras of this package that is 6 MB and 130 ms of processor time for every
daemon, doctor and ``up -f``. And it looks for liboqs and nettle with `ctypes.util.find_library`, which starts
gcc and ld where ``ldconfig`` knows of none: eleven processes. Where the system has an ``ldconfig`` cache, that
one is asked alone: what it does not know could not be loaded by its name either.

Each of these libraries may be missing anyway; to asyncssh it looks as if they were.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

#: What asyncssh does without while it is imported.
WITHOUT = ("fido2", "gssapi", "pkcs11")

#: The libraries that the system's linker knows (ld.so(8)).
LINKER_CACHE = "/etc/ld.so.cache"


class _Finder:
    """Finds asyncssh, once, and has it loaded in here."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name != "asyncssh":
            return None
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """Loads as another one does, with less."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See `importlib.abc.Loader`."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        with _without_libraries(), _without_compilers():
            self._loader.exec_module(module)


def install() -> None:
    """Have it so when asyncssh is imported. Does nothing where that has happened."""
    if "asyncssh" not in sys.modules and not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextlib.contextmanager
def _without_libraries() -> Iterator[None]:
    hidden: dict[str, Any] = {name: None for name in WITHOUT if name not in sys.modules}
    sys.modules.update(hidden)  # an import of it is refused then (the import statement, 5.3.1)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _without_compilers() -> Iterator[None]:
    """Keep `ctypes.util.find_library` to the linker's cache, where there is one."""
    import ctypes.util  # noqa: PLC0415 - as asyncssh does, and nobody before it

    private: Any = ctypes.util
    names = ("_findLib_gcc", "_findLib_ld")
    known = hasattr(private, "_findSoname_ldconfig") and os.path.exists(LINKER_CACHE)  # noqa: PTH110
    kept = {name: getattr(private, name) for name in names if known and hasattr(private, name)}
    for name in kept:
        setattr(private, name, lambda _name: None)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(private, name, function)
