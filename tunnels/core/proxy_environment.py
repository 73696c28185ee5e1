"""The environment that sends programs through a proxy, and the shell commands that set it. Pure.

What reads what, as their documentation has it and as `tests/e2e/test_programs.py` tries it:

=====================================  =============================================================
curl, git over https, wget             ``http_proxy`` (lower case only), ``https_proxy``; curl also
                                       ``ALL_PROXY`` for what is neither (``socks5h``)
pip, requests, urllib, npm, Go, cargo  ``HTTP_PROXY``, ``HTTPS_PROXY``; SOCKS only with an extra package
Node's own ``fetch``                   the same, but only with ``NODE_USE_ENV_PROXY=1`` (Node 22.21 and 24)
Java                                   none of them: system properties, in ``JAVA_TOOL_OPTIONS``
=====================================  =============================================================

So HTTP and HTTPS go by the HTTP form that everything understands, and everything else by SOCKS. In both
forms the proxy gets the name. Java has ``http.proxyHost`` only: with ``socksProxyHost`` its sockets
resolve names here before they ask.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from tunnels.core.proxy_address import ProxyAddress

#: What a program that is sent through a tunnel still means by these is itself and its neighbours here.
DIRECT = ("localhost", "127.0.0.1", "::1")

#: Each of them ends a string of PowerShell, and two of them within it are one.
_POWERSHELL_QUOTE = re.compile("['\u2018-\u201b]")

_NO_PROXY = ("NO_PROXY", "no_proxy")

_JAVA = "JAVA_TOOL_OPTIONS"
_JAVA_OURS = re.compile(r"(?:^|\s+)-D(?:https?\.proxy(?:Host|Port)|http\.nonProxyHosts)=\S*")


class Shell(Enum):
    """A shell whose commands we can write."""

    BASH = "bash"
    ZSH = "zsh"
    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"


def shell_named(name: str) -> Shell | None:
    """The shell that a program of this name, or its path, is; ``None`` for one whose language is another."""
    stem = re.split(r"[/\\]", name)[-1].removesuffix(".exe").lower()
    if stem in ("dash", "ash", "ksh", "mksh", "busybox"):
        return Shell.SH
    if stem == "pwsh":
        return Shell.POWERSHELL
    return next((shell for shell in Shell if shell.value == stem), None)


def proxy_variables(
    proxy: ProxyAddress, environment: Mapping[str, str], *, http_only: bool = False
) -> dict[str, str]:
    """The variables that make programs use the proxy, over what is in the environment already.

    ``http_only`` leaves out SOCKS, for programs that stumble over its URL (httpx without ``socksio``).
    """
    forms = {
        "ALL_PROXY": proxy.http if http_only else proxy.socks,
        "HTTP_PROXY": proxy.http,
        "HTTPS_PROXY": proxy.http,
        "NO_PROXY": ",".join([*_direct(environment), *DIRECT]),
    }
    found: dict[str, str] = {}
    for name, value in forms.items():
        found[name] = found[name.lower()] = value
    found["NODE_USE_ENV_PROXY"] = "1"
    found[_JAVA] = _with_java(proxy, environment.get(_JAVA, ""))
    return found


def names_of_proxy_variables() -> tuple[str, ...]:
    """Every variable of `proxy_variables`, in its order."""
    return tuple(proxy_variables(ProxyAddress("127.0.0.1", 1), {}))


def _direct(environment: Mapping[str, str]) -> list[str]:
    """What somebody has set NO_PROXY to, without ours: programs read a list with commas (curl(1), NO_PROXY)."""
    given = [environment.get(name, "") for name in _NO_PROXY]
    entries = [entry.strip() for text in given for entry in text.split(",")]
    # "*" would send everything past the tunnel, and nobody who asks for one means that.
    return [entry for entry in dict.fromkeys(entries) if entry not in {"", "*", *DIRECT}]


def _with_java(proxy: ProxyAddress, given: str) -> str:
    """Add to the options that somebody has set for Java; our own of another time are replaced."""
    not_proxied = "localhost|127.*|[::1]"
    ours = [
        *(
            f"-D{scheme}.proxy{what}={value}"
            for scheme in ("http", "https")
            for what, value in (("Host", proxy.host), ("Port", proxy.port))
        ),
        f"-Dhttp.nonProxyHosts={not_proxied}",
    ]
    return " ".join([*filter(None, [_without_java(given)]), *ours])


def _without_java(given: str) -> str:
    return _JAVA_OURS.sub("", given).strip()


def set_commands(shell: Shell, variables: Mapping[str, str]) -> list[str]:
    """The lines that set these variables in a shell."""
    return [_set(shell, name, value) for name, value in variables.items()]


def unset_commands(shell: Shell, environment: Mapping[str, str]) -> list[str]:
    """The lines that undo `set_commands`; of Java's options and of NO_PROXY, only ours go."""
    left = {_JAVA: _without_java(environment.get(_JAVA, ""))}
    left |= dict.fromkeys(_NO_PROXY, ",".join(_direct(environment)))
    lines = []
    for name in names_of_proxy_variables():
        rest = left.get(name)
        lines.append(_set(shell, name, rest) if rest else _unset(shell, name))
    return lines


def _set(shell: Shell, name: str, value: str) -> str:
    match shell:
        case Shell.FISH:  # fish(1): within single quotes, \\ and \' are the only escapes
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"set -gx {name} '{escaped}';"
        case Shell.POWERSHELL:  # to it the quotes of typography are quotes as well (about_Quoting_Rules)
            escaped = _POWERSHELL_QUOTE.sub(r"\g<0>\g<0>", value)
            return f"$env:{name} = '{escaped}'"
        case _:
            escaped = value.replace("'", "'\\''")
            return f"export {name}='{escaped}'"


def _unset(shell: Shell, name: str) -> str:
    match shell:
        case Shell.FISH:
            return f"set -e {name};"
        case Shell.POWERSHELL:
            return f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"
        case _:
            return f"unset {name}"
