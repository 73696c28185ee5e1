"""A table of configurations, each read by ``ssh -G`` itself and by us, and compared keyword by keyword.

What we should come to is worked out here from the answer of ``ssh -G`` with code of its own: for whatever
``ssh -G`` leaves unexpanded, ssh is asked to expand it, in the place of UserKnownHostsFile.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ssh.test_resolve import real_ssh
from tunnels.core.profile import Profile
from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.keywords import KEYWORDS, Fate
from tunnels.ssh.resolve import resolve

pytestmark = [real_ssh, pytest.mark.long]

HOME = pwd.getpwuid(os.getuid()).pw_dir
ME = pwd.getpwuid(os.getuid()).pw_name


@dataclass(frozen=True)
class Case:
    """One configuration, and some of what has to come of it, so that two wrongs do not agree."""

    config: str  #: ``@`` is the folder of the file
    expect: dict[str, Any] = field(default_factory=dict)
    host: str = "work"
    asked: str = ""  #: the same as arguments of ssh
    files: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    hops: tuple[str, ...] = ()  #: user@host:port of each


CASES: dict[str, Case] = {
    "nothing at all": Case("", {"hostname": "work", "port": 22, "user": ME}),
    "a host": Case(
        "Host work\n HostName 10.0.0.1\n User ann\n Port 2222\n",
        {"hostname": "10.0.0.1", "user": "ann", "port": 2222},
    ),
    "another host": Case("Host other\n Port 2222\n", {"port": 22}),
    "the first value wins": Case("Host work\n Port 1\nHost *\n Port 2\n", {"port": 1}),
    "several patterns": Case("Host home work play\n Port 3\n", {"port": 3}),
    "negation": Case("Host * !work\n Port 4\nHost w?rk\n Port 5\n", {"port": 5}),
    "negation alone": Case("Host !other\n Port 4\n", {"port": 22}),
    "keywords in any case": Case("hOST work\n pORT 6\n", {"port": 6}),
    "equals signs": Case("Host=work\n Port = 7\n User=bob\n", {"port": 7, "user": "bob"}),
    "quotes": Case('Host "work"\n User "bob"\n Port "8"\n', {"port": 8, "user": "bob"}),
    "comments": Case("# all\nHost work # mine\n Port 9 # nine\n#Port 10\n", {"port": 9}),
    "indents and empty lines": Case("\n\nHost work\n\n\t Port 11\n\n", {"port": 11}),
    "lines of another system": Case("Host work\r\n Port 12\r\n", {"port": 12}),
    "before any host": Case("Port 13\nHost work\n User u\n", {"port": 13, "user": "u"}),
    "a name with a token": Case("Host work\n HostName %h.example.com\n", {"hostname": "work.example.com"}),
    "an IPv6 address": Case("Host work\n HostName 2001:db8::1\n", {"hostname": "2001:db8::1"}),
    "an IPv6 address as the host": Case(
        "Host *:*\n Port 14\n", {"hostname": "::1", "port": 14}, host="[::1]", asked="::1"
    ),
    "user and port in the host": Case(
        "Host work\n User no\n Port 1\n",
        {"user": "ann", "port": 2200},
        host="ann@work:2200",
        asked="-l ann -p 2200 work",
    ),
    "as an address with ssh://": Case(
        "", {"user": "ann", "port": 2200}, host="ssh://ann@work:2200", asked="-l ann -p 2200 work"
    ),
    "an upper case host": Case("Host WORK\n Port 15\n", {"hostname": "work", "port": 15}, host="WORK"),
    # Match
    "match all": Case("Match all\n Port 20\n", {"port": 20}),
    "match host": Case(
        "Host work\n HostName h.example.com\nMatch host *.example.com\n Port 21\n", {"port": 21}
    ),
    "match originalhost": Case(
        "Host work\n HostName h.example.com\nMatch originalhost work\n Port 22\n User m\n", {"user": "m"}
    ),
    "match negated": Case("Match !host other\n Port 23\n", {"port": 23}),
    "match user": Case("Host work\n User bob\nMatch user bob\n Port 24\n", {"port": 24}),
    "match localuser": Case(f"Match localuser {ME}\n Port 25\n", {"port": 25}),
    "match another localuser": Case("Match localuser nobody-else\n Port 25\n", {"port": 22}),
    "match exec, which succeeds": Case('Match exec "test %h = work"\n Port 26\n', {"port": 26}),
    "match exec, which fails": Case('Match exec "test %h = home"\n Port 26\n', {"port": 22}),
    "match exec with a variable": Case(
        'Match exec "test $PLACE = office"\n Port 27\n', {"port": 27}, environ={"PLACE": "office"}
    ),
    "match of several": Case(
        'Match host work exec "true" user *\n Port 28\n User z\n', {"port": 28, "user": "z"}
    ),
    "match final": Case(
        "Host work\n HostName h.example.com\nMatch final host h.example.com\n Port 29\n", {"port": 29}
    ),
    "match canonical": Case(
        "CanonicalizeHostname yes\nCanonicalDomains localdomain.invalid\nCanonicalizeMaxDots 0\n"
        "CanonicalizeFallbackLocal yes\nMatch canonical all\n Port 30\n"
    ),
    "canonical names": Case(
        "CanonicalizeHostname always\nCanonicalizePermittedCNAMEs *.a:*.b\nMatch canonical host 127.0.0.1\n Port 31\n",
        host="127.0.0.1",
    ),
    # Include
    "include": Case("Include @/more\n", {"port": 40}, files={"more": "Port 40\n"}),
    "include within a host": Case(
        "Host other\n Include @/more\nHost work\n Port 41\n", {"port": 41}, files={"more": "Port 1\n"}
    ),
    "include in the middle of a host": Case(
        "Host work\n User a\n Include @/more\n Port 42\n",
        {"user": "a", "port": 43},
        files={"more": "Host work\n Port 43\n User b\n"},
    ),
    "nested includes": Case(
        "Include @/one\n", {"port": 44}, files={"one": "Include @/two\n", "two": "Host work\n Port 44\n"}
    ),
    "include of a pattern": Case(
        "Include @/d/*.conf\n",
        {"port": 45, "user": "b"},
        files={"d/1.conf": "Port 45\n", "d/2.conf": "Port 46\nUser b\n", "d/3.off": "User c\n"},
    ),
    "include of several": Case(
        'Include @/one "@/two words"\n',
        {"port": 47, "user": "w"},
        files={"one": "Port 47\n", "two words": "User w\n"},
    ),
    "include of what is not there": Case("Include @/missing\nPort 48\n", {"port": 48}),
    "include of a relative path": Case("Include tunnels-no-such-file\nPort 49\n", {"port": 49}),
    "include with tokens used later": Case(
        "Include @/more\nHost work\n HostName h.example.com\n",
        {"identity_files": ("/k/h.example.com",)},
        files={"more": "Host work\n IdentityFile /k/%h\n"},
    ),
    # keys
    "identities in order": Case(
        "IdentityFile /b\nIdentityFile ~/a\n", {"identity_files": ("/b", f"{HOME}/a")}
    ),
    "identities of two hosts": Case(
        "Host work\n IdentityFile /b\nHost *\n IdentityFile /a\n IdentityFile /b\n"
    ),
    "an identity with tokens": Case(
        "Host work\n HostName h\n User u\n Port 50\n IdentityFile ~/%d/%h-%i-%k-%L-%l-%n-%p-%r-%u-%%-%C\n"
    ),
    "an identity with a variable": Case(
        "IdentityFile ${KEYS}/id\n", {"identity_files": ("/k/id",)}, environ={"KEYS": "/k"}
    ),
    "an identity with blanks": Case('IdentityFile "/my keys/id"\n', {"identity_files": ("/my keys/id",)}),
    "no identity": Case("IdentityFile none\n", {"identity_files": ()}),
    "the old name of identities": Case("IdentityFile2 /b\n", {"identity_files": ("/b",)}),
    "a certificate": Case(
        "CertificateFile ~/%n-cert.pub\nCertificateFile /b\n",
        {"certificate_files": (f"{HOME}/work-cert.pub", "/b")},
    ),
    "identities only": Case("IdentitiesOnly yes\n", {"identities_only": True}),
    "no agent": Case("IdentityAgent none\n", {"identity_agent": None}, environ={"SSH_AUTH_SOCK": "/s"}),
    "the agent of the environment": Case("", {"identity_agent": "/s"}, environ={"SSH_AUTH_SOCK": "/s"}),
    "the agent of the environment by name": Case(
        "IdentityAgent SSH_AUTH_SOCK\n", {"identity_agent": "/s"}, environ={"SSH_AUTH_SOCK": "/s"}
    ),
    "the agent of another variable": Case(
        "IdentityAgent $MINE\n", {"identity_agent": "/m"}, environ={"SSH_AUTH_SOCK": "/s", "MINE": "/m"}
    ),
    "an agent with blanks and tokens": Case(
        'IdentityAgent "~/my agents/%n"\n', {"identity_agent": f"{HOME}/my agents/work"}
    ),
    # hops
    "a hop": Case("Host work\n ProxyJump gate\n", hops=(f"{ME}@gate:22",)),
    "a hop with everything": Case("Host work\n ProxyJump ann@gate:2200\n", hops=("ann@gate:2200",)),
    "a hop as an address with ssh://": Case(
        "Host work\n ProxyJump ssh://ann@gate:2200\n", hops=("ann@gate:2200",)
    ),
    "a hop with a host of its own": Case(
        "Host work\n ProxyJump gate\nHost gate\n HostName g.example.com\n User g\n",
        hops=("g@g.example.com:22",),
    ),
    "hops of hops": Case(
        "Host work\n ProxyJump b\nHost b\n ProxyJump a:1\n User bb\n", hops=(f"{ME}@a:1", "bb@b:22")
    ),
    "a list of hops": Case(
        "Host work\n ProxyJump a,x@b:2\nHost b\n ProxyJump no\n", hops=(f"{ME}@a:22", "x@b:2")
    ),
    "an IPv6 hop": Case("Host work\n ProxyJump x@[2001:db8::1]:2\n", hops=("x@2001:db8::1:2",)),
    "no hop": Case("Host work\n ProxyJump none\nHost *\n ProxyJump gate\n", {"proxy_jump": ()}),
    "a hop for all but itself": Case(
        "Host gate\n ProxyJump none\nHost *\n ProxyJump gate\n", hops=(f"{ME}@gate:22",)
    ),
    "a proxy command": Case(
        'Host work\n HostName h\n ProxyCommand nc -x %h:%p "%n" 2>/dev/null | cat # %r %%\n User u\n',
        {"proxy_command": 'nc -x h:22 "work" 2>/dev/null | cat # u %'},
    ),
    "a proxy command with an equals sign": Case("ProxyCommand=nc %h %p\n", {"proxy_command": "nc work 22"}),
    "no proxy command": Case("ProxyCommand none\n", {"proxy_command": None}),
    "whichever of hop and command comes first": Case(
        "ProxyCommand nc %h\nProxyJump gate\n", {"proxy_jump": ()}
    ),
    # host keys
    "known hosts": Case("UserKnownHostsFile /a ~/b\n", {"user_known_hosts_files": ("/a", f"{HOME}/b")}),
    "no known hosts": Case("UserKnownHostsFile none\n", {"user_known_hosts_files": ()}),
    "known hosts with blanks": Case(
        'UserKnownHostsFile "/my files" /b\n', {"user_known_hosts_files": ("/my files", "/b")}
    ),
    "known hosts with tokens": Case("UserKnownHostsFile ~/kh/%k\nHostKeyAlias Alias\n"),
    "global known hosts": Case("GlobalKnownHostsFile /g /h\n", {"global_known_hosts_files": ("/g", "/h")}),
    "no global known hosts": Case("GlobalKnownHostsFile none\n", {"global_known_hosts_files": ()}),
    "revoked keys": Case("RevokedHostKeys ~/revoked\n", {"revoked_host_keys": f"{HOME}/revoked"}),
    "an alias": Case("HostKeyAlias other\n", {"host_key_alias": "other"}),
    "strict": Case("StrictHostKeyChecking yes\n", {"strict_host_key_checking": "yes"}),
    "not strict": Case("StrictHostKeyChecking off\n", {"strict_host_key_checking": "no"}),
    "accept-new": Case("StrictHostKeyChecking accept-new\n", {"strict_host_key_checking": "accept-new"}),
    "hashed names": Case("HashKnownHosts yes\n", {"hash_known_hosts": True}),
    "updates": Case("UpdateHostKeys ask\n", {"update_host_keys": "ask"}),
    "no updates": Case("UpdateHostKeys no\n", {"update_host_keys": "no"}),
    "no updates with files of one's own": Case("UserKnownHostsFile /a\n", {"update_host_keys": "no"}),
    # the connection
    "IPv6 only": Case("AddressFamily inet6\n", {"address_family": "inet6"}),
    "IPv4 only": Case("AddressFamily inet\n", {"address_family": "inet"}),
    "an address to come from": Case("BindAddress 127.0.0.1\n", {"bind_address": "127.0.0.1"}),
    "an interface to come from": Case("BindInterface lo\n", {"bind_interface": "lo"}),
    "time units": Case("ServerAliveInterval 1m30\nConnectTimeout 1h\n", {"server_alive_interval": 90}),
    "keepalives": Case("ServerAliveCountMax 7\nTCPKeepAlive no\n", {"server_alive_count_max": 7}),
    "the old name of the kernel's": Case("KeepAlive no\n", {"tcp_keepalive": False}),
    "rekeying": Case("RekeyLimit 1G 1h\n", {"rekey_bytes": 2**30, "rekey_seconds": 3600}),
    "rekeying by time": Case("RekeyLimit default 10m\n", {"rekey_bytes": None, "rekey_seconds": 600}),
    "compression": Case("Compression yes\n", {"compression": True}),
    "quality": Case("IPQoS ef cs1\n", {"ip_qos": 0xB8}),
    "quality by number": Case("IPQoS 46\n", {"ip_qos": 46}),
    "no quality": Case("IPQoS none\n", {"ip_qos": None}),
    # algorithms
    "ciphers": Case("Ciphers aes256-ctr,aes128-ctr\n", {"ciphers": ("aes256-ctr", "aes128-ctr")}),
    "ciphers in front": Case("Ciphers ^aes256-ctr\n"),
    "more of everything": Case(
        "KexAlgorithms +diffie-hellman-group14-sha1\nMACs +hmac-md5\nCiphers +aes128-cbc\n"
    ),
    "less of everything": Case("KexAlgorithms -*nistp*\nMACs -*sha1*\nHostKeyAlgorithms -*cert*\n"),
    "host key algorithms": Case("HostKeyAlgorithms ssh-ed25519\n", {"host_key_algorithms": ("ssh-ed25519",)}),
    "accepted keys": Case("PubkeyAcceptedAlgorithms -ssh-rsa*\nCASignatureAlgorithms ssh-ed25519\n"),
    "accepted keys by their old name": Case("PubkeyAcceptedKeyTypes ssh-ed25519\n"),
    "long RSA keys": Case("RequiredRSASize 3072\n", {"required_rsa_size": 3072}),
    # logging in
    "methods": Case(
        "PreferredAuthentications password,publickey\n",
        {"preferred_authentications": ("password", "publickey")},
    ),
    "nobody to ask": Case("BatchMode yes\nNumberOfPasswordPrompts 1\n", {"batch_mode": True}),
    "no keys": Case("PubkeyAuthentication no\n", {"pubkey_authentication": False}),
    "bound keys": Case("PubkeyAuthentication host-bound\n", {"pubkey_authentication": True}),
    "no keys, by an old name": Case("DSAAuthentication no\n", {"pubkey_authentication": False}),
    "no passwords": Case("PasswordAuthentication no\nKbdInteractiveAuthentication no\n"),
    "no challenges by an old name": Case(
        "ChallengeResponseAuthentication no\n", {"kbd_interactive_authentication": False}
    ),
    "no challenges by older names": Case(
        "SkeyAuthentication no\n", {"kbd_interactive_authentication": False}
    ),
    "no challenges by the oldest name": Case(
        "TISAuthentication no\n", {"kbd_interactive_authentication": False}
    ),
    "a token with keys": Case("PKCS11Provider /usr/lib/token.so\n", {"pkcs11_provider": "/usr/lib/token.so"}),
    "a token by its old name": Case(
        "SmartcardDevice /usr/lib/token.so\n", {"pkcs11_provider": "/usr/lib/token.so"}
    ),
    "a security key": Case(
        "SecurityKeyProvider /usr/lib/sk.so\n", {"security_key_provider": "/usr/lib/sk.so"}
    ),
    "a security key by a variable": Case(
        "SecurityKeyProvider $SK\n", {"security_key_provider": "/v/sk.so"}, environ={"SK": "/v/sk.so"}
    ),
    "what this ssh does not know": Case(
        "IgnoreUnknown UseKeychain\nUseKeychain yes\nPort 60\n", {"port": 60}
    ),
}


# --- what ssh says ----------------------------------------------------------------------------------


class Oracle:
    """Asks ``ssh -G``, with one configuration and one environment."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._said: dict[tuple[str, ...], list[str]] = {}

    def lines(self, host: str, *options: str, file: str | None = None) -> list[str]:
        command = ["ssh", "-F", file or self._file, *options, "-G", *host.split()]
        if tuple(command) not in self._said:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            self._said[tuple(command)] = done.stdout.splitlines()
        return self._said[tuple(command)]

    def values(self, host: str, keyword: str, *options: str, file: str | None = None) -> list[str]:
        found = [line.split(" ", 1) for line in self.lines(host, *options, file=file)]
        return [pair[1] for pair in found if len(pair) == 2 and pair[0] == keyword]

    def value(self, host: str, keyword: str) -> str:
        found = self.values(host, keyword)
        return found[0] if found else ""

    def is_set(self, host: str, keyword: str) -> bool:
        return self.values(host, keyword) != self.values("localhost", keyword, file="none")

    def expand(self, host: str, text: str) -> str:
        """Let ssh put the tokens in: it does so with the files of known hosts."""
        (found,) = self.values(host, "userknownhostsfile", "-o", f'UserKnownHostsFile="{text}"')
        return found


