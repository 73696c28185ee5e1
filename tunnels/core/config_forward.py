"""One LocalForward, RemoteForward or DynamicForward, as ``ssh -G`` prints it."""

from __future__ import annotations

from collections.abc import Iterable

from tunnels.core.address import join_path, quoted
from tunnels.core.forward import ForwardKind, ForwardRule, parse_forward
from tunnels.errors import UsageError

#: What ``ssh -G`` calls the destination of a remote forward that is a SOCKS proxy (readconf.c, dump_cfg_forwards).
_SOCKS = " [socks]:0"

#: How ssh_config(5) calls them.
KEYWORD_OF = {
    ForwardKind.LOCAL: "LocalForward",
    ForwardKind.REMOTE: "RemoteForward",
    ForwardKind.DYNAMIC: "DynamicForward",
}


def read_config_forward(kind: ForwardKind, value: str) -> ForwardRule:
    """Read ``[bind_address:]port host:hostport``, where either half may be the path of a socket.

    ``ssh -G`` drops the quotes, so that a blank may be one of a path; only a path has any.

    Raises:
        UsageError: no forward of ours, or one of two paths with blanks that can be read in two ways.

    """
    value = value.removesuffix(_SOCKS) if kind is ForwardKind.REMOTE else value
    if kind is ForwardKind.DYNAMIC or " " not in value:
        return parse_forward(kind, value)
    blanks = [index for index, char in enumerate(value) if char == " "]
    halves = [(value[:blank], value[blank + 1 :]) for blank in blanks]
    good = [(listen, connect) for listen, connect in halves if _is_one(listen) and _is_end(connect)]
    if len(good) > 1:
        raise UsageError(
            f"{quoted(value)} can be read in two ways", hint="give the sockets names without blanks"
        )
    listen, connect = good[0] if good else halves[0]
    return parse_forward(kind, f"{_escaped(listen)}:{_escaped(connect)}")


def is_listed_twice(dynamic: str, local: Iterable[str]) -> bool:
    """Whether this DynamicForward is none: OpenSSH 9.2 lists a local forward from or to a socket as one too."""
    return dynamic.startswith("/") or any(line.startswith(f"{dynamic} /") for line in local)


def _is_one(half: str) -> bool:
    return half.startswith("/") or " " not in half


def _is_end(half: str) -> bool:
    return _is_one(half) and ("/" in half or ":" in half)


def _escaped(half: str) -> str:
    return join_path(half) if half.startswith("/") else half
