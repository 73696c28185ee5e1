"""An attempt that nobody watches goes the way that was found; who watches is tested in test_watch."""

from __future__ import annotations

from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.steps import QUIET


def test_nobody_changes_the_way() -> None:
    route = Route((), Destination("bastion", "bastion.example.com", 22, "me"))
    assert QUIET.way(route) is route