YES = {"yes", "true", "host-bound", "unbound"}

#: How each keyword is compared: the field of ours, and how ssh writes it.
PLAIN = {
    "hostname": "hostname",
    "user": "user",
    "bindaddress": "bind_address",
    "bindinterface": "bind_interface",
}
PLAIN |= {"hostkeyalias": "host_key_alias", "pkcs11provider": "pkcs11_provider"}
FLAGS = {
    "identitiesonly": "identities_only",
    "hashknownhosts": "hash_known_hosts",
    "compression": "compression",
}
FLAGS |= {"tcpkeepalive": "tcp_keepalive", "batchmode": "batch_mode"}
FLAGS |= {
    "pubkeyauthentication": "pubkey_authentication",
    "passwordauthentication": "password_authentication",
}
FLAGS |= {"kbdinteractiveauthentication": "kbd_interactive_authentication"}
NUMBERS = {
    "port": "port",
    "serveralivecountmax": "server_alive_count_max",
    "requiredrsasize": "required_rsa_size",
}
NUMBERS |= {"numberofpasswordprompts": "number_of_password_prompts"}
LISTS = {"ciphers": "ciphers", "kexalgorithms": "kex_algorithms", "macs": "macs"}
LISTS |= {"hostkeyalgorithms": "host_key_algorithms", "casignaturealgorithms": "ca_signature_algorithms"}
LISTS |= {"pubkeyacceptedalgorithms": "pubkey_accepted_algorithms"}
LISTS |= {"preferredauthentications": "preferred_authentications"}
TIMES = {"serveraliveinterval": "server_alive_interval", "connecttimeout": "connect_timeout"}
WORDS: dict[str, tuple[str, dict[str, str]]] = {
    "addressfamily": ("address_family", {}),
    "stricthostkeychecking": ("strict_host_key_checking", {"true": "yes", "false": "no", "off": "no"}),
    "updatehostkeys": ("update_host_keys", {"true": "yes", "false": "no"}),
}


