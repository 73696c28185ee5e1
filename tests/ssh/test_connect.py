"""Making connections; most of it is tested with a real sshd, in test_connection."""

from __future__ import annotations

import pytest

from tunnels.core.profile import Profile
from tunnels.errors import BadSetting
from tunnels.ssh.connect import connect


async def test_a_key_that_the_profile_names_must_be_there() -> None:
    profile = Profile("work-db", "bastion", identity_file=("/nonexistent/key",), ssh_config="none")
    with pytest.raises(BadSetting, match="/nonexistent/key"):
        await connect(profile, lambda _error: None)
