from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.fake_client import FakeClient
from tests.daemon.served import FILE, forward, profile_file, tunnel
from tunnels import paths, spawn
from tunnels.core.client_status import Clients, ClientStatus
from tunnels.core.state import TunnelState
from tunnels.core.status import DaemonStatus, Snapshot
from tunnels.errors import ControlError, DaemonNotRunning
from tunnels.ui.feed import Feed, News


class World:
    """A daemon that may be there or not, and what the feed tells."""

    def __init__(self) -> None:
        self.client: FakeClient | None = FakeClient((tunnel("work-db"),))
        self.news: queue.Queue[News] = queue.Queue()
        self.failures: queue.Queue[Exception] = queue.Queue()
        self.found = 0

    def find(self) -> FakeClient:
        self.found += 1
        if self.client is None:
            raise DaemonNotRunning("the daemon is not running")
        return self.client

    def next(self) -> News:
        return self.news.get(timeout=10)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    profile_file()
    world = World()
    monkeypatch.setattr(spawn, "find_daemon", world.find)
    return world


@pytest.fixture
def feed(world: World) -> Iterator[Feed]:
    feed = Feed(None, world.news.put, world.failures.put)
    yield feed
    feed.close()
    feed._log.close()


def test_it_tells_again_and_again_over_one_connection(world: World, feed: Feed) -> None:
    feed.start()
    for _ in range(3):
        news = world.next()
    assert [it.name for it in news.snapshot.tunnels] == ["work-db"]
    assert [profile.name for profile in news.profiles] == ["work-db", "work-web", "home"]
    assert world.found == 1


def test_without_a_daemon_it_says_so_and_goes_on_until_there_is_one(world: World, feed: Feed) -> None:
    world.client, client = None, world.client
    news = feed.look()
    assert news.trouble == "the daemon is not running"
    assert len(news.profiles) == 3
    world.client = client
    assert feed.look().trouble == ""


def test_a_daemon_that_hangs_up_is_looked_for_again(
    world: World, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.look()
    client = world.client
    assert client is not None

    def gone() -> Snapshot:
        raise ControlError("the daemon hung up", hint="x")

    with monkeypatch.context() as patch:
        patch.setattr(client, "status", gone)
        assert feed.look().trouble == "the daemon hung up"
    assert client.calls[-1] == ("close",)
    assert feed.look().trouble == ""
    assert world.found == 2


def test_clients_are_asked_for_only_of_the_selected_tunnel_and_only_if_it_has_some(
    world: World, feed: Feed
) -> None:
    busy = tunnel("work-db", forwards=(forward(clients=1),))
    world.client = client = FakeClient((busy, tunnel("home")))
    client.found_clients = Clients((ClientStatus("work-db", 0, "local", ("192.0.2.1", 1), "db:1", 1.0),))
    for name in ("", "home"):
        feed.select(name)
        assert feed.look().clients == Clients()
    feed.select("work-db")
    assert feed.look().clients == client.found_clients
    assert client.calls == [("clients", ["work-db"])]


def test_the_log_of_the_selected_tunnel_comes_with_it(world: World, feed: Feed) -> None:
    path = paths.log_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("2026-11-20T09:00:00.000Z INFO home one\n2026-11-20T09:00:00.000Z INFO - two\n")
    feed.select("home")
    assert [line.split()[-1] for line in feed.look().log] == ["one"]


def test_a_changed_file_is_read_and_a_bad_one_changes_nothing(world: World, feed: Feed) -> None:
    assert len(feed.look().profiles) == 3
    profile_file(FILE + "hosst = 1\n")
    news = feed.look()
    assert "hosst" in news.file_problem
    assert len(news.profiles) == 3
    profile_file('[profiles.only]\nhost = "x"\nlocal = ["1:x:1"]\n')
    news = feed.look()
    assert ([it.name for it in news.profiles], news.file_problem) == (["only"], "")


def test_commands_are_about_the_file_of_the_daemon_unless_another_was_asked_for(world: World) -> None:
    snapshot = Snapshot(DaemonStatus(1, "0", 0.0, "/theirs.toml"))
    assert Feed(None, print, print).config(snapshot) == Path("/theirs.toml")
    assert Feed(Path("/ours.toml"), print, print).config(snapshot) == Path("/ours.toml")
    assert Feed(None, print, print).config(Snapshot(None)) == paths.config_file(None)


def test_a_bug_is_not_a_view_that_stands_still(
    world: World, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Snapshot:
        raise ZeroDivisionError

    assert world.client is not None
    monkeypatch.setattr(world.client, "status", broken)
    feed.start()
    assert isinstance(world.failures.get(timeout=10), ZeroDivisionError)


def test_a_change_makes_it_look_sooner(world: World, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    states = [TunnelState.UP] * 20 + [TunnelState.BACKOFF] * 3
    monkeypatch.setattr(feed._wake, "wait", waits.append)
    assert world.client is not None

    def status() -> Snapshot:
        if not states:
            feed.close()
            return Snapshot(None)
        return Snapshot(None, (tunnel("work-db", states.pop(0)),))

    monkeypatch.setattr(world.client, "status", status)
    feed._go_on()
    assert waits[0] < waits[15] == waits[19]
    assert waits[20] < waits[19]


def test_without_a_profile_file_that_nobody_named_there_is_no_problem(
    world: World, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "config", lambda _: paths.usual_config_file())
    paths.usual_config_file().unlink(missing_ok=True)
    news = feed.look()
    assert (news.profiles, news.file_problem) == ((), "")
    other = paths.usual_config_file().with_name("other.toml")
    monkeypatch.setattr(feed, "config", lambda _: other)
    assert "there is no such file" in feed.look().file_problem
