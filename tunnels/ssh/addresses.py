"""Tries each address of a server by itself: where none answers, they may fail for different reasons."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace

from tunnels.ssh.destination import Destination
from tunnels.ssh.dial import dial
from tunnels.ssh.options import connect_timeout

#: Seconds for each, all of them at the same time; the attempt before it has waited for as long as it should.
TIMEOUT = 5.0

#: A name may have hundreds.
MAX_ADDRESSES = 8


async def try_each(addresses: Sequence[str], destination: Destination) -> dict[str, str]:
    """Say in some words what becomes of each address."""
    seconds = min(TIMEOUT, connect_timeout(destination))
    few = addresses[:MAX_ADDRESSES]
    outcomes = await asyncio.gather(
        *(_try(replace(destination, hostname=address, connect_timeout=seconds)) for address in few)
    )
    return dict(zip(few, outcomes, strict=True))


async def _try(destination: Destination) -> str:
    try:
        (await dial(destination)).close()
    except TimeoutError:
        return "does not answer"
    except ConnectionRefusedError:
        return "refuses the connection"
    except socket.gaierror as exc:
        return f"is no address that can be used here: {exc.strerror or exc}"
    except OSError as exc:
        return exc.strerror or str(exc)
    return "answers now"
