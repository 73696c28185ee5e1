"""The profile file as the daemon has it: the last good version stays in force, whatever is written later.

What was opened without a profile counts as if it were in the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tunnels import opened, paths, profiles
from tunnels.core.profile import Profile
from tunnels.errors import Problem, ProfileError
from tunnels.opened import Table
from tunnels.profiles import Fingerprint, ProfileFile


def is_empty(path: Path) -> bool:
    """Whether there is not one byte in a file."""
    try:
        return path.stat().st_size == 0
    except OSError:
        return False


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
        self._existed = False
        self.opened: dict[str, Table] = {}

    def load(self) -> ProfileFile:
        """Read the file now. Raises ProfileError, and then the last good version stays in force."""
        self._seen = profiles.fingerprint(self.path)
        try:
            file = self._read()
            self._refuse_emptied(file)
            self.forget(set(file.profiles))  # what has been given a profile since
            self._good = opened.with_opened(file, self.opened)
        except ProfileError as error:
            self.error = error
            raise
        self.error = None
        return self._good

    def _refuse_emptied(self, file: ProfileFile) -> None:
        """A file that has become empty is an accident of an editor or a full disk, and no wish to stop everything."""
        had = set() if self._good is None else set(self._good.profiles) - set(self.opened)
        if had and not file.profiles and is_empty(self.path):
            lost = Problem(
                None, "", f"the file is empty, and had {len(had)} profile{'s' * (len(had) > 1)} in it"
            )
            raise ProfileError(
                str(self.path), [lost], hint="`tunnels down --all` stops everything, if that is what is meant"
            )

    def open(self, name: str, table: Table) -> Profile:
        """Have one more profile than the file has. Raises UsageError, and then it is not had."""
        more = {**self.opened, name: table}
        profile = opened.profile_of(name, table, self._file())
        opened.check_size(more)  # only now, when it is known to be shallow
        self.opened = more
        return profile

    @property
    def is_there(self) -> bool:
        """Whether there has been a file; without one, what was opened can still run."""
        return self._existed

    @property
    def does_without(self) -> bool:
        """Whether what is wrong is that there is no file where nobody said that there is one.

        Who has only used `tunnels open` has none, and needs none.
        """
        missing = self.error is not None and profiles.is_missing(self.error)
        return missing and not self._existed and self.path == paths.usual_config_file()

    def _read(self) -> ProfileFile:
        """The file alone, which is needed if nothing has been opened."""
        if self.opened:
            return self._file()
        file = profiles.load(self.path)
        self._existed = True
        return file

    def _file(self) -> ProfileFile:
        """The file alone. An opened tunnel can do without one, but a file that was there is not taken for empty."""
        try:
            file = profiles.load(self.path)
        except ProfileError as error:
            if self._existed or not profiles.is_missing(error):
                raise
            return ProfileFile(self.path, {}, is_missing=True)
        self._existed = True
        return file

    def names(self) -> set[str]:
        """The names of the file's own profiles. Raises ProfileError."""
        return set(self._file().profiles)

    def forget(self, names: Iterable[str]) -> None:
        """Have these no longer."""
        for name in names:
            self.opened.pop(name, None)

    def check(self) -> ProfileError | None:
        """What is wrong with the file as it is on disk; reads it only if it has changed."""
        if self._seen != profiles.fingerprint(self.path):
            self._seen = profiles.fingerprint(self.path)
            try:
                self._refuse_emptied(self._read())
            except ProfileError as error:
                self.error = error
            else:
                self.error = None
        return self.error
