"""``tunnels leaktest``: what it says of what it has found; the real thing is in e2e."""

from __future__ import annotations

import pytest

from tests.cli.console import Result
from tests.cli.fake_client import FakeClient, run
from tests.cli.test_through import FILE, cafe, proxy
from tests.daemon.served import profile_file
from tunnels import leak_watch, proxy_probe
from tunnels.core.proxy_address import ProxyAddress
from tunnels.core.socks_words import CONNECT
from tunnels.errors import DialError


class FakeWatch:
    how, blind = "every packet", "DNS over TLS"

    def __init__(self, *seen: bool | None) -> None:
        self.seen = list(seen)
        self.words: list[str] = []

    def begin(self) -> None:
        pass

    def saw(self, word: str) -> bool | None:
        self.words.append(word)
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]

    def close(self) -> None:
        pass


class World:
    """What the proxy answers, and what is seen meanwhile."""

    def __init__(self) -> None:
        self.codes = {2: 7, 3: 7, CONNECT: 4}
        self.watch: FakeWatch | None = FakeWatch(False)
        self.known_here = False
        self.by_address = 0

    def run(self, *arguments: str) -> Result:
        def ask(proxy: ProxyAddress, command: int, host: str, port: int) -> int:
            return self.codes[command]

        def fetch(proxy: ProxyAddress, url: str) -> str:
            if "broken" in url:
                raise DialError("it is broken")
            return "192.0.2.7\x1b"

        client = FakeClient((cafe(proxy(clients_total=50, by_address=self.by_address)),))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(proxy_probe, "ask", ask)
            patch.setattr(proxy_probe, "fetch", fetch)
            patch.setattr(proxy_probe, "resolves_here", lambda name: self.known_here)
            patch.setattr(leak_watch, "open_watch", lambda proxy: self.watch)
            return run(client, "leaktest", "cafe", *arguments)


@pytest.fixture
def world() -> World:
    profile_file(FILE)
    return World()


def results(result: Result) -> dict[str, str]:
    return {check["check"]: check["result"] for check in result.json["checks"]}


def test_a_good_proxy_passes_and_each_line_says_what_it_cannot_show(world: World) -> None:
    result = world.run()
    assert result.code == 0
    assert result.out.count("✓") == 5
    assert "UDP is refused (SOCKS reply 7)" in result.out
    assert "not shown: DNS over TLS" in result.out


def test_the_name_is_new_every_time(world: World) -> None:
    first, second = FakeWatch(False), FakeWatch(False)
    for world.watch in (first, second):
        world.run()
    assert first.words != second.words


@pytest.mark.parametrize(("command", "check"), [(2, "bind"), (3, "udp")])
def test_what_is_not_refused_leaks_and_is_1(world: World, command: int, check: str) -> None:
    world.codes[command] = 0
    result = world.run("--json")
    assert (result.code, results(result)[check], result.json["leaks"]) == (1, "failed", True)


def test_a_question_from_here_leaks_and_is_1(world: World) -> None:
    world.watch = FakeWatch(True)
    result = world.run("--json")
    assert (result.code, results(result)["names"]) == (1, "failed")


def test_in_a_noisy_moment_it_is_tried_again_and_then_not_claimed(world: World) -> None:
    world.watch = FakeWatch(None, None, False)
    assert results(world.run("--json"))["names"] == "passed"
    world.watch = FakeWatch(*[None] * 5)
    result = world.run("--json")
    assert (result.code, results(result)["names"]) == (0, "unknown")
    world.watch = None
    assert results(world.run("--json"))["names"] == "unknown"


def test_programs_that_ask_by_address_are_named_and_are_no_failure(world: World) -> None:
    world.by_address = 12
    result = world.run()
    assert result.code == 0
    assert "! 12 requests so far came with an address" in result.out


def test_a_name_of_the_far_end_is_asked_for_if_it_is_given(world: World) -> None:
    world.codes[CONNECT] = 0
    assert results(world.run("--json", "--name", "intranet.corp:443"))["far-name"] == "passed"
    world.known_here = True
    assert results(world.run("--json", "--name", "intranet.corp"))["far-name"] == "unknown"
    assert world.run("--name", "intranet.corp:x").code == 2


def test_a_page_says_what_it_sees_and_cannot_command_the_terminal(world: World) -> None:
    result = world.run("--url", "http://ip.example")
    assert "http://ip.example sees: 192.0.2.7" in result.out
    assert "\x1b" not in result.out
    assert results(world.run("--json", "--url", "http://broken"))["exit-address"] == "unknown"


def test_a_proxy_that_does_not_answer_is_no_leak_and_no_success(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(dict[int, int]):
        def __missing__(self, command: int) -> int:
            raise DialError("the proxy hung up")

    world.codes = Gone()
    result = world.run("--json")
    assert (result.code, result.json["error"]["message"]) == (1, "the proxy hung up")
