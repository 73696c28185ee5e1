"""``tunnels doctor``: step by step to where a tunnel does not come up, with what to do about it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunnels import profiles
from tunnels.cli import known, output
from tunnels.cli.options import AllOption, ConfigOption, JsonOption, ProfileNames, TagOption
from tunnels.cli.run import config_path, verb
from tunnels.client import Client
from tunnels.core import checkup
from tunnels.core.checkup import LABELS, Checkup, Step
from tunnels.core.logline import printable
from tunnels.core.profile import Profile
from tunnels.core.status import Snapshot
from tunnels.errors import TunnelsError

if TYPE_CHECKING:
    from rich.status import Status
    from rich.text import Text

_WIDTH = max(map(len, LABELS.values()))

#: A mark, its colour, and the word where there are no colours: for pipes, NO_COLOR and screen readers.
_GOOD = ("✓", "green", "ok")
_BAD = ("✗", "red", "failed")
_WARNING = ("!", "yellow", "note")
_SKIPPED = ("\N{EN DASH}", "dim", "not tried")


@verb
def doctor(
    names: ProfileNames = None,
    tag: TagOption = None,
    everything: AllOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find out step by step why a tunnel does not work, and what to do about it.

    Logs in once, tries both ends of every forward, and changes nothing. A name can be left out where the file
    has one profile only.

    Example: tunnels doctor work-db
    """
    file = known.load(config_path(config))
    alone = len(file.profiles) == 1 and not names and not tag
    wanted = profiles.select(file, names or [], tags=tag or [], everything=everything or alone)
    from tunnels.daemon.doctor import run_doctor  # noqa: PLC0415 - the engine, for this alone

    found = told(
        lambda reader, running: run_doctor(
            file.path, wanted, reader, running=running, cautions=file.warnings, may_ask=not as_json
        ),
        as_json=as_json,
    )
    return checkup.exit_code(found)


def told(run: Callable[[_Silent | _Shown, Snapshot], list[Checkup]], *, as_json: bool) -> list[Checkup]:
    """Have somebody look, and show what is found: as it is found, or as one document at the end."""
    reader = _Silent() if as_json else _Shown()
    try:
        found = run(reader, _running())
    finally:
        reader.close()
    if as_json:
        output.print_json(checkup.to_json(found))
    return found


def _running() -> Snapshot:
    """What the daemon has to say; nothing where none runs, or none that can be asked."""
    try:
        with Client.connect() as client:
            return client.status()
    except TunnelsError:
        return Snapshot(None)


