"""All tunnels of a daemon: which of them run, and what a changed profile file means for those that do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.e2e.bed.ports import free_port, in_use
from tests.fakes import LIMIT, Client, FakeConnection, FakeConnector, FakeRoutes, local, remote, turns
from tunnels.core.path import NetworkChange
from tunnels.core.profile import HostKeyPolicy, Profile, Retry
from tunnels.core.question import Answer, PersonNeeded, Question
from tunnels.core.state import TunnelState
from tunnels.errors import DaemonNotRunning, HostKeyRejected, HostKeyUnknown, HostUnreachable, UsageError
from tunnels.supervisor.supervisor import ReloadPlan, Supervisor, Upped, plan_reload
from tunnels.tasks import TaskScope

DB = Profile("work-db", "bastion", forwards=(local(free_port()),))
WEB = Profile("work-web", "bastion", forwards=(remote(8080),))
HOME = Profile("home", "me@vps.example.com", forwards=(remote(2222),))

# --- the plan -------------------------------------------------------------------------------------


def test_an_unchanged_file_touches_nothing() -> None:
    wanted = {"work-db": DB, "home": HOME}

    assert plan_reload([DB, HOME], wanted) == ReloadPlan(keep=("work-db", "home"))


def test_a_changed_profile_restarts_its_tunnel_and_no_other() -> None:
    wanted = {"work-db": replace(DB, host="bastion2"), "home": HOME}

    assert plan_reload([DB, HOME], wanted) == ReloadPlan(restart=("work-db",), keep=("home",))


def test_a_profile_that_is_gone_stops_its_tunnel() -> None:
    assert plan_reload([DB, HOME], {"home": HOME}) == ReloadPlan(stop=("work-db",), keep=("home",))


def test_a_profile_that_does_not_run_is_not_started() -> None:
    assert plan_reload([DB], {"work-db": DB, "home": replace(HOME, autostart=True)}) == ReloadPlan(
        keep=("work-db",)
    )


def test_a_renamed_profile_is_one_that_is_gone() -> None:
    assert plan_reload([DB], {"db": replace(DB, name="db")}) == ReloadPlan(stop=("work-db",))


@pytest.mark.parametrize(
    "changed",
    [
        replace(DB, description="Postgres behind the bastion"),
        replace(DB, tags=("work",)),
        replace(DB, autostart=True),
        replace(DB, on_up=("page-me",)),
    ],
    ids=["description", "tags", "autostart", "hooks"],
)
def test_what_only_people_look_at_restarts_nothing(changed: Profile) -> None:
    assert plan_reload([DB], {"work-db": changed}) == ReloadPlan(keep=("work-db",))


@pytest.mark.parametrize(
    "changed",
    [
        replace(DB, host="bastion2"),
        replace(DB, user="me"),
        replace(DB, forwards=(local(5433),)),
        replace(DB, forwards=(*DB.forwards, local(6379))),
        replace(DB, hold=0.0),
        replace(DB, retry=Retry(max=5.0)),
        replace(DB, keepalive=5.0),
        replace(DB, host_key_policy=HostKeyPolicy.STRICT),
        replace(DB, exit_on_forward_failure=True),
        replace(DB, on_demand=True),
        replace(DB, idle_timeout=60.0),
    ],
    ids=[
        *("host", "user", "port", "forward", "hold", "retry", "keepalive", "policy", "all or nothing"),
        *("on demand", "idle"),
    ],
)
def test_what_a_tunnel_does_differently_restarts_it(changed: Profile) -> None:
    assert plan_reload([DB], {"work-db": changed}) == ReloadPlan(restart=("work-db",))


def test_nothing_runs_and_nothing_is_to_be_done() -> None:
    assert plan_reload([], {"work-db": DB}) == ReloadPlan()


# --- up and down ----------------------------------------------------------------------------------


class Bench:
    """A supervisor, what it calls, and the list of what should be up that it keeps."""

    def __init__(self, connector: FakeConnector) -> None:
        self.connector = connector
        self.desired: list[tuple[str, ...]] = []
        self.routes = FakeRoutes()
        self.supervisor = Supervisor(
            connector,
            random=lambda: 0.5,
            wall_clock=lambda: 0.0,
            on_desired=self.desired.append,
            routes=self.routes,
        )
        self.scope = TaskScope("test")

    def states(self) -> dict[str, TunnelState]:
        return {status.name: status.state for status in self.supervisor.statuses()}

    async def until(self, **wanted: TunnelState) -> None:
        """Wait until tunnels, whose names are written with underscores here, are where they should be."""
        states = {name.replace("_", "-"): state for name, state in wanted.items()}
        with self.supervisor.bus.watch() as watch:
            async with asyncio.timeout(LIMIT):
                while self.states() != states:
                    watch._event.clear()
                    await watch._event.wait()

    async def settled(self, name: str) -> None:
        """Wait until a tunnel is up, or will not be."""
        with self.supervisor.bus.watch() as watch:
            async with asyncio.timeout(LIMIT):
                while self.states().get(name) not in {TunnelState.UP, TunnelState.FAILED}:
                    watch._event.clear()
                    await watch._event.wait()

    async def up(self, *profiles: Profile) -> list[FakeConnection]:
        """Bring tunnels up, with a willing connector."""
        before = len(self.connector.connections)
        for profile in profiles:
            assert await self.supervisor.up(profile) is Upped.STARTED
        for profile in profiles:
            await self.settled(profile.name)
        return self.connector.connections[before:]


@contextlib.asynccontextmanager
async def bench(connector: FakeConnector | None = None) -> AsyncIterator[Bench]:
    """A supervisor; its tunnels are down when the block ends. Its connections are made at once."""
    found = Bench(connector or FakeConnector(willing=True))
    try:
        yield found
    finally:
        async with asyncio.timeout(LIMIT):
            await found.supervisor.aclose()
        await found.scope.aclose()


def on(port: int) -> Profile:
    return replace(DB, forwards=(local(port),))


async def test_up_starts_a_tunnel_and_does_not_wait_for_it() -> None:
    async with bench(FakeConnector()) as it:
        assert await it.supervisor.up(HOME) is Upped.STARTED

        assert it.states() == {"home": TunnelState.CONNECTING}
        assert it.supervisor.names == ("home",)
        assert repr(it.supervisor) == "<Supervisor: 1 tunnels>"


async def test_up_of_what_is_up_says_so_and_changes_nothing() -> None:
    async with bench() as it:
        await it.up(HOME)

        assert await it.supervisor.up(HOME) is Upped.ALREADY

        assert len(it.connector.attempts) == 1
        assert it.desired == [("home",)]


async def test_up_of_what_waits_for_its_next_attempt_dials_at_once() -> None:
    async with bench(FakeConnector()) as it:
        await it.supervisor.up(HOME)
        (await it.connector.next_attempt()).fail(HostUnreachable("no route to host"))
        await it.until(home=TunnelState.BACKOFF)

        assert await it.supervisor.up(HOME) is Upped.STARTED

        assert it.states() == {"home": TunnelState.CONNECTING}


async def test_two_ups_at_the_same_moment_start_one_tunnel() -> None:
    port = free_port()
    async with bench() as it:
        found = await asyncio.gather(*(it.supervisor.up(on(port)) for _ in range(5)))
        await it.until(work_db=TunnelState.UP)

        assert set(found) <= {Upped.STARTED, Upped.ALREADY}
        assert it.supervisor.names == ("work-db",)
        assert len(it.connector.attempts) == 1
        (status,) = it.supervisor.statuses()
        assert status.listening


async def test_tunnels_are_shown_in_the_order_in_which_they_were_started() -> None:
    async with bench() as it:
        await it.up(WEB, HOME)

        assert it.supervisor.names == ("work-web", "home")
        assert [status.name for status in it.supervisor.statuses()] == ["work-web", "home"]


async def test_down_frees_the_ports_before_it_returns() -> None:
    port = free_port()
    async with bench() as it:
        (connection,) = await it.up(on(port))
        assert in_use(port)

        assert await it.supervisor.down(["work-db"]) == ("work-db",)

        assert not in_use(port)
        assert connection.closes == 1
        assert it.supervisor.names == ()
        assert it.supervisor.statuses() == ()


async def test_down_of_one_leaves_the_others_alone() -> None:
    async with bench() as it:
        _, home = await it.up(WEB, HOME)

        await it.supervisor.down(["work-web"])

        assert it.states() == {"home": TunnelState.UP}
        assert home.closes == 0


async def test_down_says_what_was_there() -> None:
    async with bench() as it:
        await it.up(HOME)

        assert await it.supervisor.down(["work-db", "home", "home"]) == ("home",)
        assert await it.supervisor.down(["home"]) == ()


async def test_two_downs_at_the_same_moment_take_it_down_once() -> None:
    async with bench() as it:
        (connection,) = await it.up(HOME)

        found = await asyncio.gather(it.supervisor.down(["home"]), it.supervisor.down(["home"]))

        assert sorted(found) == [(), ("home",)]
        assert connection.closes == 1


async def test_down_while_up_is_under_way_ends_the_attempt() -> None:
    port = free_port()
    async with bench(FakeConnector()) as it:
        await it.supervisor.up(on(port))
        attempt = await it.connector.next_attempt()

        await it.supervisor.down(["work-db"])

        assert attempt.cancelled
        assert not in_use(port)
        assert it.supervisor.names == ()


async def test_up_while_down_is_under_way_waits_for_it_and_starts_anew() -> None:
    """The old connection is gone and the port is free before the new tunnel wants it."""
    port = free_port()
    async with bench() as it:
        (old,) = await it.up(on(port))
        old.close_allowed.clear()
        down = it.scope.spawn(it.supervisor.down(["work-db"]), name="down")
        await old.signal.until(lambda: old.closes)
        up = it.scope.spawn(it.supervisor.up(on(port)), name="up")
        await turns()
        assert not up.done()

        old.close_allowed.set()
        assert await down == ("work-db",)
        assert await up is Upped.STARTED
        await it.until(work_db=TunnelState.UP)

        async with Client.of(port):
            await it.connector.connections[1].next_channel()
        assert it.desired[-1] == ("work-db",)


async def test_a_tunnel_that_takes_its_time_does_not_keep_the_others_waiting() -> None:
    async with bench() as it:
        slow, _ = await it.up(WEB, HOME)
        slow.close_allowed.clear()
        down = it.scope.spawn(it.supervisor.down(["work-web"]), name="down")
        await slow.signal.until(lambda: slow.closes)

        assert await it.supervisor.down(["home"]) == ("home",)

        slow.close_allowed.set()
        await down


async def test_a_down_that_was_broken_off_can_be_followed_by_up() -> None:
    """Whoever asked for it is gone; the tunnel is still being taken down, and then it is wanted again."""
    async with bench() as it:
        (connection,) = await it.up(HOME)
        connection.close_allowed.clear()
        down = it.scope.spawn(it.supervisor.down(["home"]), name="down")
        await connection.signal.until(lambda: connection.closes)
        down.cancel()
        await turns()
        connection.close_allowed.set()
        await turns()

        assert await it.supervisor.up(HOME) is Upped.STARTED

        await it.until(home=TunnelState.UP)


# --- a changed profile ----------------------------------------------------------------------------


@pytest.mark.parametrize("willing", [True, False], ids=["up", "connecting"])
async def test_a_tunnel_at_work_is_not_replaced_behind_its_clients_backs(willing: bool) -> None:
    async with bench(FakeConnector(willing=willing)) as it:
        await it.supervisor.up(HOME)
        await it.connector.next_attempt()
        await turns()

        assert await it.supervisor.up(replace(HOME, host="elsewhere")) is Upped.CHANGED

        assert len(it.connector.attempts) == 1
        (status,) = it.supervisor.statuses()
        assert status.host == HOME.host
        assert it.desired == [("home",)]


async def test_a_change_that_only_people_look_at_is_no_change() -> None:
    async with bench() as it:
        await it.up(HOME)

        assert await it.supervisor.up(replace(HOME, description="my VPS")) is Upped.ALREADY

        assert len(it.connector.attempts) == 1


async def test_a_failed_tunnel_takes_the_new_profile() -> None:
    """The person has mended it in the file."""
    async with bench(FakeConnector()) as it:
        await it.supervisor.up(HOME)
        (await it.connector.next_attempt()).fail(HostKeyRejected("the key has changed"))
        await it.until(home=TunnelState.FAILED)

        assert await it.supervisor.up(replace(HOME, host="elsewhere")) is Upped.STARTED

        attempt = await it.connector.next_attempt()
        assert attempt.profile.host == "elsewhere"
        attempt.succeed()
        await it.until(home=TunnelState.UP)


async def test_a_waiting_tunnel_takes_the_new_profile_and_its_ports() -> None:
    old_port, new_port = free_port(), free_port()
    async with bench(FakeConnector()) as it:
        await it.supervisor.up(on(old_port))
        (await it.connector.next_attempt()).fail(HostUnreachable("no route to host"))
        await it.until(work_db=TunnelState.BACKOFF)

        assert await it.supervisor.up(on(new_port)) is Upped.STARTED
        (await it.connector.next_attempt()).succeed()
        await it.until(work_db=TunnelState.UP)

        assert not in_use(old_port)
        assert in_use(new_port)


async def test_a_failed_tunnel_can_be_brought_up_as_it_is() -> None:
    async with bench(FakeConnector()) as it:
        await it.supervisor.up(HOME)
        (await it.connector.next_attempt()).fail(HostKeyRejected("the key has changed"))
        await it.until(home=TunnelState.FAILED)

        assert await it.supervisor.up(HOME) is Upped.STARTED

        (await it.connector.next_attempt()).succeed()
        await it.until(home=TunnelState.UP)


async def test_restart_makes_a_new_connection_with_the_new_profile() -> None:
    port = free_port()
    async with bench() as it:
        (old,) = await it.up(on(port))

        await it.supervisor.restart([replace(on(port), host="elsewhere")])
        await it.until(work_db=TunnelState.UP)

        assert old.closes == 1
        assert [attempt.profile.host for attempt in it.connector.attempts] == ["bastion", "elsewhere"]
        assert in_use(port)


async def test_restart_of_what_is_not_running_starts_it() -> None:
    async with bench() as it:
        await it.supervisor.restart([HOME])
        await it.until(home=TunnelState.UP)

        assert it.desired[-1] == ("home",)


async def test_reload_touches_only_what_has_changed() -> None:
    async with bench() as it:
        web, home = await it.up(WEB, HOME)

        plan = await it.supervisor.reload({"work-web": replace(WEB, host="elsewhere"), "home": HOME})
        await it.until(home=TunnelState.UP, work_web=TunnelState.UP)

        assert plan == ReloadPlan(restart=("work-web",), keep=("home",))
        assert (web.closes, home.closes) == (1, 0)


async def test_new_hooks_are_in_force_after_a_reload_and_after_up_without_a_reconnect() -> None:
    seen: list[Profile] = []
    async with bench() as it:
        it.supervisor._observer = lambda profile, _transition: seen.append(profile)
        (connection,) = await it.up(HOME)
        for number, change in enumerate((it.supervisor.reload, it.supervisor.up)):
            new = replace(HOME, on_down=("page-me", str(number)))
            await change({"home": new} if number == 0 else new)  # type: ignore[operator]
            (tunnel,) = it.supervisor._tunnels.values()
            assert tunnel.profile == new
        assert connection.closes == 0
        await it.supervisor.down(["home"])
        assert seen[-1] == new


async def test_reload_stops_what_is_no_longer_in_the_file() -> None:
    port = free_port()
    async with bench() as it:
        await it.up(on(port), HOME)

        plan = await it.supervisor.reload({"home": HOME})

        assert plan == ReloadPlan(stop=("work-db",), keep=("home",))
        assert it.supervisor.names == ("home",)
        assert not in_use(port)
        assert it.desired[-1] == ("home",)


async def test_two_tunnels_may_exchange_their_ports_in_one_reload() -> None:
    """Both let go of theirs before either binds the other's."""
    one, other = free_port(), free_port()
    first, second = on(one), replace(on(other), name="work-web")
    async with bench() as it:
        await it.up(first, second)

        await it.supervisor.reload(
            {
                "work-db": replace(first, forwards=(local(other),)),
                "work-web": replace(second, forwards=(local(one),)),
            }
        )
        await it.until(work_db=TunnelState.UP, work_web=TunnelState.UP)

        assert [status.listening for status in it.supervisor.statuses()] == [True, True]


