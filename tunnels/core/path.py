"""The way to a host, as this machine's routing table has it, and what can become of it."""

from __future__ import annotations

from typing import NamedTuple


class Path(NamedTuple):
    """How packets for one address leave this machine. Two are equal where the way is the same."""

    source: str  #: the address they leave from
    interface: int = 0  #: index of the network interface; 0 where the system does not say
    gateway: str = ""  #: the router they are given to; empty for a neighbour


class NetworkChange(NamedTuple):
    """What happened to the network of this machine, some changes together."""

    slept: float = 0.0  #: seconds that the machine, or this process, did not run
    interfaces: frozenset[int] = frozenset()  #: indexes of those whose link went up or down
    clock_set: float = 0.0  #: seconds by which the wall clock was put forward, without any sleep
    missed: bool = False  #: there was more than could be followed: anything may have changed

    def concerns(self, paths: tuple[Path, ...]) -> bool:
        """Whether a connection over these paths must be looked at even where the paths are what they were."""
        moved = self.slept > 0 or self.clock_set > 0 or self.missed
        return moved or any(path.interface in self.interfaces for path in paths)

    def merged(self, other: NetworkChange) -> NetworkChange:
        """Both as one."""
        return NetworkChange(
            self.slept + other.slept,
            self.interfaces | other.interfaces,
            self.clock_set + other.clock_set,
            self.missed or other.missed,
        )
