"""What a leak test has found: each line says what it shows, and what it cannot show. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

from tunnels.core.socks_words import REFUSED_COMMAND, SUCCEEDED, reply_text
from tunnels.core.status import JSON_VERSION, ForwardStatus, Json


class Verdict(enum.Enum):
    """What came of one check."""

    PASSED = "passed"
    FAILED = "failed"  #: something leaks
    NOTICED = "noticed"  #: worth a look
    UNKNOWN = "unknown"  #: could not be found out here


class Check(NamedTuple):
    """One line of the report."""

    name: str
    verdict: Verdict
    text: str
    limit: str | None = None  #: what it cannot show


def refused(name: str, what: str, code: int) -> Check:
    """A command of SOCKS that a tunnel cannot carry: refused, or else it is done from here."""
    if code == REFUSED_COMMAND:
        return Check(
            name,
            Verdict.PASSED,
            f"{what} is refused (SOCKS reply {code})",
            "whether a program that is refused then sends it past the proxy",
        )
    return Check(name, Verdict.FAILED, f"{what} is not refused: {reply_text(code)} (SOCKS reply {code})")


def names_are_resolved_far_away(word: str, code: int, saw: bool | None, how: str | None, blind: str) -> Check:
    """Whether this machine asked anybody for a new name that was asked for through the proxy.

    ``how`` is what was watched, ``None`` where nothing could be.
    """
    answer = f"the far end was asked for {word} ({reply_text(code)})"
    if how is None:
        return Check(
            "names",
            Verdict.UNKNOWN,
            f"{answer}; whether this machine asked, too, cannot be watched here",
            "on Linux it can",
        )
    if saw:
        return Check("names", Verdict.FAILED, f"this machine asked for {word} itself: seen in {how}")
    if saw is None:
        return Check(
            "names",
            Verdict.UNKNOWN,
            f"{answer}; other programs sent too much meanwhile to tell whether this machine asked, too",
            "try it in a quiet moment, or as root, which sees the packets themselves",
        )
    return Check(
        "names", Verdict.PASSED, f"{answer}, and nobody was asked from here: {how} was watched", blind
    )


def far_name(name: str, code: int, *, known_here: bool) -> Check:
    """A name that only the far end should know."""
    resolved = code in (SUCCEEDED, 5)  # a refusal comes from an address
    if not resolved:
        return Check("far-name", Verdict.UNKNOWN, f"{name} was not reached: {reply_text(code)}")
    if known_here:
        return Check(
            "far-name",
            Verdict.UNKNOWN,
            f"{name} is reached, but this machine has an address for it too",
            "who resolved it: give a name that only the far end knows",
        )
    return Check(
        "far-name",
        Verdict.PASSED,
        f"{name} is reached ({reply_text(code)}), and this machine has no address for it",
        "what the far end's name server does with the question",
    )


def by_address(forward: ForwardStatus) -> Check:
    """Requests that came with an address are from programs that have resolved the name themselves, here.

    ``forward`` is as it was before the test asked anything.
    """
    if forward.by_address:
        noun = "request" if forward.by_address == 1 else "requests"
        return Check(
            "by-address",
            Verdict.NOTICED,
            f"{forward.by_address} {noun} so far came with an address and not with a name: "
            "a program has resolved names itself, and its questions went past the tunnel",
            "whether it was told an address to begin with; curl wants socks5h:// and not socks5://",
        )
    if not forward.clients_total:
        return Check("by-address", Verdict.UNKNOWN, "no program has used this proxy yet")
    return Check(
        "by-address",
        Verdict.PASSED,
        "every program so far has asked for names and for no address",
        "programs that do not use the proxy at all",
    )


def reach(forward: ForwardStatus) -> Check:
    """Who can use the proxy."""
    if forward.reachable_by_others:
        return Check("reach", Verdict.NOTICED, f"other machines can reach this proxy ({forward.listen})")
    return Check(
        "reach",
        Verdict.PASSED,
        f"only this machine can reach the proxy ({forward.listen})",
        "which of its users: all of them can",
    )


def exit_address(url: str, said: str) -> Check:
    """What a site on the way out sees."""
    return Check(
        "exit-address", Verdict.PASSED, f"{url} sees: {said}", "whether that is the address that you expect"
    )


def to_json(tunnel: str, proxy: str, checks: Sequence[Check]) -> Json:
    """The document of ``leaktest --json``."""
    return {
        "version": JSON_VERSION,
        "tunnel": tunnel,
        "proxy": proxy,
        "leaks": any(check.verdict is Verdict.FAILED for check in checks),
        "checks": [
            {
                "check": check.name,
                "result": check.verdict.value,
                "shows": check.text,
                "cannot_show": check.limit,
            }
            for check in checks
        ],
    }
