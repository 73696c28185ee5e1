"""Which hosts of an ssh_config have forwards, without asking ssh about every one of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.ssh_config_hosts import hosts_with_forwards

FORWARD = " LocalForward 1 a:1\n"


def hosts(text: str, **files: str) -> list[str]:
    return hosts_with_forwards(text, lambda name: [files[name]] if name in files else []).named


def test_a_host_counts_if_its_block_has_a_forward_of_any_kind() -> None:
    text = "Host a\n LocalForward 1 a:1\nHost b\n Port 2\nHost c\n remoteforward=2 a:1\nhost d\n\tDynamicForward 3\n"
    assert hosts(text) == ["a", "c", "d"]


def test_patterns_are_no_hosts() -> None:
    assert hosts(f"Host a *.b !c d?e 'f'\n{FORWARD}Host *\n{FORWARD}Match all\n{FORWARD}") == ["a", "f"]


def test_patterns_with_forwards_are_known_by_themselves() -> None:
    found = hosts_with_forwards(f"Host a *.b !c d?e\n{FORWARD}Host x*\n Port 1\n", lambda _: [])
    assert found == (["a"], ["*.b", "d?e"])


def test_what_stands_before_every_host_is_of_none() -> None:
    assert hosts(FORWARD) == []


def test_a_comment_is_no_forward() -> None:
    assert hosts(f"Host a # b\n # {FORWARD}Host c # d\n{FORWARD}") == ["c"]


def test_an_included_file_is_read_and_belongs_to_the_block_that_includes_it() -> None:
    text = f"Include more\nHost a\n Include plain\n Include other\n{FORWARD}"
    assert hosts(text, more=f"Host m\n{FORWARD}") == ["m", "a"]
    assert hosts("Host a\n Include plain\nHost b\n", plain=FORWARD) == ["a"]
    assert hosts(f"Host a\n Include other\n{FORWARD}", other=f"Host b\n{FORWARD}") == ["b", "a"]


def test_files_that_include_each_other_come_to_an_end() -> None:
    assert hosts("Include x\n", x=f"Host a\n{FORWARD}Include x\n") == ["a"]


@given(st.text(max_size=80) | st.text(alphabet="Host LocalForward\n #\"'*=a1:", max_size=80))
def test_any_text_can_be_looked_at(text: str) -> None:
    hosts(text)