async def test_a_port_may_move_from_a_profile_that_is_gone_to_another_in_one_reload() -> None:
    """With all or nothing, finding it taken would even be the end of the other tunnel."""
    one, other = free_port(), free_port()
    first = replace(on(one), exit_on_forward_failure=True)
    second = replace(on(other), name="work-web")
    async with bench() as it:
        await it.up(first, second)

        await it.supervisor.reload({"work-db": replace(first, forwards=(local(other),))})
        await it.settled("work-db")

        (status,) = it.supervisor.statuses()
        assert (status.state, status.error) == (TunnelState.UP, None)
        assert status.listening


async def test_a_reload_does_not_bring_back_what_is_being_taken_down() -> None:
    """The last word of the person was `down`."""
    async with bench() as it:
        (connection,) = await it.up(HOME)
        connection.close_allowed.clear()
        down = it.scope.spawn(it.supervisor.down(["home"]), name="down")
        await connection.signal.until(lambda: connection.closes)
        reload = it.scope.spawn(it.supervisor.reload({"home": replace(HOME, host="new")}), name="reload")
        await turns()
        connection.close_allowed.set()
        await asyncio.gather(down, reload)

        assert it.supervisor.names == ()
        assert it.desired[-1] == ()


async def reload_with_one_that_is_slow(it: Bench) -> tuple[FakeConnection, asyncio.Task[object]]:
    """A reload of two tunnels under way: `home` has closed its connection already, `work-web` has not."""
    slow, quick = await it.up(WEB, HOME)
    slow.close_allowed.clear()
    wanted = {"work-web": replace(WEB, host="elsewhere"), "home": replace(HOME, host="elsewhere")}
    reload = it.scope.spawn(it.supervisor.reload(wanted), name="reload")
    await quick.signal.until(lambda: quick.closes)
    await turns()
    return slow, reload


