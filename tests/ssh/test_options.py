"""What asyncssh is told about one hop: everything, and nothing that it would look up by itself."""

from __future__ import annotations

import builtins
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import tunnels
from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination
from tunnels.ssh.options import (
    CIPHERS_WITH_AES,
    CIPHERS_WITHOUT_AES,
    KEEPALIVE,
    connect_options,
    keepalive_interval,
    user_timeout,
)

WORK = Destination("work", "work.example.com", 2222, "me")
ALGORITHMS = ["ssh-ed25519", "rsa-sha2-512"]


def options(destination: Destination = WORK, *, aes: bool = True) -> dict[str, Any]:
    return connect_options(destination, host_key_algorithms=ALGORITHMS, aes=aes)


def test_where_to_go_and_as_whom_is_said() -> None:
    found = options()
    assert (found["host"], found["port"], found["username"]) == ("work.example.com", 2222, "me")


def test_asyncssh_reads_no_file_asks_no_agent_and_tries_nothing_of_its_own() -> None:
    found = options()
    assert found["config"] is None
    assert found["agent_path"] is None
    assert found["x509_trusted_certs"] is None
    for method in ("gss_kex", "gss_auth", "host_based_auth"):
        assert found[method] is False


@pytest.mark.parametrize("allowed", [True, False])
def test_passwords_and_challenges_are_answered_unless_ssh_config_says_no(allowed: bool) -> None:
    destination = replace(WORK, password_authentication=allowed, kbd_interactive_authentication=not allowed)
    found = options(destination)
    assert (found["password_auth"], found["kbdint_auth"]) == (allowed, not allowed)


def test_methods_are_tried_in_the_order_of_preferred_authentications() -> None:
    assert "preferred_auth" not in options()
    order = ("password", "publickey")
    assert options(replace(WORK, preferred_authentications=order))["preferred_auth"] == [*order]


async def test_every_option_is_one_that_asyncssh_has(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    full = replace(
        WORK,
        compression=True,
        ciphers=("aes256-ctr",),
        kex_algorithms=("curve25519-sha256",),
        preferred_authentications=("publickey",),
        pubkey_accepted_algorithms=("rsa-sha2-512-cert-v01@openssh.com",),
        macs=("hmac-sha2-256",),
        rekey_bytes=1 << 20,
        rekey_seconds=60.0,
        host_key_alias="alias",
        server_alive_interval=5.0,
    )
    opened: list[object] = []
    real = builtins.open

    def watched(file: Any, *args: Any, **keys: Any) -> Any:
        opened.append(file)
        return real(file, *args, **keys)

    for destination in (WORK, full):
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "open", watched)
            await asyncssh.SSHClientConnectionOptions.construct(  # raises where it knows a name or value not
                known_hosts=([], [], []), client_keys=None, **options(destination)
            )
    assert [file for file in opened if str(file).startswith(str(home))] == []


def test_the_host_key_algorithms_of_the_checker_are_the_only_ones() -> None:
    found = options()
    assert found["server_host_key_algs"] == ALGORITHMS
    assert found["server_host_key_algs"] is not ALGORITHMS


def test_which_known_hosts_serve_is_never_left_to_an_option() -> None:
    """Without an entry here, whoever connects must say it; None would switch the check off."""
    assert "known_hosts" not in options()
    for file in Path(tunnels.__path__[0]).rglob("*.py"):
        code = re.sub(r"``.*?``", "", file.read_text())
        assert not re.search(r"""known_hosts["']?\s*[=:]\s*None""", code), file


def test_two_calls_give_equal_options_and_share_nothing() -> None:
    first, second = options(), options()
    assert first == second
    first["encryption_algs"].clear()
    first["server_host_key_algs"].clear()
    assert second == options()


# --- ciphers and compression ----------------------------------------------------------------------


def test_aes_comes_first_where_the_processor_has_it_and_chacha_where_not() -> None:
    assert options(aes=True)["encryption_algs"] == list(CIPHERS_WITH_AES)
    assert options(aes=False)["encryption_algs"] == list(CIPHERS_WITHOUT_AES)
    assert CIPHERS_WITH_AES[:2] == ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
    assert CIPHERS_WITHOUT_AES[0] == "chacha20-poly1305@openssh.com"


