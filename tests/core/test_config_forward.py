"""What `ssh -G` says of a forward is read as ssh means it, blanks and all."""

from __future__ import annotations

import pytest

from tunnels.core.config_forward import is_listed_twice, read_config_forward
from tunnels.core.forward import ForwardKind
from tunnels.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (ForwardKind.LOCAL, "80 [a]:80", "80:a:80"),
        (ForwardKind.LOCAL, "/tmp/with space.sock /var/run/x.sock", "/tmp/with space.sock:/var/run/x.sock"),
        (ForwardKind.LOCAL, "80 /var/run/my x.sock", "80:/var/run/my x.sock"),
        (ForwardKind.LOCAL, "/my a/b c.sock [::1]:22", "/my a/b c.sock:[::1]:22"),
        (ForwardKind.LOCAL, "/a:b.sock /c", r"/a\:b.sock:/c"),
        (ForwardKind.REMOTE, "/r a.sock [::1]:22", "/r a.sock:[::1]:22"),
        (ForwardKind.REMOTE, "1080 [socks]:0", "1080"),
        (ForwardKind.DYNAMIC, "[*]:1081", "*:1081"),
    ],
)
def test_a_blank_ends_a_port_and_may_be_part_of_a_path(kind: ForwardKind, value: str, expected: str) -> None:
    assert str(read_config_forward(kind, value)) == expected


def test_what_can_be_read_in_two_ways_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="two ways"):
        read_config_forward(ForwardKind.LOCAL, "/a /b /c")


@pytest.mark.parametrize("value", ["80", "80 a b", "./a.sock [b]:1"])
def test_what_is_no_forward_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        read_config_forward(ForwardKind.LOCAL, value)


def test_what_older_versions_of_ssh_list_twice_is_no_proxy() -> None:
    local = ["8080 /run/b.sock", "/tmp/a b /c", "90 [a]:90"]
    assert [is_listed_twice(each, local) for each in ("8080", "/tmp/a b", "1080")] == [True, True, False]
