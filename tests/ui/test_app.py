from __future__ import annotations

import pytest
from textual import events

from tests.daemon.served import forward, tunnel
from tests.ui.viewing import watched
from tunnels.core.question import Question
from tunnels.core.state import TunnelState
from tunnels.errors import QuestionExpired, UsageError
from tunnels.ui.app import View

pytestmark = pytest.mark.time_limit(30)

UP, CONNECTING, NEEDS_INPUT = TunnelState.UP, TunnelState.CONNECTING, TunnelState.NEEDS_INPUT

PASSWORD = Question("q1", "password", "me@bastion wants a password", "Password:", secret=True)
CODE = Question("q2", "challenge", "and a code", "Code:")


def asking(question: Question = PASSWORD, name: str = "work-db") -> object:
    return tunnel(name, NEEDS_INPUT, question=question)


async def test_every_profile_is_shown_below_its_tag_and_the_selected_one_in_full() -> None:
    async with watched(tunnel("work-db", rtt_ms=23.4)) as it:
        await it.shows("▸ ● work-db", "up 1m", "1 of 1 up", "○ home", "no tag", "23.4 ms")
        await it.shows("localhost:5432 → db.internal:5432")
        await it.press("down")
        await it.shows("▸ ○ work-web", "tunnels up work-web", "web.internal:80")


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 12)])
async def test_nothing_is_wider_than_the_screen_and_the_keys_are_named(size: tuple[int, int]) -> None:
    many = [tunnel(f"box-{number:03}", rtt_ms=1.0) for number in range(200)]
    async with watched(*many, size=size) as it:
        await it.shows("200 of 200 up", "u up")
        assert max(map(len, it.screen.splitlines())) <= size[0]
        await it.press("end")
        await it.shows("▸ ● box-199")
        await it.press("home")
        await it.shows("▸ ○ work-db")


async def test_keys_do_what_the_commands_do() -> None:
    async with watched(tunnel("work-db")) as it:
        await it.shows("▸ ● work-db")
        await it.press("d")
        await it.until(lambda: ("down", ["work-db"]) in it.orders)
        await it.press("down", "u")
        await it.until(lambda: any(call[:2] == ("up", ["work-web"]) for call in it.orders))


async def test_who_would_cut_clients_off_is_asked_to_press_again() -> None:
    async with watched(tunnel("work-db", forwards=(forward(clients=2),))) as it:
        await it.shows("2 clients")
        await it.press("d")
        await it.shows("press d again")
        assert it.orders == []
        await it.press("d")
        await it.until(lambda: it.orders == [("down", ["work-db"])])


async def test_a_question_is_answered_in_a_dialog_and_a_secret_is_never_shown() -> None:
    async with watched(tunnel("home"), asking()) as it:  # type: ignore[arg-type]
        await it.shows("waits for an answer")
        await it.press("a")
        await it.shows("wants a password", "Password:")
        await it.press(*"hunter2")
        assert "hunter2" not in it.screen
        await it.press("enter")
        await it.until(lambda: it.orders == [("answer", "work-db", "q1", "hunter2")])
        it.show(tunnel("work-db", CONNECTING))
        await it.until(lambda: "work-db asks" not in it.screen)
        it.show(asking(CODE))  # type: ignore[arg-type]
        await it.shows("work-db asks", "Code:")  # by itself: this person is here
        await it.press(*"123456")
        assert "123456" in it.screen
        await it.press("escape")
        await it.until(lambda: "work-db asks" not in it.screen)
        assert len(it.orders) == 1


async def test_an_answer_that_is_none_is_asked_for_again() -> None:
    async with watched(asking()) as it:  # type: ignore[arg-type]
        it.client.refusals.append(UsageError("say yes or no"))
        await it.shows("waits for an answer")
        await it.press("a", "x", "enter")
        await it.shows("say yes or no", "Password:")


