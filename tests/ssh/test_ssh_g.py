from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.profile import HostSpec
from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination, LocalMachine
from tunnels.ssh.ssh_g import destination_from, parse_ssh_g, quality, split_files

MACHINE = LocalMachine("/h", "/home/me", "me", 1000, "laptop.lan")

#: What OpenSSH 9.2 prints for a host with everything set, without the keywords that are not read here.
STORED = """\
host work
user admin
hostname db.internal
port 2222
addressfamily inet6
compression yes
batchmode yes
numberofpasswordprompts 1
hashknownhosts yes
identitiesonly yes
kbdinteractiveauthentication no
passwordauthentication yes
pubkeyauthentication host-bound
stricthostkeychecking accept-new
tcpkeepalive no
serveralivecountmax 0
serveraliveinterval 60
ciphers aes128-gcm@openssh.com,aes256-gcm@openssh.com
hostkeyalgorithms ssh-ed25519,rsa-sha2-512
kexalgorithms curve25519-sha256
macs umac-64-etm@openssh.com
identityfile ~/my keys/id one
identityfile %d/.ssh/%r@%h-%n
identityfile ${NOT_SET}/id
certificatefile ~/c-%i
bindaddress 127.0.0.1
bindinterface eth0
hostkeyalias alias
identityagent /run/agent dir/me
revokedhostkeys ~/revoked
preferredauthentications publickey,password
globalknownhostsfile none
userknownhostsfile /tmp/a b /home/me/.ssh/known_hosts
connecttimeout 90
rekeylimit 1073741824 3600
proxyjump u@b:22,q@c:99
"""


def read(text: str, *, environ: dict[str, str] | None = None, defaults: str = "") -> Destination:
    return destination_from(
        parse_ssh_g(text), HostSpec("work"), MACHINE, environ or {}, defaults=parse_ssh_g(defaults)
    )


def test_everything_that_ssh_says_is_understood() -> None:
    assert read(STORED) == Destination(
        alias="work",
        hostname="db.internal",
        port=2222,
        user="admin",
        identity_files=("/home/me/my keys/id one", "/home/me/.ssh/admin@db.internal-work"),
        identity_files_configured=True,
        certificate_files=("/home/me/c-1000",),
        identities_only=True,
        identity_agent="/run/agent dir/me",
        user_known_hosts_files=("/tmp/a b", "/home/me/.ssh/known_hosts"),
        global_known_hosts_files=(),
        revoked_host_keys="/home/me/revoked",
        host_key_alias="alias",
        host_key_algorithms=("ssh-ed25519", "rsa-sha2-512"),
        strict_host_key_checking="accept-new",
        hash_known_hosts=True,
        proxy_jump=("u@b:22", "q@c:99"),
        server_alive_interval=60,
        server_alive_count_max=0,
        connect_timeout=90,
        number_of_password_prompts=1,
        batch_mode=True,
        address_family="inet6",
        bind_address="127.0.0.1",
        bind_interface="eth0",
        tcp_keepalive=False,
        compression=True,
        ciphers=("aes128-gcm@openssh.com", "aes256-gcm@openssh.com"),
        kex_algorithms=("curve25519-sha256",),
        macs=("umac-64-etm@openssh.com",),
        rekey_bytes=1073741824,
        rekey_seconds=3600,
        preferred_authentications=("publickey", "password"),
        kbd_interactive_authentication=False,
    )


def test_what_ssh_does_of_itself_is_not_taken_for_what_somebody_has_chosen() -> None:
    same = "ciphers a,b\nidentityfile ~/.ssh/id_rsa\nidentityfile ~/.ssh/id_dsa\nmacs m\n"
    got = read(same.replace("macs m", "macs n"), defaults=same)

    assert (got.ciphers, got.macs) == ((), ("n",))
    assert got.identity_files == ("/home/me/.ssh/id_rsa", "/home/me/.ssh/id_dsa")
    assert not got.identity_files_configured