def expected(oracle: Oracle, host: str) -> dict[str, Any]:
    """What a destination should be, by field, out of what ssh says."""
    want: dict[str, Any] = {}
    for keyword, name in PLAIN.items():
        want[name] = oracle.value(host, keyword) or None
    for keyword, name in FLAGS.items():
        want[name] = oracle.value(host, keyword) in YES
    for keyword, name in NUMBERS.items():
        want[name] = int(oracle.value(host, keyword))
    for keyword, name in LISTS.items():
        said = tuple(oracle.value(host, keyword).split(",")) if oracle.is_set(host, keyword) else ()
        want[name] = said
    for keyword, name in TIMES.items():
        want[name] = int(oracle.value(host, keyword).replace("none", "0")) or None
    for keyword, (name, words) in WORDS.items():
        said_word = oracle.value(host, keyword)
        want[name] = words.get(said_word, said_word)
    for keyword, name in {"identityfile": "identity_files", "certificatefile": "certificate_files"}.items():
        files = [file for file in oracle.values(host, keyword) if file != "none"]
        want[name] = tuple(dict.fromkeys(oracle.expand(host, file) for file in files))
    revoked = oracle.value(host, "revokedhostkeys")
    want["revoked_host_keys"] = oracle.expand(host, revoked) if revoked else None
    size, seconds = oracle.value(host, "rekeylimit").split()
    want["rekey_bytes"], want["rekey_seconds"] = int(size) or None, int(seconds) or None
    return want


