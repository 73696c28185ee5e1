"""A long cable: ``python -m bench.load.delay NAMESPACE INTERFACE NAMESPACE INTERFACE MILLISECONDS``.

Makes an interface (TAP) in each of two network namespaces and carries every frame from one to the other, so
many milliseconds later; until standard input ends. The kernel hands over segments of up to 64 KiB that it
would else cut into frames (virtio headers, TUNSETOFFLOAD): so a process in Python carries gigabits. Root only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from pathlib import Path

# linux/if_tun.h, linux/sched.h
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4, _TUN_F_TSO6 = 1, 2, 4
_CLONE_NEWNET = 0x40000000

_FRAME = 128 * 1024

LIMIT = 512 << 20
"""Bytes on the way in one direction; what comes while there are as many is lost."""

BATCH = 32
"""Frames read from one side before the other has its turn."""


def tap(namespace: str, interface: str) -> int:
    """Make an interface in a namespace, and return the descriptor of its other end."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
    try:
        if libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), flags))
        fcntl.ioctl(end, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6)
        return end
    finally:
        libc.setns(here, _CLONE_NEWNET)
        os.close(here)
        os.close(there)


class Direction:
    """From one end to the other."""

    def __init__(self, source: int, sink: int, delay: float) -> None:
        self._source, self._sink, self._delay = source, sink, delay
        self._way: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    def take(self) -> None:
        """Take what has been sent."""
        for _ in range(BATCH):
            try:
                frame = os.read(self._source, _FRAME)
            except BlockingIOError:
                return
            if self._bytes < LIMIT:
                self._way.append((time.monotonic() + self._delay, frame))
                self._bytes += len(frame)

    def deliver(self, now: float) -> float:
        """Deliver what is due; return when there is more to do, or infinity."""
        way = self._way
        while way and way[0][0] <= now:
            _, frame = way.popleft()
            self._bytes -= len(frame)
            try:
                os.write(self._sink, frame)
            except OSError:  # the interface is not up
                pass
        return way[0][0] if way else float("inf")


def main(arguments: list[str]) -> None:
    """Carry frames."""
    near_namespace, near_name, far_namespace, far_name, milliseconds = arguments
    near, far = tap(near_namespace, near_name), tap(far_namespace, far_name)
    delay = float(milliseconds) / 1000
    directions = {near: Direction(near, far, delay), far: Direction(far, near, delay)}
    poll = select.poll()
    for descriptor in (near, far, 0):
        poll.register(descriptor, select.POLLIN)
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        due = min(direction.deliver(now) for direction in directions.values())
        timeout = None if due == float("inf") else max(0.0, due - time.monotonic()) * 1000
        for descriptor, _ in poll.poll(timeout):
            if descriptor == 0:
                if not os.read(0, 4096):
                    return
            else:
                directions[descriptor].take()


if __name__ == "__main__":
    main(sys.argv[1:])
