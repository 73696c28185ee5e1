"""The table of keywords: complete, true, and the same as in the documentation."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tunnels.ssh.keywords import KEYWORDS, Fate, Note, notes_on

PAGE = Path(__file__).parents[2] / "docs" / "ssh_config.md"

real_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh program")

#: ssh_config(5) of OpenSSH 10.1, as far as it is newer than what is installed here.
NEWER = [
    "Tag",
    "ObscureKeystrokeTiming",
    "ChannelTimeout",
    "RefuseConnection",
    "VersionAddendum",
    "WarnWeakCrypto",
]


def said(answer: str, defaults: str = "") -> list[str]:
    def read(text: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in filter(None, text.split("\n")):
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value)
        return found

    return [str(note) for note in notes_on(read(answer), read(defaults))]


# --- the table ------------------------------------------------------------------------------------


def everything_on() -> str:
    """A configuration that makes ssh print what it prints only when it is set."""
    return "\n".join(
        [
            *("BindAddress ::1", "BindInterface lo", "ControlPath /c", "HostKeyAlias a", "IdentityAgent /a"),
            *("KbdInteractiveDevices pam", "KnownHostsCommand /k", "LocalCommand l", "PKCS11Provider /p"),
            *(
                "PreferredAuthentications publickey",
                "ProxyCommand p",
                "RemoteCommand r",
                "RevokedHostKeys /r",
            ),
            *("SendEnv A", "SetEnv B=c", "CertificateFile /c", "IgnoreUnknown x", "LocalForward 1 a:1"),
            *("RemoteForward 2 b:2", "DynamicForward 3", "LogVerbose v", "GSSAPIClientIdentity me"),
        ]
    )


@real_ssh
def test_every_keyword_that_this_ssh_prints_is_in_the_table(home: Path) -> None:
    file = home / "ssh_config"
    for config in ("", everything_on(), "ProxyJump j"):
        file.write_text(f"IgnoreUnknown GSSAPI*\n{config}\n" if config else "")
        done = subprocess.run(["ssh", "-F", file, "-G", "h"], capture_output=True, text=True, check=True)
        printed = {line.split(" ")[0].lower() for line in done.stdout.splitlines()}
        assert len(printed) > 50
        assert printed - set(KEYWORDS) == set()


@real_ssh
def test_every_keyword_that_this_ssh_takes_is_in_the_table(home: Path) -> None:
    """Of what the program has as text: whatever it does not call a bad option when it stands in a file."""
    words = set(
        re.findall(rb"\x00([a-z][a-z0-9]{2,40})(?=\x00)", Path(shutil.which("ssh") or "").read_bytes())
    )
    unknown = sorted(word.decode() for word in words if word.decode() not in KEYWORDS)
    file = home / "ssh_config"
    file.write_text("".join(f"Host x\n{word} y\n" for word in unknown))
    done = subprocess.run(["ssh", "-F", file, "-G", "h"], capture_output=True, text=True, check=False)
    refused = set(re.findall(r"Bad configuration option: (\S+)", done.stderr))
    assert len(unknown) > 50
    assert set(unknown) - refused == set()


def test_newer_keywords_are_in_the_table_too() -> None:
    assert [name for name in NEWER if name.lower() not in KEYWORDS] == []


@real_ssh
def test_every_keyword_of_the_manual_is_in_the_table() -> None:
    page = Path("/usr/share/man/man5/ssh_config.5.gz")
    if page.is_file():  # an image of a container has no manuals
        text = subprocess.run(["gzip", "-dc", page], capture_output=True, text=True, check=True).stdout
        names = re.findall(r"^\.It Cm ([A-Z][A-Za-z0-9]+)$", text, re.MULTILINE)
        assert len(names) > 80
        assert [name for name in names if KEYWORDS[name.lower()].name != name] == []


@pytest.mark.parametrize("name", KEYWORDS)
def test_a_row_says_how_or_why(name: str) -> None:
    keyword = KEYWORDS[name]
    assert keyword.name.lower() == name
    assert keyword.text
    assert not keyword.text.endswith(".")
    assert keyword.fate is Fate.NOT_HONOURED or not keyword.harmless


def test_the_documentation_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    in_code = [(word.name, word.fate.value, word.text.replace("|", "\\|")) for word in KEYWORDS.values()]
    assert [(name, fate.replace("*", ""), text) for name, fate, text in rows] == in_code


# --- what is said ---------------------------------------------------------------------------------


def test_what_is_set_and_not_done_is_said_with_its_value() -> None:
    (line,) = said("hostname h\ntunnel point-to-point\n", "tunnel false\n")
    assert line == "Tunnel point-to-point: network devices (tun) are not forwarded"


@pytest.mark.parametrize(
    ("answer", "keyword"),
    [
        ("gssapiauthentication yes", "GSSAPIAuthentication"),
        ("hostbasedauthentication yes", "HostbasedAuthentication"),
        ("verifyhostkeydns ask", "VerifyHostKeyDNS"),
        ("knownhostscommand /bin/keys %H", "KnownHostsCommand"),
        ("proxycommand p\nproxyusefdpass yes", "ProxyUseFdpass"),
        ("controlpath /run/%C", "ControlPath"),
        ("localforward 1 [a]:1", "LocalForward"),
        ("remoteforward 1 [a]:1", "RemoteForward"),
        ("dynamicforward 1", "DynamicForward"),
        ("permitlocalcommand yes\nlocalcommand ls", "LocalCommand"),
        ("nohostauthenticationforlocalhost yes", "NoHostAuthenticationForLocalhost"),
        ("checkhostip yes", "CheckHostIP"),
        ("gatewayports yes", "GatewayPorts"),
        ("permitremoteopen a:1", "PermitRemoteOpen"),
        ("streamlocalbindmask 0000", "StreamLocalBindMask"),
        ("stricthostkeychecking false", "StrictHostKeyChecking"),
        ("channeltimeout session=5m", "ChannelTimeout"),
        ("usekeychain yes", "UseKeychain"),
    ],
)
def test_each_of_these_is_said(answer: str, keyword: str) -> None:
    (line,) = said(answer)
    assert line.startswith(f"{keyword} ")


@pytest.mark.parametrize(
    "answer",
    [
        *("gssapiauthentication no", "verifyhostkeydns false", "tunnel false", "controlpath none"),
        *("knownhostscommand none", "gatewayports no", "permitremoteopen any", "streamlocalbindmask 0177"),
        *("proxyusefdpass yes", "localcommand ls", "sendenv LANG", "forwardagent yes", "controlmaster auto"),
        *("requesttty force", "stricthostkeychecking ask", "ciphers aes128-ctr", "port 2222"),
    ],
)
def test_what_asks_for_nothing_or_means_nothing_is_not_said(answer: str) -> None:
    assert said(answer) == []


def test_what_ssh_does_of_itself_is_not_said() -> None:
    assert said("checkhostip yes\n", "checkhostip yes\n") == []


def test_several_values_are_one_note() -> None:
    (line,) = said("gatewayports yes\ngatewayports clientspecified\n")
    assert line.startswith("GatewayPorts yes (and 1 more): ")


def test_each_forward_is_a_note_and_what_ssh_lists_twice_is_one() -> None:
    lines = said("localforward 1 [a]:1\nlocalforward 2 /b\ndynamicforward 2\ndynamicforward 3\n")
    assert [line.split(":")[0] for line in lines] == [
        "LocalForward 1 [a]",
        "LocalForward 2 /b",
        "DynamicForward 3",
    ]


def test_a_keyword_of_a_newer_ssh_is_said_where_somebody_has_set_it() -> None:
    assert said("teleport no\n", "teleport no\n") == []
    (line,) = said("teleport yes\n", "teleport no\n")
    assert line.startswith("teleport yes: ")


def test_a_note_about_no_keyword_is_its_text() -> None:
    assert str(Note("", "", "ssh says: hm")) == "ssh says: hm"
