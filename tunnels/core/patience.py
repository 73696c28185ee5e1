"""For how long a tunnel has been down, as far as that is the fault of its host: what ``give_up_after`` is about."""

from __future__ import annotations


class Patience:
    """A clock that can be stopped. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._since: float | None = None  # moved on by the time that does not count
        self._stopped_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether the tunnel counts as down."""
        return self._since is not None

    def start(self, now: float, *, counting: bool) -> None:
        """Begin to count from now; with ``counting`` false, not before `go_on`."""
        self._since = now
        self._stopped_at = None if counting else now

    def stop(self, now: float) -> None:
        """What happens from now on is no fault of the host."""
        if self._stopped_at is None:
            self._stopped_at = now

    def go_on(self, now: float) -> None:
        """Count again."""
        if self._stopped_at is not None and self._since is not None:
            self._since += now - self._stopped_at
        self._stopped_at = None

    def end(self) -> None:
        """It is not down any more."""
        self._since = None

    def exceeds(self, limit: float, now: float) -> bool:
        """Whether more than ``limit`` seconds have been counted, and it still counts."""
        return self._since is not None and self._stopped_at is None and now - self._since >= limit
