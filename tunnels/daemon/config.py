"""The profile file as the daemon has it: the last good version stays in force, whatever is written later."""

from __future__ import annotations

from pathlib import Path

from tunnels import profiles
from tunnels.errors import ProfileError
from tunnels.profiles import Fingerprint, ProfileFile


class Config:
    """One profile file, and what is wrong with it now."""

    def __init__(self, path: Path) -> None:
        self.use(path)

    def use(self, path: Path) -> None:
        """Work with this file from now on."""
        self.path = path
        self.error: ProfileError | None = None
        self._good: ProfileFile | None = None
        self._seen: Fingerprint | None = None

    def load(self) -> ProfileFile:
        """Read the file now. Raises ProfileError, and then the last good version stays in force."""
        self._seen = profiles.fingerprint(self.path)
        try:
            self._good = profiles.load(self.path)
        except ProfileError as error:
            self.error = error
            raise
        self.error = None
        return self._good

    def check(self) -> ProfileError | None:
        """What is wrong with the file as it is on disk; reads it only if it has changed."""
        if self._seen != profiles.fingerprint(self.path):
            self._seen = profiles.fingerprint(self.path)
            try:
                profiles.load(self.path)
            except ProfileError as error:
                self.error = error
            else:
                self.error = None
        return self.error
