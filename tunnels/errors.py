"""One tree of errors. What is shown to a person, sent over the wire or kept in a status starts here.

::

    TunnelsError
    ├── UsageError              the command line is wrong                     exit 2
    │   ├── AlreadyAnswered     the question is no longer open                exit 2
    │   └── QuestionExpired     the server has stopped waiting for the answer exit 2
    ├── ProfileError            the profile file is wrong; every problem      exit 2   permanent
    ├── NoSuchProfile           with the close names                          exit 4
    ├── NotAsAsked              a tunnel is not in the state asked for        exit 1
    ├── NeedsPerson             a question, and no terminal to ask it on      exit 5
    ├── ConnectError            the SSH connection could not be made
    │   ├── HostUnreachable     refused, no route, timed out                           retried
    │   │   └── NotSsh          what answers is no SSH server                          retried
    │   ├── CaptivePortal       a Wi-Fi wants somebody to log in with a browser        retried
    │   ├── NameNotResolved     DNS                                                    retried
    │   ├── HandshakeFailed     not SSH, or nothing in common                          permanent
    │   ├── HostKeyUnknown      policy ask: a question; strict: permanent
    │   ├── HostKeyRejected     changed or revoked                                     permanent
    │   ├── LoginRefused        no key accepted; slow retry after having been up
    │   ├── JumpRefused         a jump host may not connect us onwards; the same
    │   └── BadSetting          a key file, known_hosts or ssh_config is wrong         permanent
    ├── ConnectionLost          was up, is not                                         retried
    ├── GaveUp                  retry.give_up_after has passed                         permanent
    ├── ForwardError
    │   ├── ListenError         port in use, not permitted, refused by the server      that forward only
    │   └── DialError           the destination refused; carries why                   that client only
    ├── ControlError
    │   ├── DaemonNotRunning    with the command that starts it               exit 3
    │   ├── DaemonStartFailed   with where its log is                         exit 1
    │   ├── VersionMismatch     two versions that do not understand each other exit 3
    │   └── ProtocolViolation   a frame that makes no sense                   exit 1
    ├── ServiceError            systemd or launchd could not do it            exit 1
    └── InternalError           our bug; the traceback is in the log          exit 1

``retryable`` answers one question: is it sensible that the supervisor tries again without a person?
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class ErrorInfo(NamedTuple):
    """An error as data: what a status and the wire carry."""

    code: str
    message: str
    hint: str | None = None


class TunnelsError(Exception):
    """Any error of ours: a stable code, a sentence, and what to do next."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def info(self) -> ErrorInfo:
        """The error as data."""
        return ErrorInfo(self.code, self.message, self.hint)


class UsageError(TunnelsError):
    """The command line asks for something that makes no sense."""

    code = "usage"
    exit_code = 2


class Problem(NamedTuple):
    """One thing that is wrong in a profile file."""

    line: int | None
    field: str  #: dotted path, for example ``profiles.work-db.local[1].connect``; empty for the whole file
    message: str
    hint: str | None = None
    profiles: tuple[str, ...] = ()  #: those that a warning is about

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        field = f"{self.field}: " if self.field else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{field}{self.message}{hint}"


class AlreadyAnswered(UsageError):
    """The question is no longer open: somebody else has answered it, or it was overtaken."""

    code = "already-answered"


class QuestionExpired(UsageError):
    """Whoever asked has stopped waiting for the answer; it has to be asked anew."""

    code = "question-expired"


