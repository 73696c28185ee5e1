from __future__ import annotations

from pathlib import Path

from tests.ssh.test_resolve import ME, profile
from tunnels.ssh.describe import describe
from tunnels.ssh.resolve import resolve


async def test_how_a_profile_resolves_can_be_told(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").touch()
    (home / ".ssh" / "known_hosts").touch()
    route = await resolve(profile("ann@h:2200", "none", jump=("gate",), keepalive=15.0, connect_timeout=2.5))

    assert [row for row in describe(route) if not row[1].startswith("/etc")] == [
        ("host", "h"),
        ("port", "2200"),
        ("user", "ann"),
        ("through", f"{ME.user}@gate"),
        ("identity file", f"{home}/.ssh/id_ed25519"),
        ("agent", "none"),
        ("known hosts", f"{home}/.ssh/known_hosts"),
        ("keepalive", "15 s"),
        ("keepalive count", "3"),
        ("connect timeout", "2.5 s"),
    ]
