from __future__ import annotations

import base64
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ssh.blobs import ed25519, rsa, text
from tunnels.core.profile import HostKeyPolicy
from tunnels.errors import (
    BadSetting,
    ErrorInfo,
    HostKeyRejected,
    HostKeyUnknown,
    from_info,
)
from tunnels.ssh import host_keys
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_keys import HostKeyChecker, UnconfirmedHostKey, policy_for
from tunnels.ssh.known_hosts import hashed_name, parse
from tunnels.ssh.public_key import fingerprint

A, B = ed25519(1), ed25519(2)
R = rsa(1)

ASK, STRICT, ACCEPT_NEW = HostKeyPolicy.ASK, HostKeyPolicy.STRICT, HostKeyPolicy.ACCEPT_NEW


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_keys, "_trusted_until_exit", set())
    monkeypatch.setattr(host_keys, "_pinned_until_exit", {})


@pytest.mark.parametrize("nowhere", [(), (os.devnull,), ("/dev/full/known_hosts",)], ids=str)
def test_accept_new_takes_one_key_of_a_server_also_where_it_cannot_be_written(
    nowhere: tuple[str, ...],
) -> None:
    """Otherwise accept-new would be the switch that ignores host keys."""
    where = replace(destination(), user_known_hosts_files=nowhere)
    HostKeyChecker(where, ACCEPT_NEW).check(A)
    HostKeyChecker(where, ACCEPT_NEW).check(A)
    with pytest.raises(HostKeyRejected, match="has changed"):
        HostKeyChecker(where, ACCEPT_NEW).check(B)


@pytest.fixture
def file(home: Path) -> Path:
    return home / ".ssh" / "known_hosts"


def destination(*files: Path | str, alias: str = "work", host: str = "h", port: int = 22) -> Destination:
    return Destination(alias, host, port, "me", user_known_hosts_files=tuple(map(str, files)))


