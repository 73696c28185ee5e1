"""Stands in for ``systemctl`` and ``launchctl``: writes down what it was told, and answers as the test says."""

from __future__ import annotations

from collections.abc import Sequence

from tunnels.service.run import Done

SHOWN = """\
ActiveState=active
SubState=running
UnitFileState=enabled
MainPID=4711
ActiveEnterTimestampMonotonic=100000000
StatusText=3 of 4 tunnels up
NRestarts=2
"""

INACTIVE = """\
ActiveState=inactive
SubState=dead
UnitFileState=disabled
MainPID=0
ActiveEnterTimestampMonotonic=0
StatusText=
NRestarts=0
"""

LOADED = """\
gui/501/tunnels.daemon = {
	active count = 1
	state = running
	program = /usr/bin/tunnels
	pid = 4711
}
"""


class FakeRunner:
    """A service manager whose every command succeeds, except those that the test names."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: dict[str, Done] = {"show --property=Version": Done(0, "252\n", "")}
        self.shown = SHOWN

    def __call__(self, command: Sequence[str]) -> Done:
        line = " ".join(command)
        self.calls.append(line)
        for part, answer in self.answers.items():
            if part in line:
                return answer
        return Done(0, self.shown if " show " in line else "", "")

    def fail(self, part: str, why: str = "it does not work", code: int = 1) -> None:
        """Let a command fail."""
        self.answers.pop(part, None)
        self.answers = {part: Done(code, "", f"{why}\n"), **self.answers}  # before the more general ones

    @property
    def verbs(self) -> list[str]:
        """What changes something, without the program and its constant options."""
        calls = [call.replace("systemctl --user ", "").replace("systemctl ", "") for call in self.calls]
        return [call for call in calls if not call.startswith("show ")]
