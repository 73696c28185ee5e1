"""Whether the processor computes AES in hardware, which decides what the fastest cipher is."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path


@cache
def has_aes() -> bool:
    """True on any x86 of the last ten years, on Apple's own processors and on most 64-bit ARM."""
    if sys.platform == "darwin":
        return True
    try:
        text = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        return platform.machine() in {"x86_64", "AMD64"}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in {"flags", "features"}:
            return "aes" in value.split()
    return False
