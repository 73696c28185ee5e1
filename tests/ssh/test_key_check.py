"""What `check` finds about keys without dialling."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.key_check import check_explicit, remarks

WORK = Destination("work", "work.example.com", 22, "me")


def said(destination: Destination) -> list[str]:
    return remarks(Route((), destination))


def test_a_key_that_the_profile_names_must_be_there_or_its_public_half(home: Path) -> None:
    (home / "agents.pub").write_text("")
    check_explicit(["~/agents", str(home / "agents.pub")])
    for name in ("~/missing", str(home)):
        with pytest.raises(BadSetting, match=f"identity_file {name} does not exist") as refused:
            check_explicit([name])
        assert (refused.value.hint or "").startswith("is its path right?")  # before anybody makes a new key


def test_files_of_ssh_config_that_are_missing_are_said_and_ssh_s_own_defaults_are_not(home: Path) -> None:
    missing = replace(WORK, identity_files=(str(home / "id"),), certificate_files=(str(home / "c"),))
    assert said(missing) == [f"the certificate file {home / 'c'} does not exist and is left out"]
    assert said(replace(missing, identity_files_configured=True))[0] == (
        f"the identity file {home / 'id'} does not exist and is left out"
    )


def test_a_hop_is_looked_at_too_and_the_same_thing_is_said_once(home: Path) -> None:
    hop = replace(WORK, certificate_files=(str(home / "c"),))
    assert len(remarks(Route((hop,), hop))) == 1


def test_a_smart_card_without_its_library_or_without_the_extra_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(WORK, pkcs11_provider=str(home / "card.so"))
    assert said(card) == [f"PKCS11Provider {home / 'card.so'} does not exist"]
    (home / "card.so").write_text("")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert said(card) == [
        f"PKCS11Provider needs tunnels[pkcs11], or the agent: ssh-add -s {home / 'card.so'}"
    ]


def test_a_key_that_others_may_read_is_said_before_it_is_left_out(home: Path) -> None:
    key = home / "id"
    key.write_text("")
    found = replace(WORK, identity_files=(str(key),), identity_files_configured=True)
    key.chmod(0o644)
    assert said(found) == [
        f"the identity file {key} is left out, because others may read it: chmod 600 {key}"
    ]
    key.chmod(0o600)
    assert said(found) == []
