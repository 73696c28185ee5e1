"""The person's browser is found where their system has it."""

from __future__ import annotations

import plistlib
import sys
from pathlib import Path

import pytest

from tunnels import browsers
from tunnels.browsers import find_browser
from tunnels.core.browser import Family
from tunnels.errors import UsageError


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")


def install(folder: Path, *names: str, text: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder / names[0]


def test_where_there_is_none_it_says_which_it_knows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="chromium, chrome, brave"):
        find_browser(None)
    with pytest.raises(UsageError, match="Brave is not installed"):
        find_browser("brave")
    with pytest.raises(UsageError, match="no browser netscape"):
        find_browser("netscape")
    with pytest.raises(UsageError, match="is not a program"):
        find_browser(str(tmp_path / "gone"))


def test_one_is_chosen_by_name_by_command_and_by_path(tmp_path: Path) -> None:
    install(tmp_path / "bin", "google-chrome-stable", "firefox")
    nightly = install(tmp_path / "opt", "firefox-nightly")
    assert find_browser("chrome").title == "Google Chrome"
    assert find_browser("google-chrome-stable").family is Family.CHROMIUM
    assert find_browser(str(nightly)).family is Family.FIREFOX


def test_what_cannot_be_told_to_use_a_proxy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a Firefox nor a Chromium"):
        find_browser(str(install(tmp_path / "bin", "w3m")))


def test_the_environment_says_which_and_what_we_do_not_know_there_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "bin", "firefox", "brave-browser", "w3m")
    assert find_browser(None).title == "Firefox"
    monkeypatch.setenv("BROWSER", "w3m:brave-browser")
    assert find_browser(None).title == "Brave"


def test_the_desktop_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "bin", "firefox", "vivaldi-stable")
    install(tmp_path / "bin", "xdg-settings", text="#!/bin/sh\necho vivaldi-stable.desktop\n")
    assert find_browser(None).title == "Firefox", "there is no desktop"
    monkeypatch.setenv("DISPLAY", ":0")
    assert find_browser(None).title == "Vivaldi"


def test_a_snap_has_its_profiles_where_it_may_write(tmp_path: Path) -> None:
    assert browsers._home_of_snap(Path("/snap/bin/chromium")) == tmp_path / "snap/chromium/common/tunnels"
    script = install(tmp_path / "bin", "firefox", text='#!/bin/sh\nexec /snap/bin/firefox "$@"\n')
    assert find_browser("firefox").home == tmp_path / "snap/firefox/common/tunnels"
    script.write_bytes(b"\x7fELF" + b"/snap/bin/firefox " * 1000)
    assert find_browser("firefox").home is None


def test_a_flatpak_has_its_profiles_where_it_may_write(tmp_path: Path) -> None:
    command = install(tmp_path / ".local/share/flatpak/exports/bin", "com.brave.Browser")
    found = find_browser(None)
    assert (found.title, found.command) == ("Brave", command)
    assert found.home == tmp_path / ".var/app/com.brave.Browser/cache/tunnels"


def test_on_a_mac_it_is_the_program_in_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    inside = tmp_path / "Applications/Google Chrome.app/Contents/MacOS"
    program = install(inside, "Google Chrome")
    install(tmp_path / "Applications/Firefox.app/Contents/MacOS", "firefox")
    assert find_browser(None).title == "Firefox"
    assert find_browser(str(tmp_path / "Applications/Google Chrome.app")).command == program
    settings = tmp_path / "Library/Preferences/com.apple.LaunchServices"
    settings.mkdir(parents=True)
    handlers = [{"LSHandlerURLScheme": "https", "LSHandlerRoleAll": "com.google.chrome"}]
    (settings / "com.apple.launchservices.secure.plist").write_bytes(plistlib.dumps({"LSHandlers": handlers}))
    assert find_browser(None).command == program
