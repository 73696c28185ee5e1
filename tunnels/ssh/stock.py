"""asyncssh's own channels, for a version of it whose inside we do not know (`fast_path`).

Slower, and with a habit that a relay must not meet: asyncssh 2.24.1 grants a new window at the first chunk
that it delivers after a pause, so a pause in the middle of a delivery would let its buffer grow without
bound. Here, what it has kept is always taken whole, and then it is paused again: a stalled reader costs one
window in the socket's buffer and one in asyncssh's.
"""

from __future__ import annotations

from typing import Any

from tunnels.forwarding.channel import ChannelEnd


class StockSession:
    """What asyncssh calls a session: tells a `ChannelEnd`, and hands it a channel of the right shape."""

    def __init__(self, end: ChannelEnd) -> None:
        self._end = end

    def connection_made(self, chan: Any) -> None:
        """The channel is open."""
        self._end.connection_made(StockChannel(chan))

    def session_started(self) -> None:
        """Nothing to do: data is taken from the first moment on."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)


class StockChannel:
    """An asyncssh channel that pauses and resumes as a relay expects it."""

    def __init__(self, chan: Any) -> None:
        self._chan = chan
        self._paused = False
        self._delivering = False
        self.write = chan.write
        self.write_eof = chan.write_eof
        self.close = chan.close
        self.abort = chan.abort

    @property
    def kept(self) -> int:
        """Bytes that wait for `resume_reading`."""
        return sum(len(data) for data, _ in self._chan._recv_buf)  # noqa: SLF001

    @property
    def ended(self) -> bool:
        """Whether the far end has sent its last byte."""
        return bool(self._chan._recv_state != "open")  # noqa: SLF001

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`; in the middle of a delivery, after it."""
        self._paused = True
        if not self._delivering:
            self._chan.pause_reading()

    def resume_reading(self) -> None:
        """Deliver all that was kept, before this returns, and go on unless it was paused meanwhile."""
        self._paused = False
        self._delivering = True
        self._chan.resume_reading()
        self._delivering = False
        if self._paused:
            self._chan.pause_reading()
