"""The control protocol: commands come out as they went in, and nothing else does."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core import protocol
from tunnels.core.protocol import (
    PROTOCOL,
    Answer,
    Clients,
    Command,
    Down,
    Hello,
    Open,
    Reload,
    Restart,
    Shutdown,
    Status,
    Up,
    Watch,
    parse_reply,
    parse_request,
    request,
)
from tunnels.errors import (
    NoSuchProfile,
    ProfileError,
    ProtocolViolation,
    TunnelsError,
    UsageError,
    VersionMismatch,
)

#: No deadline: how long one example takes is the machine's affair.
quick = settings(max_examples=100, deadline=None)

# --- requests -------------------------------------------------------------------------------------

COMMANDS: list[Command] = [
    Up(["work-db", "home"], "/home/me/profiles.toml"),
    Open({"host": "bastion", "local": ["5432:db:5432"]}, "/home/me/profiles.toml", "work"),
    Down(["work-db"]),
    Restart([], "/home/me/profiles.toml"),
    Reload(),
    Status(),
    Watch(0.5),
    Watch(),
    Clients(["work-db"]),
    Answer("work-db", "a1b2", "yes"),
    Shutdown(),
]


def over_the_wire(frame: dict[str, Any]) -> dict[str, Any]:
    read = json.loads(json.dumps(frame))
    assert isinstance(read, dict)
    return read


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_every_command_survives_the_wire(command: Command) -> None:
    assert parse_request(over_the_wire(request(7, command))) == (7, command)


def test_no_command_is_left_out() -> None:
    """A new command must be added to this test, and to what the daemon understands."""
    assert {type(command) for command in COMMANDS} == set(typing.get_args(Command))


NAMES = st.lists(st.text(max_size=6), max_size=3)
TEXT = st.text(max_size=6)
ANY_COMMAND: st.SearchStrategy[Command] = st.one_of(
    st.builds(Up, NAMES, TEXT),
    st.builds(Open, st.dictionaries(TEXT, TEXT, max_size=2), TEXT, TEXT),
    st.builds(Down, NAMES),
    st.builds(Restart, NAMES, TEXT),
    st.builds(Watch, st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 9)),
    st.builds(Answer, TEXT, TEXT, TEXT),
)


@quick
@given(st.integers(), ANY_COMMAND)
def test_any_values_survive_the_wire(request_id: int, command: Command) -> None:
    assert parse_request(over_the_wire(request(request_id, command))) == (request_id, command)


def test_a_request_is_what_a_person_could_type() -> None:
    """This is the documented form; a daemon of the same protocol must go on reading it."""
    frame = {"id": 1, "command": "up", "names": ["work-db"], "config": "/c.toml", "agent": "/run/agent"}

    assert request(1, Up(["work-db"], "/c.toml", "/run/agent")) == frame
    assert parse_request(frame) == (1, Up(["work-db"], "/c.toml", "/run/agent"))
    del frame["agent"]
    assert parse_request(frame) == (1, Up(["work-db"], "/c.toml")), "as older commands say it"


def test_a_watch_without_an_interval_has_the_usual_one() -> None:
    assert parse_request({"id": 1, "command": "watch"}) == (1, Watch(1.0))


def test_members_that_are_not_known_are_passed_over() -> None:
    frame = {"id": 1, "command": "down", "names": ["home"], "force": True, "0": None}

    assert parse_request(frame) == (1, Down(["home"]))


@pytest.mark.parametrize("request_id", [None, "1", 1.0, True, [1], {}], ids=repr)
def test_a_request_needs_a_whole_number_as_its_id(request_id: object) -> None:
    with pytest.raises(ProtocolViolation, match="whole number as its id"):
        parse_request({"id": request_id, "command": "status"})


def test_a_request_without_an_id_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="whole number as its id"):
        parse_request({"command": "status"})


@pytest.mark.parametrize(
    "command",
    ["", "UP", "Up", "hello", "__class__", None, 0, 1.5, True, [], ["up"], {}, {"up": 1}],
    ids=repr,
)
def test_a_command_that_is_not_known_is_refused_and_named(command: object) -> None:
    with pytest.raises(ProtocolViolation, match="knows no command") as caught:
        parse_request({"id": 1, "command": command})

    assert repr(command) in caught.value.message


@pytest.mark.parametrize(
    "frame",
    [
        {"command": "up", "names": ["a"]},
        {"command": "up", "config": "/c"},
        {"command": "down"},
        {"command": "restart", "config": "/c"},
        {"command": "answer", "name": "a", "question_id": "b"},
    ],
    ids=str,
)
def test_a_command_with_a_member_missing_is_refused(frame: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation, match=rf"^{frame['command']}: a member is missing"):
        parse_request({"id": 1, **frame})


@pytest.mark.parametrize(
    ("frame", "member"),
    [
        ({"command": "up", "names": "work-db", "config": "/c"}, "names"),
        ({"command": "up", "names": ["a", 1], "config": "/c"}, "names"),
        ({"command": "up", "names": {"a": 1}, "config": "/c"}, "names"),
        ({"command": "up", "names": None, "config": "/c"}, "names"),
        ({"command": "up", "names": [], "config": None}, "config"),
        ({"command": "restart", "names": [], "config": ["/c"]}, "config"),
        ({"command": "up", "names": [], "config": "/c", "agent": None}, "agent"),
        ({"command": "watch", "interval": "1"}, "interval"),
        ({"command": "watch", "interval": True}, "interval"),
        ({"command": "watch", "interval": None}, "interval"),
        ({"command": "answer", "name": 1, "question_id": "b", "answer": "c"}, "name"),
        ({"command": "answer", "name": "a", "question_id": {}, "answer": "c"}, "question_id"),
        ({"command": "answer", "name": "a", "question_id": "b", "answer": 1234}, "answer"),
    ],
    ids=str,
)
def test_a_member_of_the_wrong_type_is_refused_and_named(frame: dict[str, object], member: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_request({"id": 1, **frame})

    assert caught.value.message == f"{frame['command']}: {member} is of the wrong type"


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
JSON_VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
WORDS = [type(command).__name__.lower() for command in COMMANDS]
FRAMES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers() | JSON_VALUES,
        "command": st.sampled_from(WORDS) | JSON_VALUES,
        "names": NAMES | JSON_VALUES,
        "config": TEXT | JSON_VALUES,
        "agent": TEXT | JSON_VALUES,
        "interval": st.floats() | JSON_VALUES,
        "name": TEXT | JSON_VALUES,
        "question_id": TEXT | JSON_VALUES,
        "answer": TEXT | JSON_VALUES,
        "self": JSON_VALUES,
        "cls": JSON_VALUES,
    },
)


@settings(max_examples=200, deadline=None)
@given(FRAMES | st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=3))
def test_any_frame_is_a_command_or_a_protocol_violation(frame: dict[str, object]) -> None:
    try:
        request_id, command = parse_request(frame)
    except ProtocolViolation:
        return
    assert request_id == frame["id"]
    assert isinstance(command, typing.get_args(Command))


# --- secrets --------------------------------------------------------------------------------------

SECRET = "correct horse battery staple"


def test_a_secret_does_not_show_when_the_command_is_printed() -> None:
    command = Answer("work-db", "a1b2", SECRET)

    for shown in (repr(command), str(command), f"{command}", "%s" % (command,), repr([command])):  # noqa: UP031
        assert shown.strip("[]") == "Answer('work-db', 'a1b2', …)"


@pytest.mark.parametrize(
    "frame",
    [
        {"id": 1, "command": "answer", "answer": SECRET},
        {"id": 1, "command": "answer", "name": "a", "question_id": "b", "answer": [SECRET]},
        {"id": 1, "command": "answer", "name": "a", "question_id": 1, "answer": SECRET},
        {"id": None, "command": "answer", "name": "a", "question_id": "b", "answer": SECRET},
        {"id": 1, "command": "replay", "answer": SECRET},
    ],
    ids=["missing", "wrong type", "wrong id", "no id", "unknown"],
)
def test_a_secret_does_not_show_when_its_request_is_refused(frame: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        parse_request(frame)

    assert SECRET not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


# --- answers --------------------------------------------------------------------------------------


def test_a_result_is_the_last_answer_and_an_event_is_not() -> None:
    assert parse_reply(over_the_wire(protocol.result(3, {"started": ["a"]})), 3) == ({"started": ["a"]}, True)
    assert parse_reply(over_the_wire(protocol.event(3, {"tunnels": []})), 3) == ({"tunnels": []}, False)


def test_an_empty_result_is_a_result() -> None:
    assert parse_reply({"id": 3, "result": {}}, 3) == ({}, True)


@pytest.mark.parametrize(
    ("sent", "exit_code"),
    [
        (NoSuchProfile("no profile is called wrok-db", hint="did you mean work-db?"), 4),
        (ProfileError("/c.toml", [], hint="tunnels edit"), 2),
        (UsageError("work-db no longer waits for this answer"), 2),
        (TunnelsError("something else"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_the_daemon_is_raised_again_here(sent: TunnelsError, exit_code: int) -> None:
    with pytest.raises(TunnelsError) as caught:
        parse_reply(over_the_wire(protocol.failure(3, sent)), 3)

    assert type(caught.value) is type(sent)
    assert caught.value.info == sent.info
    assert caught.value.exit_code == exit_code


def test_an_error_about_a_request_that_could_not_be_read_reaches_whoever_sent_it() -> None:
    """The daemon does not know its id then, and there is only one request at a time."""
    with pytest.raises(ProtocolViolation, match="not JSON"):
        parse_reply(protocol.failure(None, ProtocolViolation("a frame is not JSON")), 3)


def test_an_error_of_a_newer_daemon_is_still_an_error() -> None:
    with pytest.raises(TunnelsError, match="the moon is full") as caught:
        parse_reply({"id": 3, "error": {"code": "full-moon", "message": "the moon is full", "hint": None}}, 3)

    assert type(caught.value) is TunnelsError


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"id": 3},
        {"id": 4, "result": {}},
        {"result": {}},
        {"id": 3, "result": None},
        {"id": 3, "result": [1]},
        {"id": 3, "event": "x"},
        {"id": 3, "error": None},
        {"id": 3, "error": "no"},
        {"id": 3, "error": {}},
        {"id": 3, "error": {"code": "usage"}},
        {"id": 3, "error": {"code": 1, "message": "m"}},
        {"id": 3, "error": {"code": "usage", "message": "m", "hint": 7}},
    ],
    ids=str,
)
def test_an_answer_that_makes_no_sense_is_a_protocol_violation(frame: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation):
        parse_reply(frame, 3)


# --- hello ----------------------------------------------------------------------------------------


def test_the_daemon_says_who_it_is() -> None:
    hello = Hello("0.1.0", 4711)

    assert hello.to_json() == {"hello": "tunnels", "protocol": 1, "version": "0.1.0", "pid": 4711}
    assert Hello.from_json(over_the_wire(hello.to_json())) == hello


@pytest.mark.parametrize("spoken", [PROTOCOL + 1, PROTOCOL - 1, None, "1", [1]], ids=repr)
def test_a_daemon_of_another_protocol_is_named_with_the_way_out(spoken: object) -> None:
    with pytest.raises(VersionMismatch) as caught:
        Hello.from_json({"hello": "tunnels", "protocol": spoken, "version": "9.9", "pid": 1})

    assert "9.9" in caught.value.message
    assert caught.value.hint is not None
    assert "tunnels daemon stop" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"hello": "world", "protocol": 1, "version": "0.1.0", "pid": 1},
        {"hello": "tunnels", "protocol": 1, "version": 1, "pid": 1},
        {"hello": "tunnels", "protocol": 1, "version": "0.1.0", "pid": "1"},
        {"hello": ["tunnels"]},
    ],
    ids=str,
)
def test_somebody_else_at_the_socket_is_not_taken_for_the_daemon(frame: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation, match="not the tunnels daemon"):
        Hello.from_json(frame)
