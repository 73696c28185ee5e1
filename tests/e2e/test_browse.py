"""``tunnels browse`` with the browsers themselves, in a network where every packet is counted.

The name of the page is known on the server's side only; the page itself tries what pages can try to get past a
proxy: prefetching, WebRTC, requests by address and to localhost.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.bed import pages
from tests.e2e.bed.cafe import Cafe
from tests.e2e.bed.faults import Laptop
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.wait import eventually

pytestmark = [pytest.mark.loopback_site, pytest.mark.long]

CHROMIUM = (
    ["--browser", "chromium"],
    ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
)
FIREFOX = ["--browser", "firefox"], ["--headless"]

NOTHING = {"outside": 0, "asked": 0}

BROWSERS = [
    pytest.param(
        *CHROMIUM, id="chromium", marks=pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
    ),
    pytest.param(
        *FIREFOX,
        id="firefox",
        marks=pytest.mark.skipif(
            not (shutil.which("firefox") or shutil.which("firefox-esr")),
            reason="no firefox: install firefox-esr",
        ),
    ),
]


@pytest.fixture
def cafe(laptop: Laptop, travelling: Tunnels, tmp_path: Path) -> Iterator[Cafe]:
    made = Cafe(laptop, travelling, tmp_path)
    yield made
    made.close()


def profiles_of_browsers(cafe: Cafe) -> list[Path]:
    return list((cafe.product.runtime / "browsers").glob("once-*"))


def browsers_running(cafe: Cafe) -> list[str]:
    """Every process whose arguments name a profile of this product."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if f"{cafe.product.runtime}/browsers/" in line:
            found.append(line)
    return found


@pytest.mark.parametrize(("which", "arguments"), BROWSERS)
def test_a_page_that_only_the_far_side_knows_is_rendered_and_nothing_goes_past_the_tunnel(
    cafe: Cafe, which: list[str], arguments: list[str]
) -> None:
    with cafe.product.spawn("browse", "cafe", cafe.page, *which, "--", *arguments) as browser:
        seen = cafe.asked("/seen", within=40)
        assert seen["text"] == pages.GREETING
        assert ("Firefox" if "firefox" in which else "Chrome") in seen["agent"]
        assert cafe.asked("/local")["host"] == "localhost:8080", "localhost is the far end's"
        assert cafe.asked("/webrtc")["found"] == "nothing", "WebRTC has found a way that is not the proxy"
        assert cafe.leaked() == NOTHING

        with cafe.laptop.server_away():
            before = cafe.clients_so_far()
            eventually(lambda: cafe.clients_so_far() > before + 2, within=30, what="attempts of the page")
            assert cafe.leaked() == NOTHING, "the tunnel was cut"

        browser.signal(signal.SIGTERM)
        assert browser.wait() == 128 + signal.SIGTERM
    assert profiles_of_browsers(cafe) == []
    assert browsers_running(cafe) == []
    assert cafe.product.tunnel("cafe")["state"] != "stopped"
    assert cafe.leaked() == NOTHING
