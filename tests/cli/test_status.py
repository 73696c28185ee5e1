from __future__ import annotations

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import daemon_thread, profile_file, tunnel
from tunnels.cli import glance
from tunnels.core.state import TunnelState


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--config", "/p.toml"], ([], False, "/p.toml", False)),
        (["work-db", "home"], (["work-db", "home"], False, None, False)),
        (["-w"], ([], True, None, False)),
        (["--watch", "--json", "work-*"], (["work-*"], True, None, True)),
    ],
)
def test_every_option_reaches_what_shows_it(
    arguments: list[str], asked: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def show(names: list[str], *, watch: bool, config: str | None, as_json: bool) -> int:
        seen.append((names, watch, config, as_json))
        return 3

    monkeypatch.setattr(glance, "show", show)
    assert tunnels("status", *arguments).code == 3
    assert seen == [asked]


def test_from_the_command_line_to_the_daemon_and_back() -> None:
    profile_file()
    with daemon_thread(tunnel("work-db"), tunnel("home", TunnelState.BACKOFF)):
        assert tunnels("status", "work-db").code == 0
        assert tunnels("status", "home").code == 3
        assert tunnels("status", "hom").code == 4
        document = tunnels("status", "home", "--json").json
    assert [it["state"] for it in document["tunnels"]] == ["backoff"]


def test_an_error_as_json_is_one_document_on_stdout() -> None:
    profile_file()
    result = tunnels("status", "hom", "--json")
    assert result.json["error"]["code"] == "no-such-profile"
    assert result.err == ""
