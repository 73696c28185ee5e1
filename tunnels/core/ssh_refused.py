"""How a command line of ssh is refused that no profile can say: everything at once, and what to do instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tunnels.core.reading import likely
from tunnels.errors import UsageError


def not_in_a_profile(said: str, keyword: str, host: str | None, known: Iterable[str]) -> UsageError:
    """Refuse a keyword: ssh_config is its place, unless it is in no list of those that are ``known``.

    ``said`` is how it stood in the line; without any that are known every word may be one.
    """
    names = {name.lower(): name for name in known}
    if names and keyword.lower() not in names:
        meant = likely(keyword.lower(), names)
        return UsageError(
            f"{said}: ssh is not known to have such a keyword",
            hint=f"did you mean {names[meant]}?" if meant else "`man ssh_config` has its keywords",
        )
    return UsageError(
        f"{said} has no place in a profile",
        hint=f"write {keyword} below `Host {host or 'NAME'}` in ~/.ssh/config, and leave it out here",
    )


def together(errors: Sequence[UsageError]) -> UsageError:
    """Say everything at once, so that a line is mended once."""
    hints = list(dict.fromkeys(error.hint for error in errors if error.hint))
    return UsageError(
        "\n".join(dict.fromkeys(error.message for error in errors)), hint="; ".join(hints) or None
    )
