"""Whose socket is read next.

uvloop's libuv reads from one socket until a read does not fill its buffer, up to 32 times (`uv__read`), before it
looks at any other: 16 MiB of a download, and 50 ms in which a keystroke on the same tunnel is not noticed. So who
has filled a buffer lets the others have their turn.
"""

from __future__ import annotations

import asyncio
from typing import Any


def let_others(transport: Any) -> None:
    """Read on when every other socket that has something was looked at."""
    if not transport.is_closing():
        transport.pause_reading()
        asyncio.get_running_loop().call_soon(_read_on, transport)


def _read_on(transport: Any) -> None:
    if not transport.is_closing():
        transport.resume_reading()
