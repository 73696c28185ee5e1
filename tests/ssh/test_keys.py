"""Which keys a server is offered and in which order, and what becomes of those that it is not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.e2e.bed.wait import eventually
from tests.ssh.person import Person
from tunnels.errors import BadSetting
from tunnels.ssh import agent_keys, keys, pkcs11
from tunnels.ssh.destination import Destination
from tunnels.ssh.key_check import check_explicit
from tunnels.ssh.keys import Keys, gather
from tunnels.ssh.offer import Offer, Unusable

needs_agent = pytest.mark.skipif(
    shutil.which("ssh-agent") is None or shutil.which("ssh-add") is None, reason="there is no ssh-agent"
)

WORK = Destination("work", "work.example.com", 22, "me")


def make(folder: Path, name: str, *, kind: str = "ssh-ed25519") -> Path:
    """Write a key pair, as ssh-keygen does."""
    path = folder / name
    key = asyncssh.generate_private_key(kind, comment=f"{name}@test")
    key.write_private_key(str(path))
    key.write_public_key(f"{path}.pub")
    path.chmod(0o600)
    return path


def encrypt(path: Path) -> Path:
    """Give a private key a passphrase; one round is enough for a test."""
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-a", "1", "-N", "secret", "-f", str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return path


def public(path: Path) -> bytes:
    return asyncssh.read_public_key(f"{path}.pub").public_data


def destination(*files: Path, configured: bool = True, agent: str | None = None) -> Destination:
    return replace(
        WORK,
        identity_files=tuple(map(str, files)),
        identity_files_configured=configured,
        identity_agent=agent,
    )


@contextlib.contextmanager
def gathered(found: Keys) -> Iterator[Keys]:
    try:
        yield found
    finally:
        found.close()


async def look(where: Destination, person: Person | None = None) -> Keys:
    return await gather(where, person or Person())


def offers(found: Keys) -> list[Offer]:
    return [offer for offer in found.waiting if isinstance(offer, Offer)]


def blobs(found: Keys) -> list[bytes]:
    return [offer.public_data for offer in offers(found)]


def names(found: Keys) -> list[str]:
    return [offer.name for offer in found.waiting]


async def all_of(found: Keys) -> list[Offer]:
    """What a server is offered that takes none of it."""
    taken = []
    while (offer := await found.next()) is not None:
        taken.append(offer)
    return taken


@pytest.fixture
def agent(home: Path) -> Iterator[str]:
    """An ssh-agent of the test's own; gives its socket."""
    path = str(home / "agent")
    with subprocess.Popen(
        ["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        try:
            eventually(lambda: _answers(path), within=5, what="an ssh-agent that answers")
            yield path
        finally:
            process.terminate()


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def add(agent: str, path: Path) -> None:
    subprocess.run(
        ["ssh-add", "-q", str(path)],
        env={**os.environ, "SSH_AUTH_SOCK": agent},
        stdin=subprocess.DEVNULL,
        check=True,
    )


# --- files ----------------------------------------------------------------------------------------


async def test_the_configured_files_are_offered_in_their_order(home: Path) -> None:
    two, one = make(home, "two"), make(home, "one", kind="ecdsa-sha2-nistp256")
    found = await look(destination(two, one))
    assert blobs(found) == [public(two), public(one)]
    assert names(found) == [str(two), str(one)]
    assert found.skipped == []
    await all_of(found)
    assert found.describe() == f"tried {two}, {one}"


async def test_a_missing_file_that_was_configured_is_named_and_one_of_the_defaults_is_not(home: Path) -> None:
    one, missing = make(home, "one"), home / "missing"
    found = await look(destination(missing, one))
    assert blobs(found) == [public(one)]
    assert found.skipped == [f"{missing} (No such file or directory)"]
    await all_of(found)
    assert found.describe() == f"tried {one}; skipped {missing} (No such file or directory)"
    found = await look(destination(missing, one, configured=False))
    await all_of(found)
    assert found.describe() == f"tried {one}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
async def test_a_file_that_is_open_to_others_is_skipped_and_the_cure_is_named(mode: int, home: Path) -> None:
    one, two = make(home, "one"), make(home, "two")
    one.chmod(mode)
    found = await look(destination(one, two))
    assert blobs(found) == [public(two)]
    assert found.skipped == [f"{one} (others may read it: chmod 600 {one})"]


async def test_a_file_that_is_no_key_is_skipped_and_said_to_be_none(home: Path) -> None:
    path = home / "notes"
    path.write_text("buy milk\n")
    path.chmod(0o600)
    (home / "folder").mkdir(mode=0o700)
    found = await look(destination(path, home / "folder"))
    assert found.waiting == []
    assert [skipped.split(" (")[0] for skipped in found.skipped] == [str(path), str(home / "folder")]
    assert "Invalid private key" in found.skipped[0]


async def test_with_no_key_at_all_the_message_says_so() -> None:
    found = await look(destination())
    assert found.waiting == []
    assert found.describe() == "there was no key to try"


async def test_where_public_keys_are_switched_off_none_is_offered(home: Path) -> None:
    found = await look(replace(destination(make(home, "one")), pubkey_authentication=False))
    assert (offers(found), names(found), found.skipped) == ([], [], [])


async def test_a_certificate_is_offered_with_its_key(home: Path) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    one = make(home, "one")
    certificate = authority.generate_user_certificate(
        asyncssh.read_public_key(f"{one}.pub"), "me", principals=["me"]
    )
    certificate.write_certificate(str(home / "one-cert.pub"))
    found = await look(
        replace(destination(one), certificate_files=(str(home / "one-cert.pub"), str(home / "missing")))
    )
    assert [offer.has_cert for offer in offers(found)] == [True, False]
    assert names(found) == [str(home / "one-cert.pub"), str(one)]


async def test_no_more_keys_are_offered_than_make_sense(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    files = [make(home, name) for name in ("one", "two", "three")]
    found = await look(destination(*files))
    assert [offer.name for offer in await all_of(found)] == [str(file) for file in files[:2]]


def test_a_key_that_the_profile_names_must_exist(home: Path) -> None:
    make(home, "one")
    check_explicit(("~/one", str(home / "one")))
    for name in ("~/missing", str(home)):
        with pytest.raises(BadSetting, match=f"identity_file {name} does not exist"):
            check_explicit(("~/one", name))


async def test_a_public_key_whose_private_half_nobody_has_is_not_called_an_open_private_key(
    home: Path,
) -> None:
    make(home, "one").unlink()
    file = home / "one.pub"
    file.chmod(0o644)  # as ssh-keygen leaves it
    found = await look(destination(file))
    assert found.waiting == []
    (skipped,) = found.skipped
    assert skipped.startswith(f"{file} (")
    assert "chmod" not in skipped


# --- the agent ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "file", "silent"])
async def test_an_agent_that_is_not_there_is_as_good_as_an_empty_one(kind: str, home: Path) -> None:
    one, path = make(home, "one"), home / "agent"
    if kind == "file":
        path.write_text("")
    with socket.socket(socket.AF_UNIX) as dead:
        if kind == "silent":
            dead.bind(str(path))  # and nobody listens
        found = await look(destination(one, agent=str(path)))
    assert blobs(found) == [public(one)]
    assert found.agent is None


async def test_an_agent_that_hangs_up_is_as_good_as_an_empty_one(home: Path) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    one = make(home, "one")
    async with await asyncio.start_unix_server(hang_up, str(home / "agent")):
        found = await look(destination(one, agent=str(home / "agent")))
    assert blobs(found) == [public(one)]
    assert found.agent is None


async def test_an_agent_that_does_not_answer_is_given_up_and_named(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung_up = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        hung_up.set()
        writer.close()

    monkeypatch.setattr(agent_keys, "AGENT_TIMEOUT", 0.02)
    one = make(home, "one")
    async with await asyncio.start_unix_server(say_nothing, str(home / "agent")):
        found = await look(destination(one, agent=str(home / "agent")))
        await hung_up.wait()
    assert blobs(found) == [public(one)]
    assert found.skipped == [f"the agent {home / 'agent'} (it did not answer within 0.02 s)"]


@needs_agent
async def test_the_configured_keys_come_first_and_the_others_of_the_agent_after(
    home: Path, agent: str
) -> None:
    other, one, two = make(home, "other"), make(home, "one"), make(home, "two")
    for path in (other, two):
        add(agent, path)
    with gathered(await look(destination(one, two, agent=agent))) as found:
        assert blobs(found) == [public(one), public(two), public(other)]
        assert names(found) == [str(one), f"{two} (agent)", "agent other@test"]


@needs_agent
async def test_identities_only_keeps_the_others_of_the_agent_out(home: Path, agent: str) -> None:
    other, one, two = make(home, "other"), make(home, "one"), make(home, "two")
    for path in (other, two):
        add(agent, path)
    only = replace(destination(one, two, agent=agent), identities_only=True)
    with gathered(await look(only)) as found:
        assert blobs(found) == [public(one), public(two)]


@needs_agent
async def test_an_encrypted_key_that_the_agent_has_needs_no_passphrase(home: Path, agent: str) -> None:
    one = make(home, "one")
    add(agent, one)
    encrypt(one)
    only = replace(destination(one, agent=agent), identities_only=True)
    with gathered(await look(only)) as found:
        assert blobs(found) == [public(one)]
        assert found.skipped == []


@needs_agent
async def test_a_public_key_chooses_the_key_of_the_agent_as_with_ssh(home: Path, agent: str) -> None:
    """ssh(1), -i: "You can also specify a public key file to use the corresponding private key"."""
    other, one = make(home, "other"), make(home, "one")
    for path in (other, one):
        add(agent, path)
    one.unlink()  # as with an agent that is a password manager or a token: only the .pub is on disk
    for named in (one, Path(f"{one}.pub")):
        only = replace(destination(named, agent=agent), identities_only=True)
        with gathered(await look(only)) as found:
            assert blobs(found) == [public(one)], f"IdentityFile {named.name}"
            assert found.skipped == []


@needs_agent
async def test_a_key_of_the_agent_is_found_without_its_public_file_as_with_ssh(
    home: Path, agent: str
) -> None:
    """OpenSSH reads the public half out of the private file, which it can without the passphrase."""
    one = make(home, "one")
    add(agent, one)
    wanted = public(one)
    encrypt(one)
    Path(f"{one}.pub").unlink()
    only = replace(destination(one, agent=agent), identities_only=True)
    with gathered(await look(only)) as found:
        assert blobs(found) == [wanted]


@needs_agent
async def test_closing_hangs_up_on_the_agent_and_twice_is_no_error(home: Path, agent: str) -> None:
    add(agent, make(home, "one"))
    found = await look(destination(agent=agent))
    assert len(offers(found)) == 1
    assert found.agent is not None
    found.close()
    found.close()
    assert found.agent is None


# --- order, and what is asked for -------------------------------------------------------------------


@needs_agent
async def test_ssh_s_own_default_that_needs_a_passphrase_comes_after_the_agent_but_a_configured_one_before(
    home: Path, agent: str
) -> None:
    other, locked = make(home, "other"), encrypt(make(home, "locked"))
    add(agent, other)
    for configured, wanted in ((True, [locked, other]), (False, [other, locked])):
        with gathered(await look(destination(locked, configured=configured, agent=agent))) as found:
            assert blobs(found) == [public(path) for path in wanted]


async def test_the_same_key_under_two_names_costs_one_try(home: Path) -> None:
    one = make(home, "one")
    (home / "two").write_bytes(one.read_bytes())
    (home / "two").chmod(0o600)
    assert [offer.name for offer in await all_of(await look(destination(one, home / "two")))] == [str(one)]


async def test_what_was_good_the_last_time_is_first_for_that_server_and_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_good", {})
    where = destination(make(home, "one"), make(home, "two"))
    found = await look(where)
    (_, two) = await all_of(found)
    await two.sign_async(b"data")
    found.succeeded()
    assert blobs(await look(where)) == [public(home / "two"), public(home / "one")]
    assert blobs(await look(replace(where, user="you"))) == [public(home / "one"), public(home / "two")]


async def test_a_key_that_was_shown_and_never_used_is_not_remembered_as_good(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a password let us in after it was refused."""
    monkeypatch.setattr(keys, "_good", {})
    found = await look(destination(make(home, "one")))
    await all_of(found)
    found.succeeded()
    assert keys._good == {}


async def test_the_memory_of_what_was_good_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_good", {})
    monkeypatch.setattr(keys, "_REMEMBERED", 3)
    one = make(home, "one")
    for port in range(5):
        found = await look(replace(destination(one), port=port))
        (offer,) = await all_of(found)
        await offer.sign_async(b"data")
        found.succeeded()
    assert [port for _, _, port in keys._good] == [2, 3, 4]


async def test_an_encrypted_key_is_offered_and_nobody_is_asked_before_a_server_wants_it(home: Path) -> None:
    one, person = encrypt(make(home, "one")), Person("secret")
    found = await look(destination(one), person)
    (offer,) = await all_of(found)
    assert (offer.public_data, person.asked) == (public(one), [])
    signature = await offer.sign_async(b"data")
    assert asyncssh.read_public_key(f"{one}.pub").verify(b"data", signature)
    assert len(person.asked) == 1


async def test_an_old_key_without_a_public_half_is_asked_about_when_it_is_its_turn(home: Path) -> None:
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    path = home / "pem"
    key.write_private_key(str(path), "pkcs1-pem", passphrase="secret", cipher_name="aes128-cbc")
    path.chmod(0o600)
    person = Person("secret")
    found = await look(destination(make(home, "one"), path), person)
    assert person.asked == []
    assert [offer.public_data for offer in await all_of(found)] == [public(home / "one"), key.public_data]
    found = await look(destination(path), Person(""))
    assert await all_of(found) == []
    assert found.describe() == f"there was no key to try; skipped {path} (no passphrase was given)"


async def test_a_public_half_that_belongs_to_another_key_is_found_out(home: Path) -> None:
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    path = home / "pem"
    key.write_private_key(str(path), "pkcs1-pem", passphrase="secret", cipher_name="aes128-cbc")
    path.chmod(0o600)
    asyncssh.generate_private_key("ecdsa-sha2-nistp256").write_public_key(f"{path}.pub")
    (offer,) = await all_of(await look(destination(path), Person("secret")))
    with pytest.raises(ValueError, match="that of another key"):
        await offer.sign_async(b"data")


async def test_a_security_key_without_the_extra_or_the_agent_is_named_with_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "lives_in_a_token", lambda _algorithm: True)
    monkeypatch.setattr("tunnels.ssh.security_keys.installed", lambda: False)
    one = make(home, "one")
    found = await look(destination(one))
    assert found.waiting == []
    assert found.skipped == [
        f"{one} (it lives in a security key: `ssh-add {one}`, or install tunnels[fido2])"
    ]


async def test_a_smart_card_is_looked_at_when_it_is_its_turn(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def offers(where: Destination, _attempt: object) -> list[Offer]:
        asked.append(where)
        raise Unusable("there is no card")

    monkeypatch.setattr(pkcs11, "offers", offers)
    found = await look(replace(destination(make(home, "one")), pkcs11_provider="/card.so"))
    assert names(found) == [str(home / "one"), "PKCS11Provider /card.so"]
    assert asked == []
    await all_of(found)
    assert found.describe() == f"tried {home / 'one'}; skipped PKCS11Provider /card.so (there is no card)"
