"""``tunnels browse``, with a script for a browser; real ones are in e2e."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.console import Result
from tests.cli.fake_client import FakeClient, run
from tests.cli.test_through import FILE, cafe, proxy
from tests.daemon.served import profile_file
from tunnels import paths


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file(FILE)


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


def browser(home: Path, script: str, name: str = "firefox") -> str:
    path = home / name
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {home}/arguments\n{script}\n')
    path.chmod(0o755)
    return str(path)


def browse(program: str, *arguments: str, client: FakeClient | None = None) -> Result:
    return run(client or FakeClient((cafe(),)), "browse", "--browser", program, *(arguments or ("cafe",)))


def told(home: Path) -> list[str]:
    return (home / "arguments").read_text().splitlines()


def test_the_browser_has_a_profile_of_its_own_that_is_gone_afterwards(home: Path) -> None:
    result = browse(browser(home, f'cp "$2/user.js" {home}/read'), "cafe", "https://example.com")
    assert result.code == 0
    assert told(home)[-1] == "https://example.com"
    folder = Path(told(home)[1])
    assert folder.parent == paths.browsers_dir()
    assert not folder.exists()
    assert 'user_pref("network.proxy.socks_port", 1080);' in (home / "read").read_text()
    assert "Firefox goes through cafe (127.0.0.1:1080) until you close it" in result.words


def test_what_comes_behind_the_dashes_is_for_the_browser(home: Path) -> None:
    program = browser(home, "", "chromium")
    assert browse(program, "cafe", "--", "--headless", "--dump-dom").code == 0
    assert told(home)[-2:] == ["--headless", "--dump-dom"]
    assert browse(program, "cafe", "http://x", "--", "--headless").code == 0
    assert told(home)[-2:] == ["--headless", "http://x"]


def test_a_profile_is_kept_by_name(home: Path) -> None:
    program = browser(home, 'folder="${1#--user-data-dir=}"; touch "$folder/cookies"', "chromium")
    assert browse(program, "cafe", "--keep", "bank").code == 0
    folder = paths.kept_browsers_dir() / "chromium" / "bank"
    assert (folder / "cookies").exists()
    (folder / "Default" / "Preferences").write_text("changed by the browser")
    assert browse(program, "cafe", "--keep", "bank").code == 0
    assert (folder / "Default" / "Preferences").read_text() == "changed by the browser"
    assert browse(program, "cafe", "--keep", "../bank").code == 2


def test_a_browser_that_fails_is_said_with_its_last_words(home: Path) -> None:
    result = browse(browser(home, "echo no display >&2; exit 9"))
    assert result.code == 1
    assert "Firefox ended with exit code 9 hint: its last words: no display" in result.words


def test_a_browser_that_cannot_be_run_is_said(home: Path) -> None:
    program = Path(browser(home, ""))
    program.write_text("#!/no/such/interpreter\n")
    assert "cannot be run" in browse(str(program)).words


@pytest.mark.parametrize(("found", "downs"), [("started", 1), ("already", 0)])
def test_the_tunnel_is_taken_down_only_if_it_was_brought_up_for_this(
    home: Path, found: str, downs: int
) -> None:
    client = FakeClient((cafe(),))
    client.found = found
    browse(browser(home, ""), "cafe", "--down", client=client)
    assert client.calls.count(("down", ["cafe"])) == downs


def test_without_that_it_stays_and_that_is_said(home: Path) -> None:
    client = FakeClient((cafe(),))
    assert "`tunnels down cafe` ends it" in browse(browser(home, ""), client=client).words
    assert ("down", ["cafe"]) not in client.calls


def test_a_proxy_with_a_password_is_asked_by_http_and_the_browser_asks_the_person(home: Path) -> None:
    client = FakeClient((cafe(proxy(), name="guarded"),))
    result = browse(browser(home, "", "chromium"), "guarded", client=client)
    assert "--proxy-server=http://127.0.0.1:1080" in told(home)
    assert "the browser will ask you" in result.words


def test_without_a_browser_no_tunnel_is_brought_up() -> None:
    client = FakeClient((cafe(),))
    assert browse("/no/such/browser", client=client).code == 2
    assert client.calls == []
