"""What `tunnels status --json` says, to the letter, and what is made of an answer that makes no sense."""

from __future__ import annotations

import contextlib
import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.question import Question
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import (
    DaemonStatus,
    DestinationStatus,
    ForwardStatus,
    Json,
    Snapshot,
    TunnelStatus,
    error_from_json,
    error_to_json,
    format_time,
    parse_time,
)
from tunnels.errors import ErrorInfo, ProtocolViolation

#: No deadline: how long one example takes is the machine's affair.
quick = settings(max_examples=60, deadline=None)

NINE = 1_795_165_200.0  # 2026-11-20T09:00:00Z

# --- the example of the documentation -------------------------------------------------------------

FORWARD = ForwardStatus(
    name=None,
    kind="local",
    listen="localhost:5432",
    connect="db.internal:5432",
    state=ForwardState.LISTENING,
    clients=1,
    clients_total=9,
    bytes_in=1234,
    bytes_out=99,
)

TUNNEL = TunnelStatus(
    name="work-db",
    host="bastion",
    state=TunnelState.UP,
    since=NINE + 1,
    error=ErrorInfo("connection-lost", "the server said goodbye", "it comes back by itself"),
    rtt_ms=23.4,
    reconnects=2,
    cipher="aes128-gcm@openssh.com",
    forwards=(FORWARD,),
)

SNAPSHOT = Snapshot(DaemonStatus(4711, "0.1.0", NINE, "/home/me/profiles.toml"), (TUNNEL,))

DOCUMENT: Json = {
    "version": 1,
    "daemon": {
        "pid": 4711,
        "version": "0.1.0",
        "started_at": "2026-11-20T09:00:00Z",
        "config": "/home/me/profiles.toml",
        "config_error": None,
        "file_limit": 0,
        "turned_away": 0,
    },
    "tunnels": [
        {
            "name": "work-db",
            "host": "bastion",
            "state": "up",
            "since": "2026-11-20T09:00:01Z",
            "attempt": 0,
            "retry_at": None,
            "error": {
                "code": "connection-lost",
                "message": "the server said goodbye",
                "hint": "it comes back by itself",
            },
            "rtt_ms": 23.4,
            "reconnects": 2,
            "cipher": "aes128-gcm@openssh.com",
            "forwards": [
                {
                    "name": None,
                    "kind": "local",
                    "listen": "localhost:5432",
                    "connect": "db.internal:5432",
                    "state": "listening",
                    "clients": 1,
                    "clients_total": 9,
                    "held": 0,
                    "bytes_in": 1234,
                    "bytes_out": 99,
                    "error": None,
                    "reachable_by_others": False,  # an addition
                    "by_address": 0,  # an addition
                    "audience": None,  # an addition
                    "destination": None,  # an addition
                }
            ],
            "question": None,  # an addition
            "offline": False,  # an addition
        }
    ],
}


def test_the_document_is_the_documented_one() -> None:
    """Additions are free; a field that goes away or changes its meaning needs a new version."""
    assert SNAPSHOT.to_json() == DOCUMENT


def test_the_documented_one_can_be_read() -> None:
    assert Snapshot.from_json(copy.deepcopy(DOCUMENT)) == SNAPSHOT


def test_members_of_a_newer_daemon_are_passed_over() -> None:
    newer = copy.deepcopy(DOCUMENT)
    for part in objects(newer):
        part["added-later"] = {"version": "of what"}

    assert Snapshot.from_json(newer) == SNAPSHOT


def test_without_a_daemon_there_are_no_tunnels() -> None:
    assert Snapshot(None).to_json() == {"version": 1, "daemon": None, "tunnels": []}
    assert Snapshot.from_json({"version": 1, "daemon": None, "tunnels": []}) == Snapshot(None)


@pytest.mark.parametrize("offline", [True, False])
def test_whether_there_is_a_way_to_the_host_travels_with_the_tunnel(offline: bool) -> None:
    document = TUNNEL._replace(offline=offline).to_json()
    assert document["offline"] is offline
    assert TunnelStatus.from_json(document).offline is offline


def test_a_daemon_that_knows_nothing_of_ways_says_nothing_of_being_offline() -> None:
    document = TUNNEL.to_json()
    del document["offline"]
    assert not TunnelStatus.from_json(document).offline


