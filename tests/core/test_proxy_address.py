"""Where a program on this machine finds a proxy."""

from __future__ import annotations

import pytest

from tunnels.core.proxy_address import ProxyAddress, proxy_address


@pytest.mark.parametrize(
    ("listen", "where"),
    [
        ("localhost:1080", "127.0.0.1:1080"),
        ("127.0.0.1:1080", "127.0.0.1:1080"),
        ("127.0.0.2:1080", "127.0.0.2:1080"),
        ("*:1080", "127.0.0.1:1080"),
        ("0.0.0.0:1080", "127.0.0.1:1080"),
        ("[::1]:1080", "[::1]:1080"),
        ("[::]:1080", "[::1]:1080"),
        ("192.0.2.7:1080", "192.0.2.7:1080"),
    ],
)
def test_a_listener_is_reached_by_a_number_that_no_resolver_is_asked_for(listen: str, where: str) -> None:
    assert str(proxy_address(listen)) == where


def test_it_is_written_for_socks_with_names_resolved_at_the_far_end_and_for_http() -> None:
    assert ProxyAddress("127.0.0.1", 1080).socks == "socks5h://127.0.0.1:1080"
    assert ProxyAddress("::1", 1080).http == "http://[::1]:1080"
