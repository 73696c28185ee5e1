"""Control protocol, version 1: what the command line and the daemon say to each other.

One JSON object per line (`core.framing`) on a unix socket that belongs to the user. The daemon speaks
first, so that a client of another version learns it before it asks for anything::

    daemon  {"hello": "tunnels", "protocol": 1, "version": "0.1.0", "pid": 4711}
    client  {"id": 1, "command": "up", "names": ["work-db"], "config": "/home/me/.config/…"}
    daemon  {"id": 1, "result": {"started": ["work-db"], …}}

``watch`` is answered by any number of ``{"id": 1, "event": <snapshot>}``, the full picture each time. A
request that fails is answered by ``{"id": 1, "error": {"code": …, "message": …, "hint": …}}``. The daemon
ignores members that it does not know; it refuses commands that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from tunnels.core.status import Json, error_from_json, error_to_json
from tunnels.errors import ProtocolViolation, TunnelsError, VersionMismatch, from_info

PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Hello:
    """What the daemon says first."""

    version: str
    pid: int

    def to_json(self) -> Json:
        """As a frame."""
        return {"hello": "tunnels", "protocol": PROTOCOL, "version": self.version, "pid": self.pid}

    @classmethod
    def from_json(cls, frame: Mapping[str, object]) -> Hello:
        """Read it. Raises VersionMismatch where the other side speaks another protocol."""
        version, pid = frame.get("version"), frame.get("pid")
        if frame.get("hello") != "tunnels" or not isinstance(version, str) or not isinstance(pid, int):
            raise ProtocolViolation("what answers at the control socket is not the tunnels daemon")
        if frame.get("protocol") != PROTOCOL:
            raise VersionMismatch(
                f"the daemon (version {version}) speaks another control protocol",
                hint="`tunnels daemon stop`, then try again: its tunnels come back",
            )
        return cls(version, pid)


@dataclass(frozen=True, slots=True)
class Up:
    """Start these profiles of this file."""

    command: ClassVar[str] = "up"
    names: list[str]
    config: str


@dataclass(frozen=True, slots=True)
class Down:
    """Stop these tunnels."""

    command: ClassVar[str] = "down"
    names: list[str]


@dataclass(frozen=True, slots=True)
class Restart:
    """Stop these tunnels and start them again, as the file has them now."""

    command: ClassVar[str] = "restart"
    names: list[str]
    config: str


@dataclass(frozen=True, slots=True)
class Reload:
    """Apply the changed file."""

    command: ClassVar[str] = "reload"


@dataclass(frozen=True, slots=True)
class Status:
    """One snapshot."""

    command: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True)
class Watch:
    """A snapshot now, at every change, and at least every ``interval`` seconds."""

    command: ClassVar[str] = "watch"
    interval: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer to the question of a tunnel."""

    command: ClassVar[str] = "answer"
    name: str
    question_id: str
    answer: str = field(repr=False)  # may be a secret


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End the daemon."""

    command: ClassVar[str] = "shutdown"


Command = Up | Down | Restart | Reload | Status | Watch | Answer | Shutdown

_COMMANDS: dict[str, type[Command]] = {
    cls.command: cls for cls in (Up, Down, Restart, Reload, Status, Watch, Answer, Shutdown)
}

_TYPES: dict[str, tuple[type, ...]] = {"list[str]": (list,), "str": (str,), "float": (int, float)}


def request(request_id: int, command: Command) -> Json:
    """A command as a frame."""
    return {"id": request_id, "command": command.command, **asdict(command)}


def parse_request(frame: Mapping[str, object]) -> tuple[int, Command]:
    """Read a command. Raises ProtocolViolation, naming what is wrong."""
    request_id = frame.get("id")
    if not isinstance(request_id, int) or isinstance(request_id, bool):
        raise ProtocolViolation("a request needs a whole number as its id")
    cls = _COMMANDS.get(str(frame.get("command")))
    if cls is None:
        raise ProtocolViolation(f"this daemon knows no command {frame.get('command')!r}")
    values: dict[str, object] = {}
    for name, kind in cls.__annotations__.items():
        if name == "command" or name not in frame:
            continue
        value = frame[name]
        wanted = _TYPES[str(kind)]
        strings = wanted != (list,) or (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        )
        if not isinstance(value, wanted) or isinstance(value, bool) or not strings:
            raise ProtocolViolation(f"{cls.command}: {name} is of the wrong type")
        values[name] = value
    try:
        return request_id, cls(**values)  # type: ignore[arg-type]  # checked against the annotations above
    except TypeError as exc:
        raise ProtocolViolation(f"{cls.command}: a member is missing") from exc


def result(request_id: int, value: Json) -> Json:
    """The answer to a request."""
    return {"id": request_id, "result": value}


def event(request_id: int, value: Json) -> Json:
    """One of many answers to a request."""
    return {"id": request_id, "event": value}


def failure(request_id: int | None, error: TunnelsError) -> Json:
    """The answer to a request that failed; without an id where the request could not even be read."""
    return {"id": request_id, "error": error_to_json(error.info)}


def parse_reply(frame: Mapping[str, object], request_id: int) -> tuple[Json, bool]:
    """The value of an answer, and whether it is the last one. Raises the error that the daemon sent."""
    error = error_from_json(frame.get("error"))
    if error is not None:
        raise from_info(error)
    if frame.get("id") != request_id:
        raise ProtocolViolation("the daemon answered another question")
    for key, last in (("result", True), ("event", False)):
        value = frame.get(key)
        if isinstance(value, dict):
            return value, last
    raise ProtocolViolation("the daemon sent an answer that makes no sense")