async def test_down_in_the_middle_of_a_reload_is_the_last_word() -> None:
    async with bench() as it:
        slow, reload = await reload_with_one_that_is_slow(it)
        down = it.scope.spawn(it.supervisor.down(["home"]), name="down")
        await turns()

        slow.close_allowed.set()
        await asyncio.gather(reload, down)

        assert it.supervisor.names == ("work-web",)
        assert it.desired[-1] == ("work-web",)


async def test_the_end_of_the_daemon_in_the_middle_of_a_reload_leaves_nothing_running() -> None:
    async with bench() as it:
        slow, reload = await reload_with_one_that_is_slow(it)
        end = it.scope.spawn(it.supervisor.aclose(), name="end")
        await turns()

        slow.close_allowed.set()
        await asyncio.gather(reload, end)
        await turns()

        assert it.supervisor.statuses() == ()


async def test_a_reload_does_not_make_anybody_forget_what_should_be_up() -> None:
    """What is written down while it is under way is what a new daemon starts with."""
    async with bench() as it:
        slow, reload = await reload_with_one_that_is_slow(it)
        await it.supervisor.up(DB)
        written = it.desired[-1]

        slow.close_allowed.set()
        await reload

        assert set(written) == {"work-db", "work-web", "home"}


# --- what should be up ----------------------------------------------------------------------------


