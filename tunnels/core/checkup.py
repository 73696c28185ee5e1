"""What `tunnels doctor` has found out: one step after the other, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tunnels.core.status import JSON_VERSION, Json, error_to_json
from tunnels.errors import ErrorInfo, NeedsPerson, NotAsAsked

#: The steps to one server, in order.
HOP_STEPS = ("name", "tcp", "banner", "kex", "host-key", "login")

#: Every step, and what it is called where a person reads.
LABELS = {
    "profile": "profile",
    "way": "way",
    "name": "name",
    "tcp": "TCP",
    "banner": "SSH",
    "kex": "ciphers",
    "host-key": "host key",
    "login": "login",
    "listen": "listen",
    "connect": "connect",
    # What `tunnels harden --test` wants to see refused.
    "command": "command",
    "shell": "shell",
    "terminal": "terminal",
    "other-connect": "connect",
    "other-listen": "listen",
    "sockets": "sockets",
}


class Step(NamedTuple):
    """One step. It belongs to a server on the way, to a forward, or to the profile as a whole."""

    step: str  #: a key of `LABELS`
    ok: bool | None  #: None: it was not tried
    detail: str = ""
    ms: float | None = None  #: how long it took, in milliseconds
    host: str | None = None  #: the server, as the user knows it
    forward: str | None = None  #: with ssh's flag: ``-L 5432:db:5432``
    warning: str | None = None  #: it worked, and there is something to know about it
    error: ErrorInfo | None = None

    def to_json(self) -> Json:
        """As it stands in ``doctor --json``."""
        return {
            "step": self.step,
            "host": self.host,
            "forward": self.forward,
            "ok": self.ok,
            "ms": None if self.ms is None else round(self.ms, 1),
            "detail": self.detail,
            "warning": self.warning,
            "error": error_to_json(self.error),
        }


@dataclass(slots=True)
class Checkup:
    """Everything about one profile."""

    name: str
    steps: list[Step] = field(default_factory=list)

    @property
    def failed(self) -> list[Step]:
        """The steps that did not work."""
        return [step for step in self.steps if step.ok is False]

    @property
    def ok(self) -> bool:
        """Whether everything works; what was not tried is not known to work."""
        return all(step.ok for step in self.steps)

    @property
    def warnings(self) -> list[Step]:
        """The steps that worked, with something to know about them."""
        return [step for step in self.steps if step.warning is not None]

    def to_json(self) -> Json:
        """As it stands in ``doctor --json``."""
        return {
            "name": self.name,
            "ok": self.ok,
            "steps": [step.to_json() for step in self.steps],
        }


def to_json(checkups: list[Checkup]) -> Json:
    """The document of ``doctor --json``."""
    return {"version": JSON_VERSION, "profiles": [checkup.to_json() for checkup in checkups]}


def exit_code(checkups: list[Checkup]) -> int:
    """0: all is good; 5: all that is missing is an answer of a person; 1: something does not work."""
    codes = {step.error.code if step.error else "" for checkup in checkups for step in checkup.failed}
    if codes == {NeedsPerson.code}:
        return NeedsPerson.exit_code
    return 0 if all(checkup.ok for checkup in checkups) else NotAsAsked.exit_code
