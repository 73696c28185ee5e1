"""What makes a browser go through a proxy and nowhere else: its arguments and its preferences. Pure.

Three things must hold: names are resolved at the far end, nothing is sent past the proxy (QUIC, WebRTC,
discovery of devices, prefetching), and when the proxy is gone there is an error page and no direct attempt.
Chromium is told by arguments, Firefox by a ``user.js`` in its profile.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tunnels.core.proxy_address import ProxyAddress


class Family(enum.Enum):
    """Whose arguments and profiles a browser understands."""

    CHROMIUM = "chromium"
    FIREFOX = "firefox"


@dataclass(frozen=True, slots=True)
class Kind:
    """A browser as it is known on the systems that have it."""

    name: str  #: what ``--browser`` takes
    title: str
    family: Family
    commands: tuple[str, ...]  #: on PATH
    app: str  #: the bundle on macOS
    binary: str  #: the program in the bundle
    flatpak: str | None
    bundle: str  #: the identifier of the bundle, in lower case


#: The first that is found serves, where nobody has said which.
KINDS: tuple[Kind, ...] = (
    Kind(
        "firefox",
        "Firefox",
        Family.FIREFOX,
        ("firefox", "firefox-esr"),
        "Firefox",
        "firefox",
        "org.mozilla.firefox",
        "org.mozilla.firefox",
    ),
    Kind(
        "chromium",
        "Chromium",
        Family.CHROMIUM,
        ("chromium", "chromium-browser"),
        "Chromium",
        "Chromium",
        "org.chromium.Chromium",
        "org.chromium.chromium",
    ),
    Kind(
        "chrome",
        "Google Chrome",
        Family.CHROMIUM,
        ("google-chrome-stable", "google-chrome", "chrome"),
        "Google Chrome",
        "Google Chrome",
        "com.google.Chrome",
        "com.google.chrome",
    ),
    Kind(
        "brave",
        "Brave",
        Family.CHROMIUM,
        ("brave-browser", "brave-browser-stable", "brave"),
        "Brave Browser",
        "Brave Browser",
        "com.brave.Browser",
        "com.brave.browser",
    ),
    Kind(
        "edge",
        "Microsoft Edge",
        Family.CHROMIUM,
        ("microsoft-edge-stable", "microsoft-edge"),
        "Microsoft Edge",
        "Microsoft Edge",
        "com.microsoft.Edge",
        "com.microsoft.edgemac",
    ),
    Kind(
        "vivaldi",
        "Vivaldi",
        Family.CHROMIUM,
        ("vivaldi-stable", "vivaldi"),
        "Vivaldi",
        "Vivaldi",
        "com.vivaldi.Vivaldi",
        "com.vivaldi.vivaldi",
    ),
    Kind(
        "librewolf",
        "LibreWolf",
        Family.FIREFOX,
        ("librewolf",),
        "LibreWolf",
        "librewolf",
        "io.gitlab.librewolf-community",
        "io.gitlab.librewolf-community",
    ),
)


def kind_named(name: str) -> Kind | None:
    """The browser that is called so: by us, by its command, its bundle or its desktop file."""
    wanted = name.lower().removesuffix(".desktop")
    for kind in KINDS:
        names = {kind.name, *kind.commands, kind.title, kind.app, kind.bundle, kind.flatpak or kind.name}
        if wanted in {each.lower() for each in names}:
            return kind
    return None


def family_of(program: str) -> Family | None:
    """What the name of a program suggests that we do not know: nightly builds, forks."""
    name = program.lower()
    if any(word in name for word in ("firefox", "fox", "wolf", "mullvad")):
        return Family.FIREFOX
    if any(word in name for word in ("chrom", "brave", "edge", "vivaldi", "opera")):
        return Family.CHROMIUM
    return None


def arguments(
    family: Family, proxy: ProxyAddress, folder: str, url: str | None, extra: list[str], *, by_http: bool
) -> list[str]:
    """The arguments behind the program. ``by_http`` is for a proxy that wants a password: the browser asks for it."""
    if family is Family.FIREFOX:
        own = ["--profile", folder, "--no-remote", "--new-instance"]
    else:
        own = chromium_arguments(proxy, folder, by_http=by_http)
    return [*own, *extra, *([url] if url is not None else [])]


def profile_files(family: Family, proxy: ProxyAddress, *, by_http: bool) -> Mapping[str, str]:
    """What stands in the profile before the browser is started: path within it, and text."""
    if family is Family.FIREFOX:
        return {"user.js": firefox_user_js(proxy, by_http=by_http)}
    return {"Default/Preferences": json.dumps(CHROMIUM_PREFERENCES)}


# --- Chromium -------------------------------------------------------------------------------------

#: What speaks to the neighbourhood or to its maker without being asked. MediaRouter looks for televisions by
#: mDNS and SSDP, past every proxy.
_CHROMIUM_FEATURES_OFF = (
    *("MediaRouter", "DialMediaRouteProvider", "CastMediaRouteProvider", "GlobalMediaControls"),
    *("DnsOverHttps", "AsyncDns", "OptimizationHints", "Translate", "NetworkTimeServiceQuerying"),
    *("CertificateTransparencyComponentUpdater", "AutofillServerCommunication", "WebTransport"),
    "WebRtcHideLocalIpsWithMdns",  # there is no local address to hide, and this joins a multicast group
)

#: For what an argument has been renamed, and as a second lock where there is one already.
CHROMIUM_PREFERENCES: dict[str, object] = {
    "webrtc": {
        "ip_handling_policy": "disable_non_proxied_udp",
        "multiple_routes_enabled": False,
        "nonproxied_udp_enabled": False,
    },
    "net": {"network_prediction_options": 2},  # never
    "browser": {"check_default_browser": False},
}


def chromium_arguments(proxy: ProxyAddress, folder: str, *, by_http: bool = False) -> list[str]:
    """The arguments of everything that is made of Chromium.

    With ``--proxy-server`` there is no fallback to a direct connection, and a SOCKS5 proxy is given names.
    The resolver rules see to it that whatever would ask a name server all the same finds nothing
    (https://www.chromium.org/developers/design-documents/network-stack/socks-proxy/).
    """
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return [
        f"--user-data-dir={folder}",
        f"--proxy-server={'http' if by_http else 'socks5'}://{proxy.authority}",
        "--proxy-bypass-list=<-loopback>",  # localhost is the far end's too
        f"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {host}",
        "--disable-quic",
        # The name since Chromium 106 or so, and the one before.
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--dns-prefetch-disable",
        f"--disable-features={','.join(_CHROMIUM_FEATURES_OFF)}",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-domain-reliability",
        "--disable-sync",
        "--disable-breakpad",
        "--no-pings",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-search-engine-choice-screen",
        "--disk-cache-size=67108864",  # bytes; the profile may lie in memory
    ]


# --- Firefox --------------------------------------------------------------------------------------

#: Much of it is what Tor Browser sets for the same reasons (its 000-tor-browser.js).
_FIREFOX: dict[str, bool | int | str] = {
    "network.proxy.type": 1,  # as set here
    "network.proxy.no_proxies_on": "",
    "network.proxy.allow_hijacking_localhost": True,  # localhost is the far end's too
    "network.proxy.failover_direct": False,
    "network.proxy.socks_remote_dns": True,
    "network.proxy.socks5_remote_dns": True,  # since Firefox 128
    "network.dns.disabled": True,  # whatever would ask a name server all the same finds nothing
    "network.dns.disablePrefetch": True,
    "network.dns.disablePrefetchFromHTTPS": True,
    "network.dns.native_https_query": False,
    "network.trr.mode": 5,  # no DNS over HTTPS, by choice
    "network.prefetch-next": False,
    "network.predictor.enabled": False,
    "network.http.speculative-parallel-limit": 0,
    "browser.urlbar.speculativeConnect.enabled": False,
    "browser.places.speculativeConnect.enabled": False,
    "network.http.http3.enable": False,
    "network.http.http3.enabled": False,  # its name before Firefox 100
    "network.webtransport.enabled": False,
    "network.gio.supported-protocols": "",  # sftp: and smb: would be fetched by the desktop
    "network.file.disable_unc_paths": True,
    "media.peerconnection.ice.proxy_only": True,
    "media.peerconnection.ice.proxy_only_if_behind_proxy": True,
    "media.peerconnection.ice.default_address_only": True,
    "media.peerconnection.ice.no_host": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.casting.enabled": False,
    "dom.push.connection.enabled": False,
    "geo.enabled": False,
    # What it tells its maker, and what it fetches unasked.
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.unified": False,
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.server": "",
    "app.normandy.enabled": False,
    "app.shield.optoutstudies.enabled": False,
    "app.update.auto": False,
    "app.update.background.scheduling.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.region.update.enabled": False,
    "browser.newtabpage.activity-stream.feeds.section.topstories": False,
    "browser.newtabpage.activity-stream.showSponsored": False,
    "browser.newtabpage.activity-stream.showSponsoredTopSites": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "media.gmp-provider.enabled": False,
    "messaging-system.rsexperimentloader.enabled": False,
    "services.settings.poll_interval": 31_536_000,  # seconds
    # A profile that is new every time greets nobody.
    "browser.aboutwelcome.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.tabs.warnOnClose": False,
    "browser.warnOnQuit": False,
    "datareporting.policy.firstRunURL": "",
    "startup.homepage_welcome_url": "",
    "startup.homepage_welcome_url.additional": "",
    "termsofuse.bypassNotification": True,
    "trailhead.firstrun.didSeeAboutWelcome": True,
}


def firefox_user_js(proxy: ProxyAddress, *, by_http: bool = False) -> str:
    """The preferences of a Firefox, as the file that it reads at every start."""
    places = ("http", "ssl") if by_http else ("socks",)
    own: dict[str, bool | int | str] = {} if by_http else {"network.proxy.socks_version": 5}
    for place in places:
        own[f"network.proxy.{place}"] = proxy.host
        own[f"network.proxy.{place}_port"] = proxy.port
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in {**_FIREFOX, **own}.items()
    ]
    return "\n".join(lines) + "\n"
