"""The variables that programs understand, and the shells that set them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.proxy_address import ProxyAddress
from tunnels.core.proxy_environment import (
    Shell,
    names_of_proxy_variables,
    proxy_variables,
    set_commands,
    shell_named,
    unset_commands,
)

PROXY = ProxyAddress("127.0.0.1", 1080)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=20)


def test_each_is_there_in_capitals_and_in_small_letters() -> None:
    found = proxy_variables(PROXY, {})
    assert found["ALL_PROXY"] == found["all_proxy"] == "socks5h://127.0.0.1:1080"
    assert found["HTTP_PROXY"] == found["http_proxy"] == "http://127.0.0.1:1080"
    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://127.0.0.1:1080"
    assert found["NO_PROXY"] == found["no_proxy"] == "localhost,127.0.0.1,::1"


def test_no_form_has_names_resolved_here() -> None:
    assert not any(
        "socks5://" in value or "socksProxy" in value for value in proxy_variables(PROXY, {}).values()
    )


def test_socks_can_be_left_out_for_programs_that_stumble_over_it() -> None:
    assert "socks" not in str(proxy_variables(PROXY, {}, http_only=True))


def test_what_is_set_for_java_stays_and_ours_is_not_added_twice() -> None:
    once = proxy_variables(PROXY, {"JAVA_TOOL_OPTIONS": "-Xmx1g -Dhttp.agent=x"})["JAVA_TOOL_OPTIONS"]
    assert once.startswith("-Xmx1g -Dhttp.agent=x -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=1080 ")
    other = proxy_variables(ProxyAddress("127.0.0.1", 1081), {"JAVA_TOOL_OPTIONS": once})["JAVA_TOOL_OPTIONS"]
    assert other == once.replace("1080", "1081")


def test_a_no_proxy_for_everything_does_not_send_everything_past_the_tunnel() -> None:
    assert (
        proxy_variables(PROXY, {"no_proxy": "*,corp.lan"})["NO_PROXY"] == "corp.lan,localhost,127.0.0.1,::1"
    )


def test_what_somebody_has_sent_past_the_proxy_stays_so_and_ours_is_not_added_twice() -> None:
    before = {"NO_PROXY": "corp.lan, 10.0.0.0/8,localhost", "no_proxy": "corp.lan,old.lan"}
    once = proxy_variables(PROXY, before)
    assert once["NO_PROXY"] == once["no_proxy"] == "corp.lan,10.0.0.0/8,old.lan,localhost,127.0.0.1,::1"
    assert proxy_variables(PROXY, once) == once
    gone = unset_commands(Shell.SH, once)
    assert "export NO_PROXY='corp.lan,10.0.0.0/8,old.lan'" in gone
    assert "unset NO_PROXY" in unset_commands(Shell.SH, proxy_variables(PROXY, {}))


@pytest.mark.parametrize(
    ("name", "shell"),
    [
        ("/bin/bash", Shell.BASH),
        ("zsh", Shell.ZSH),
        ("/usr/bin/fish", Shell.FISH),
        ("pwsh", Shell.POWERSHELL),
        ("powershell.exe", Shell.POWERSHELL),
        ("/bin/dash", Shell.SH),
        ("/bin/tcsh", None),
        ("", None),
    ],
)
def test_a_shell_is_known_by_its_path(name: str, shell: Shell | None) -> None:
    assert shell_named(name) is shell


def run_in(shell: str, script: str, environment: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(
        [shell, "-c", f"{script}\nenv -0"], env=environment, capture_output=True, check=True
    )
    return dict(each.split("=", 1) for each in done.stdout.decode().split("\0") if "=" in each)


@pytest.mark.parametrize("shell", [Shell.SH, Shell.BASH])
def test_a_shell_that_runs_the_commands_has_the_variables_and_is_rid_of_them_again(shell: Shell) -> None:
    before = {"PATH": os.environ["PATH"], "JAVA_TOOL_OPTIONS": "-Xmx1g"}
    wanted = proxy_variables(PROXY, before)
    after = run_in(shell.value, "\n".join(set_commands(shell, wanted)), before)
    assert {name: after[name] for name in wanted} == wanted
    gone = run_in(shell.value, "\n".join(unset_commands(shell, after)), after)
    assert {name for name in names_of_proxy_variables() if name in gone} == {"JAVA_TOOL_OPTIONS"}
    assert gone["JAVA_TOOL_OPTIONS"] == "-Xmx1g"


@given(TEXT)
@settings(max_examples=20, deadline=None)
def test_whatever_is_in_a_variable_arrives_in_it(value: str) -> None:
    script = "\n".join(set_commands(Shell.SH, {"WORD": value}))
    found = subprocess.run(
        [shutil.which("sh") or "sh", "-c", f'{script}\nprintf "%s" "$WORD"'], capture_output=True, check=True
    )
    assert found.stdout == value.encode()


def test_fish_and_powershell_have_their_own_words_and_their_own_quotes() -> None:
    assert set_commands(Shell.FISH, {"A": "it's \\"}) == ["set -gx A 'it\\'s \\\\';"]
    assert set_commands(Shell.POWERSHELL, {"A": "it's"}) == ["$env:A = 'it''s'"]
    assert unset_commands(Shell.FISH, {})[0] == "set -e ALL_PROXY;"
    assert "Remove-Item Env:ALL_PROXY" in unset_commands(Shell.POWERSHELL, {})[0]


@pytest.mark.parametrize("quote", ["'", "\u2018", "\u2019", "\u201a", "\u201b"])
def test_no_quote_that_powershell_knows_ends_the_value(quote: str) -> None:
    assert set_commands(Shell.POWERSHELL, {"A": f"a{quote}; b"}) == [f"$env:A = 'a{quote}{quote}; b'"]
