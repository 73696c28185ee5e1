"""Keys that are not in files: security keys and smart cards, through the agent and directly.

Both are of software here (a library built for ssh-agent, and SoftHSM): real ones were not to be had.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.bed.agents import SecurityKey, SmartCard, softhsm, ssh_add, ssh_agent, why_no_security_key
from tests.e2e.bed.product import NEEDS_PERSON, Tunnels
from tests.e2e.test_keys import Place, place

__all__ = ["place"]

pytestmark = pytest.mark.loopback_site

with_security_key = pytest.mark.skipif(why_no_security_key() is not None, reason=str(why_no_security_key()))
with_card = pytest.mark.skipif(softhsm() is None, reason="no smart card of software: softhsm2 and opensc")

ASKED = "\nPIN of badge"


@pytest.fixture(autouse=True)
def _with_extras(tunnels: Tunnels) -> None:
    tunnels.with_extras()


# --- security keys --------------------------------------------------------------------------------


@with_security_key
def test_a_security_key_logs_in_through_the_agent(place: Place, tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519_sk"
    token = SecurityKey(tmp_path, key)
    place.admit(Path(f"{key}.pub").read_text())
    place.profile(identity_file=str(key))
    with ssh_agent(place.tunnels.home / "agent", arguments=token.agent_arguments) as agent:
        ssh_add(agent, "-S", str(token.library), str(key))
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        place.tunnels.up("work")
        place.works()
        place.comes_back()


@with_security_key
def test_without_an_agent_a_security_key_that_is_not_plugged_in_is_named(
    place: Place, tmp_path: Path
) -> None:
    key = tmp_path / "id_ed25519_sk"
    SecurityKey(tmp_path, key)
    place.admit(Path(f"{key}.pub").read_text())
    place.profile(identity_file=str(key))
    assert f"{key} (the security key does not sign: " in place.refused()


# --- smart cards ----------------------------------------------------------------------------------


@with_card
def test_a_smart_card_logs_in_through_the_agent(place: Place, tmp_path: Path) -> None:
    card = SmartCard(tmp_path / "card")
    place.admit(card.public)
    place.profile()
    with ssh_agent(place.tunnels.home / "agent", arguments=card.agent_arguments, env=card.env) as agent:
        ssh_add(agent, "-s", card.library, answer=card.PIN, folder=tmp_path)
        place.tunnels.env["SSH_AUTH_SOCK"] = str(agent)
        place.tunnels.up("work")
        place.works()
        place.comes_back()


@with_card
@pytest.mark.parametrize("kind", ["EC:prime256v1", "EC:secp384r1", "rsa:2048"])
def test_the_pin_of_a_smart_card_is_asked_for_once(place: Place, tmp_path: Path, kind: str) -> None:
    card = SmartCard(tmp_path / "card", kind)
    place.tunnels.env |= card.env
    place.admit(card.public)
    place.profile(f"PKCS11Provider {card.library}")
    shown = place.up((ASKED, card.PIN))
    assert card.PIN not in shown
    place.comes_back()
    place.keeps(card.PIN)


@with_card
def test_without_a_terminal_the_tunnel_waits_for_the_pin_and_a_wrong_one_is_asked_for_again(
    place: Place, tmp_path: Path
) -> None:
    card = SmartCard(tmp_path / "card")
    place.tunnels.env |= card.env
    place.admit(card.public)
    place.profile(f"PKCS11Provider {card.library}")
    place.tunnels.up("work", expect=NEEDS_PERSON)
    assert "PIN" in place.tunnels.tunnel("work")["error"]["message"]
    place.up((ASKED, "000000"), ("not the PIN(.|\n)*" + ASKED, card.PIN))


@with_card
def test_a_smart_card_without_a_pin_is_left_out_where_batch_mode_says_so(
    place: Place, tmp_path: Path
) -> None:
    card = SmartCard(tmp_path / "card")
    place.tunnels.env |= card.env
    place.admit(card.public)
    place.profile(f"PKCS11Provider {card.library}", "BatchMode yes")
    assert "smart card badge mine (it needs a PIN, and BatchMode" in place.refused()


def test_a_library_that_is_none_is_named(place: Place, tmp_path: Path) -> None:
    (tmp_path / "none.so").write_text("nothing")
    place.profile(f"PKCS11Provider {tmp_path / 'none.so'}")
    assert f"skipped PKCS11Provider {tmp_path / 'none.so'} (it does not work: " in place.refused()
    assert os.fspath(tmp_path / "none.so") in place.tunnels.run("check", "work").words