class ProfileError(TunnelsError):
    """The profile file is wrong; ``problems`` names everything that is."""

    code = "profile-file"
    exit_code = 2

    def __init__(self, path: str, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.path = path
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            message = f"{path}: {self.problems[0]}"
        else:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            message = f"{path}: {len(self.problems)} problems\n{listed}"
        super().__init__(message, hint=hint)


class NoSuchProfile(TunnelsError):
    """No profile has this name."""

    code = "no-such-profile"
    exit_code = 4


class NotAsAsked(TunnelsError):
    """A tunnel is not in the state that the command asked for."""

    code = "not-as-asked"
    exit_code = 1


class NeedsPerson(TunnelsError):
    """Somebody has to answer a question, and there is no terminal to ask it on."""

    code = "needs-input"
    exit_code = 5


class ConnectError(TunnelsError):
    """The SSH connection could not be made."""

    code = "connect-failed"


class HostUnreachable(ConnectError):
    """Nothing answers at the address: refused, no route, timed out, or it hung up before speaking SSH."""

    code = "host-unreachable"
    retryable = True


class NotSsh(HostUnreachable):
    """Something else answers on the port of the SSH server: the wrong port, or a machine in between."""

    code = "not-ssh"

    def __init__(self, message: str, *, hint: str | None = None, heard: bytes = b"") -> None:
        super().__init__(message, hint=hint)
        self.heard = heard  #: the beginning of what it said


class CaptivePortal(ConnectError):
    """A login page answers in place of the network, and goes as soon as somebody has logged in there."""

    code = "captive-portal"
    retryable = True


class NameNotResolved(ConnectError):
    """The name of the host has no address, or no name server answered."""

    code = "name-not-resolved"
    retryable = True


class HandshakeFailed(ConnectError):
    """Something answered, but no SSH connection came of it that a retry could mend."""

    code = "handshake-failed"


class HostKeyUnknown(ConnectError):
    """The host key is not in any known_hosts file."""

    code = "host-key-unknown"


class HostKeyRejected(ConnectError):
    """The host key is not the one on file, or it is revoked."""

    code = "host-key-rejected"


class LoginRefused(ConnectError):
    """The server accepted none of our credentials."""

    code = "login-refused"


class JumpRefused(ConnectError):
    """A jump host let us in and does not allow a connection to the next server."""

    code = "jump-refused"


class BadSetting(ConnectError):
    """A file or option that the connection needs is missing, unreadable, wrong or not supported."""

    code = "bad-setting"


class ConnectionLost(TunnelsError):
    """The connection was up and has ended without being asked to."""

    code = "connection-lost"
    retryable = True


class GaveUp(TunnelsError):
    """``retry.give_up_after`` has passed without a connection."""

    code = "gave-up"


class ForwardError(TunnelsError):
    """One forward, or one client of it, cannot work."""

    code = "forward-failed"


class ListenError(ForwardError):
    """A forward cannot listen."""

    code = "listen-failed"
    retryable = True


class DialReason(enum.Enum):
    """Why a destination could not be reached; enough to choose a SOCKS reply (RFC 1928 section 6)."""

    PROHIBITED = "not allowed by the server"
    REFUSED = "connection refused"
    HOST_UNREACHABLE = "host unreachable"
    NETWORK_UNREACHABLE = "network unreachable"
    NAME_NOT_RESOLVED = "name not resolved"
    TIMED_OUT = "timed out"
    LINK_DOWN = "the tunnel is not connected"
    OTHER = "failed"


class DialError(ForwardError):
    """The destination of one client could not be reached; the tunnel itself is fine."""

    code = "destination-failed"

    def __init__(
        self, message: str, *, reason: DialReason = DialReason.OTHER, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class ControlError(TunnelsError):
    """The command line and the daemon could not work together."""

    code = "control-failed"


class DaemonNotRunning(ControlError):
    """There is no daemon to ask."""

    code = "daemon-not-running"
    exit_code = 3


class DaemonStartFailed(ControlError):
    """The daemon was started and did not come up."""

    code = "daemon-start-failed"


class VersionMismatch(ControlError):
    """The daemon speaks another version of the control protocol."""

    code = "version-mismatch"
    exit_code = 3
    pid: int | None = None  #: of the daemon that speaks it
    version: str | None = None  #: of that daemon


class ProtocolViolation(ControlError):
    """The other side sent a frame that makes no sense or is too large."""

    code = "protocol-violation"


class ServiceError(TunnelsError):
    """The daemon could not be made a service, or its service manager does not do what it was asked."""

    code = "service-failed"


class InternalError(TunnelsError):
    """A bug of ours."""

    code = "internal"


def _tree(root: type[TunnelsError]) -> dict[str, type[TunnelsError]]:
    """Every error class by its code."""
    found = {root.code: root}
    for child in root.__subclasses__():
        # A refinement keeps the code of its parent, and on the other side of the wire the parent is enough.
        found = _tree(child) | found
    return found


def from_info(info: ErrorInfo) -> TunnelsError:
    """Build the error again on the other side of the wire, with the exit code of its class."""
    cls = _tree(TunnelsError).get(info.code, TunnelsError)
    if cls is ProfileError:  # its problems are already part of the message
        error: TunnelsError = ProfileError.__new__(ProfileError)
        TunnelsError.__init__(error, info.message, hint=info.hint)
        return error
    return cls(info.message, hint=info.hint)
