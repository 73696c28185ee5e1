"""The keyring: what is kept in it, and that nothing waits for one that is absent, broken or hangs."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tunnels import system_keyring
from tunnels.errors import UsageError

SUBJECT = "password me@vps.example.com"
SECRET = "hunter2-in-the-keyring"


class Fake:
    """What the package ``keyring`` has of a backend."""

    priority = 5.0

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def get_keyring(self) -> Fake:
        return self

    def _check(self) -> None:
        self.go_on.wait(30)
        if self.error is not None:
            raise self.error

    def get_password(self, service: str, username: str) -> str | None:
        self._check()
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._check()
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._check()
        del self.kept[service, username]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    fake = Fake()
    monkeypatch.setitem(sys.modules, "keyring", fake)
    monkeypatch.setattr(system_keyring, "installed", lambda: True)
    yield fake
    fake.go_on.set()


async def test_what_is_saved_is_there_again_and_can_be_removed(fake: Fake) -> None:
    assert await system_keyring.recall(SUBJECT) is None
    assert await system_keyring.save(SUBJECT, SECRET)
    assert fake.kept == {("tunnels", SUBJECT): SECRET}
    assert await system_keyring.recall(SUBJECT) == SECRET
    await system_keyring.remove(SUBJECT)
    assert await system_keyring.recall(SUBJECT) is None
    await system_keyring.remove(SUBJECT)  # nothing there: nothing happens


async def test_what_a_server_has_refused_is_not_given_out_again_until_it_changes_or_proves_good(
    fake: Fake,
) -> None:
    await system_keyring.save(SUBJECT, SECRET)
    system_keyring.refuse(SUBJECT, SECRET)
    assert await system_keyring.recall(SUBJECT) is None
    assert fake.kept == {("tunnels", SUBJECT): SECRET}  # the server may be wrong
    await system_keyring.save(SUBJECT, "another")
    assert await system_keyring.recall(SUBJECT) == "another"
    await system_keyring.save(SUBJECT, SECRET)
    assert await system_keyring.recall(SUBJECT) is None
    system_keyring.trust(SUBJECT)
    assert await system_keyring.recall(SUBJECT) == SECRET
    assert SECRET not in repr(vars(system_keyring)["_refused"])


async def test_without_the_package_there_is_no_keyring_and_only_saving_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert await system_keyring.recall(SUBJECT) is None
    assert not caplog.records
    with pytest.raises(UsageError, match="not installed") as caught:
        await system_keyring.check()
    assert "tunnels[keyring]" in (caught.value.hint or "")


async def test_a_keyring_that_fails_is_no_keyring_and_its_words_are_kept_out_of_the_log(
    fake: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fake.error = RuntimeError(f"cannot store {SECRET}")
    assert await system_keyring.recall(SUBJECT) is None
    assert not await system_keyring.save(SUBJECT, SECRET)
    await system_keyring.remove(SUBJECT)
    assert "RuntimeError" in caplog.text
    assert SECRET not in caplog.text


async def test_nobody_waits_for_a_keyring_that_hangs(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_keyring, "TIMEOUT", 0.05)
    fake.go_on.clear()
    before = threading.active_count()
    for _ in range(system_keyring.MAX_CALLS + 3):
        assert await system_keyring.recall(SUBJECT) is None
    assert threading.active_count() <= before + system_keyring.MAX_CALLS
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "keyring")
    fake.go_on.set()
    for thread in threading.enumerate():
        if thread.name == "keyring":
            thread.join(10)
    fake.kept["tunnels", SUBJECT] = SECRET
    monkeypatch.setattr(system_keyring, "TIMEOUT", 15.0)
    assert await system_keyring.recall(SUBJECT) == SECRET  # it has come back


async def test_a_machine_without_a_keyring_cannot_save(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    await system_keyring.check()
    monkeypatch.setattr(fake, "get_keyring", lambda: SimpleNamespace(priority=0))
    with pytest.raises(UsageError, match="no keyring"):
        await system_keyring.check()
    monkeypatch.setattr(fake, "get_keyring", lambda: 1 / 0)
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        await system_keyring.check()
