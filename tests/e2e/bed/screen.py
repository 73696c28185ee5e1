"""A screen for a command that draws on all of it: tmux keeps it, and the test reads it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.bed.wait import eventually


class Screen:
    """Runs a command in a tmux of its own; `shows` waits for words, `press` presses keys by tmux's names."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, columns: int, lines: int
    ) -> None:
        assert shutil.which("tmux"), "install tmux"
        self._socket = cwd / "tmux"
        self._env = {**env, "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        size = ("-x", str(columns), "-y", str(lines))
        # tmux 3.3a was seen to leave a command that has ended as a zombie, and then never knows its exit code.
        self._code = cwd / "exit-code"
        wrapped = ("sh", "-c", '"$@"; echo $? >"$0"', str(self._code), *command)
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(cwd), *wrapped)
        self._tmux("set-option", "-g", "remain-on-exit", "on")

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-S", str(self._socket), *words]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    @property
    def text(self) -> str:
        """What is to be seen now."""
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        """Press keys: ``Down``, ``Enter``, or a character."""
        self._tmux("send-keys", *keys)

    def write(self, text: str) -> None:
        """Type a text as it is."""
        self._tmux("send-keys", "-l", text)

    def resize(self, columns: int, lines: int) -> None:
        """Make it larger or smaller."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def shows(self, *words: str, within: float = 15) -> str:
        """Wait until all of this is to be seen."""
        __tracebackhide__ = True

        def look() -> str:
            text = self.text
            assert all(word in text for word in words), text
            return text

        return eventually(look, within=within, what=f"{words} on the screen")

    def lacks(self, word: str, *, within: float = 15) -> None:
        """Wait until something is no longer to be seen."""
        __tracebackhide__ = True

        def look() -> bool:
            text = self.text
            assert word not in text, text
            return True

        eventually(look, within=within, what=f"a screen without {word!r}")

    def exit_code(self, *, within: float = 15) -> int:
        """Wait for the end of the command."""

        def ended() -> str:
            return self._code.read_text("ascii").strip() if self._code.exists() else ""

        return int(eventually(ended, within=within, what=f"the end of the command; it shows {self.text}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tmux("kill-server")