def test_an_empty_answer_gives_what_was_asked() -> None:
    got = destination_from({}, HostSpec("h", "u", 99), MACHINE, {})

    assert (got.hostname, got.user, got.port) == ("h", "u", 99)
    assert got.strict_host_key_checking == "ask"


@pytest.mark.parametrize(
    ("value", "environ", "socket"),
    [
        ("none", {"SSH_AUTH_SOCK": "/s"}, None),
        ("SSH_AUTH_SOCK", {"SSH_AUTH_SOCK": "/s"}, "/s"),
        ("SSH_AUTH_SOCK", {}, None),
        ("$MINE", {"MINE": "/m"}, "/m"),
        ("$MINE", {}, None),
        ("~/a-%r", {}, "/home/me/a-me"),
        ("${DIR}/a", {"DIR": "/d"}, "/d/a"),
        (None, {"SSH_AUTH_SOCK": "/s"}, "/s"),
        (None, {}, None),
    ],
)
def test_the_agent_is_found_where_identityagent_says(
    value: str | None, environ: dict[str, str], socket: str | None
) -> None:
    text = f"identityagent {value}\n" if value is not None else ""

    assert read(text, environ=environ).identity_agent == socket


@pytest.mark.parametrize(
    ("value", "files"),
    [
        ("none", ()),
        ("/a /b", ("/a", "/b")),
        ("/a b /c", ("/a b", "/c")),
        ("~/a %d/b ${X}/c", ("~/a", "%d/b", "${X}/c")),
        ("/dev/null", ("/dev/null",)),
        ("", ()),
    ],
)
def test_files_in_one_line_are_told_apart_as_well_as_can_be(value: str, files: tuple[str, ...]) -> None:
    assert split_files(value) == files


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("true", "yes"),
        ("yes", "yes"),
        ("false", "no"),
        ("off", "no"),
        ("ask", "ask"),
        ("accept-new", "accept-new"),
        ("something-of-the-future", "ask"),
    ],
)
def test_strict_host_key_checking_is_read_under_all_its_names(said: str, meant: str) -> None:
    assert read(f"stricthostkeychecking {said}\n").strict_host_key_checking == meant


