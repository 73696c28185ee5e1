"""The steps of an attempt, with a real sshd: what is seen over asyncssh's shoulder is what happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.bed.sshd import Sshd, find_sshd, make_key
from tunnels.core.checkup import HOP_STEPS, Step
from tunnels.core.profile import HostKeyPolicy, Profile
from tunnels.core.question import PersonNeeded
from tunnels.errors import BadSetting, HostUnreachable, InternalError, TunnelsError
from tunnels.ssh import keys
from tunnels.ssh.connect import connect
from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.keys import Keys
from tunnels.ssh.watch import Watch

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(find_sshd() is None, reason="no sshd: install OpenSSH's server (openssh-server)"),
]

GATE = Destination("gate", "gate.example.com", 22, "me")
TARGET = Destination("db", "db.example.com", 22, "me")
ROUTE = Route((GATE,), TARGET)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("watch") / "sshd") as server:
        yield server


def profile(server: Sshd, **keys: object) -> Profile:
    plain = Profile(
        "test",
        server.host,
        user=server.user,
        port=server.port,
        identity_file=(str(server.identity),),
        known_hosts=(str(server.known_hosts),),
        host_key_policy=HostKeyPolicy.STRICT,
        ssh_config="none",
    )
    return replace(plain, **keys)  # type: ignore[arg-type]


def watching(of: Profile) -> tuple[Watch, list[Step]]:
    """A watch, and the steps that it tells."""
    steps: list[Step] = []
    return Watch(of, began=lambda _: None, tell=steps.append), steps


async def attempt(of: Profile) -> list[Step]:
    """The steps of one attempt, however it ends."""
    watch, steps = watching(of)
    try:
        conn = await connect(of, lambda _: None, watch.found, None, watch)
    except TunnelsError as error:
        watch.failed(error)
    else:
        await conn.aclose()
    return steps


def outcomes(steps: list[Step]) -> list[tuple[str, bool | None]]:
    return [(step.step, step.ok) for step in steps]


async def test_a_login_is_seen_step_by_step(sshd: Sshd) -> None:
    steps = await attempt(profile(sshd, host="localhost"))
    assert steps[1].step == "name"
    assert "127.0.0.1" in steps[1].detail
    steps = await attempt(profile(sshd))
    assert outcomes(steps) == [(name, True) for name in ("way", "tcp", "banner", "kex", "host-key", "login")]
    found = {step.step: step.detail for step in steps}
    assert found["tcp"] == f"{sshd.host} answered on port {sshd.port}"
    assert found["banner"].startswith("SSH-2.0-OpenSSH_")
    assert found["kex"].count(", ") == 1, "AES-GCM needs no MAC"
    assert found["host-key"] == f"ED25519 {sshd.fingerprint}, known by {sshd.known_hosts}:1"
    assert found["login"] == f"takes publickey; {sshd.identity} accepted"
    assert all(step.ms is not None and 0 <= step.ms < 30_000 for step in steps)


async def test_each_key_that_is_refused_is_named_in_order(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_good", {})  # or what was good in another test would come first
    make_key(tmp_path / "wrong")
    steps = await attempt(profile(sshd, identity_file=(str(tmp_path / "wrong"), str(sshd.identity))))
    assert steps[-1].detail == f"takes publickey; {tmp_path / 'wrong'} refused; {sshd.identity} accepted"


async def test_an_unknown_host_key_ends_the_attempt_at_its_step_and_the_next_one_goes_on_there(
    sshd: Sshd, tmp_path: Path
) -> None:
    asking = profile(sshd, known_hosts=(str(tmp_path / "kh"),), host_key_policy=HostKeyPolicy.ASK)
    watch, steps = watching(asking)
    with pytest.raises(PersonNeeded) as needed:
        await connect(asking, lambda _: None, watch.found, None, watch)
    assert outcomes(steps)[-1] == ("kex", True)
    needed.value.take("yes")
    watch.again()
    await (await connect(asking, lambda _: None, watch.found, None, watch)).aclose()
    assert [step for step, _ in outcomes(steps)] == ["way", "tcp", "banner", "kex", "host-key", "login"]


async def test_accept_new_writes_nothing_down(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "kh"
    steps = await attempt(profile(sshd, known_hosts=(str(file),), host_key_policy=HostKeyPolicy.ACCEPT_NEW))
    assert steps[-1].ok
    assert "not on file yet" in (steps[-2].warning or "")
    assert not file.exists()


async def test_a_refused_connection_ends_at_tcp_and_the_rest_was_not_tried(sshd: Sshd) -> None:
    steps = await attempt(profile(sshd, port=1))
    assert outcomes(steps) == [
        *(("way", True), ("tcp", False)),
        *((name, None) for name in HOP_STEPS[HOP_STEPS.index("tcp") + 1 :]),
    ]
    assert steps[1].error is not None
    assert steps[1].error.code == "host-unreachable"


# --- without a server -----------------------------------------------------------------------------


def test_a_way_that_cannot_be_taken_is_one_failure_and_not_a_success_before_it() -> None:
    watch, steps = watching(Profile("work", "db"))
    watch.failed(BadSetting("ssh refuses its configuration"))
    watch.way(ROUTE)
    watch.failed(BadSetting("a ProxyCommand is not supported"))
    assert outcomes(steps) == [("way", False), ("way", False)]


def test_what_goes_wrong_while_keys_are_gathered_is_about_the_login() -> None:
    watch, steps = watching(Profile("work", "db"))
    watch.way(Route((), TARGET))
    watch.begins(TARGET, through=False)
    watch.failed(BadSetting("the agent is gone"))
    assert outcomes(steps) == [("way", True), *((name, None) for name in HOP_STEPS[:-1]), ("login", False)]


def test_where_the_next_hop_cannot_be_begun_it_is_that_one_which_has_failed() -> None:
    watch, steps = watching(Profile("work", "db"))
    watch.way(ROUTE)
    watch.begins(GATE, through=False)
    watch.offers(Keys())
    watch.found(("192.0.2.7",))
    watch._hops[0].at = len(HOP_STEPS) - 1
    watch.entered()
    watch.failed(BadSetting("known_hosts cannot be read"))
    failed = [step for step in steps if step.ok is False]
    assert [(step.step, step.host) for step in failed] == [("host-key", str(TARGET))]


def test_an_error_after_the_last_login_is_not_lost() -> None:
    watch, steps = watching(Profile("work", "db"))
    watch.way(Route((), TARGET))
    watch.begins(TARGET, through=False)
    watch.offers(Keys())
    watch._hops[0].at = len(HOP_STEPS) - 1
    watch.entered()
    watch.failed(InternalError("a bug"))
    assert steps[-1].ok is False


def test_a_second_attempt_that_fails_earlier_says_so() -> None:
    watch, steps = watching(Profile("work", "db"))
    watch.way(Route((), TARGET))
    for _ in range(2):
        watch.again()
        watch.begins(TARGET, through=False)
        watch.offers(Keys())
        watch.found(("192.0.2.7",))
    watch.failed(HostUnreachable("refused"))
    assert [step.step for step in steps].count("name") == 1
    assert [step.step for step in steps if step.ok is False] == ["tcp"]


def test_an_address_that_is_nowhere_is_pointed_out() -> None:
    watch, steps = watching(Profile("work", "db"))
    watch.way(Route((), TARGET))
    watch.begins(TARGET, through=False)
    watch.offers(Keys())
    watch.found(("0.0.0.0",))
    assert "is nowhere" in (steps[-1].warning or "")
