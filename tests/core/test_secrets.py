"""Secrets that are kept in memory: by what they are about, and never shown."""

from __future__ import annotations

from tunnels.core.secrets import Secrets


def test_a_secret_is_recalled_by_what_it_is_about() -> None:
    secrets = Secrets()
    secrets.remember("password me@bastion", "hörnchen")
    assert secrets.recall("password me@bastion") == "hörnchen"
    assert secrets.recall("password me@other") is None


def test_what_is_not_even_text_comes_back_as_it_was() -> None:
    secrets = Secrets()
    secrets.remember("x", b"\xff\x00".decode("utf-8", "surrogateescape"))
    assert secrets.recall("x") == b"\xff\x00".decode("utf-8", "surrogateescape")


def test_forgetting_overwrites_it() -> None:
    secrets = Secrets()
    secrets.remember("x", "s3cret")
    kept = secrets._known["x"]
    secrets.forget("x")
    secrets.forget("x")
    assert secrets.recall("x") is None
    assert bytes(kept) == bytes(6)


def test_wiping_overwrites_all_of_them() -> None:
    secrets = Secrets()
    secrets.remember("x", "one")
    secrets.remember("y", "two")
    kept = list(secrets._known.values())
    secrets.wipe()
    assert [bytes(each) for each in kept] == [bytes(3), bytes(3)]
    assert repr(secrets) == "<Secrets: 0>"


def test_no_secret_is_shown_by_accident() -> None:
    secrets = Secrets()
    secrets.remember("x", "s3cret")
    assert "s3cret" not in repr(secrets)