@pytest.mark.parametrize(
    ("text", "attribute", "expected"),
    [
        ("identityfile none\n", "identity_files", ()),
        ("proxycommand none\n", "proxy_command", None),
        ("proxyjump none\n", "proxy_jump", ()),
        ("proxyjump %r@gate\nuser ann\n", "proxy_jump", ("ann@gate",)),
        ("proxyjump [fe80::1%eth0]:22\n", "proxy_jump", ("[fe80::1%eth0]:22",)),
        ('proxycommand nc "%h" %p | cat\n', "proxy_command", 'nc "work" 22 | cat'),
        ("proxyusefdpass yes\n", "proxy_use_fdpass", True),
        ("proxyusefdpass no\n", "proxy_use_fdpass", False),
        ("connecttimeout none\n", "connect_timeout", None),
        ("serveraliveinterval 0\n", "server_alive_interval", None),
        ("rekeylimit 0 0\n", "rekey_bytes", None),
        ("userknownhostsfile /x/100%\n", "user_known_hosts_files", ("/x/100%",)),
        ("hostname h\r\nport 99\r\n", "port", 99),
    ],
)
def test_none_and_tokens_mean_what_they_mean_in_ssh(text: str, attribute: str, expected: Any) -> None:
    assert getattr(read(text), attribute) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port abc\n", "port 'abc'"),
        ("proxycommand nc %q\n", "%q is not a token"),
        ("revokedhostkeys ${NOPE}/r\n", "RevokedHostKeys.*NOPE"),
        ("identityagent ${NOPE}/r\n", "IdentityAgent.*NOPE"),
    ],
)
def test_what_makes_no_sense_is_a_bad_setting(text: str, words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        read(text)


# --- what a newer, or another, ssh prints -----------------------------------------------------------


def test_a_connection_that_ssh_config_refuses_is_refused_in_its_words() -> None:
    with pytest.raises(BadSetting, match="use the VPN first"):  # ssh 10 prints it, and would end there
        read("hostname db\nrefuseconnection use the VPN first\n")


def test_what_a_newer_ssh_prints_is_understood() -> None:
    newer = "tag work\nobscurekeystroketiming yes\nwarnweakcrypto yes\nchanneltimeout none\n"
    assert read(f"hostname db\n{newer}versionaddendum none\n") == read("hostname db\n")
    assert read(f"hostname db\n{newer}", defaults="channeltimeout none\n").notes == ()


def test_red_hats_name_of_the_size_of_rsa_keys_is_understood() -> None:
    assert read("rsaminsize 2048\n").required_rsa_size == 2048
    assert read("rsaminsize 2048\nrequiredrsasize 3072\n").required_rsa_size == 3072


@pytest.mark.parametrize(
    ("said", "byte"),
    [
        *(("lowdelay throughput", 0x10), ("throughput", 0x08), ("reliability", 0x04), ("le", 0x04)),
        *(
            ("af11", 0x28),
            ("af21", 0x48),
            ("af43", 0x98),
            ("cs0", 0),
            ("cs1", 0x20),
            ("cs7", 0xE0),
            ("ef", 0xB8),
        ),
        *(("0x2e ef", 0x2E), ("16", 16), ("010", 8), ("EF", 0xB8)),
        *(("none", None), ("none none", None), ("", None), ("256", None), ("0x100", None), ("soon", None)),
    ],
)
def test_the_quality_of_service_is_the_byte_that_ssh_sets(said: str, byte: int | None) -> None:
    assert quality(said) == byte


def test_a_quality_that_nobody_has_chosen_is_the_systems() -> None:
    assert read("ipqos af21 cs1\n", defaults="ipqos af21 cs1\n").ip_qos is None
    assert read("ipqos af21 cs1\n", defaults="ipqos lowdelay throughput\n").ip_qos == 0x48


# --- whatever it prints -----------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_characters=" \n\r\x00"), min_size=1, max_size=20)
VALUES = st.lists(WORDS, max_size=4).map(" ".join)


@given(st.lists(st.tuples(WORDS, VALUES), max_size=12))
def test_every_line_is_found_again_in_its_order(lines: list[tuple[str, str]]) -> None:
    text = "".join(f"{keyword} {value}\n" for keyword, value in lines)
    found = parse_ssh_g(text)
    for keyword in {keyword.lower() for keyword, _ in lines}:
        assert found[keyword] == [value for name, value in lines if name.lower() == keyword]
    assert set(found) == {keyword.lower() for keyword, _ in lines}


KEYWORDS_READ = [line.partition(" ")[0] for line in STORED.splitlines()] + [
    "ipqos",
    "updatehostkeys",
    "batchmode",
]


@given(st.lists(st.tuples(st.sampled_from(KEYWORDS_READ), VALUES), max_size=12))
def test_no_answer_of_ssh_is_more_than_a_bad_setting(lines: list[tuple[str, str]]) -> None:
    text = "".join(f"{keyword} {value}\n" for keyword, value in lines)
    try:
        got = read(text)
    except BadSetting:
        return
    assert "none" not in (*got.user_known_hosts_files, *got.identity_files)
    assert got.strict_host_key_checking in {"yes", "no", "ask", "accept-new"}


@given(st.text(max_size=200))
def test_no_text_at_all_makes_the_reader_stumble(text: str) -> None:
    for keyword, values in parse_ssh_g(text).items():
        assert keyword
        assert values


@given(st.lists(st.from_regex(r"/[a-z]{1,5}( [a-z]{1,5})?", fullmatch=True), min_size=1, max_size=4))
def test_files_with_a_blank_in_their_names_are_told_apart_from_two_files(files: list[str]) -> None:
    assert split_files(" ".join(files)) == tuple(files)
