"""Asks the program ``ssh`` what ssh_config says: ``ssh -G``, once for each question of one command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, NamedTuple

from tunnels import open_files
from tunnels.core.profile import HostSpec
from tunnels.errors import BadSetting, HostUnreachable
from tunnels.ssh.destination import Destination, LocalMachine
from tunnels.ssh.keywords import Note
from tunnels.ssh.ssh_g import Keywords, destination_from, parse_ssh_g

SSH_G_TIMEOUT = 10.0
"""Seconds that ``ssh -G`` may take. Itself it needs a few milliseconds, but ``Match exec`` and
CanonicalizeHostname may wait for something that does not answer."""

#: Processes of ``ssh -G`` at a time that one command starts; more would only wait for the processor.
AT_ONCE = 8

#: Lines of what ssh complains about that are passed on; a Match exec may write any number.
MAX_COMPLAINTS = 5


#: What ``ssh -G`` complains about where there is no terminal; nobody has asked for one.
_NO_TERMINAL = "Pseudo-terminal will not be allocated"


class _Answer(NamedTuple):
    """What ``ssh -G`` has printed, and what it complained about."""

    keywords: Keywords
    complaints: tuple[str, ...] = ()


class Answers:
    """What ssh has answered, for as long as one command or one attempt lasts, but not longer.

    Match exec may decide otherwise the next time. Whoever asks what is being asked already waits for that.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._asking: dict[tuple[str, ...], asyncio.Lock] = {}
        self._known: dict[tuple[str, ...], _Answer] = {}

    async def get(self, program: str, arguments: Sequence[str], host: str) -> _Answer:
        """Ask, unless it is known. Raises what `_ask` raises; an error is not kept."""
        question = (program, *arguments)
        async with self._asking.setdefault(question, asyncio.Lock()):
            if question not in self._known:
                async with self._places:
                    self._known[question] = await _ask(program, arguments, host)
            return self._known[question]


#: What ``ssh -F none -G`` says, by program and its time of change: an upgrade changes it.
_ssh_defaults: dict[tuple[str, int], Keywords] = {}


class OpenSSH:
    """Asks the program ``ssh``."""

    def __init__(
        self, program: str, config_file: str | None, machine: LocalMachine, answers: Answers | None = None
    ) -> None:
        self._program = program
        self._config = ["-F", config_file] if config_file else []
        self._machine = machine
        self._answers = answers or Answers()

    async def ask(self, spec: HostSpec) -> Destination:
        """Describe one destination, without what the profile says about it.

        Raises:
            BadSetting: ssh refuses its configuration.
            HostUnreachable: it could not be started, or did not end in time.

        """
        flags = list(self._config)
        if spec.user is not None:
            flags += ["-l", spec.user]
        if spec.port is not None:
            flags += ["-p", str(spec.port)]
        # "--", so that no host is ever taken for an option.
        answer = await self._answers.get(self._program, [*flags, "--", spec.host], spec.host)
        if "hostname" not in answer.keywords:
            raise BadSetting(
                f"ssh says nothing about {spec.host}",
                hint=f"run: {shlex.join(['ssh', '-G', *flags, '--', spec.host])}",
            )
        found = destination_from(
            answer.keywords, spec, self._machine, os.environ, defaults=await self._defaults(answer.keywords)
        )
        complaints = [Note("", "", f"ssh says: {line}") for line in answer.complaints]
        return replace(found, notes=(*found.notes, *complaints))

    async def _defaults(self, answer: Keywords) -> Keywords:
        """Ask what ssh does of itself: ``-G`` does not tell that from what somebody has configured."""
        try:
            key = (self._program, os.stat(self._program).st_mtime_ns)  # noqa: PTH116 - a path as text
        except OSError:
            return answer
        if key not in _ssh_defaults:
            plain = await self._answers.get(self._program, ["-F", "none", "--", "localhost"], "localhost")
            _ssh_defaults[key] = plain.keywords
        return _ssh_defaults[key]


async def _ask(program: str, arguments: Sequence[str], host: str) -> _Answer:
    # Without -T, which would turn "UpdateHostKeys ask" into a no.
    code, output, errors = await _run([program, "-G", *arguments], host)
    said = [line.strip() for line in errors.splitlines() if line.strip()]
    said = [line for line in said if not line.startswith(_NO_TERMINAL)]
    if code != 0:
        raise BadSetting(
            f"ssh refuses its configuration for {host}: {'; '.join(said[:3]) or f'exit code {code}'}",
            hint=f"run: {shlex.join(['ssh', '-G', *arguments])}",
        )
    return _Answer(parse_ssh_g(output), tuple(said[:MAX_COMPLAINTS]))


async def _run(command: Sequence[str], host: str) -> tuple[int, str, str]:
    """Run ``ssh -G`` to its end, but no longer than `SSH_G_TIMEOUT`."""
    # Files, not pipes: a grandchild of Match exec that lives on would hold a pipe open, and the wait
    # would last as long as it does.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = await asyncio.create_subprocess_exec(
                *open_files.ours.as_before(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,  # so that what Match exec has started can be ended with it
            )
        except OSError as error:
            raise HostUnreachable(f"{command[0]} cannot be started: {error.strerror}") from error
        try:
            async with asyncio.timeout(SSH_G_TIMEOUT):
                code = await process.wait()
        except TimeoutError:
            raise HostUnreachable(
                f"ssh has not made sense of its configuration for {host} within {SSH_G_TIMEOUT:g} s",
                hint="look for a Match exec in ssh_config whose command does not end",
            ) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return code, _content(output), _content(errors)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="surrogateescape")