def write(file: Path, *lines: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


# --- judging --------------------------------------------------------------------------------------


def test_a_key_on_file_is_good_under_every_policy(file: Path) -> None:
    write(file, f"h {text(A)}")

    for policy in HostKeyPolicy:
        HostKeyChecker(destination(file), policy).check(A)


def test_an_unknown_key_is_a_question_by_default(file: Path) -> None:
    with pytest.raises(UnconfirmedHostKey) as caught:
        HostKeyChecker(destination(file, port=2222)).check(A)

    error = caught.value
    assert error.code == "host-key-unknown"
    assert error.message == f"the host key of work ([h]:2222) is not known: ED25519 {fingerprint(A)}"
    assert error.new_key is not None
    assert (error.new_key.name, error.new_key.key_type, error.new_key.file) == (
        "[h]:2222",
        "ssh-ed25519",
        str(file),
    )
    assert error.new_key.fingerprint == fingerprint(A)
    assert not file.exists()


def test_an_unknown_key_is_refused_and_not_asked_about_when_strict(file: Path) -> None:
    with pytest.raises(HostKeyUnknown) as caught:
        HostKeyChecker(destination(file), STRICT).check(A)

    assert not isinstance(caught.value, UnconfirmedHostKey)
    assert str(file) in str(caught.value.hint)
    assert not file.exists()


def test_an_unknown_key_is_written_down_when_new_ones_are_accepted(file: Path) -> None:
    HostKeyChecker(destination(file), ACCEPT_NEW).check(A)

    assert file.read_text() == f"h {text(A)}\n"
    with pytest.raises(HostKeyRejected):
        HostKeyChecker(destination(file), ACCEPT_NEW).check(B)


@pytest.mark.parametrize("policy", HostKeyPolicy)
def test_a_changed_key_is_refused_with_both_fingerprints_and_what_to_type(
    policy: HostKeyPolicy, file: Path
) -> None:
    write(file, "# mine", f"[h]:2222 {text(A)}")

    with pytest.raises(HostKeyRejected) as caught:
        HostKeyChecker(destination(file, port=2222), policy).check(B)

    assert caught.value.message == (
        f"the host key of work ([h]:2222) has changed: the server shows ED25519 {fingerprint(B)}, "
        f"and {file}:2 has ED25519 {fingerprint(A)}"
    )
    assert f"ssh-keygen -R '[h]:2222' -f {file}" in str(caught.value.hint)


def test_a_key_of_another_type_is_refused_and_said_to_be_one(file: Path) -> None:
    write(file, f"h {text(A)}")

    with pytest.raises(HostKeyRejected, match=r"another type: the server shows RSA .* has ED25519"):
        HostKeyChecker(destination(file), ACCEPT_NEW).check(R)


def test_ssh_keygen_is_not_advised_where_it_would_not_help(file: Path) -> None:
    write(file, f"*.example.com {text(A)}")

    with pytest.raises(HostKeyRejected) as caught:
        HostKeyChecker(destination(file, host="a.example.com")).check(B)

    assert f"remove line 1 of {file}" in str(caught.value.hint)


@pytest.mark.parametrize("lines", [(f"@revoked * {text(A)}",), (f"h {text(A)}", f"@revoked h {text(A)}")])
def test_a_revoked_key_is_refused(lines: tuple[str, ...], file: Path) -> None:
    write(file, *lines)

    with pytest.raises(HostKeyRejected, match=f"revoked by {file}:{len(lines)}"):
        HostKeyChecker(destination(file), ACCEPT_NEW).check(A)


def test_the_files_of_everybody_count_too(file: Path, home: Path) -> None:
    everybody = home / "ssh_known_hosts"
    write(everybody, f"h {text(A)}")
    where = replace(destination(file), global_known_hosts_files=(str(everybody),))

    HostKeyChecker(where, STRICT).check(A)
    with pytest.raises(HostKeyRejected, match=f"{everybody}:1"):
        HostKeyChecker(where, ACCEPT_NEW).check(B)


def test_algorithms_without_any_in_common_are_a_bad_setting(file: Path) -> None:
    where = replace(destination(file), host_key_algorithms=("x-future",))

    with pytest.raises(BadSetting, match="x-future"):
        HostKeyChecker(where).algorithms()


# --- nothing turns checking off -------------------------------------------------------------------


@pytest.mark.parametrize("files", [(), ("/nowhere/known_hosts",), (os.devnull,)])
def test_without_a_file_every_key_is_still_a_question(files: tuple[str, ...]) -> None:
    with pytest.raises(UnconfirmedHostKey):
        HostKeyChecker(destination(*files)).check(A)


def test_a_file_that_cannot_be_read_is_said_and_not_skipped(home: Path) -> None:
    with pytest.raises(BadSetting, match="Is a directory"):
        HostKeyChecker(destination(home)).load()
    pipe = home / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BadSetting, match="is not a file"):
        HostKeyChecker(destination(pipe)).load()
    loop = home / "loop"
    loop.symlink_to(loop)
    with pytest.raises(BadSetting, match="cannot be read"):
        HostKeyChecker(destination(loop)).load()


@pytest.mark.parametrize(
    ("strictness", "chosen", "expected"),
    [
        ("ask", None, ASK),
        ("yes", None, STRICT),
        ("accept-new", None, ACCEPT_NEW),
        ("no", None, ACCEPT_NEW),
        ("no", STRICT, STRICT),
        ("yes", ASK, ASK),
    ],
)
def test_the_profile_decides_then_ssh_config_and_nothing_is_weaker_than_accept_new(
    strictness: str, chosen: HostKeyPolicy | None, expected: HostKeyPolicy
) -> None:
    where = replace(destination(), strict_host_key_checking=strictness)  # type: ignore[arg-type]

    assert policy_for(where, chosen) is expected


# --- after a yes ----------------------------------------------------------------------------------


def unknown(checker: HostKeyChecker, blob: bytes = A) -> UnconfirmedHostKey:
    with pytest.raises(UnconfirmedHostKey) as caught:
        checker.check(blob)
    return caught.value


