"""Forwards in a profile: texts and tables, and what several of them may not do together."""

from __future__ import annotations

from typing import Any

import pytest

from tunnels.core.address import TcpAddress, UnixAddress
from tunnels.core.forward import ForwardKind, ForwardRule, ProxyAuth
from tunnels.core.forward_fields import check_together, forwards
from tunnels.core.reading import BAD, Notes, dotted

LOCAL, REMOTE, DYNAMIC = ForwardKind.LOCAL, ForwardKind.REMOTE, ForwardKind.DYNAMIC


def rules(kind: ForwardKind, value: Any) -> list[ForwardRule]:
    notes = Notes()
    placed = forwards(kind)(value, (kind.value,), notes)
    assert not list(notes)
    return [one.rule for one in placed]


def problems(kind: ForwardKind, value: Any) -> list[tuple[str, str]]:
    notes = Notes()
    assert forwards(kind)(value, (kind.value,), notes) is BAD
    return [(dotted(note.path), f"{note.message} ({note.hint})") for note in notes]


def test_texts_and_tables_may_be_mixed() -> None:
    table = {"name": "redis", "listen": "127.0.0.1:6379", "connect": "cache.internal:6379"}

    assert rules(LOCAL, ["80:web:80", table]) == [
        ForwardRule(LOCAL, TcpAddress(None, 80), TcpAddress("web", 80)),
        ForwardRule(LOCAL, TcpAddress("127.0.0.1", 6379), TcpAddress("cache.internal", 6379), name="redis"),
    ]


def test_a_single_forward_needs_no_list() -> None:
    assert rules(LOCAL, "80:web:80") == rules(LOCAL, ["80:web:80"])
    assert rules(DYNAMIC, {"listen": 1080}) == rules(DYNAMIC, ["1080"])
    assert rules(DYNAMIC, 1080) == rules(DYNAMIC, "1080")
    assert rules(LOCAL, []) == []


def test_a_table_says_each_end_by_itself() -> None:
    assert rules(LOCAL, {"listen": "/run/a:b", "connect": "[::1]:80"}) == [
        ForwardRule(LOCAL, UnixAddress("/run/a:b"), TcpAddress("::1", 80))
    ]
    assert rules(LOCAL, {"listen": ":80", "connect": "web:80"})[0].listen == TcpAddress("*", 80)
    assert rules(REMOTE, {"listen": 0, "connect": "web:80"})[0].listen == TcpAddress(None, 0)
    assert rules(REMOTE, {"listen": "1080"}) == [ForwardRule(REMOTE, TcpAddress(None, 1080))]


def test_a_range_in_a_table_gives_every_forward_its_name() -> None:
    (rule,) = rules(LOCAL, {"name": "search", "listen": "9200-9201", "connect": "es:9200-9201"})

    assert [(str(one), one.name) for one in rule.spread()] == [
        ("9200:es:9200", "search"),
        ("9201:es:9201", "search"),
    ]


def test_a_proxy_for_others_says_who_may_use_it() -> None:
    auth = {"username": "me", "password_command": "pass show proxy"}

    assert rules(DYNAMIC, {"listen": "*:1080", "auth": auth})[0].auth == ProxyAuth("me", "pass show proxy")
    assert rules(DYNAMIC, {"listen": "*:1080", "expose": True})[0].expose
    assert rules(REMOTE, {"listen": "*:1080", "expose": True})[0].expose


@pytest.mark.parametrize("value", ["*:1080", {"listen": "*:1080"}, {"listen": "*:1080", "expose": False}])
@pytest.mark.parametrize("kind", [DYNAMIC, REMOTE])
def test_a_proxy_that_anybody_could_use_is_refused(kind: ForwardKind, value: Any) -> None:
    ((path, problem),) = problems(kind, [value])

    assert path == f"{kind.value}[0]"
    assert "anybody who reaches this port" in problem
    assert "expose = true" in problem


