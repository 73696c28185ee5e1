from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from tests.daemon.served import FILE, NOW, PaperSupervisor, profile_file, tunnel
from tunnels import __version__, paths, system_keyring
from tunnels.core.protocol import (
    Answer,
    Clients,
    Command,
    Down,
    Open,
    Reload,
    Restart,
    Shutdown,
    Status,
    Up,
    Watch,
)
from tunnels.core.status import Json, Snapshot
from tunnels.daemon import handlers
from tunnels.daemon.config import Config
from tunnels.daemon.handlers import Handlers
from tunnels.errors import NoSuchProfile, ProfileError, UsageError

BAD = FILE + 'hosst = "typo"\n'


class Bench:
    """Handlers with a supervisor of paper and a real profile file."""

    def __init__(self, text: str | None = FILE) -> None:
        self.supervisor = PaperSupervisor()
        self.path = profile_file(text or "")
        if text is None:
            self.path.unlink()
        self.shutdowns = 0
        self.handlers = Handlers(
            self.supervisor, Config(self.path), started_at=NOW, shutdown=self.count_shutdown
        )

    def count_shutdown(self) -> None:
        self.shutdowns += 1

    async def do(self, command: Command) -> Json:
        return await self.handlers.handle(command)

    async def up(self, *names: str, config: Path | None = None) -> Any:
        return (await self.do(Up(list(names), str(config or self.path))))["tunnels"]

    @property
    def calls(self) -> list[tuple[str, object]]:
        return self.supervisor.calls


def other_file(home: Path, text: str = FILE) -> Path:
    path = home / "other.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


# --- up, down, restart ----------------------------------------------------------------------------


async def test_up_starts_the_named_profiles_and_says_what_became_of_each() -> None:
    bench = Bench()
    assert await bench.up("work-*") == {"work-db": "started", "work-web": "started"}
    assert await bench.up("work-db", "home") == {"work-db": "already", "home": "started"}


async def test_up_reads_the_file_as_it_is_now() -> None:
    bench = Bench()
    await bench.up("work-db")
    profile_file(FILE.replace("5432:", "15432:"))
    await bench.up("work-db")
    assert str(bench.supervisor.profiles["work-db"].forwards[0]) == "15432:db.internal:5432"


@pytest.mark.parametrize("names", [["work-dbb"], ["work-db", "nothing-*"]])
async def test_up_with_one_name_that_is_no_profile_starts_none(names: list[str]) -> None:
    bench = Bench()
    with pytest.raises(NoSuchProfile):
        await bench.up(*names)
    assert bench.calls == []


async def test_up_with_a_bad_file_starts_nothing() -> None:
    bench = Bench(BAD)
    with pytest.raises(ProfileError, match="hosst"):
        await bench.up("work-db")
    assert bench.calls == []


async def test_down_stops_what_runs_also_if_the_file_is_bad_or_gone() -> None:
    bench = Bench()
    await bench.up("work-db", "home")
    profile_file(BAD)
    assert await bench.do(Down(["work-db", "work-web"])) == {"stopped": ["work-db"]}
    bench.path.unlink()
    assert await bench.do(Down(["home"])) == {"stopped": ["home"]}


async def test_down_with_everything_stops_what_runs_and_what_would_come_back() -> None:
    bench = Bench(FILE.replace("profiles.home", "profiles.house"))
    await bench.handlers.take_up(("home", "work-db"))
    assert await bench.do(Down([], everything=True)) == {"stopped": ["work-db"]}
    assert list(bench.handlers.absent) == []
    assert bench.supervisor.names == ()


async def test_restart_uses_the_file_as_it_is_now_and_stops_nothing_if_it_is_bad() -> None:
    bench = Bench()
    await bench.up("work-db")
    profile_file(BAD)
    with pytest.raises(ProfileError):
        await bench.do(Restart(["work-db"], str(bench.path)))
    assert bench.calls == [("up", "work-db")]
    profile_file(FILE)
    assert await bench.do(Restart(["work-*"], str(bench.path))) == {}
    assert bench.calls[1:] == [("restart", ["work-db", "work-web"])]