def test_a_question_travels_with_the_tunnel_that_asks_it() -> None:
    question = Question("a1b2", "host-key", "line one\nline two", "Trust it? (yes/no)", secret=True)
    asking = TUNNEL._replace(state=TunnelState.NEEDS_INPUT, question=question)

    assert asking.to_json()["question"] == {
        "id": "a1b2",
        "kind": "host-key",
        "text": "line one\nline two",
        "prompt": "Trust it? (yes/no)",
        "secret": True,
        "subject": "",
        "lasting": False,
        "stale": False,
    }
    assert TunnelStatus.from_json(asking.to_json()) == asking


def test_the_states_have_the_words_of_the_documentation() -> None:
    assert [state.value for state in TunnelState] == [
        "stopped",
        "connecting",
        "up",
        "idle",  # an addition
        "backoff",
        "needs-input",
        "failed",
        "stopping",
    ]
    assert [state.value for state in ForwardState] == ["pending", "listening", "failed"]


def test_a_tunnel_listens_when_all_of_its_forwards_do() -> None:
    failed = FORWARD._replace(state=ForwardState.FAILED)

    assert TUNNEL.listening
    assert TUNNEL._replace(forwards=()).listening
    assert not TUNNEL._replace(forwards=(FORWARD, failed)).listening


# --- times ----------------------------------------------------------------------------------------


def test_times_are_whole_seconds_of_utc() -> None:
    """Neither a fraction nor an offset: jq's ``fromdateiso8601`` takes nothing else."""
    assert format_time(NINE) == "2026-11-20T09:00:00Z"
    assert format_time(NINE + 0.999) == "2026-11-20T09:00:00Z"


def test_times_of_the_log_have_milliseconds() -> None:
    assert format_time(NINE + 0.123, precise=True) == "2026-11-20T09:00:00.123Z"
    assert format_time(NINE, precise=True) == "2026-11-20T09:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    ["2026-11-20T09:00:00Z", "2026-11-20T09:00:00.000Z", "2026-11-20T10:00:00+01:00"],
)
def test_a_time_is_read_whatever_its_zone(text: str) -> None:
    assert parse_time(text) == NINE


@given(st.integers(0, 253_402_300_799))
def test_whole_seconds_survive(seconds: int) -> None:
    assert parse_time(format_time(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "now", "2026-13-01T00:00:00Z", "1795165200", "2026-11-20T09:00:00Z\n"])
def test_what_is_no_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)


# --- errors as data -------------------------------------------------------------------------------


def test_no_error_is_null() -> None:
    assert error_to_json(None) is None
    assert error_from_json(None) is None


def test_an_error_without_a_hint_has_null_for_it() -> None:
    assert error_to_json(ErrorInfo("gave-up", "no more")) == {
        "code": "gave-up",
        "message": "no more",
        "hint": None,
    }
    assert error_from_json({"code": "gave-up", "message": "no more"}) == ErrorInfo("gave-up", "no more")


# --- whatever there may be ------------------------------------------------------------------------

TEXT = st.text(max_size=8)
COUNTS = st.integers(0, 2**63)
SECONDS = st.integers(0, 253_402_300_799).map(float)
ERRORS = st.none() | st.builds(ErrorInfo, TEXT, TEXT, st.none() | TEXT)
FORWARDS = st.builds(
    ForwardStatus,
    name=st.none() | TEXT,
    kind=st.sampled_from(["local", "remote", "dynamic"]),
    listen=TEXT,
    connect=st.none() | TEXT,
    state=st.sampled_from(ForwardState),
    clients=COUNTS,
    clients_total=COUNTS,
    held=COUNTS,
    bytes_in=COUNTS,
    bytes_out=COUNTS,
    error=ERRORS,
    reachable_by_others=st.booleans(),
    by_address=COUNTS,
    audience=st.none() | TEXT,
    destination=st.none() | st.builds(DestinationStatus, COUNTS, SECONDS, st.none() | TEXT, st.none() | TEXT),
)
TUNNELS = st.builds(
    TunnelStatus,
    name=TEXT,
    host=TEXT,
    state=st.sampled_from(TunnelState),
    since=SECONDS,
    attempt=COUNTS,
    retry_at=st.none() | SECONDS,
    error=ERRORS,
    rtt_ms=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    reconnects=COUNTS,
    cipher=st.none() | TEXT,
    forwards=st.lists(FORWARDS, max_size=2).map(tuple),
    question=st.none()
    | st.builds(Question, TEXT, TEXT, TEXT, TEXT, st.booleans(), TEXT, st.booleans(), st.booleans()),
    offline=st.booleans(),
)
DAEMONS = st.builds(DaemonStatus, COUNTS, TEXT, SECONDS, TEXT, st.none() | TEXT)
SNAPSHOTS = st.builds(Snapshot, st.none() | DAEMONS, st.lists(TUNNELS, max_size=2).map(tuple))