@pytest.mark.parametrize(
    ("kind", "value", "path", "said"),
    [
        (LOCAL, 5432, "local", "expected a text or a table, found the integer 5432"),
        (LOCAL, True, "local", "found true"),
        (DYNAMIC, True, "dynamic", "found true"),
        (DYNAMIC, -1, "dynamic", "too large"),
        (DYNAMIC, 10**30, "dynamic", "too large"),
        (REMOTE, 8080, "remote", "found the integer 8080"),
        (LOCAL, [["80:web:80"]], "local[0]", "found a list"),
        (LOCAL, ["80"], "local[0]", "needs a destination: 80:db.internal:80"),
        (LOCAL, [{}], "local[0]", '"listen" is missing'),
        (LOCAL, {"listen": "80"}, "local", '"connect" is missing'),
        (LOCAL, {"listen": "80", "connect": 80}, "local.connect", "expected a text"),
        (LOCAL, {"listen": "80", "connect": "80"}, "local.connect", "localhost:80"),
        (LOCAL, {"listen": "80", "conect": "w:80"}, "local.conect", 'did you mean "connect"?'),
        (LOCAL, {"source": "80", "connect": "w:80"}, "local.source", 'did you mean "listen"?'),
        (LOCAL, {"listen": "0", "connect": "w:80"}, "local.listen", "port 0"),
        (LOCAL, {"listen": True, "connect": "w:80"}, "local.listen", "found true"),
        (LOCAL, {"listen": -5, "connect": "w:80"}, "local.listen", "too large"),
        (LOCAL, {"listen": "80", "connect": "w:80", "name": "a b"}, "local.name", "not a name"),
        (LOCAL, {"listen": "80", "connect": "w:80", "expose": True}, "local.expose", "is for proxies"),
        (LOCAL, {"listen": "80-82", "connect": "w:80"}, "local", "equally long"),
        (LOCAL, {"listen": "80", "connect": "~/x"}, "local", "does not expand"),
        (DYNAMIC, {"listen": "80", "connect": "w:80"}, "dynamic.connect", "no destination"),
        (DYNAMIC, {"listen": "/run/x"}, "dynamic", "a proxy listens on a port"),
        (DYNAMIC, {"listen": 1080, "auth": "me"}, "dynamic.auth", "expected a table"),
        (DYNAMIC, {"listen": 1080, "auth": {"username": "me"}}, "dynamic.auth", '"password_command" is'),
        (DYNAMIC, {"listen": 1080, "expose": "yes"}, "dynamic.expose", "true or false"),
    ],
)
def test_what_is_wrong_with_a_forward_is_said_where_it_is(
    kind: ForwardKind, value: Any, path: str, said: str
) -> None:
    found = problems(kind, value)

    assert any(place == path and said in problem for place, problem in found), found


@pytest.mark.parametrize("username", ["a:b", "x" * 256, "", "ü" * 128])
def test_a_user_name_that_no_proxy_client_could_send_is_refused(username: str) -> None:
    auth = {"username": username, "password_command": "pass"}

    assert [path for path, _ in problems(DYNAMIC, {"listen": 1080, "auth": auth})] == [
        "dynamic.auth.username"
    ]


def together(**kinds: Any) -> list[tuple[str, str]]:
    notes = Notes()
    path = ("profiles", "x")
    placed = [
        one
        for kind, value in kinds.items()
        for one in forwards(ForwardKind(kind))(value, (*path, kind), notes)
    ]
    check_together(tuple(placed), path, notes)
    return [(dotted(note.path), note.message) for note in notes]


def test_two_forwards_of_a_profile_do_not_listen_on_one_port() -> None:
    assert together(local=["80:a:1", "81:a:1", "localhost:80:b:1"]) == [
        (
            "profiles.x.local[2]",
            "localhost:80:b:1 wants to listen where local[0] (80:a:1) does already",
        )
    ]
    assert len(together(local=["80:a:1"], dynamic=["*:80".replace("*", "[::1]")])) == 1
    assert len(together(remote=["80:a:1", "80:b:1"])) == 1
    assert len(together(local=["/x:a:1", "/x:b:1"])) == 1


def test_forwards_that_do_not_meet_may_share_a_number() -> None:
    assert together(local=["127.0.0.1:80:a:1", "[::1]:80:a:1"], remote=["80:a:1"]) == []
    assert together(remote=["0:a:1", "0:b:1"]) == []


def test_ranges_that_overlap_are_reported_once() -> None:
    assert [path for path, _ in together(local=["8000-8010:a:8000-8010", "8005-8020:a:8005-8020"])] == [
        "profiles.x.local[1]"
    ]


def test_a_profile_has_a_bounded_number_of_forwards() -> None:
    ((path, message),) = together(dynamic=["1000-2000", "3000-4000"])

    assert path == "profiles.x"
    assert "1024 are the most" in message