# --- one daemon, one file -------------------------------------------------------------------------


@pytest.mark.parametrize("command", [Up, Restart])
async def test_another_file_is_refused_while_something_runs(command: Any, home: Path) -> None:
    bench = Bench()
    await bench.up("work-db")
    with pytest.raises(UsageError) as caught:
        await bench.do(command(["home"], str(other_file(home))))
    assert str(bench.path) in caught.value.message
    assert "other.toml" in caught.value.message
    assert "tunnels daemon stop" in (caught.value.hint or "")
    assert caught.value.exit_code == 2
    assert bench.supervisor.names == ("work-db",)
    daemon = bench.handlers.snapshot().daemon
    assert daemon is not None
    assert daemon.config == str(bench.path)
    assert await bench.up("home") == {"home": "started"}, "the daemon no longer has its own file"


@pytest.mark.parametrize("command", [Up, Restart])
async def test_another_file_is_taken_while_nothing_runs(command: Any, home: Path) -> None:
    bench = Bench()
    other = other_file(home, FILE.replace("work-db", "elsewhere"))
    await bench.do(command(["elsewhere"], str(other)))
    daemon = bench.handlers.snapshot().daemon
    assert daemon is not None
    assert daemon.config == str(other)
    assert bench.supervisor.names == ("elsewhere",)


async def test_after_everything_was_taken_down_another_file_is_taken(home: Path) -> None:
    bench = Bench()
    await bench.up("work-db")
    await bench.do(Down(["work-db"]))
    assert await bench.up("home", config=other_file(home)) == {"home": "started"}


# --- reload ---------------------------------------------------------------------------------------


async def test_reload_says_what_it_touched_and_what_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench()
    await bench.up("work-db", "work-web", "home")
    profile_file(
        FILE.replace("8080", "8081")  # behaves differently
        .replace('tags = ["work"]', 'tags = ["other"]')  # does not
        .replace("profiles.home", "profiles.house")
    )
    assert await bench.do(Reload()) == {
        "restart": ["work-web"],
        "stop": ["home"],
        "start": [],
        "keep": ["work-db"],
    }
    assert "1 restarted, 1 stopped, 0 started, 1 kept" in caplog.text


async def test_reload_of_a_bad_file_changes_nothing_and_status_says_so_until_it_is_mended() -> None:
    bench = Bench()
    await bench.up("work-db")
    profile_file(BAD)
    with pytest.raises(ProfileError, match="hosst"):
        await bench.do(Reload())
    assert bench.calls == [("up", "work-db")]
    assert "hosst" in str((await status(bench)).daemon)
    profile_file(FILE)
    await bench.do(Reload())
    assert "config_error=None" in str((await status(bench)).daemon)


async def status(bench: Bench) -> Snapshot:
    return Snapshot.from_json(await bench.do(Status()))


# --- status, watch, answer, shutdown --------------------------------------------------------------


async def test_status_says_everything_about_the_daemon_and_its_tunnels() -> None:
    bench = Bench()
    await bench.up("work-db")
    found = await status(bench)
    assert found.daemon is not None
    assert found.daemon.version == __version__
    assert found.daemon.started_at == NOW
    assert found.daemon.config == str(bench.path)
    assert found.daemon.config_error is None
    assert found.tunnels == (tunnel("work-db"),)


async def test_a_bad_edit_shows_in_the_status_without_a_reload() -> None:
    bench = Bench()
    await bench.up("work-db")
    profile_file(BAD)
    found = await status(bench)
    assert found.daemon is not None
    assert "hosst" in (found.daemon.config_error or "")
    assert found.tunnels == (tunnel("work-db"),)


@pytest.mark.parametrize(("asked", "waited"), [(0, 0.1), (-1, 0.1), (1e-9, 0.1), (2.5, 2.5), (1e9, 10)])
async def test_who_watches_can_neither_keep_the_daemon_busy_nor_be_forgotten(
    asked: float, waited: float
) -> None:
    bench = Bench()
    waits = []

    class Watching:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        async def wait(self, timeout: float) -> None:
            waits.append(timeout)

    bench.supervisor.bus = cast("Any", SimpleNamespace(watch=Watching))
    snapshots = bench.handlers.watch(Watch(asked))
    await anext(snapshots)
    await anext(snapshots)
    await snapshots.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert waits == [waited]


