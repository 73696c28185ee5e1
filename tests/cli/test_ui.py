from __future__ import annotations

import os
import sys

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import profile_file
from tunnels.ui import app


def test_without_a_terminal_it_leads_to_status() -> None:
    result = tunnels("ui")
    assert result.code == 2
    assert "tunnels status" in result.err


def test_without_textual_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [it for it in sys.modules if it.startswith(("tunnels.ui.", "textual"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual", None)
    result = tunnels("ui", is_terminal=True)
    assert result.code == 2
    assert "pip install 'tunnels[ui]'" in result.err


def test_textual_is_not_told_to_write_down_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    profile_file()
    monkeypatch.setenv("TEXTUAL_LOG", "/tmp/keys")
    monkeypatch.setenv("TEXTUAL", "devtools")
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(app, "run", lambda _: seen.append(dict(os.environ)))
    assert tunnels("ui", is_terminal=True).code == 0
    assert not {"TEXTUAL_LOG", "TEXTUAL"} & seen[0].keys()


def test_what_goes_wrong_is_an_error_and_no_dump_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("division")

    monkeypatch.setattr(app, "run", broken)
    result = tunnels("ui", is_terminal=True)
    assert result.code != 0
    assert "this is a bug" in result.err