async def test_what_should_be_up_is_told_at_every_change() -> None:
    async with bench() as it:
        await it.supervisor.up(WEB)
        await it.supervisor.up(HOME)
        await it.supervisor.down(["work-web"])

        assert it.desired == [("work-web",), ("work-web", "home"), ("home",)]


async def test_a_tunnel_that_fails_should_still_be_up() -> None:
    """Only the person takes it from the list: after a new start of the daemon it is tried again."""
    async with bench(FakeConnector()) as it:
        await it.supervisor.up(HOME)
        (await it.connector.next_attempt()).fail(HostKeyRejected("the key has changed"))
        await it.until(home=TunnelState.FAILED)

        assert it.supervisor.names == ("home",)
        assert it.desired == [("home",)]


async def test_the_end_of_the_daemon_does_not_forget_what_should_be_up() -> None:
    port = free_port()
    async with bench() as it:
        connections = await it.up(on(port), HOME)

        await it.supervisor.aclose()

        assert it.desired[-1] == ("work-db", "home")
        assert [connection.closes for connection in connections] == [1, 1]
        assert not in_use(port)


async def test_ending_twice_is_ending_once() -> None:
    async with bench() as it:
        (connection,) = await it.up(HOME)

        await it.supervisor.aclose()
        await it.supervisor.aclose()

        assert connection.closes == 1