async def test_a_question_that_is_answered_elsewhere_goes_away() -> None:
    async with watched(asking()) as it:  # type: ignore[arg-type]
        await it.shows("waits for an answer")
        await it.press("a")
        await it.shows("Password:")
        it.show(tunnel("work-db"))
        await it.until(lambda: "Password:" not in it.screen)
        assert it.orders == []


async def test_a_server_that_has_stopped_waiting_is_made_to_ask_again() -> None:
    async with watched(asking()) as it:  # type: ignore[arg-type]
        await it.shows("waits for an answer")
        await it.press("a")
        await it.shows("Password:")
        it.show(asking(PASSWORD._replace(stale=True)))  # type: ignore[arg-type]
        await it.shows("has stopped waiting")
        await it.press("enter")
        await it.until(lambda: [call[0] for call in it.orders] == ["up"])
        it.show(asking(CODE))  # type: ignore[arg-type]
        await it.shows("work-db asks", "Code:")


async def test_an_answer_that_comes_too_late_has_it_asked_again() -> None:
    async with watched(asking()) as it:  # type: ignore[arg-type]
        it.client.refusals.append(QuestionExpired("late"))
        await it.shows("waits for an answer")
        await it.press("a", "x", "enter")
        await it.until(lambda: [call[0] for call in it.orders] == ["answer", "up"])


async def test_a_filter_shows_only_what_is_like_that() -> None:
    async with watched(tunnel("work-db"), tunnel("home")) as it:
        await it.shows("work-web")
        await it.press("slash", *"home", "enter")
        await it.until(lambda: "work-web" not in it.screen)
        await it.shows("▸ ● home", "only 'home'")
        await it.press("escape")
        await it.shows("work-web")


async def test_words_that_come_at_once_with_the_slash_are_no_keys() -> None:
    async with watched(tunnel("work-db"), tunnel("home")) as it:
        await it.shows("work-web")
        for key in "/dur":  # one read of the terminal: nothing is handled in between
            it.view.post_message(events.Key("slash" if key == "/" else key, key))
        await it.until(lambda: it.view._filter == "dur")
        assert it.orders == []


async def test_a_slash_in_an_answer_is_a_slash() -> None:
    async with watched(asking()) as it:  # type: ignore[arg-type]
        await it.shows("waits for an answer")
        await it.press("a")
        await it.shows("Password:")
        await it.press("x", "slash", "y", "enter")
        await it.until(lambda: it.orders == [("answer", "work-db", "q1", "x/y")])


async def test_help_names_the_commands_and_goes_away() -> None:
    async with watched(tunnel("work-db")) as it:
        await it.press("question_mark")
        await it.shows("tunnels restart NAME")
        await it.press("escape")
        await it.until(lambda: "tunnels restart NAME" not in it.screen)


async def test_the_log_gets_more_room() -> None:
    async with watched(tunnel("work-db")) as it:
        await it.shows("─work-db")
        await it.press("l")
        await it.until(lambda: "─work-db" not in it.screen)
        await it.shows("─log")


async def test_a_bug_ends_it_and_shows_no_variable(capsys: pytest.CaptureFixture[str]) -> None:
    secret = "hunter2"  # noqa: F841 - it stands in the frame that fails
    with pytest.raises(ZeroDivisionError):
        async with watched(tunnel("work-db")) as it:
            it.view._handle_exception(ZeroDivisionError())
            await it.pilot.pause()
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err


def test_the_view_asks_no_telemetry_of_the_keys() -> None:
    assert not View.ENABLE_COMMAND_PALETTE


async def test_ctrl_c_leaves_from_everywhere() -> None:
    for keys in ((), ("slash", "x"), ("question_mark",)):
        async with watched(tunnel("work-db")) as it:
            await it.shows("▸ ● work-db")
            await it.press(*keys, "ctrl+c")
            await it.until(lambda it=it: not it.view.is_running or it.view._exit)  # type: ignore[misc]
