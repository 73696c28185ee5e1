"""Whether a login page answers in place of the network: the judge. Pure: from what was seen to a verdict.

A captive portal (RFC 8952) lets nothing through until somebody has logged in with a browser; until then it
answers whatever is asked over plain HTTP. How it is found out, and why so:

* Nobody is asked who is not concerned. No vendor's "am I online" page learns when a tunnel of yours is down.
* **The address that is nobody's.** 203.0.113.113 is reserved for documentation (RFC 5737): no machine has it, and
  what is sent to it ends at the first router. A page that comes from there can only be from one in between. That
  is proof, where a page from the SSH host itself is none: many have a web server, and it redirects too.
* **The SSH host's port 80** is asked only where something that is no SSH server answered in its place, or where
  its name has led to a private address since it was last reached. It tells a portal that answers by DNS alone,
  and whether a web server on the SSH port is the host's own: then it is the wrong port and no portal.
* **NetworkManager** may know already; its word is taken.

RFC 8910 (the address of the page in DHCP's option 114) would be better, and cannot be read by a program of
the user on most systems. A transparent proxy that answers for nobody with an error (4xx, 5xx) is no portal.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from tunnels.core.http_head import HeadReader, Rejected
from tunnels.errors import CaptivePortal

#: TEST-NET-3 (RFC 5737 section 3): the address of nobody.
NOBODY = "203.0.113.113"

#: What NetworkManager says where it has found one (nmcli(1), "networking connectivity").
PORTAL = "portal"

#: Characters of an address that are shown; what is longer has a key in it that is meant for one browser.
_MAX_PATH = 60

_FIRST_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9]( .*)?")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]*")

#: "Network Authentication Required" (RFC 6585 section 6): the one answer that says it outright.
_LOGIN_REQUIRED = 511


class Manner(enum.Enum):
    """How somebody speaks who was taken for an SSH server."""

    HTTP = "a web server"
    TLS = "a TLS server"
    OTHER = "something else"


def manner(heard: bytes) -> Manner:
    """Who speaks like that. An alert is what TLS servers answer to our version (RFC 8446 section 6)."""
    if heard.lstrip().startswith((b"HTTP/", b"<")):
        return Manner.HTTP
    return Manner.TLS if heard[:2] == b"\x15\x03" else Manner.OTHER


class Reply(NamedTuple):
    """What came of a plain HTTP request."""

    status: int = 0  #: 0: no answer that is HTTP
    location: str = ""  #: of a redirect, as it was sent
    present: bool = False  #: somebody is there, and be it to refuse

    @property
    def is_page(self) -> bool:
        """Whether it is something to look at, or a way to it."""
        return 200 <= self.status < 400 or self.status == _LOGIN_REQUIRED


SILENCE = Reply()
REFUSAL = Reply(present=True)


def read_reply(data: bytes) -> Reply:
    """Read the beginning of an answer; the head has to be whole."""
    try:
        found = HeadReader(_FIRST_LINE, lenient=True).receive(data)
    except Rejected:
        found = None
    if found is None:
        return REFUSAL
    head = found[0]
    location = next(iter(head.values(b"location")), b"").decode("ascii", "replace")
    return Reply(int(head.first[9:12]), location, present=True)


class Doubt(NamedTuple):
    """What about the SSH host is strange, beside that it cannot be reached."""

    manner: Manner | None = None  #: somebody else answers on its port
    moved: bool = False  #: its name leads to a private address, and did lead to a public one

    @property
    def concerns_host(self) -> bool:
        """Whether the host itself is worth asking."""
        return self.manner is not None or self.moved


NO_DOUBT = Doubt()


class Verdict(NamedTuple):
    """What it is."""

    captive: bool | None  #: None: that cannot be told
    url: str = ""  #: where to log in; only where ``captive``
    manager: bool = False  #: only NetworkManager says so


def judge(
    nobody: Reply, host: Reply = SILENCE, *, address: str = "", doubt: Doubt = NO_DOUBT, manager: str = ""
) -> Verdict:
    """Decide. ``nobody`` and ``host`` are the replies of `NOBODY` and of the SSH host at ``address``."""
    if nobody.is_page:
        return Verdict(True, login_page(nobody.location, NOBODY))
    if host.status == _LOGIN_REQUIRED or (doubt.moved and host.is_page):
        return Verdict(True, login_page(host.location, address))
    if doubt.manner is not None and _leads_inside(host.location) and not is_private(address):
        return Verdict(True, login_page(host.location, address))
    if manager == PORTAL:
        return Verdict(True, login_page("", NOBODY), manager=True)
    return Verdict(False if host.present else None)


def _leads_inside(location: str) -> bool:
    """Whether a redirect leads to an address of a private network, as no host of the internet's would."""
    try:
        return is_private(urlsplit(location).hostname or "")
    except ValueError:
        return False


def is_private(address: str) -> bool:
    """Whether it is an address of a private network (RFC 1918, RFC 4193, RFC 6598) or of this link."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    shared = found.version == 4 and found in _SHARED
    return (found.is_private or shared) and not found.is_loopback and not found.is_unspecified


def is_this_machine(addresses: Iterable[str]) -> bool:
    """Whether these are addresses of this machine, to which no network is in the way."""
    addresses = tuple(addresses)
    return bool(addresses) and all(each == "::1" or each.startswith("127.") for each in addresses)


_SHARED = ipaddress.ip_network("100.64.0.0/10")  # of a provider's NAT


def has_moved_inside(before: Iterable[str], now: Iterable[str]) -> bool:
    """Whether a name that led to public addresses leads to private ones only."""
    before, now = tuple(before), tuple(now)
    return (
        any(not is_private(each) for each in before) and bool(now) and all(is_private(each) for each in now)
    )


def login_page(location: str, address: str) -> str:
    """The address of the login page, fit to be shown and typed: what a stranger sent, without its secrets.

    What follows the path (session, hardware address) is left out: whoever opens the page is sent there anew.
    """
    plain = f"http://{f'[{address}]' if ':' in address else address}/"
    try:
        parts = urlsplit(urljoin(plain, location))
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return plain
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host):
        return plain
    is_fit = len(parts.path) <= _MAX_PATH and _PATH.fullmatch(parts.path)
    return f"{parts.scheme}://{host}{port}{parts.path if is_fit else '/'}"


def portal_error(verdict: Verdict) -> CaptivePortal:
    """Say it to the person."""
    return CaptivePortal(
        f"Wi-Fi login page at {verdict.url}: nothing gets through until somebody logs in there",
        hint=f"open {verdict.url} in a browser; the tunnel comes up by itself afterwards",
    )
