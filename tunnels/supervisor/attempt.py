"""One attempt to connect: whatever comes of it comes back as a value."""

from __future__ import annotations

import logging

from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue, PersonNeeded
from tunnels.errors import InternalError, TunnelsError
from tunnels.supervisor.connector import Connection, Connector, OnFound, OnLost

#: A connection, or why there is none.
Outcome = Connection | PersonNeeded | TunnelsError


async def attempt(
    connector: Connector,
    profile: Profile,
    on_lost: OnLost,
    on_found: OnFound,
    dialogue: Dialogue,
    log: logging.LoggerAdapter[logging.Logger],
) -> Outcome:
    """Connect. Raises nothing but the CancelledError of whoever awaits it."""
    try:
        return await connector(profile, on_lost, on_found, dialogue)
    except TunnelsError as error:  # PersonNeeded is one
        return error
    except Exception as exc:
        log.exception("connecting ended with a bug")
        return InternalError(f"{type(exc).__name__}: {exc}", hint="`tunnels logs` has the details")
