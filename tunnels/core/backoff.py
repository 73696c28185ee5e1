"""How long to wait before the next attempt. Pure: the random source is an argument. Seconds throughout."""

from __future__ import annotations

from collections.abc import Callable

from tunnels.core.profile import Retry
from tunnels.errors import BadSetting, HostKeyRejected, HostKeyUnknown, NameNotResolved, TunnelsError

#: A number from 0 up to, but not including, 1; ``random.random`` has this shape.
Random = Callable[[], float]

#: After this long without a loss a connection counts as settled, and the next loss starts from the
#: shortest delay again. Shorter, and a server that accepts and drops would be hammered.
SETTLE_AFTER = 10.0

#: While a client waits, attempts start at most this far apart (design, section 4.3).
DEMAND_INTERVAL = 1.0

#: While there is no route to the host, an attempt is made this often, in case the machine is wrong about it.
OFFLINE_RETRY = 30.0

#: Ceiling of the delay after a name that was not found: name servers come up later than links, without a sign.
NAME_RETRY_MAX = 10.0

#: After a change of the network an attempt starts at once, but no more than five a second: changes come in bursts.
CHANGE_INTERVAL = 0.2

#: Seconds in which a connection must answer after the network has changed, beside some round trips. Long
#: enough for a Wi-Fi that has just associated; with the time of a login it stays below two seconds.
PROBE_LIMIT = 1.0

#: A login that is refused after it had worked is most often a server being changed; but each attempt
#: counts for fail2ban, whose default is 5 failures in 10 minutes (jail.conf, maxretry and findtime).
REFUSED_RETRY = 150.0

#: Listening is tried again after these delays, the last one for ever. Quick at first because a port is
#: usually held by a program that is just ending, or by our own old session on the server.
LISTEN_RETRIES = (0.5, 1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 15.0)

#: A person must look at these first, also after the tunnel has been up.
_NEVER_RETRIED = (HostKeyRejected, HostKeyUnknown, BadSetting)

# 2.0 ** 64 times any initial delay is past any ceiling; larger exponents would overflow a float.
_MAX_EXPONENT = 64


def retry_delay(failures: int, *, initial: float, ceiling: float, random: Random) -> float:
    """Exponential backoff with full jitter: anywhere between nothing and ``initial * 2**(failures - 1)``.

    Full jitter spreads the clients of a server that comes back best (Brooker, "Exponential Backoff And
    Jitter", 2015). ``failures`` counts the attempts since the connection was last settled.
    """
    exponent = min(max(failures - 1, 0), _MAX_EXPONENT)
    return random() * min(ceiling, initial * 2.0**exponent)


def refused_delay(random: Random) -> float:
    """The wait after a refused login of a tunnel that has been up before: 150 to 300 s."""
    return REFUSED_RETRY * (1.0 + random())


def is_retried(error: TunnelsError, *, ever_up: bool) -> bool:
    """Whether there is a next attempt after one that ended with ``error``."""
    return error.retryable or (ever_up and not isinstance(error, _NEVER_RETRIED))


def next_delay(error: TunnelsError, failures: int, retry: Retry, *, online: bool, random: Random) -> float:
    """The wait after an attempt that ended with ``error``; ``online``: there is a way to the host."""
    if not error.retryable:  # it worked before, so it may again; but each attempt may count against us
        return refused_delay(random)
    if not online:
        return OFFLINE_RETRY
    ceiling = retry.max
    if isinstance(error, NameNotResolved):  # that asks nobody but the resolver
        ceiling = min(ceiling, max(retry.initial, NAME_RETRY_MAX))
    return retry_delay(failures, initial=retry.initial, ceiling=ceiling, random=random)


def listen_delay(failures: int) -> float:
    """The wait before listening is tried again, after ``failures`` (at least 1) refusals in a row."""
    return LISTEN_RETRIES[min(failures, len(LISTEN_RETRIES)) - 1]


def probe_limit(rtt_ms: float | None) -> float:
    """How long to wait for the answer of a connection that may have died with the old network."""
    return PROBE_LIMIT + 4 * (rtt_ms or 0.0) / 1000
