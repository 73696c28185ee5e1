"""Every kind of key: on a terminal, without one, and when the connection comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.agents import certify, make_key, ssh_add, ssh_agent
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NEEDS_PERSON, NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import dialing

pytestmark = [pytest.mark.loopback_site, pytest.mark.long]

PASSPHRASE = "correct horse"

ASKED = "\nPassphrase of"  # at the beginning of a line: what is said about it has the words too


class Place:
    """An sshd, a profile called work that leads to it, and keys."""

    def __init__(self, tunnels: Tunnels, site: Site, sshd: Sshd, folder: Path) -> None:
        self.tunnels = tunnels
        self.sshd = sshd
        self.folder = folder
        self.port = free_port()
        self._echo = site.far.echo

    def key(self, name: str = "key", *, passphrase: str = "", known: bool = True, pem: bool = False) -> Path:
        """Make a key; if it is ``known``, the server lets it in, and no other."""
        path = make_key(self.folder / name, passphrase=passphrase, kind="rsa" if pem else "ed25519", pem=pem)
        if known:
            self.admit(Path(f"{path}.pub").read_text())
        return path

    def admit(self, line: str) -> None:
        """Let this key in, and no other."""
        (self.sshd.folder / "authorized_keys").write_text(line)

    def profile(self, *ssh_config: str, **keys: object) -> None:
        """Write the profile. Lines of ssh_config are used where there are any."""
        login = {name: value for name, value in self.sshd.login().items() if name != "identity_file"}
        if ssh_config:
            file = self.tunnels.home / "ssh_config"
            file.write_text("\n".join(ssh_config) + "\n")
            login["ssh_config"] = str(file)
        self.tunnels.write(work={**login, **keys, "local": [f"{self.port}:{self._echo}"]})

    def up(self, *answers: tuple[str, str]) -> str:
        """``tunnels up`` on a terminal, answering what it asks; returns what it showed."""
        with self.tunnels.terminal("up", "work") as terminal:
            for question, answer in answers:
                terminal.expect(question)
                terminal.send(answer)
            assert terminal.wait() == OK, terminal.text
            text = terminal.text
        self.works()
        return text

    def works(self) -> None:
        traffic.check_echo(dialing(self.port), 1000)

    def comes_back(self) -> None:
        """Cut the connection; it comes back without anybody."""
        before = self.tunnels.tunnel("work")["reconnects"]
        self.sshd.drop_sessions()
        self.tunnels.wait_tunnel(
            "work",
            lambda it: it["state"] == "up" and it["reconnects"] > before,
            what="a reconnect",
            within=30,
        )
        self.works()

    def keeps(self, secret: str) -> None:
        """Nothing that the product has written, and no argument of its processes, has the secret."""
        for path in self.tunnels.home.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
        for process in self.tunnels.processes():
            assert secret not in " ".join(process.cmdline())

    def refused(self) -> str:
        """``tunnels up`` without a terminal, in vain; returns why."""
        self.tunnels.up("work", expect=NOT_AS_ASKED)
        tunnel = self.tunnels.tunnel("work")
        assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "login-refused")
        return str(tunnel["error"]["message"])


@pytest.fixture
def place(tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], tmp_path: Path) -> Place:
    return Place(tunnels, site, start_sshd("MaxAuthTries 6", "LogLevel DEBUG1"), tmp_path)


# --- keys with a passphrase -----------------------------------------------------------------------


def test_a_passphrase_is_asked_for_on_the_terminal_and_not_again_when_the_connection_comes_back(
    place: Place,
) -> None:
    key = place.key(passphrase=PASSPHRASE)
    place.profile(identity_file=str(key))
    shown = place.up((ASKED, PASSPHRASE))
    assert str(key) in shown
    assert PASSPHRASE not in shown
    place.comes_back()
    place.keeps(PASSPHRASE)
    place.tunnels.down("work")
    place.tunnels.up("work", expect=NEEDS_PERSON)  # nothing is kept beyond `down`


def test_without_a_terminal_the_tunnel_waits_for_the_passphrase_and_any_terminal_gives_it(
    place: Place,
) -> None:
    place.profile(identity_file=str(place.key(passphrase=PASSPHRASE)))
    place.tunnels.up("work", expect=NEEDS_PERSON)
    tunnel = place.tunnels.tunnel("work")
    assert tunnel["state"] == "needs-input"
    assert "passphrase" in tunnel["error"]["message"]
    place.up((ASKED, PASSPHRASE))
    place.comes_back()


def test_a_passphrase_that_comes_after_the_server_has_stopped_waiting_is_asked_for_anew(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    place = Place(tunnels, site, start_sshd("LoginGraceTime 3"), tmp_path)
    place.profile(identity_file=str(place.key(passphrase=PASSPHRASE)))
    tunnels.up("work", expect=NEEDS_PERSON)
    tunnels.wait_tunnel("work", lambda it: it["question"]["stale"], what="a server that has hung up")
    place.up((ASKED, PASSPHRASE))
    place.comes_back()


def test_a_wrong_passphrase_is_asked_for_again(place: Place) -> None:
    place.profile(identity_file=str(place.key(passphrase=PASSPHRASE)))
    place.up((ASKED, "wrong"), ("not the passphrase(.|\n)*" + ASKED, PASSPHRASE))


def test_after_three_wrong_passphrases_the_next_key_is_tried(place: Place) -> None:
    locked = place.key("locked", passphrase=PASSPHRASE)
    other = place.key("other", known=False)
    with (place.sshd.folder / "authorized_keys").open("a") as file:
        file.write(Path(f"{other}.pub").read_text())
    place.profile(identity_file=[str(locked), str(other)])
    place.up(*[(ASKED, "wrong")] * 3)


def test_no_answer_leaves_the_key_out_and_the_refusal_says_so(place: Place) -> None:
    key = place.key(passphrase=PASSPHRASE)
    place.profile(identity_file=str(key))
    with place.tunnels.terminal("up", "work") as terminal:
        terminal.expect(ASKED)
        terminal.send("")
        assert terminal.wait() == NOT_AS_ASKED
    error = place.tunnels.tunnel("work")["error"]
    assert f"tried {key} (no passphrase was given)" in error["message"]


def test_nobody_is_asked_for_the_passphrase_of_a_key_that_the_server_does_not_take(place: Place) -> None:
    unknown = place.key("unknown", passphrase=PASSPHRASE, known=False)
    place.profile(identity_file=[str(unknown), str(place.key())])
    place.tunnels.up("work")
    place.works()


def test_a_key_of_the_old_format_without_a_public_half_is_asked_for_before(place: Place) -> None:
    key = place.key(passphrase=PASSPHRASE, pem=True)
    Path(f"{key}.pub").unlink()
    assert b"Proc-Type: 4,ENCRYPTED" in key.read_bytes()
    place.profile(identity_file=str(key))
    place.up((ASKED, PASSPHRASE))
    place.comes_back()


def test_batch_mode_asks_nobody_and_says_so(place: Place) -> None:
    key = place.key(passphrase=PASSPHRASE)
    place.profile("BatchMode yes", f"IdentityFile {key}")
    assert "BatchMode" in place.refused()


def test_one_passphrase_opens_the_same_key_for_every_tunnel_that_waits_for_it(place: Place) -> None:
    place.profile(identity_file=str(place.key(passphrase=PASSPHRASE)))
    work = place.tunnels.profiles.read_text()
    other = work.replace("[profiles.work]", "[profiles.other]").replace(str(place.port), str(free_port()))
    place.tunnels.write_profiles(work + other)
    place.tunnels.up("work", "other", expect=NEEDS_PERSON)
    place.up((ASKED, PASSPHRASE))
    place.tunnels.wait_state("other", "up")


# --- the agent ------------------------------------------------------------------------------------


def test_the_agent_of_the_terminal_is_used_also_when_another_one_started_the_daemon(place: Place) -> None:
    key = place.key()
    place.profile()
    place.refused()  # starts the daemon, without an agent
    with ssh_agent(place.tunnels.home / "agent") as agent:
        ssh_add(agent, str(key))
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        place.tunnels.up("work")
        place.works()
        place.comes_back()


def test_an_agent_that_was_restarted_elsewhere_is_found_again(place: Place) -> None:
    key = place.key()
    place.profile()
    place.tunnels.env["XDG_RUNTIME_DIR"] = str(place.tunnels.home / "xdg")
    place.tunnels.env["SSH_AUTH_SOCK"] = str(place.tunnels.home / "first")
    with ssh_agent(place.tunnels.home / "first") as agent:
        ssh_add(agent, str(key))
        place.tunnels.up("work")
    with ssh_agent(place.tunnels.home / "xdg" / "openssh_agent") as agent:
        ssh_add(agent, str(key))
        place.comes_back()


def test_a_locked_agent_is_named(place: Place, tmp_path: Path) -> None:
    key = place.key()
    place.profile()
    with ssh_agent(place.tunnels.home / "agent") as agent:
        ssh_add(agent, str(key))
        ssh_add(agent, "-x", answer="lock", folder=tmp_path)
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        assert "it has no key, or is locked" in place.refused()
        ssh_add(agent, "-X", answer="lock", folder=tmp_path)
        place.tunnels.up("work")


def test_a_signature_that_somebody_declined_is_named(place: Place) -> None:
    key = place.key()
    place.profile()
    declines = {"SSH_ASKPASS": "/bin/false", "DISPLAY": ":99", "SSH_ASKPASS_REQUIRE": "force"}
    with ssh_agent(place.tunnels.home / "agent", env=declines) as agent:
        ssh_add(agent, "-c", str(key))
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        assert "refused to sign" in place.refused()


def test_a_crowd_of_keys_in_the_agent_does_not_keep_the_configured_one_from_its_turn(place: Place) -> None:
    key = place.key(passphrase=PASSPHRASE)
    place.profile(identity_file=str(key))
    with ssh_agent(place.tunnels.home / "agent") as agent:
        for number in range(8):
            ssh_add(agent, str(place.key(f"other{number}", known=False)))
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        place.up((ASKED, PASSPHRASE))
        place.comes_back()


def test_the_key_that_was_good_is_the_first_the_next_time(place: Place) -> None:
    place.profile()
    with ssh_agent(place.tunnels.home / "agent") as agent:
        for number in range(4):
            ssh_add(agent, str(place.key(f"other{number}", known=False)))
        ssh_add(agent, str(place.key()))
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        place.tunnels.up("work")
        assert place.sshd.log.count("Failed publickey") == 4
        place.comes_back()
        assert place.sshd.log.count("Failed publickey") == 4


def test_identities_only_with_a_public_key_alone_takes_that_key_of_the_agent(place: Place) -> None:
    key = place.key()
    place.profile("IdentitiesOnly yes", f"IdentityFile {key}.pub")
    with ssh_agent(place.tunnels.home / "agent") as agent:
        ssh_add(agent, str(place.key("other", known=False)))
        ssh_add(agent, str(key))
        key.unlink()
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        place.tunnels.up("work")
        place.works()
        assert place.sshd.log.count("Failed publickey") == 0


# --- certificates ---------------------------------------------------------------------------------


@pytest.fixture
def certified(tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], tmp_path: Path) -> Place:
    """A place whose server lets in whom an authority has certified, and nobody else."""
    make_key(tmp_path / "ca")
    sshd = start_sshd(
        "AuthorizedKeysFile none",
        f"TrustedUserCAKeys {tmp_path / 'ca'}.pub",
        "MaxAuthTries 6",
        "LogLevel DEBUG1",
    )
    return Place(tunnels, site, sshd, tmp_path)


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
def test_a_certificate_beside_its_key_logs_in(certified: Place, passphrase: str) -> None:
    key = certified.key(passphrase=passphrase)
    certify(certified.folder / "ca", key, user=certified.sshd.user)
    certified.profile(identity_file=str(key))
    if passphrase:
        certified.up((ASKED, passphrase))
    else:
        certified.tunnels.up("work")
        certified.works()
    certified.comes_back()


def test_a_certificate_file_goes_with_the_key_of_the_agent(certified: Place) -> None:
    key = certified.key()
    certificate = certify(certified.folder / "ca", key, user=certified.sshd.user)
    elsewhere = certificate.rename(certified.folder / "elsewhere.pub")
    certified.profile("IdentitiesOnly yes", f"CertificateFile {elsewhere}", "IdentityFile none")
    with ssh_agent(certified.tunnels.home / "agent") as agent:
        ssh_add(agent, str(key))
        key.unlink()
        certified.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        certified.tunnels.up("work")
        certified.works()
        certified.comes_back()


def test_a_certificate_in_the_agent_logs_in(certified: Place) -> None:
    key = certified.key()
    certify(certified.folder / "ca", key, user=certified.sshd.user)
    certified.profile()
    with ssh_agent(certified.tunnels.home / "agent") as agent:
        ssh_add(agent, str(key))  # with the certificate beside it
        certified.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        certified.tunnels.up("work")
        certified.works()
        certified.comes_back()


@pytest.mark.parametrize(
    ("valid", "said"), [("-2h:-1h", "it expired on "), ("+1h:+2h", "it is not valid before ")]
)
def test_a_certificate_whose_time_it_is_not_is_named_in_the_refusal(
    certified: Place, valid: str, said: str
) -> None:
    key = certified.key()
    certificate = certify(certified.folder / "ca", key, user=certified.sshd.user, valid=valid)
    certified.profile(identity_file=str(key))
    assert f"{certificate} ({said}" in certified.refused()


def test_a_certificate_for_somebody_else_is_named_in_the_refusal(certified: Place) -> None:
    key = certified.key()
    certify(certified.folder / "ca", key, user="alice")
    certified.profile(identity_file=str(key))
    assert "it names alice and not" in certified.refused()


# --- what is missing ------------------------------------------------------------------------------


def test_a_missing_file_of_ssh_config_is_left_out_and_named(place: Place) -> None:
    key = place.key(known=False)
    place.profile(f"IdentityFile {place.folder / 'missing'}", f"IdentityFile {key}")
    assert f"skipped {place.folder / 'missing'} (No such file or directory)" in place.refused()


def test_check_finds_a_key_file_of_the_profile_that_is_not_there(place: Place) -> None:
    place.profile(identity_file=str(place.folder / "missing"))
    result = place.tunnels.run("check", "work", expect=0)
    assert f"identity_file {place.folder / 'missing'} does not exist" in result.words
