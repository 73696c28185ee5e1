"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil


def describe() -> dict[str, str]:
    """Return the computer and the versions that matter, and how busy it is before anything is measured."""
    return {
        "processor": f"{_processor()}, {len(_usable())} cores{_aes()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {_kernel()}, TCP {congestion_control()}",
        "OpenSSH": _openssh(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        **{name: _version(name) for name in ("asyncssh", "cryptography", "uvloop")},
        "OpenSSL of cryptography": _openssl(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _aes() -> str:
    flags = _cpuinfo("flags") or _cpuinfo("Features")
    return (", with AES" if "aes" in flags.split() else ", without AES") if flags else ""


def _usable() -> list[int]:
    cores = psutil.Process()
    return list(cores.cpu_affinity()) if hasattr(cores, "cpu_affinity") else list(range(os.cpu_count() or 1))


def _kernel() -> str:
    """Return the version without what its builder has added."""
    return platform.release().partition("-")[0]


def congestion_control() -> str:
    """Return how TCP here, or in the namespace of this thread, avoids congestion; nothing if it does not say."""
    path = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    return path.read_text().strip() if path.exists() else "unknown"


def _openssh() -> str:
    return subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.strip()


def _openssl() -> str:
    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415  # it is only asked for here

    return str(backend.openssl_version_text())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
