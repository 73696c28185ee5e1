"""What browsers are told; that they obey is tested with the browsers themselves, in e2e."""

from __future__ import annotations

import json
import re

import pytest

from tunnels.core.browser import (
    KINDS,
    Family,
    arguments,
    family_of,
    firefox_user_js,
    kind_named,
    profile_files,
)
from tunnels.core.proxy_address import ProxyAddress

PROXY = ProxyAddress("127.0.0.1", 1080)


def told(family: Family, *, by_http: bool = False, url: str | None = None) -> list[str]:
    return arguments(family, PROXY, "/profile", url, ["--extra"], by_http=by_http)


def preferences(*, by_http: bool = False) -> dict[str, object]:
    lines = re.findall(r"^user_pref\((.*?), (.*)\);$", firefox_user_js(PROXY, by_http=by_http), re.MULTILINE)
    return {json.loads(name): json.loads(value) for name, value in lines}


def test_chromium_is_given_the_proxy_and_no_way_past_it() -> None:
    found = told(Family.CHROMIUM, url="https://example.com")
    assert found[-2:] == ["--extra", "https://example.com"]
    for wanted in (
        "--user-data-dir=/profile",
        "--proxy-server=socks5://127.0.0.1:1080",
        "--proxy-bypass-list=<-loopback>",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "--disable-quic",
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    ):
        assert wanted in found


def test_firefox_is_given_the_proxy_and_no_way_past_it() -> None:
    assert told(Family.FIREFOX)[:2] == ["--profile", "/profile"]
    found = preferences()
    assert (found["network.proxy.type"], found["network.proxy.socks"]) == (1, "127.0.0.1")
    assert (found["network.proxy.socks_port"], found["network.proxy.socks_remote_dns"]) == (1080, True)
    assert (found["network.proxy.failover_direct"], found["network.trr.mode"]) == (False, 5)


def test_a_proxy_with_a_password_is_asked_by_http_because_browsers_have_no_password_for_socks() -> None:
    assert "--proxy-server=http://127.0.0.1:1080" in told(Family.CHROMIUM, by_http=True)
    found = preferences(by_http=True)
    assert (found["network.proxy.http"], found["network.proxy.ssl_port"]) == ("127.0.0.1", 1080)
    assert "network.proxy.socks" not in found


def test_each_family_has_files_that_it_reads() -> None:
    assert set(profile_files(Family.FIREFOX, PROXY, by_http=False)) == {"user.js"}
    (text,) = profile_files(Family.CHROMIUM, PROXY, by_http=False).values()
    assert json.loads(text)["webrtc"]["ip_handling_policy"] == "disable_non_proxied_udp"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("firefox", "firefox"),
        ("firefox-esr.desktop", "firefox"),
        ("Google-Chrome.desktop", "chrome"),
        ("com.brave.Browser", "brave"),
        ("com.microsoft.edgemac", "edge"),
        ("chromium-browser", "chromium"),
    ],
)
def test_a_browser_is_known_by_its_command_its_bundle_and_its_desktop_file(name: str, kind: str) -> None:
    found = kind_named(name)
    assert found is not None
    assert found.name == kind


def test_what_is_not_known_is_not() -> None:
    assert kind_named("w3m") is None
    assert (family_of("firefox-nightly"), family_of("ungoogled-chromium")) == (
        Family.FIREFOX,
        Family.CHROMIUM,
    )
    assert family_of("xdg-open") is None
    assert len({kind.name for kind in KINDS}) == len(KINDS)
