"""The tokens and variables that OpenSSH puts into the values of ssh_config.

``ssh -G`` leaves most of them in place (it expands only UserKnownHostsFile and IdentityAgent), so what it
prints is expanded here. Source: ssh_config(5), sections TOKENS and ENVIRONMENT VARIABLES.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"%(.?)", re.DOTALL)
_TOKEN_OR_VARIABLE = re.compile(r"%(.?)|\$\{([^}]*)\}", re.DOTALL)


class TokenError(ValueError):
    """A token that does not exist here, or an environment variable that is not set."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What each token stands for, for one destination seen from this machine."""

    home: str  #: ``%d`` and ``~``
    local_user: str  #: ``%u``
    local_uid: int  #: ``%i``
    local_hostname: str  #: ``%l``; ``%L`` is its part before the first dot
    alias: str  #: ``%n``: what the user called the destination
    hostname: str  #: ``%h``
    port: int  #: ``%p``
    user: str  #: ``%r``
    host_key_alias: str | None = None  #: ``%k``; the alias where there is none
    jump: str = ""  #: ``%j``: the value of ProxyJump

    def expand(self, text: str, environ: Mapping[str, str] | None = None) -> str:
        """Expand the tokens of a value, and ``${NAME}`` where an environment is given.

        Raises:
            TokenError: the value has a token that does not exist, or names a variable that is not set.

        """
        letters = self._letters()

        def replacement(match: re.Match[str]) -> str:
            if match[0].startswith("%"):
                if match[1] not in letters:
                    raise TokenError(f"{match[0]} is not a token of ssh_config")
                return letters[match[1]]
            assert environ is not None
            if match[2] not in environ:
                raise TokenError(f"the environment variable {match[2]} is not set")
            return environ[match[2]]

        # One pass, as OpenSSH does it: what a token or variable expands to is not expanded again.
        return (_TOKEN if environ is None else _TOKEN_OR_VARIABLE).sub(replacement, text)

    def expand_path(self, text: str, environ: Mapping[str, str]) -> str:
        """Expand a file name: ``~``, tokens and variables.

        ``~`` is the home that the password database names, which is what ssh takes; not ``$HOME``.

        Raises:
            TokenError: as `expand`.

        """
        if text == "~" or text.startswith("~/"):
            text = self.home.replace("%", "%%") + text[1:]
        elif text.startswith("~"):
            text = os.path.expanduser(text)  # noqa: PTH111 - Path raises where this leaves ~nobody alone
        return self.expand(text, environ)

    def _letters(self) -> dict[str, str]:
        port = str(self.port)
        everything = f"{self.local_hostname}{self.hostname}{port}{self.user}{self.jump}"
        return {
            "%": "%",
            # SHA-1 of %l%h%p%r, and %j since OpenSSH 9.6; it names files, it protects nothing.
            "C": hashlib.sha1(everything.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest(),
            "d": self.home,
            "h": self.hostname,
            "i": str(self.local_uid),
            "j": self.jump,
            "k": self.host_key_alias or self.alias,
            "L": self.local_hostname.partition(".")[0],
            "l": self.local_hostname,
            "n": self.alias,
            "p": port,
            "r": self.user,
            "u": self.local_user,
        }
