from __future__ import annotations

import pytest
from textual.app import App

from tests.daemon.served import tunnel
from tunnels.core.question import Question
from tunnels.core.state import TunnelState
from tunnels.ui.dialogs import HELP, HiddenInput, QuestionDialog

QUESTION = Question("q1", "password", "who are you?\x1b[2J\n" * 40, "Password:" + "x" * 900, secret=True)


def test_the_help_fits_a_small_terminal() -> None:
    lines = HELP.splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 72


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+x"])
async def test_a_secret_is_not_copied_to_the_terminals_clipboard(key: str) -> None:
    copied: list[str] = []

    class Bare(App[None]):
        def copy_to_clipboard(self, text: str) -> None:
            copied.append(text)

    one = tunnel("work-db", TunnelState.NEEDS_INPUT, question=QUESTION)
    submitted: list[tuple[str, str]] = []
    view = Bare()
    async with view.run_test() as pilot:
        dialog = QuestionDialog(one, lambda *it: submitted.append(it), lambda: None)
        await view.push_screen(dialog)
        line = dialog.query_one(HiddenInput)
        line.value = "hunter2"
        line.select_all()
        line.action_copy()
        line.action_cut()
        assert copied == []
        await pilot.press("end", "enter")
        assert submitted == [("q1", "hunter2")]
        assert line.value == ""
        line.password = False
        line.value = "yes"
        line.select_all()
        line.action_copy()
        assert copied == ["yes"]
