"""What stands in the way of a unix socket on the server; and, where that was asked for, removes a dead one.

sshd leaves the file of a remote socket behind, and then refuses to listen there (sshd_config(5),
StreamLocalBindUnlink). It never says why it refuses, so we look: SFTP says what is at the path, and
connecting to it through the same connection says whether somebody listens. A refused connection proves
nothing by itself, because the server may not allow any (AllowStreamLocalForwarding remote), and sshd
words both alike. So before a socket counts as dead, a scratch socket beside it must be reachable.

A program that does listen sees a client come and go at every look. One whose queue is full looks dead;
sshd itself, with StreamLocalBindUnlink, would remove that one too, and every other.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import shlex
from typing import Any, NamedTuple

import asyncssh

from tunnels.errors import ListenError
from tunnels.forwarding.channel import ListenRefused
from tunnels.tasks import TaskScope

#: Seconds for everything in here together.
TIME_LIMIT = 10.0


class Finding(NamedTuple):
    """Why the server does not listen, and whether what was in the way is gone: then asking again helps."""

    error: ListenError
    removed: bool = False


class Inspector:
    """Looks at the server's sockets, one look at a time.

    A look that takes too long is left alone and not cancelled: asyncssh would leave its channel open on
    the server's side for ever. Until it has ended there is no other, so they cannot pile up.
    """

    def __init__(self, conn: asyncssh.SSHClientConnection, scope: TaskScope, *, unlink: bool) -> None:
        self._conn = conn
        self._scope = scope
        self._unlink = unlink
        self._slow: asyncio.Task[None] | None = None
        self._left: dict[str, bool] = {}  # folders where a scratch socket stays: whether it could be reached

    async def look(self, path: str) -> Finding:
        """Find out why the server refused to listen at ``path``. Takes at most `TIME_LIMIT` seconds."""
        if self._slow is not None and not self._slow.done():
            return Finding(_unknown(path, "the server does not answer"))
        found: list[Finding] = []

        async def look() -> None:
            found.append(await self._look(path))

        task = self._scope.spawn(look(), name=f"look at {path}")
        await asyncio.wait([task], timeout=TIME_LIMIT)
        if not task.done():
            self._slow = task
        return found[0] if found else Finding(_unknown(path, "the server did not answer in time"))

    async def _look(self, path: str) -> Finding:
        try:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    sftp = await stack.enter_async_context(self._conn.start_sftp_client())
                except (asyncssh.Error, OSError) as exc:
                    return Finding(_unknown(path, f"it has no SFTP ({_reason(exc)})"))
                return await self._judge(sftp, path)
        except (asyncssh.Error, OSError) as exc:
            return Finding(_unknown(path, _reason(exc)))

    async def _judge(self, sftp: asyncssh.SFTPClient, path: str) -> Finding:
        kind = await _kind(sftp, path)
        if kind is None:
            return Finding(await self._nothing_there(sftp, path))
        if kind != asyncssh.FILEXFER_TYPE_SOCKET:
            return Finding(
                ListenError(
                    f"the server refused to listen at {path}: something that is no socket is there",
                    hint="it is left as it is; remove it, or listen at another path",
                )
            )
        if await self._connects(path):
            return Finding(
                ListenRefused(
                    f"somebody listens at {path} on the server already",
                    hint=(
                        "perhaps it is our own last connection (ClientAliveInterval in sshd_config shortens "
                        "that); another program there, or another path for this forward, otherwise"
                    ),
                )
            )
        if not await self._can_connect(sftp, path):
            return Finding(
                ListenRefused(
                    f"a socket is in the way at {path} on the server, and whether somebody listens on it "
                    "cannot be seen",
                    hint="if nobody does, remove it there, or set StreamLocalBindUnlink yes in its sshd_config",
                )
            )
        dead = ListenError(
            f"a dead socket is in the way at {path} on the server",
            hint="set remote_unlink = true in the profile, or StreamLocalBindUnlink yes in its sshd_config",
        )
        if not self._unlink:
            return Finding(dead)
        try:
            if await _kind(sftp, path) == asyncssh.FILEXFER_TYPE_SOCKET:
                await sftp.remove(path)
        except asyncssh.SFTPError as exc:
            return Finding(
                ListenError(
                    f"a dead socket is in the way at {path} on the server, and it cannot be removed: "
                    f"{_reason(exc)}",
                    hint="remove it there, or listen at another path",
                )
            )
        return Finding(dead, removed=True)

    async def _nothing_there(self, sftp: asyncssh.SFTPClient, path: str) -> ListenError:
        folder = posixpath.dirname(path) or "/"
        if await _kind(sftp, folder) is None:
            return ListenError(
                f"the server refused to listen at {path}: the folder {folder} does not exist there",
                hint=f"`mkdir -p {shlex.quote(folder)}` there makes it",
            )
        return ListenError(
            f"the server refused to listen at {path}, and nothing is in the way there",
            hint=(
                "look at AllowStreamLocalForwarding in its sshd_config, at the key in authorized_keys, and "
                f"whether this account may write to {folder}"
            ),
        )

    async def _connects(self, path: str) -> bool:
        """Whether somebody listens at ``path``, as far as the server lets us connect."""
        try:
            chan, _ = await self._conn.create_unix_connection(_Silent, path)
        except asyncssh.ChannelOpenError as exc:
            if self._conn.is_closed():
                raise OSError("the connection ended") from exc
            return False
        chan.abort()
        return True

    async def _can_connect(self, sftp: asyncssh.SFTPClient, path: str) -> bool:
        """Whether the server connects us to a socket that is certainly alive: one of our own, for a moment."""
        folder = posixpath.dirname(path)
        if folder in self._left:  # one that cannot be removed is enough: we look every few seconds
            return self._left[folder]
        scratch = f"{folder}/.tunnels-{secrets.token_hex(4)}"
        try:
            listener = await self._conn.create_unix_server(_refuse, scratch)
        except asyncssh.ChannelListenError:
            return False
        reached = False
        try:
            reached = await self._connects(scratch)
        finally:
            listener.close()
            await listener.wait_closed()
            try:  # sshd leaves it behind, as ever
                await sftp.remove(scratch)
            except asyncssh.SFTPError:  # an SFTP that only reads
                self._left[folder] = reached
        return reached


class _Silent(asyncssh.SSHUNIXSession[bytes]):
    """A session that says nothing and hears nothing."""


def _refuse() -> Any:
    raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody is at home")


async def _kind(sftp: asyncssh.SFTPClient, path: str) -> int | None:
    """What sort of file is at ``path``; None where nothing is."""
    try:
        return (await sftp.lstat(path)).type
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
        return None


def _reason(exc: Exception) -> str:
    return getattr(exc, "reason", "") or str(exc) or type(exc).__name__


def _unknown(path: str, why: str) -> ListenRefused:
    return ListenRefused(
        f"the server refused to listen at {path}, and why could not be found out: {why}",
        hint=(
            "a socket that was left behind may be in the way (StreamLocalBindUnlink yes in its sshd_config removes "
            "those), somebody may listen there, or AllowStreamLocalForwarding does not allow it"
        ),
    )