async def test_an_answer_that_cannot_be_saved_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check() -> None:
        raise UsageError("no keyring")

    monkeypatch.setattr(system_keyring, "check", check)
    bench = Bench()
    with pytest.raises(UsageError, match="no keyring"):
        await bench.do(Answer("work-db", "7", "s3cret", save=True))
    assert bench.calls == []


async def test_an_answer_is_passed_on() -> None:
    bench = Bench()
    assert await bench.do(Answer("work-db", "7", "yes")) == {}
    assert bench.calls == [("answer", ("work-db", "7", "yes"))]


async def test_a_shutdown_says_which_tunnels_come_back() -> None:
    bench = Bench()
    await bench.up("work-db", "home")
    assert await bench.do(Shutdown()) == {"tunnels": ["work-db", "home"]}
    assert bench.shutdowns == 1


# --- taking up what should be up ------------------------------------------------------------------


async def test_what_was_up_and_what_starts_by_itself_is_taken_up_once_each() -> None:
    bench = Bench(FILE.replace('host = "me', 'autostart = true\nhost = "me'))
    await bench.handlers.take_up(("work-db", "home"))
    assert bench.calls == [("up", "work-db"), ("up", "home")]


async def test_a_profile_that_is_no_longer_in_the_file_is_warned_about_and_the_others_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    await bench.handlers.take_up(("gone", "work-db"))
    assert bench.calls == [("up", "work-db")]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "gone should be up" in record.getMessage()


@pytest.mark.parametrize("again", ["reload", "up"])
async def test_what_could_not_be_taken_up_is_when_the_file_is_mended_and_read(again: str) -> None:
    bench = Bench(BAD)
    await bench.handlers.take_up(("work-db", "home"))
    assert list(bench.handlers.absent) == ["work-db", "home"]
    profile_file(FILE.replace("profiles.home", "profiles.house"))
    await (bench.do(Reload()) if again == "reload" else bench.up("work-web"))
    assert ("up", "work-db") in bench.calls
    assert list(bench.handlers.absent) == ["home"]


async def test_what_was_taken_down_or_is_of_another_file_no_longer_waits_to_come_back(home: Path) -> None:
    bench = Bench(BAD)
    await bench.handlers.take_up(("work-db", "home"))
    await bench.do(Down(["home"]))
    assert list(bench.handlers.absent) == ["work-db"]
    await bench.up("home", config=other_file(home))
    assert list(bench.handlers.absent) == []
    assert bench.supervisor.names == ("home",)


