"""The profiles that a command may name: those of the file, and the tunnels that were opened without one."""

from __future__ import annotations

from pathlib import Path

from tunnels import desired_state, opened, paths
from tunnels.profiles import ProfileFile


def load(path: Path) -> ProfileFile:
    """Read the profile file, with what has been opened beside it. Raises ProfileError."""
    state = desired_state.load(paths.state_file())
    return opened.load(path, state.opened if state.config == str(path) else {})