async def test_one_tunnel_that_cannot_be_closed_properly_does_not_keep_the_others_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with bench() as it:
        web, home = await it.up(WEB, HOME)
        web.close_error = OSError("bad file descriptor")

        await it.supervisor.aclose()
        await turns()

        assert home.closes == 1
        assert it.supervisor.names == ()
        assert [r.levelno for r in caplog.records if "bad file descriptor" in str(r.exc_info)] == [
            logging.ERROR
        ]


# --- watchers and answers -------------------------------------------------------------------------


async def test_a_watcher_sees_tunnels_come_and_go() -> None:
    """Whenever it is told that something has changed it looks, and what it saw last is how things are."""
    async with bench() as it:
        seen: list[dict[str, TunnelState]] = []

        async def look() -> None:
            with it.supervisor.bus.watch() as watch:
                while True:
                    await watch._event.wait()
                    watch._event.clear()
                    seen.append(it.states())

        it.scope.spawn(look(), name="watcher")
        await turns()
        await it.up(HOME)
        await turns()
        assert seen[-1] == {"home": TunnelState.UP}

        await it.supervisor.down(["home"])
        await turns()

        assert seen[-1] == {}


async def test_an_answer_goes_to_the_tunnel_that_asked() -> None:
    answers: list[str] = []
    question = PersonNeeded(
        HostKeyUnknown("not known"), Question("a1b2", "host-key", "text", "prompt"), answers.append
    )
    async with bench(FakeConnector()) as it:
        await it.supervisor.up(HOME)
        (await it.connector.next_attempt()).fail(question)
        await it.until(home=TunnelState.NEEDS_INPUT)

        with pytest.raises(UsageError):
            it.supervisor.answer("home", "another", Answer("yes"))
        it.supervisor.answer("home", "a1b2", Answer("yes"))

        assert answers == ["yes"]
        assert it.states() == {"home": TunnelState.CONNECTING}