class _Silent:
    """For ``--json``, which is one document at the end."""

    def examining(self, profile: Profile) -> None:
        """Nothing yet."""

    def began(self, what: str) -> None:
        """Nothing yet."""

    def found(self, step: Step) -> None:
        """Nothing yet."""

    def done(self, checkup: Checkup) -> None:
        """Nothing yet."""

    def close(self) -> None:
        """Nothing to take away."""

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Nobody is asked."""
        yield


class _Shown:
    """Shows each step as it is done, and beside a spinner what goes on."""

    def __init__(self) -> None:
        self._spinner: Status | None = None
        self._about: str | None = None  #: the server or the forward that the last line was about
        self._count = 0

    def examining(self, profile: Profile) -> None:
        """A new profile."""
        from rich.text import Text  # noqa: PLC0415

        if self._count:
            output.out().print()
        self._count += 1
        self._about = None
        title = Text(profile.name, "bold")
        title.append(f"  {printable(profile.description)}" if profile.description else "", "not bold dim")
        output.print_lines([title])

    def began(self, what: str) -> None:
        """Say what goes on, on a terminal."""
        if not (output.err().is_terminal and output.out().is_terminal):
            return
        from rich.text import Text  # noqa: PLC0415

        text = Text(printable(what), "dim")
        if self._spinner is None:
            self._spinner = output.err().status(text)
            self._spinner.start()
        else:
            self._spinner.update(text)

    def found(self, step: Step) -> None:
        """One line, and what is wrong below it."""
        about = step.host or step.forward
        lines = step_lines(step, words=output.out().no_color or not output.out().is_terminal)
        with self._without_spinner():
            if about is not None and about != self._about:
                output.print_lines([heading(about)])
            self._about = about
            _print(lines)

    def done(self, checkup: Checkup) -> None:
        """The verdict."""
        self.close()
        output.print_lines([verdict(checkup)])

    def close(self) -> None:
        """Take the spinner away, and give the cursor back."""
        if self._spinner is not None:
            self._spinner.stop()
            self._spinner = None

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """The person needs the terminal."""
        with self._without_spinner():
            yield

    @contextlib.contextmanager
    def _without_spinner(self) -> Iterator[None]:
        if self._spinner is None:
            yield
            return
        self._spinner.stop()
        yield
        self._spinner.start()  # not after an error: nothing goes on then


# --- what it looks like -----------------------------------------------------------------------------


def heading(about: str) -> Text:
    """The server or the forward that the next steps are about."""
    from rich.text import Text  # noqa: PLC0415

    return Text.assemble("  ", (printable(about), "bold"))


class Line(NamedTuple):
    """A line of the report: what stands before it, and what is folded beside that on a narrow terminal."""

    before: Text
    text: Text


def step_lines(step: Step, *, words: bool) -> list[Line]:
    """A step: how it went, what came of it, how long it took; what is wrong, and what to do."""
    from rich.text import Text  # noqa: PLC0415

    mark, colour, word = _look_of(step)
    before = Text("  ").append(f"{word:<9}" if words else mark, colour)
    before.append(f" {LABELS[step.step]:<{_WIDTH}}  ")
    below = Text(" " * len(before))
    text = Text(_shown(step.detail))
    lines = []
    if step.error is not None:
        if step.detail:
            lines.append(Line(below, Text(_shown(step.detail), "dim")))
        text = Text(_shown(step.error.message), "red")
        if step.error.hint:
            lines.append(Line(below, Text(f"→ {_shown(step.error.hint)}")))
    elif step.ok is None and not words:
        text = Text(word, "dim")
    if step.warning:
        lines.append(Line(below, Text(_shown(step.warning), "yellow")))
    if step.ms is not None and step.ok is not None:
        text.append(f"{' · ' if text else ''}{_duration(step.ms)}", "dim not bold")
    return [Line(before, text), *lines]


def _shown(text: str) -> str:
    """One line without anything that commands a terminal; the home of the user is ``~``, which is shorter."""
    home = str(Path.home())
    return (
        printable(re.sub(rf"(?<![\w/]){re.escape(home)}/", "~/", text)) if len(home) > 1 else printable(text)
    )


def _print(lines: list[Line]) -> None:
    """Folded beside what stands before it on a terminal, and one line each where a program reads."""
    from rich.text import Text  # noqa: PLC0415

    out = output.out()
    for before, text in lines:
        if not out.is_terminal:
            line = before + text
            line.rstrip()
            out.print(line)
            continue
        start = before
        for part in text.wrap(out, max(20, out.width - len(before))):
            part.rstrip()
            out.print(start + part)
            start = Text(" " * len(before))


def _look_of(step: Step) -> tuple[str, str, str]:
    if step.ok is None:
        return _SKIPPED
    if not step.ok:
        return _BAD
    return _GOOD if step.warning is None else _WARNING


def _duration(ms: float) -> str:
    if ms < 1:
        return "<1 ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def verdict(checkup: Checkup) -> Text:
    """What it comes to."""
    from rich.text import Text  # noqa: PLC0415

    failed, warnings = len(checkup.failed), len(checkup.warnings)
    if not checkup.ok:
        many = "1 step failed" if failed == 1 else f"{failed} steps failed"
        return Text.assemble((f"{checkup.name}: {many}", "red"))
    if warnings:
        many = "1 thing" if warnings == 1 else f"{warnings} things"
        return Text.assemble((f"{checkup.name}: works, with {many} to know", "yellow"))
    return Text.assemble((f"{checkup.name}: everything works", "green"))
