"""What has become of a question that is being shown to a person: others may answer it, and no server waits for ever."""

from __future__ import annotations

import enum
from typing import NamedTuple

from tunnels.core.question import Question
from tunnels.core.state import TunnelState
from tunnels.core.status import TunnelStatus
from tunnels.errors import NeedsPerson

_ENDS = frozenset({TunnelState.STOPPED, TunnelState.STOPPING})


class Standing(enum.Enum):
    """How a question stands that was asked some time ago."""

    OPEN = "open"
    UNSURE = "unsure"  #: it was answered, or somebody has had it asked anew: the next moments will tell
    ANSWERED = "answered"  #: and not by the person who looks at it here
    EXPIRED = "expired"  #: the server has stopped waiting
    OVER = "over"  #: the tunnel is being taken down


class Asked(NamedTuple):
    """A question as it was shown, and the attempt that it was asked in."""

    question: Question
    attempt: int

    def alike(self, other: Question) -> bool:
        """Whether whoever reads the one need not be told of the other."""
        return self.question._replace(id=other.id, stale=other.stale) == other

    def standing(self, tunnel: TunnelStatus | None) -> tuple[Standing, Asked]:
        """What has become of it, and the question that an answer must name from now on."""
        if tunnel is None or tunnel.state in _ENDS:
            return Standing.OVER, self
        if waits_in_vain(tunnel):
            return Standing.EXPIRED, self
        question = tunnel.question
        if question is not None:
            if question.id == self.question.id:
                return Standing.OPEN, self
            if self.alike(question):  # asked anew, word for word
                return Standing.OPEN, Asked(question, tunnel.attempt)
            return Standing.ANSWERED, self
        if tunnel.state is TunnelState.CONNECTING and (
            self.question.kind == "host-key" or tunnel.attempt != self.attempt
        ):
            # Every answer to a host key is followed by a new attempt, and so is the `up` of another terminal.
            return Standing.UNSURE, self
        return Standing.ANSWERED, self


def waits_in_vain(tunnel: TunnelStatus) -> bool:
    """Whether a tunnel needs an answer that no server waits for at the moment, so that it has to be asked anew."""
    if tunnel.question is not None:
        return tunnel.question.stale
    return (
        tunnel.state is TunnelState.BACKOFF
        and tunnel.error is not None
        and tunnel.error.code == NeedsPerson.code
    )


def needs_answer(tunnel: TunnelStatus) -> bool:
    """Whether a person has something to do for a tunnel."""
    return tunnel.state is TunnelState.NEEDS_INPUT or waits_in_vain(tunnel)
