"""What cannot be carried over is said at once, and nobody is sent to write nonsense into ssh_config."""

from __future__ import annotations

import pytest

from tunnels.core.ssh_refused import not_in_a_profile, together
from tunnels.errors import UsageError

KNOWN = ("IdentitiesOnly", "MACs")


@pytest.mark.parametrize(
    ("keyword", "host", "hint"),
    [
        ("macs", "h", "write macs below `Host h` in ~/.ssh/config, and leave it out here"),
        ("MACs", None, "write MACs below `Host NAME` in ~/.ssh/config, and leave it out here"),
        ("IdentitysOnly", "h", "did you mean IdentitiesOnly?"),
        ("Zebra", "h", "`man ssh_config` has its keywords"),
    ],
)
def test_only_a_keyword_of_ssh_is_sent_to_ssh_config(keyword: str, host: str | None, hint: str) -> None:
    error = not_in_a_profile(f"-o {keyword}", keyword, host, KNOWN)
    assert error.message.startswith(f"-o {keyword}")
    assert error.hint == hint


def test_where_no_keyword_is_known_every_word_may_be_one() -> None:
    assert "Host h" in (not_in_a_profile("-o Zebra", "Zebra", "h", ()).hint or "")


def test_everything_is_said_once_with_what_to_do() -> None:
    first, second = UsageError("a", hint="x"), UsageError("b", hint="y")
    both = together([first, second, UsageError("a", hint="x"), UsageError("c")])
    assert (both.message, both.hint) == ("a\nb\nc", "x; y")
    assert (together([first]).message, together([UsageError("c")]).hint) == ("a", None)