@quick
@given(SNAPSHOTS)
def test_everything_survives_the_wire(snapshot: Snapshot) -> None:
    assert Snapshot.from_json(json.loads(json.dumps(snapshot.to_json()))) == snapshot


# --- nonsense -------------------------------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1])
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["0001-01-01T00:00:00", "9999-12-31T23:59:59", "2026-11-20T09:00:00Z", "up"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def objects(part: object) -> list[dict[str, object]]:
    """Every object in a document, the outermost first."""
    match part:
        case dict():
            return [part, *(found for value in part.values() for found in objects(value))]
        case list():
            return [found for value in part for found in objects(value)]
        case _:
            return []


def full_document() -> Json:
    """A document that leaves nothing out."""
    error = ErrorInfo("listen-failed", "port 1 is in use", "end it")
    tunnel = TUNNEL._replace(
        state=TunnelState.NEEDS_INPUT,
        retry_at=NINE,
        forwards=(FORWARD._replace(error=error),),
        question=Question("id", "host-key", "text", "prompt"),
    )
    return Snapshot(SNAPSHOT.daemon, (tunnel,)).to_json()


PLACES = [
    (number, key) for number, part in enumerate(objects(full_document())) for key in part if key != "version"
]
"""Every member of the document: the number of its object, and its name."""


def members(document: Json, place: tuple[int, str]) -> tuple[dict[str, object], str]:
    return objects(document)[place[0]], place[1]


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), nonsense=VALUES)
def test_nonsense_anywhere_is_a_protocol_violation_or_harmless(
    place: tuple[int, str], nonsense: object
) -> None:
    document = full_document()
    part, key = members(document, place)
    part[key] = nonsense

    with contextlib.suppress(ProtocolViolation):
        Snapshot.from_json(document)


@quick
@given(st.dictionaries(st.sampled_from(["version", "daemon", "tunnels", "x"]), VALUES))
def test_any_object_is_a_snapshot_or_a_protocol_violation(document: Json) -> None:
    with contextlib.suppress(ProtocolViolation):
        Snapshot.from_json(document)


MAY_BE_MISSING = {
    *("daemon", "config_error", "retry_at", "error", "rtt_ms", "cipher", "question", "hint"),
    *("connect", "secret", "reachable_by_others", "by_address", "offline", "subject", "lasting", "stale"),
    *("audience", "destination"),
    *("file_limit", "turned_away"),  # not said by an older daemon
}


def is_needed(place: tuple[int, str]) -> bool:
    """Whether a reader cannot do without a member. A forward may be without a name, and a tunnel may not."""
    part, key = members(full_document(), place)
    return key not in MAY_BE_MISSING and not (key == "name" and "kind" in part)


@pytest.mark.parametrize("place", [*filter(is_needed, PLACES)], ids=str)
def test_a_member_that_is_missing_is_named(place: tuple[int, str]) -> None:
    document = full_document()
    part, key = members(document, place)
    del part[key]

    with pytest.raises(ProtocolViolation, match=key):
        Snapshot.from_json(document)


def of_another_kind(value: object) -> object:
    """Something that could be mistaken for the value by whoever is lenient."""
    return 7 if isinstance(value, str) else str(value)


@pytest.mark.parametrize("place", [*filter(is_needed, PLACES)], ids=str)
def test_nothing_is_guessed_from_a_member_of_another_kind(place: tuple[int, str]) -> None:
    document = full_document()
    part, key = members(document, place)
    part[key] = of_another_kind(part[key])

    with pytest.raises(ProtocolViolation, match="makes no sense"):
        Snapshot.from_json(document)


@pytest.mark.parametrize(
    ("key", "nonsense"),
    [
        ("state", "levitating"),
        ("since", "yesterday"),
        ("attempt", True),
        ("attempt", 1.5),
        ("forwards", {}),
        ("forwards", [1]),
        ("cipher", 7),
        ("error", {"code": "gave-up"}),
        ("question", {"id": 1}),
        ("since", "0001-01-01T00:00:00"),
        pytest.param("rtt_ms", 10**400, id="rtt_ms-larger than any float"),
    ],
)
def test_a_member_of_the_wrong_kind_is_a_protocol_violation(key: str, nonsense: object) -> None:
    document = full_document()
    tunnels = document["tunnels"]
    assert isinstance(tunnels, list)
    tunnels[0][key] = nonsense

    with pytest.raises(ProtocolViolation, match="makes no sense"):
        Snapshot.from_json(document)
