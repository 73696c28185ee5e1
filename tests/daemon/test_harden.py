"""Which servers are on the way, and with which key; that sshd does what the lines say is in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunnels.core.forward import ForwardKind, parse_forward
from tunnels.core.harden import Server
from tunnels.core.profile import Profile
from tunnels.daemon.harden import make_key, servers
from tunnels.errors import BadSetting

FORWARDS = parse_forward(ForwardKind.LOCAL, "5432:db:5432").spread()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def profile(**more: object) -> Profile:
    keys: dict[str, object] = {"ssh_config": "none", "user": "me", "forwards": FORWARDS, **more}
    return Profile("work", "vps", **keys)  # type: ignore[arg-type]


def remarks(server: Server) -> str:
    return "\n".join(server.remarks)


def test_each_jump_host_leads_to_the_one_behind_it() -> None:
    first, second, last = servers(profile(jump=("a@one", "b@two:2222")))
    assert (first.login, first.grant.opens) == ("a", ("two:2222",))
    assert (second.login, second.grant.opens) == ("b", ("vps:22",))
    assert (last.login, last.grant.opens) == ("me", ("db:5432",))
    assert [each.is_hop for each in (first, second, last)] == [True, True, False]
    assert "where others go through it" in remarks(first)
    assert "where others go through it" not in remarks(last)


def test_a_key_of_its_own_goes_at_the_end_of_the_line() -> None:
    made = make_key(profile(), None)
    assert made.identity.endswith("/.ssh/tunnels-work")
    [server] = servers(profile(identity_file=(made.identity,)))
    assert server.authorized_keys.endswith(made.line)
    assert server.identity == made.identity
    assert "key" not in remarks(server).replace("authorized_keys", "").replace("the key from", "")


def test_without_ssh_config_a_new_key_is_for_the_jump_hosts_too() -> None:
    made = make_key(profile(), None)
    hop, last = servers(profile(jump=("one",)), made)
    assert hop.key == last.key == made.line


def test_the_usual_key_is_not_to_be_locked_in(home: Path) -> None:
    make_key(profile(), str(home / ".ssh" / "id_ed25519"))
    [server] = servers(profile())
    assert "is your usual key" in remarks(server)


def test_a_login_without_a_public_key_here_is_told_where_it_belongs() -> None:
    [server] = servers(profile(identity_file=("~/.ssh/none",)))
    assert server.key is None
    assert "your-public-key" in server.authorized_keys
    assert "no public key was found" in remarks(server)


def test_a_certificate_makes_authorized_keys_useless() -> None:
    [server] = servers(profile(certificate_file=("~/.ssh/id-cert.pub",)))
    assert "with a certificate" in remarks(server)


def test_a_way_that_is_not_known_is_an_error() -> None:
    with pytest.raises(BadSetting):
        servers(profile(proxy_command="nc %y"))
