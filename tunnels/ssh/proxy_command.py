"""Runs a ProxyCommand as OpenSSH does (ssh_config(5); sshconnect.c, ``ssh_proxy_connect``), and ends it again.

Its standard input and output are one end of a pair of sockets, asyncssh has the other. What it says on stderr goes
into the log, line by line, and never among the bytes of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable

from tunnels import open_files
from tunnels.core.logline import printable
from tunnels.errors import BadSetting, HostUnreachable, LoginRefused, TunnelsError
from tunnels.tasks import TaskScope

#: Seconds between asking the command to end and ending it, and for what it has started after it has ended itself.
GRACE = 2.0
REST = 0.2

#: Seconds for its exit code and its last words, once its connection has broken off.
LAST_WORDS = 0.5

#: Seconds between two looks whether it has ended, where the system does not tell (it does on Linux).
_POLL = 0.1

#: Characters of one line on stderr that are kept, lines that are logged at once, and how many a second after that.
LINE_LIMIT = 400
BURST = 20
LINES_A_SECOND = 1.0

_CHUNK = 64 * 1024

#: What a shell says about a command that it cannot run, and one that it cannot find (sh(1), exit status).
_CANNOT_RUN, _NOT_FOUND = 126, 127

#: What ssh says when the server of an `ssh -W` takes none of its keys. There is only the text.
_REFUSED = "permission denied ("
_UNVERIFIED = "host key verification failed"


class ProxyCommand:
    """A running command. It ends with the process group that it is the leader of."""

    def __init__(self, command: str, scope: TaskScope, say: Callable[[str], None]) -> None:
        """Start it; ``say`` is told what it writes to stderr. Raises OSError where there is no such shell."""
        self._loop = asyncio.get_running_loop()
        self._errors = _Errors(say, self._loop)
        #: Our end; whoever connects over it closes it.
        self.sock, its_end = socket.socketpair()
        shell = os.environ.get("SHELL") or "/bin/sh"
        try:
            with its_end:
                self._process = subprocess.Popen(
                    open_files.ours.as_before([shell, "-c", f"exec {command}"]),
                    stdin=its_end.fileno(),
                    stdout=its_end.fileno(),
                    stderr=self._errors.its_end,
                    start_new_session=True,  # no terminal to ask on: it would be stopped in the background
                )
        except BaseException:
            self.sock.close()
            self._errors.close()
            raise
        finally:
            os.close(self._errors.its_end)
        self.sock.setblocking(False)
        self._exited = asyncio.Event()
        self._closing = asyncio.Event()
        self._watch()
        try:
            self._overseer = scope.spawn(self._oversee(), name="proxy command")
        except RuntimeError:  # too late: everything is being closed
            self.sock.close()
            self._over(None)
            raise
        self._overseer.add_done_callback(self._over)

    def __repr__(self) -> str:
        return f"<ProxyCommand {self._process.pid}>"

    def close(self) -> None:
        """Have it end, in the background; does nothing the second time."""
        self._closing.set()

    async def aclose(self) -> None:
        """Have it end, and wait for that; bounded in time."""
        self.close()
        await asyncio.wait([self._overseer])

    async def explain(self, error: TunnelsError) -> TunnelsError:
        """Say more about a connection that broke off before the login, if the command is the reason."""
        if not isinstance(error, HostUnreachable):
            return error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._exited.wait()
        self._errors.read()
        status, said = self._status, self._errors.last
        if status is None:
            return error
        how = f"with exit code {status}" if status >= 0 else f"by {_signal_name(-status)}"
        message = f"the proxy command ended {how}" + (f"; it said: {said}" if said else "")
        if status in (_NOT_FOUND, _CANNOT_RUN):
            return BadSetting(
                f"the proxy command {'was not found' if status == _NOT_FOUND else 'cannot be run'}: {said}",
                hint="write its whole path: the daemon may have another PATH than your terminal",
            )
        if _REFUSED in said.lower():
            return LoginRefused(
                message,
                hint="it has no terminal to ask on; a jump host (`jump`) can ask here. Or run it by hand",
            )
        if _UNVERIFIED in said.lower():
            return BadSetting(message, hint="run the proxy command by hand once, to look at the host key")
        return HostUnreachable(message, hint="run the proxy command by hand to see what is wrong")

    @property
    def _status(self) -> int | None:
        """The exit code; negative for a signal. None: it is running."""
        known: int | None = self._process.returncode
        if known is not None:
            return known
        if not self._exited.is_set():
            return None
        # Not reaped yet: as long as it is there, nobody else gets the number of its group.
        found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    # --- its end ----------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._pidfd = -1
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel
                self._pidfd = os.pidfd_open(self._process.pid)
                self._loop.add_reader(self._pidfd, self._has_exited)
                return
        self._look()

    def _look(self) -> None:
        if self._process.poll() is None:
            self._timer = self._loop.call_later(_POLL, self._look)
        else:
            self._exited.set()

    def _has_exited(self) -> None:
        self._forget_pidfd()
        self._exited.set()

    def _forget_pidfd(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    async def _oversee(self) -> None:
        try:
            await self._closing.wait()
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._exited.wait()
                    await asyncio.sleep(REST)
        finally:
            self._signal(signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    await self._exited.wait()

    def _over(self, _: object) -> None:
        """Let go of everything, also where the overseer was cancelled before it began."""
        self._signal(signal.SIGKILL)
        if not self._exited.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(REST)  # it has been killed: a matter of milliseconds
        self._process.poll()
        self._forget_pidfd()
        self._errors.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


class _Errors:
    """What the command says on stderr: read at once, or it would stand still; logged with moderation."""

    def __init__(self, say: Callable[[str], None], loop: asyncio.AbstractEventLoop) -> None:
        self._say = say
        self._loop = loop
        self._line = b""
        self._allowed = float(BURST)
        self._counted = loop.time()
        self._left_out = 0
        self.last = ""  #: the last line that says something
        self._ours, self.its_end = os.pipe()
        os.set_blocking(self._ours, False)
        loop.add_reader(self._ours, self.read)

    def read(self) -> None:
        """Take what there is."""
        if self._ours < 0:
            return
        try:
            data = os.read(self._ours, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        *lines, rest = (self._line + data).split(b"\n")
        for line in lines:
            self._log(line)
        self._line = rest[: LINE_LIMIT * 4]  # in bytes; UTF-8 has at most four for each character

    def _log(self, line: bytes) -> None:
        text = printable(line.decode(errors="replace")).strip()
        if not text:
            return
        self.last = text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]}…"
        now = self._loop.time()
        self._allowed = min(float(BURST), self._allowed + (now - self._counted) * LINES_A_SECOND)
        self._counted = now
        if self._allowed < 1:
            self._left_out += 1
            return
        self._allowed -= 1
        if self._left_out:
            self._say(f"… {self._left_out} lines left out")
            self._left_out = 0
        self._say(self.last)

    def close(self) -> None:
        """Read no more; what was no whole line yet is one now."""
        if self._ours < 0:
            return
        self._loop.remove_reader(self._ours)
        os.close(self._ours)
        self._ours = -1
        self._log(self._line)
        self._line = b""
        if self._left_out:
            self._say(f"… {self._left_out} lines left out")