async def test_an_answer_settles_what_others_ask_about_the_same_and_nothing_else() -> None:
    def asking(subject: str) -> PersonNeeded:
        question = Question(f"about {subject}", "host-key", "text", "prompt", subject=subject)
        return PersonNeeded(HostKeyUnknown("not known"), question, lambda _: None)

    async with bench(FakeConnector()) as it:
        for profile, subject in ((HOME, "SHA256:a"), (DB, "SHA256:a"), (WEB, "SHA256:b")):
            await it.supervisor.up(profile)
            (await it.connector.next_attempt()).fail(asking(subject))
        waits = TunnelState.NEEDS_INPUT
        await it.until(home=waits, work_db=waits, work_web=waits)

        it.supervisor.answer(HOME.name, "about SHA256:a", Answer("yes"))

        dials = TunnelState.CONNECTING
        assert it.states() == {"home": dials, "work-db": dials, "work-web": waits}


async def test_one_answer_is_enough_for_all_who_share_the_attempt_that_asks() -> None:
    code = Question("c0de", "challenge", "the bastion asks", "Code:")
    async with bench(FakeConnector()) as it, asyncio.TaskGroup() as asking:
        asked = []
        for profile in (HOME, DB):
            await it.supervisor.up(profile)
            attempt = await it.connector.next_attempt()
            asked.append(asking.create_task(attempt.dialogue.ask(code)))
        await it.until(home=TunnelState.NEEDS_INPUT, work_db=TunnelState.NEEDS_INPUT)

        it.supervisor.answer(HOME.name, "c0de", Answer("123456"))

        assert it.states() == {"home": TunnelState.CONNECTING, "work-db": TunnelState.CONNECTING}
        assert [await task for task in asked] == [Answer("123456")] * 2


async def test_when_a_question_has_become_stale_all_who_shared_it_ask_again_together() -> None:
    code = Question("c0de", "challenge", "the bastion asks", "Code:")
    async with bench(FakeConnector()) as it:
        for profile in (HOME, DB):
            await it.supervisor.up(profile)
            attempt = await it.connector.next_attempt()
            asking = asyncio.get_running_loop().create_task(attempt.dialogue.ask(code))
            await turns()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            attempt.fail(HostUnreachable("the server has hung up"))
            await turns()
        assert it.states() == {"home": TunnelState.NEEDS_INPUT, "work-db": TunnelState.NEEDS_INPUT}

        await it.supervisor.up(HOME)

        assert it.states() == {"home": TunnelState.CONNECTING, "work-db": TunnelState.CONNECTING}


async def test_an_answer_for_a_tunnel_that_does_not_run_names_the_command_to_start_it() -> None:
    async with bench() as it:
        with pytest.raises(DaemonNotRunning, match="home is not running") as caught:
            it.supervisor.answer("home", "a1b2", Answer("yes"))

        assert caught.value.hint == "tunnels up home"
        assert caught.value.exit_code == 3


# --- the network ----------------------------------------------------------------------------------


async def test_every_tunnel_hears_of_a_change_of_the_network() -> None:
    async with bench() as b:
        connections = await b.up(DB, replace(DB, name="cafe"))
        b.supervisor.network_changed(NetworkChange(slept=60.0))
        for connection in connections:
            await connection.signal.until(lambda connection=connection: connection.probes)  # type: ignore[misc]


async def test_a_network_that_goes_away_is_shown_with_every_tunnel() -> None:
    async with bench() as b:
        await b.up(DB, replace(DB, name="cafe"))
        b.routes.path = None
        b.supervisor.network_changed(NetworkChange())
        assert [status.offline for status in b.supervisor.statuses()] == [True, True]
