"""Watches what this machine asks others, while a proxy is asked for a name. For `tunnels leaktest`."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tunnels.core.proxy_address import ProxyAddress

_ETH_P_ALL = 0x0003  # linux/if_ether.h
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # linux/socket.h, linux/if_packet.h
_RECEIVE_BUFFER = 8 * 1024 * 1024  # bytes; what comes while we ask


class Watch(Protocol):
    """Sees whether a name leaves this machine in a question to somebody else."""

    how: str  #: what it looks at
    blind: str  #: what it cannot see

    def begin(self) -> None:
        """Look from now on."""

    def saw(self, word: str) -> bool | None:
        """Whether a question about ``word`` has left since; ``None`` if that cannot be told."""

    def close(self) -> None:
        """Look no more."""


def open_watch(proxy: ProxyAddress) -> Watch | None:
    """The best watch there can be here: every packet for root on Linux, a counter for others, or none.

    A watch that does not see a packet of our own is none.
    """
    if sys.platform != "linux":
        return None
    for kind in (PacketWatch, DatagramCounter):
        with contextlib.suppress(OSError, ValueError, KeyError):
            watch = kind(proxy)
            watch.begin()
            _send_one("leaktest-control")
            if watch.saw("leaktest-control") is not False:
                return watch
            watch.close()
    return None


def _send_one(word: str) -> None:
    """Send a datagram to the discard port of this machine (RFC 863)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(word.encode(), ("127.0.0.1", 9))


class PacketWatch:
    """Looks into every packet on every interface, loopback too; takes CAP_NET_RAW (packet(7))."""

    how = "every packet of every interface"
    blind = "a name inside an encrypted question (DNS over TLS or HTTPS)"

    def __init__(self, proxy: ProxyAddress) -> None:
        self._port = proxy.port
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._sock.setblocking(False)

    def begin(self) -> None:
        """Forget what has come so far."""
        for _ in self._packets():
            pass
        self._lost()

    def saw(self, word: str) -> bool | None:
        """Whether a packet since then has the word in clear; ``None`` if one was missed."""
        wanted = word.lower().encode()
        if any(wanted in packet.lower() for packet in self._packets() if not self._is_to_the_proxy(packet)):
            return True
        return None if self._lost() else False

    def _packets(self) -> Iterator[bytes]:
        while select.select([self._sock], [], [], 0)[0]:
            try:
                yield self._sock.recv(65536)
            except BlockingIOError:
                return

    def _is_to_the_proxy(self, packet: bytes) -> bool:
        """Whether it is our own request to the proxy, which has the name in clear and stays here."""
        if len(packet) < 40:
            return False
        version = packet[0] >> 4
        if version == 4 and packet[9] == socket.IPPROTO_TCP:
            start = (packet[0] & 0x0F) * 4
        elif version == 6 and packet[6] == socket.IPPROTO_TCP:
            start = 40
        else:
            return False
        return self._port in struct.unpack_from("!HH", packet[: start + 4].ljust(start + 4, b"\0"), start)

    def _lost(self) -> int:
        """How many packets the kernel had no room for since the last look."""
        _, lost = struct.unpack("II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        return int(lost)

    def close(self) -> None:
        """Look no more."""
        self._sock.close()


class DatagramCounter:
    """Counts the datagrams that this machine sends (udp in /proc/net/snmp, proc(5)): none is no question."""

    how = "the number of UDP packets that this machine sends"
    blind = "a question by TCP, or one that goes to a resolver through a unix socket"

    def __init__(self, proxy: ProxyAddress) -> None:
        self._before = self._sent()

    def begin(self) -> None:
        """Count from here."""
        self._before = self._sent()

    def saw(self, word: str) -> bool | None:
        """``None`` for any datagram: whose it was cannot be told."""
        return None if self._sent() != self._before else False

    @staticmethod
    def _sent() -> int:
        lines = [line.split() for line in Path("/proc/net/snmp").read_text("ascii").splitlines()]
        names, values = [line for line in lines if line[0] == "Udp:"]
        sent = int(values[names.index("OutDatagrams")])
        with contextlib.suppress(OSError):  # without IPv6
            for line in Path("/proc/net/snmp6").read_text("ascii").splitlines():
                if line.startswith("Udp6OutDatagrams"):
                    sent += int(line.split()[1])
        return sent

    def close(self) -> None:
        """Nothing is held."""