def test_both_orders_have_the_same_ciphers_and_none_that_is_broken() -> None:
    assert set(CIPHERS_WITH_AES) == set(CIPHERS_WITHOUT_AES)
    assert len(CIPHERS_WITHOUT_AES) == len(set(CIPHERS_WITHOUT_AES))
    assert not [cipher for cipher in CIPHERS_WITH_AES if "cbc" in cipher or "arcfour" in cipher]


@pytest.mark.parametrize("aes", [True, False])
def test_ciphers_that_somebody_chose_are_the_only_ones(aes: bool) -> None:
    chosen = replace(WORK, ciphers=("aes256-ctr", "aes128-ctr"))
    assert options(chosen, aes=aes)["encryption_algs"] == ["aes256-ctr", "aes128-ctr"]


def test_the_profile_may_change_the_order_of_ours_as_ssh_config_changes_that_of_ssh() -> None:
    changed = replace(WORK, ciphers=("^aes256-ctr",))
    assert options(changed)["encryption_algs"][:2] == ["aes256-ctr", CIPHERS_WITH_AES[0]]
    less = options(replace(WORK, ciphers=("-*-ctr", "chacha20*")))["encryption_algs"]
    assert less == list(CIPHERS_WITH_AES[:2])
    more = options(replace(WORK, ciphers=("+aes128-cbc",)))["encryption_algs"]
    assert more == [*CIPHERS_WITH_AES, "aes128-cbc"]


def test_a_list_of_which_asyncssh_has_nothing_is_a_bad_setting_that_names_it() -> None:
    with pytest.raises(BadSetting, match="none of the KexAlgorithms of .* is supported: nonsense"):
        options(replace(WORK, kex_algorithms=("nonsense",)))


def test_nothing_is_compressed_unless_it_was_asked_for() -> None:
    assert options()["compression_algs"] == ["none"]
    assert options(replace(WORK, compression=True))["compression_algs"] == ["zlib@openssh.com", "none"]


@pytest.mark.parametrize(
    ("field", "value", "option", "expected"),
    [
        ("kex_algorithms", ("curve25519-sha256",), "kex_algs", ["curve25519-sha256"]),
        (
            "kex_algorithms",
            ("sntrup4591761@example.com", "curve25519-sha256"),
            "kex_algs",
            ["curve25519-sha256"],
        ),
        ("preferred_authentications", ("password", "hostbased"), "preferred_auth", ["password"]),
        ("pubkey_accepted_algorithms", ("ssh-ed25519",), "signature_algs", ["ssh-ed25519"]),
        ("macs", ("hmac-sha2-256",), "mac_algs", ["hmac-sha2-256"]),
        ("rekey_bytes", 1 << 20, "rekey_bytes", 1 << 20),
        ("rekey_seconds", 60.0, "rekey_seconds", 60.0),
        ("host_key_alias", "alias", "host_key_alias", "alias"),
    ],
)
def test_what_nobody_has_said_is_left_to_asyncssh_and_what_was_said_is_passed_on(
    field: str, value: object, option: str, expected: object
) -> None:
    assert option not in options()
    changed: Any = {field: value}
    assert options(replace(WORK, **changed))[option] == expected


def test_the_kernels_keepalive_is_as_ssh_config_says() -> None:
    assert options()["tcp_keepalive"] is True
    assert options(replace(WORK, tcp_keepalive=False))["tcp_keepalive"] is False


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "interval"), [(None, KEEPALIVE), (5.0, 5.0), (0.0, 0.0)])
def test_keepalives_are_sent_as_said_by_default_and_not_at_all_for_zero(
    said: float | None, interval: float
) -> None:
    destination = replace(WORK, server_alive_interval=said)
    assert keepalive_interval(destination) == interval
    assert options(destination)["keepalive_interval"] == interval


def test_a_silent_peer_counts_as_dead_when_the_keepalives_say_so() -> None:
    assert user_timeout(WORK) == KEEPALIVE * 4
    assert user_timeout(replace(WORK, server_alive_interval=2.0, server_alive_count_max=1)) == 4.0
    assert user_timeout(replace(WORK, server_alive_interval=0.0)) == 0
    assert options(replace(WORK, server_alive_count_max=7))["keepalive_count_max"] == 7


def test_the_limit_of_a_login_is_ours_because_a_person_may_take_time() -> None:
    assert options()["login_timeout"] == 0
