"""Immutable snapshots: the only thing about a tunnel that leaves the daemon, and their JSON, version 1.

Times are seconds since the epoch here and RFC 3339 UTC in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple, cast

from tunnels.core.question import Question
from tunnels.core.state import ForwardState, TunnelState
from tunnels.errors import ErrorInfo, ProtocolViolation

#: Raised when a field changes its meaning or goes away; additions are free.
JSON_VERSION = 1

Json = dict[str, object]


class DestinationStatus(NamedTuple):
    """What the destination of a forward answered last."""

    failures: int  #: in a row
    at: float  #: when it was
    reason: str | None = None  #: a `DialReason`, in lower case with dashes; ``None``: it took the connection
    message: str | None = None

    def to_json(self) -> Json:
        """As it stands in ``status --json``."""
        return {
            "failures": self.failures,
            "at": format_time(self.at),
            "reason": self.reason,
            "message": self.message,
        }

    @classmethod
    def from_json(cls, data: object) -> DestinationStatus | None:
        """Read it back; ``None`` where there is none."""
        if not isinstance(data, dict):
            return None
        return cls(
            _int(data, "failures"),
            parse_time(_str(data, "at")),
            _optional_str(data, "reason"),
            _optional_str(data, "message"),
        )


class ForwardStatus(NamedTuple):
    """One forward of a running tunnel."""

    name: str | None
    kind: str
    listen: str
    connect: str | None
    state: ForwardState
    clients: int = 0
    clients_total: int = 0
    held: int = 0
    bytes_in: int = 0  #: towards the client that connected
    bytes_out: int = 0
    error: ErrorInfo | None = None
    reachable_by_others: bool = False  #: listens on more than loopback
    by_address: int = 0  #: of a proxy, requests with an address: whoever asked has resolved the name here
    audience: str | None = None  #: who they are, in words; only where others can reach it
    destination: DestinationStatus | None = None  #: what it answered last; nothing is known of a proxy's

    def to_json(self) -> Json:
        """As it stands in ``status --json``."""
        return {
            "name": self.name,
            "kind": self.kind,
            "listen": self.listen,
            "connect": self.connect,
            "state": self.state.value,
            "clients": self.clients,
            "clients_total": self.clients_total,
            "held": self.held,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "error": error_to_json(self.error),
            "reachable_by_others": self.reachable_by_others,
            "by_address": self.by_address,
            "audience": self.audience,
            "destination": None if self.destination is None else self.destination.to_json(),
        }

    @classmethod
    def from_json(cls, data: Json) -> ForwardStatus:
        """Read it back."""
        return cls(
            name=_optional_str(data, "name"),
            kind=_str(data, "kind"),
            listen=_str(data, "listen"),
            connect=_optional_str(data, "connect"),
            state=ForwardState(_str(data, "state")),
            clients=_int(data, "clients"),
            clients_total=_int(data, "clients_total"),
            held=_int(data, "held"),
            bytes_in=_int(data, "bytes_in"),
            bytes_out=_int(data, "bytes_out"),
            error=error_from_json(data.get("error")),
            reachable_by_others=data.get("reachable_by_others") is True,
            by_address=_int(data, "by_address") if "by_address" in data else 0,
            audience=_optional_str(data, "audience"),
            destination=DestinationStatus.from_json(data.get("destination")),
        )


class TunnelStatus(NamedTuple):
    """One tunnel."""

    name: str
    host: str
    state: TunnelState
    since: float
    attempt: int = 0
    retry_at: float | None = None
    error: ErrorInfo | None = None
    rtt_ms: float | None = None
    reconnects: int = 0
    cipher: str | None = None
    forwards: tuple[ForwardStatus, ...] = ()
    question: Question | None = None
    offline: bool = False  #: there is no route to the host

    @property
    def listening(self) -> bool:
        """Whether every forward listens."""
        return all(forward.state is ForwardState.LISTENING for forward in self.forwards)

    def to_json(self) -> Json:
        """As it stands in ``status --json``."""
        return {
            "name": self.name,
            "host": self.host,
            "state": self.state.value,
            "since": format_time(self.since),
            "attempt": self.attempt,
            "retry_at": None if self.retry_at is None else format_time(self.retry_at),
            "error": error_to_json(self.error),
            "rtt_ms": self.rtt_ms,
            "reconnects": self.reconnects,
            "cipher": self.cipher,
            "forwards": [forward.to_json() for forward in self.forwards],
            "question": None if self.question is None else self.question._asdict(),
            "offline": self.offline,
        }

    @classmethod
    def from_json(cls, data: Json) -> TunnelStatus:
        """Read it back."""
        retry_at = _optional_str(data, "retry_at")
        rtt_ms = data.get("rtt_ms")
        question = data.get("question")
        return cls(
            name=_str(data, "name"),
            host=_str(data, "host"),
            state=TunnelState(_str(data, "state")),
            since=parse_time(_str(data, "since")),
            attempt=_int(data, "attempt"),
            retry_at=None if retry_at is None else parse_time(retry_at),
            error=error_from_json(data.get("error")),
            rtt_ms=float(rtt_ms) if isinstance(rtt_ms, int | float) else None,
            reconnects=_int(data, "reconnects"),
            cipher=_optional_str(data, "cipher"),
            forwards=tuple(ForwardStatus.from_json(item) for item in _objects(data, "forwards")),
            question=_question_from_json(question),
            offline=data.get("offline") is True,
        )


class DaemonStatus(NamedTuple):
    """The daemon itself."""

    pid: int
    version: str
    started_at: float
    config: str
    config_error: str | None = None
    file_limit: int = 0  #: how many files it may open; 0: it did not say
    turned_away: int = 0  #: clients, because of that limit

    def to_json(self) -> Json:
        """As it stands in ``status --json``."""
        return {
            "pid": self.pid,
            "version": self.version,
            "started_at": format_time(self.started_at),
            "config": self.config,
            "config_error": self.config_error,
            "file_limit": self.file_limit,
            "turned_away": self.turned_away,
        }

    @classmethod
    def from_json(cls, data: Json) -> DaemonStatus:
        """Read it back."""
        return cls(
            _int(data, "pid"),
            _str(data, "version"),
            parse_time(_str(data, "started_at")),
            _str(data, "config"),
            _optional_str(data, "config_error"),
            _int(data, "file_limit") if "file_limit" in data else 0,  # not said by an older daemon
            _int(data, "turned_away") if "turned_away" in data else 0,
        )


class Snapshot(NamedTuple):
    """Everything ``status`` knows. ``daemon`` is ``None`` where none runs."""

    daemon: DaemonStatus | None
    tunnels: tuple[TunnelStatus, ...] = ()

    def to_json(self) -> Json:
        """The document of ``status --json``."""
        return {
            "version": JSON_VERSION,
            "daemon": None if self.daemon is None else self.daemon.to_json(),
            "tunnels": [tunnel.to_json() for tunnel in self.tunnels],
        }

    @classmethod
    def from_json(cls, data: Json) -> Snapshot:
        """Read it back; raises ProtocolViolation where it makes no sense."""
        try:
            daemon = data.get("daemon")
            return cls(
                DaemonStatus.from_json(cast("Json", daemon)) if isinstance(daemon, dict) else None,
                tuple(TunnelStatus.from_json(item) for item in _objects(data, "tunnels")),
            )
        except (KeyError, ValueError, TypeError, OverflowError) as exc:
            raise ProtocolViolation(f"the daemon sent a status that makes no sense: {exc}") from exc


def error_to_json(error: ErrorInfo | None) -> Json | None:
    """An error as it stands in JSON."""
    return None if error is None else {"code": error.code, "message": error.message, "hint": error.hint}


def error_from_json(data: object) -> ErrorInfo | None:
    """Read an error back; ``None`` where there is none."""
    if not isinstance(data, dict):
        return None
    return ErrorInfo(_str(data, "code"), _str(data, "message"), _optional_str(data, "hint"))


def _question_from_json(data: object) -> Question | None:
    if not isinstance(data, dict):
        return None
    texts = {key: _str(data, key) for key in ("id", "kind", "text", "prompt")}
    return Question(
        **texts,
        secret=data.get("secret") is True,
        subject=_optional_str(data, "subject") or "",
        lasting=data.get("lasting") is True,
        stale=data.get("stale") is True,
    )


def format_time(seconds: float, *, precise: bool = False) -> str:
    """Seconds since the epoch as RFC 3339 UTC: ``2026-11-20T09:00:00Z``, or ``…:00.123Z`` if ``precise``.

    Whole seconds are what jq's ``fromdateiso8601`` and most parsers in shell scripts understand.
    """
    timespec = "milliseconds" if precise else "seconds"
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """The inverse of `format_time`. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


def _str(data: Mapping[str, object], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise TypeError(f"{key}: a string was expected")
    return value


def _optional_str(data: Mapping[str, object], key: str) -> str | None:
    return None if data.get(key) is None else _str(data, key)


def _int(data: Mapping[str, object], key: str) -> int:
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{key}: a whole number was expected")
    return value


def _objects(data: Mapping[str, object], key: str) -> list[Json]:
    value = data[key]
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError(f"{key}: a list of objects was expected")
    return cast("list[Json]", value)
