"""Where the proxy of a dynamic forward can be reached from this machine, and how that is written."""

from __future__ import annotations

from typing import NamedTuple


class ProxyAddress(NamedTuple):
    """A numeric address of this machine and a port: programs that use it need no resolver for it."""

    host: str  #: without brackets
    port: int

    @property
    def authority(self) -> str:
        """``127.0.0.1:1080``, and ``[::1]:1080``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.authority

    @property
    def socks(self) -> str:
        """The URL that has names resolved at the far end: curl's ``h``, which Go, git and pip know too."""
        return f"socks5h://{self.authority}"

    @property
    def http(self) -> str:
        """The URL for programs that know no SOCKS. An HTTP proxy is given names as they are."""
        return f"http://{self.authority}"


def proxy_address(listen: str) -> ProxyAddress:
    """Where to connect to what listens on ``listen``, as a status has it: ``localhost:1080``, ``*:1080``.

    A forward without a bind address, and one on every interface, listens on IPv4 loopback too.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if host.lower() in ("", "localhost", "*", "0.0.0.0"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return ProxyAddress(host, int(port))