@pytest.mark.parametrize("name", CASES)
@pytest.mark.time_limit(60)
async def test_ssh_and_we_read_a_configuration_alike(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    for variable, value in case.environ.items():
        monkeypatch.setenv(variable, value)
    route, oracle, host = await read(case, home)
    got = route.target

    for field_name, value in expected(oracle, host).items():
        assert getattr(got, field_name) == value, field_name
    assert got.identity_files_configured == oracle.is_set(host, "identityfile")
    assert " ".join(got.user_known_hosts_files) == without_none(oracle.value(host, "userknownhostsfile"))
    assert " ".join(got.global_known_hosts_files) == without_none(oracle.value(host, "globalknownhostsfile"))
    assert agrees_about_the_agent(got, oracle.value(host, "identityagent"))
    command = oracle.value(host, "proxycommand")
    assert bool(got.proxy_command) == (command not in {"", "none"})
    for field_name, value in case.expect.items():
        assert getattr(got, field_name) == value, field_name
    assert tuple(f"{hop.user}@{hop.hostname}:{hop.port}" for hop in route.hops) == case.hops
    for hop in route.hops:
        for field_name, value in expected(oracle, f"-l {hop.user} -p {hop.port} {hop.alias}").items():
            assert getattr(hop, field_name) == value, f"{hop.alias}: {field_name}"


async def read(case: Case, folder: Path) -> tuple[Route, Oracle, str]:
    for name, text in case.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.replace("@/", f"{folder}/"))
    file = folder / "ssh_config"
    file.write_bytes(re.sub(r"(?<=[ \"])@/", f"{folder}/", case.config).encode())
    route = await resolve(Profile("test", case.host, ssh_config=str(file)))
    return route, Oracle(str(file)), case.asked or case.host