@pytest.mark.parametrize("text", [BAD, None])
async def test_a_daemon_whose_file_is_bad_or_missing_starts_all_the_same_and_says_so(
    text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(text)
    await bench.handlers.take_up(("work-db",))
    assert bench.calls == []
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    found = await status(bench)
    assert found.daemon is not None
    assert found.daemon.config_error


async def test_who_has_only_opened_tunnels_hears_nothing_of_a_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(None)
    monkeypatch.setattr(paths, "usual_config_file", lambda: bench.path)
    await bench.handlers.take_up(())
    await bench.do(opening(bench))
    assert caplog.records == []
    for _ in "up", "down":
        found = await status(bench)
        assert found.daemon is not None
        assert found.daemon.config_error is None
        await bench.do(Down(["vps"]))


# --- the agent of whoever says it -------------------------------------------------------------------


async def test_the_agent_of_the_terminal_that_said_it_is_taken_from_then_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[str] = []
    monkeypatch.setattr(handlers, "places", SimpleNamespace(hand_over=handed.append))
    bench = Bench()
    await bench.do(Up(["work-db"], str(bench.path), "/run/one"))
    await bench.do(Restart(["work-db"], str(bench.path), "/run/two"))
    await bench.do(Down(["work-db"]))
    assert handed == ["/run/one", "/run/two"]


# --- tunnels without a profile --------------------------------------------------------------------

TABLE: dict[str, object] = {"host": "me@vps", "dynamic": ["1080"]}


def opening(bench: Bench, name: str = "", **changes: object) -> Open:
    return Open({**TABLE, **changes}, str(bench.path), name)


async def test_what_is_opened_is_started_and_called_as_its_host() -> None:
    bench = Bench()
    assert await bench.do(opening(bench)) == {"name": "vps", "what": "started"}
    assert bench.supervisor.profiles["vps"].user == "me"


async def test_the_same_again_is_a_success_and_another_one_gets_another_name() -> None:
    bench = Bench()
    await bench.do(opening(bench))
    assert await bench.do(opening(bench)) == {"name": "vps", "what": "already"}
    assert await bench.do(opening(bench, dynamic=["1081"])) == {"name": "vps-2", "what": "started"}
    assert await bench.do(opening(bench, "mine")) == {"name": "mine", "what": "started"}


async def test_no_name_of_the_file_or_of_a_running_tunnel_is_taken() -> None:
    bench = Bench()
    assert (await bench.do(opening(bench, host="home")))["name"] == "home-2"
    bench.supervisor.show(tunnel("gone"))
    for name in ("home", "gone"):
        with pytest.raises(UsageError, match=name):
            await bench.do(opening(bench, name))


@pytest.mark.parametrize(
    "table",
    [{}, {"host": "h"}, {"host": "a b", "dynamic": ["1"]}, {"host": 1, "dynamic": ["1"]}, {"hosst": {}}],
)
async def test_a_table_that_is_no_profile_is_refused_and_nothing_is_left_of_it(
    table: dict[str, object],
) -> None:
    bench = Bench()
    with pytest.raises(UsageError):
        await bench.do(Open(table, str(bench.path)))
    with pytest.raises(UsageError):
        await bench.do(Open(table, str(bench.path), "a b"))
    assert bench.calls == []
    assert bench.handlers._config.opened == {}


async def test_what_cannot_be_started_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    async def fail(_profile: object) -> None:
        raise UsageError("no")

    monkeypatch.setattr(bench.supervisor, "up", fail)
    with pytest.raises(UsageError):
        await bench.do(opening(bench))
    assert bench.handlers._config.opened == {}


async def test_it_can_be_restarted_reloaded_and_brought_up_like_any_other() -> None:
    bench = Bench()
    await bench.do(opening(bench))
    await bench.do(Restart(["vps"], str(bench.path)))
    assert (await bench.do(Reload()))["keep"] == ["vps"]
    assert await bench.up("vps") == {"vps": "already"}


async def test_after_down_it_is_forgotten() -> None:
    bench = Bench()
    await bench.do(opening(bench))
    assert await bench.do(Down(["vps"])) == {"stopped": ["vps"]}
    with pytest.raises(NoSuchProfile):
        await bench.up("vps")
    await bench.do(opening(bench))
    await bench.do(Down([], everything=True))
    assert bench.handlers._config.opened == {}


async def test_the_next_daemon_takes_it_up_also_without_a_file() -> None:
    bench = Bench(None)
    bench.handlers._config.opened = {"vps": TABLE}
    await bench.handlers.take_up(("vps",))
    assert bench.calls == [("up", "vps")]


async def test_a_file_that_comes_later_is_not_forgotten_over_it() -> None:
    bench = Bench(None)
    bench.handlers._config.opened = {"vps": TABLE}
    await bench.handlers.take_up(("vps", "work-db"))
    profile_file(FILE + "autostart = true\n")
    await bench.handlers._try_to_take_up()
    assert [name for _, name in bench.calls] == ["vps", "work-db", "home"]


async def test_clients_are_told_when_somebody_asks() -> None:
    bench = Bench()
    document = await bench.do(Clients(["work-db"]))
    assert document["left_out"] == 2
    assert bench.calls == [("clients", ["work-db"])]