def test_a_yes_is_written_down_and_holds(file: Path) -> None:
    checker = HostKeyChecker(destination(file))
    new_key = unknown(checker).new_key
    assert new_key is not None
    checker.trust(new_key)

    checker.check(A)  # the connection is asked again at every rekeying
    HostKeyChecker(destination(file), STRICT).check(A)
    with pytest.raises(HostKeyRejected):
        HostKeyChecker(destination(file)).check(B)


@pytest.mark.parametrize("nowhere", [(), (os.devnull,), ("/dev/full/known_hosts",)])
def test_a_yes_that_cannot_be_written_holds_while_the_process_lives(
    nowhere: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    checker = HostKeyChecker(destination(*nowhere))
    new_key = unknown(checker).new_key
    assert new_key is not None
    checker.trust(new_key)

    HostKeyChecker(destination(*nowhere)).check(A)
    unknown(HostKeyChecker(destination(*nowhere)), B)
    unknown(HostKeyChecker(destination(*nowhere, host="other")))
    with pytest.raises(HostKeyUnknown):
        HostKeyChecker(destination(*nowhere), STRICT).check(A)
    assert bool(caplog.records) is (nowhere == ("/dev/full/known_hosts",))


def test_an_accepted_key_stays_accepted_where_it_cannot_be_written() -> None:
    checker = HostKeyChecker(destination(os.devnull), ACCEPT_NEW)
    checker.check(A)
    checker.check(A)
    HostKeyChecker(destination(os.devnull), ACCEPT_NEW).check(A)


def test_the_error_can_be_rebuilt_from_its_code() -> None:
    error = from_info(ErrorInfo("host-key-unknown", "message", "hint"))

    assert isinstance(error, HostKeyUnknown)
    assert error.info == ErrorInfo("host-key-unknown", "message", "hint")


# --- writing --------------------------------------------------------------------------------------


def accept(file: Path, blob: bytes = A, **changes: bool) -> None:
    HostKeyChecker(replace(destination(file), **changes), ACCEPT_NEW).check(blob)  # type: ignore[arg-type]


def test_folder_and_file_are_made_for_the_user_alone(file: Path) -> None:
    accept(file)

    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_last_line_without_an_end_is_not_damaged(file: Path) -> None:
    write(file)
    file.write_text(f"other {text(B)}")

    accept(file)

    assert file.read_text() == f"other {text(B)}\nh {text(A)}\n"


def test_what_is_there_stays_as_it_is(file: Path) -> None:
    before = b"# caf\xe9\r\n\njunk\nother " + text(B).encode() + b"\n"
    write(file)
    file.write_bytes(before)
    file.chmod(0o644)

    accept(file)

    assert file.read_bytes() == before + f"h {text(A)}\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_name_is_hashed_where_ssh_config_says_so(file: Path) -> None:
    accept(file, hash_known_hosts=True)
    accept(file, hash_known_hosts=True)

    (entry,) = parse(file.read_text())
    assert entry.hosts.startswith("|1|")
    assert entry.hosts == hashed_name("h", base64.b64decode(entry.hosts.split("|")[2]))


def test_a_key_that_somebody_else_has_written_meanwhile_is_not_written_twice(file: Path) -> None:
    one, two = (HostKeyChecker(destination(file), ACCEPT_NEW) for _ in range(2))
    one.check(A)
    two.check(A)

    assert file.read_text().count("\n") == 1


def test_a_link_to_the_file_stays_a_link(file: Path, home: Path) -> None:
    write(file)
    real = home / "dotfiles"
    file.rename(real)
    file.symlink_to(real)

    accept(file)

    assert file.is_symlink()
    assert real.read_text() == f"h {text(A)}\n"


def test_a_key_that_is_too_short_is_refused_before_anybody_is_asked_about_it(file: Path) -> None:
    strict = replace(destination(file), required_rsa_size=4096)
    for policy in HostKeyPolicy:
        with pytest.raises(HostKeyRejected, match="RequiredRSASize is 4096"):
            HostKeyChecker(strict, policy).check(R)
    assert not file.exists() or R not in {entry.blob for entry in parse(file.read_text(), str(file))}
