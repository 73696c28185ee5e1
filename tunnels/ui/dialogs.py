"""The dialogs: a question of a tunnel, and the help."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tunnels.core.logline import printable, screenful, shortened
from tunnels.core.standing import Asked, Standing
from tunnels.core.status import TunnelStatus

#: Characters of a prompt: what asks for more in one line is no server that means well.
_MAX_PROMPT = 500

EXPIRED = "The server has stopped waiting for the answer. Press Enter, and it asks again."

HELP = """\
up down  j k       another tunnel             tunnels status
Tab                the details, the log
u                  bring it up                tunnels up NAME
d                  take it down               tunnels down NAME
r                  restart it                 tunnels restart NAME
a                  answer its question        tunnels auth NAME
R                  apply the changed file     tunnels reload
l                  the log, larger            tunnels logs NAME -f
/                  only some; Esc: all again
q                  leave; the tunnels stay up

Graphs show the bytes of the last minute, clients the
programs that use a forward now (tunnels clients).
Marks:  ● up  ◍ waits for a client  ◌ on its way
        ? needs an answer  ✗ failed  ○ not running"""


class Answered(Static):
    """What came of an answer, in the dialog."""


class HiddenInput(Input):
    """A line that may be a secret, which then goes nowhere but to the daemon."""

    def action_copy(self) -> None:
        """Copy what is shown; a secret is not."""
        if not self.password:
            super().action_copy()

    def action_cut(self) -> None:
        """Cut what is shown; a secret is not."""
        if not self.password:
            super().action_cut()


class QuestionDialog(ModalScreen[None]):
    """Asks what a tunnel wants to know. ``submit`` is told the question's id and the answer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", show=False)]

    def __init__(
        self, tunnel: TunnelStatus, submit: Callable[[str, str], None], again: Callable[[], None]
    ) -> None:
        super().__init__()
        assert tunnel.question is not None
        self.tunnel = tunnel.name
        self._asked = Asked(tunnel.question, tunnel.attempt)
        self._submit = submit
        self._again = again
        self._expired = False
        self._left = False

    def compose(self) -> ComposeResult:
        """Lay it out."""
        question = self._asked.question
        with Vertical(id="dialog") as box:
            box.border_title = f"{self.tunnel} asks"
            box.border_subtitle = "Enter answers · Esc leaves it for later"
            with VerticalScroll(id="question", can_focus=False):
                yield Static(Text(screenful(question.text.strip())))
            yield Static(Text(shortened(printable(question.prompt), _MAX_PROMPT)), id="prompt")
            yield HiddenInput(password=question.secret, compact=True, id="answer")
            yield Answered(id="said")

    def on_mount(self) -> None:
        """Begin to ask."""
        self.query_one(HiddenInput).focus()

    def news(self, tunnel: TunnelStatus | None) -> None:
        """Look what has become of the question; what nobody wants to know any more is not asked."""
        standing, self._asked = self._asked.standing(tunnel)
        if standing is Standing.EXPIRED and not self._expired:
            self._expired = True
            self.say(EXPIRED)
        elif standing in {Standing.ANSWERED, Standing.OVER}:
            self.leave()

    def say(self, words: str) -> None:
        """Say something below the line."""
        self.query_one(Answered).update(Text(printable(words), "yellow"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Hand over the answer."""
        event.stop()
        answer = event.value
        self.query_one(HiddenInput).clear()
        if self._expired:
            self._again()
            self.leave()
        else:
            self.say("one moment…")
            self._submit(self._asked.question.id, answer)

    def action_leave(self) -> None:
        """Answer later."""
        self.leave()

    def leave(self) -> None:
        """Close it."""
        if not self._left:
            self._left = True
            self.dismiss()


class Help(ModalScreen[None]):
    """The keys, and the commands that do the same."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", show=False)]

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with VerticalScroll(id="dialog") as box:
            box.border_title = "keys, and the commands that do the same"
            box.border_subtitle = "Esc closes this"
            yield Static(HELP, markup=False)
