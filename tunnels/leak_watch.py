"""Watches what this machine asks others, while a proxy is asked for a name. For `tunnels leaktest`."""

from __future__ import annotations

import contextlib
import ctypes
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
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33  # asm-generic/socket.h
_RECEIVE_BUFFER = 8 * 1024 * 1024  # bytes; what comes while we ask

# linux/bpf_common.h: loads of a byte or two, at a place or behind the header; a shift; a comparison; the end.
_LOAD_BYTE, _LOAD_HALF, _LOAD_HALF_BEHIND, _HEADER_LENGTH = 0x30, 0x28, 0x48, 0xB1
_SHIFT_RIGHT, _IF_EQUAL, _RETURN = 0x74, 0x15, 0x06
_UDP, _TCP, _DOMAIN = 17, 6, 53

#: What can ask for a name, as a filter of the kernel: (operation, jump if true, jump if false, value). UDP, TCP from
#: or to port 53, and of IPv6 what has further headers. What a machine carries besides, it need not copy to us.
_QUESTIONS = (
    (_LOAD_BYTE, 0, 0, 0),
    (_SHIFT_RIGHT, 0, 0, 4),
    (_IF_EQUAL, 0, 8, 4),  # IPv4
    (_LOAD_BYTE, 0, 0, 9),
    (_IF_EQUAL, 13, 0, _UDP),
    (_IF_EQUAL, 0, 13, _TCP),
    (_HEADER_LENGTH, 0, 0, 0),
    (_LOAD_HALF_BEHIND, 0, 0, 0),
    (_IF_EQUAL, 9, 0, _DOMAIN),
    (_LOAD_HALF_BEHIND, 0, 0, 2),
    (_IF_EQUAL, 7, 8, _DOMAIN),
    (_IF_EQUAL, 0, 7, 6),  # IPv6
    (_LOAD_BYTE, 0, 0, 6),
    (_IF_EQUAL, 0, 4, _TCP),
    (_LOAD_HALF, 0, 0, 40),
    (_IF_EQUAL, 2, 0, _DOMAIN),
    (_LOAD_HALF, 0, 0, 42),
    (_IF_EQUAL, 0, 1, _DOMAIN),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)


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
    """Looks into every packet that can ask for a name; takes CAP_NET_RAW (packet(7))."""

    how = "every UDP packet and all of TCP port 53, on every interface,"
    blind = "a name inside an encrypted question (DNS over TLS or HTTPS)"

    def __init__(self, proxy: ProxyAddress) -> None:
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._sock.setblocking(False)
        with contextlib.suppress(
            OSError
        ):  # takes CAP_NET_ADMIN; without it a busy machine makes us miss some
            self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _QUESTIONS))
        filled = struct.pack("HP", len(_QUESTIONS), ctypes.addressof(program))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filled)

    def begin(self) -> None:
        """Forget what has come so far."""
        for _ in self._packets():
            pass
        self._lost()

    def saw(self, word: str) -> bool | None:
        """Whether a packet since then has the word in clear; ``None`` if one was missed."""
        wanted = word.lower().encode()
        if sum(
            wanted in packet.lower() for packet in self._packets()
        ):  # all of them: a later look begins anew
            return True
        return None if self._lost() else False

    def _packets(self) -> Iterator[bytes]:
        while select.select([self._sock], [], [], 0)[0]:
            try:
                yield self._sock.recv(65536)
            except BlockingIOError:
                return

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
