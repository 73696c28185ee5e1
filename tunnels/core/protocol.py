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

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tunnels.core.status import Json, error_from_json, error_to_json
from tunnels.errors import ProtocolViolation, TunnelsError, VersionMismatch, from_info

PROTOCOL = 1


class Hello(NamedTuple):
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
            error = VersionMismatch(
                f"the daemon (version {version}) speaks another control protocol",
                hint="`tunnels daemon stop`, then try again: its tunnels come back",
            )
            error.pid, error.version = pid, version
            raise error
        return cls(version, pid)


class Up(NamedTuple):
    """Start these profiles of this file."""

    names: list[str]
    config: str
    agent: str = ""  # where the SSH agent of whoever says this listens


class Open(NamedTuple):
    """Start a tunnel that is in no file: ``profile`` is a table as the file would have it."""

    profile: Json
    config: str
    name: str = ""  # chosen by the daemon, from the host, where none is given
    agent: str = ""


class Down(NamedTuple):
    """Stop these tunnels; with ``everything``, also those that the daemon alone knows should be up."""

    names: list[str]
    everything: bool = False


class Restart(NamedTuple):
    """Stop these tunnels and start them again, as the file has them now."""

    names: list[str]
    config: str
    agent: str = ""


class Reload(NamedTuple):
    """Apply the changed file."""


class Status(NamedTuple):
    """One snapshot."""


class Watch(NamedTuple):
    """A snapshot now, at every change, and at least every ``interval`` seconds."""

    interval: float = 1.0


class Clients(NamedTuple):
    """Who uses the forwards of these tunnels, or of all where no name is given."""

    names: list[str]


class Answer(NamedTuple):
    """A person's answer to the question of a tunnel."""

    name: str
    question_id: str
    answer: str  # may be a secret
    save: bool = False  # into the keyring, once it has proved good
    agent: str = ""

    def __repr__(self) -> str:
        return f"Answer({self.name!r}, {self.question_id!r}, …)"


class Shutdown(NamedTuple):
    """End the daemon."""


Command = Up | Open | Down | Restart | Reload | Status | Watch | Clients | Answer | Shutdown

#: On the wire a command is called what its class is called, in lower case.
_COMMANDS: dict[str, type[Command]] = {
    cls.__name__.lower(): cls
    for cls in (Up, Open, Down, Restart, Reload, Status, Watch, Clients, Answer, Shutdown)
}

#: What the members of commands must be; a name means the same in each of them.
_MEMBERS: dict[str, Callable[[object], bool]] = {
    "names": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    **dict.fromkeys(("everything", "save"), lambda value: isinstance(value, bool)),
    "profile": lambda value: isinstance(value, dict),
    "interval": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    **dict.fromkeys(
        ("config", "name", "question_id", "answer", "agent"), lambda value: isinstance(value, str)
    ),
}


def request(request_id: int, command: Command) -> Json:
    """A command as a frame."""
    return {"id": request_id, "command": type(command).__name__.lower(), **command._asdict()}


def parse_request(frame: Mapping[str, object]) -> tuple[int, Command]:
    """Read a command. Raises ProtocolViolation, naming what is wrong."""
    request_id = frame.get("id")
    if not isinstance(request_id, int) or isinstance(request_id, bool):
        raise ProtocolViolation("a request needs a whole number as its id")
    cls = _COMMANDS.get(str(frame.get("command")))
    if cls is None:
        raise ProtocolViolation(f"this daemon knows no command {frame.get('command')!r}")
    values = {name: frame[name] for name in cls._fields if name in frame}
    for name, value in values.items():
        if not _MEMBERS[name](value):
            raise ProtocolViolation(f"{frame['command']}: {name} is of the wrong type")
    try:
        return request_id, cls(**values)  # type: ignore[arg-type]  # checked above
    except TypeError as exc:
        raise ProtocolViolation(f"{frame['command']}: a member is missing") from exc


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
    try:
        error = error_from_json(frame.get("error"))
    except (KeyError, TypeError) as exc:
        raise ProtocolViolation("the daemon sent an error that makes no sense") from exc
    if error is not None:
        raise from_info(error)
    if frame.get("id") != request_id:
        raise ProtocolViolation("the daemon answered another question")
    for key, last in (("result", True), ("event", False)):
        value = frame.get(key)
        if isinstance(value, dict):
            return value, last
    raise ProtocolViolation("the daemon sent an answer that makes no sense")