def without_none(value: str) -> str:
    return "" if value == "none" else value


def agrees_about_the_agent(got: Destination, said: str) -> bool:
    if said == "none":
        return got.identity_agent is None
    if said in {"", "SSH_AUTH_SOCK"}:
        return got.identity_agent == os.environ.get("SSH_AUTH_SOCK")
    if said.startswith("$"):
        return got.identity_agent == os.environ[said[1:]]
    return got.identity_agent == said


# --- what ssh refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("Host work\n Prt 22\n", "line 2: Bad configuration option: prt"),
        ("Host work\n Port 99999\n", "line 2"),
        ("Host work\n Port\n", "line 2"),
        ("\n\nServerAliveInterval soon\n", "line 3"),
        ("Match nonsense\n", "line 1"),
        ('Host work\n User "bob\n', "line 2"),
        ("Ciphers no-such-cipher\n", "line 1: Bad SSH2 cipher spec"),
    ],
)
async def test_what_ssh_refuses_is_refused_in_its_words(config: str, words: str, home: Path) -> None:
    file = home / "ssh_config"
    file.write_text(config)
    done = subprocess.run(["ssh", "-F", file, "-G", "work"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    with pytest.raises(BadSetting, match=re.escape(words)) as caught:
        await resolve(Profile("test", "work", ssh_config=str(file)))
    assert done.stderr.splitlines()[0].strip() in caught.value.message


async def test_a_file_that_is_not_there_is_refused(home: Path) -> None:
    with pytest.raises(BadSetting, match="No such file"):
        await resolve(Profile("test", "work", ssh_config=str(home / "missing")))


# --- nothing is left out ----------------------------------------------------------------------------

#: Keywords that are honoured and have their test elsewhere, and where.
ELSEWHERE = {
    "refuseconnection": "test_ssh_g.py::test_a_connection_that_ssh_config_refuses_is_refused_in_its_words",
    "tag": "test_ssh_g.py::test_what_a_newer_ssh_prints_is_understood",
    "rsaminsize": "test_ssh_g.py::test_red_hats_name_of_the_size_of_rsa_keys_is_understood",
    "protocolkeepalives": "test_agreement.py::test_debians_names_of_the_keepalive_mean_the_keepalive",
    "setuptimeout": "test_agreement.py::test_debians_names_of_the_keepalive_mean_the_keepalive",
}


def used_in(text: str) -> set[str]:
    found = re.findall(r"^[ \t]*([A-Za-z0-9]+)[ =]", text, re.MULTILINE)
    return {word.lower() for word in found}


@pytest.mark.parametrize(
    "keyword", [name for name, keyword in KEYWORDS.items() if keyword.fate is Fate.HONOURED]
)
def test_every_keyword_that_is_honoured_has_a_test(keyword: str) -> None:
    texts = [text for case in CASES.values() for text in (case.config, *case.files.values())]
    if keyword in ELSEWHERE:
        file, _, test = ELSEWHERE[keyword].partition("::")
        assert f"def {test}(" in (Path(__file__).parent / file).read_text()
    else:
        assert any(keyword in used_in(text) for text in texts)


@pytest.mark.parametrize("keyword", ["ProtocolKeepAlives", "SetupTimeOut"])
async def test_debians_names_of_the_keepalive_mean_the_keepalive(keyword: str, home: Path) -> None:
    file = home / "ssh_config"
    file.write_text(f"{keyword} 33\n")
    command = ["ssh", "-F", str(file), "-G", "work"]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:  # it is Debian's
        got = (await resolve(Profile("test", "work", ssh_config=str(file)))).target
        assert got.server_alive_interval == 33
