"""How many files this process may open: each client is one, and 1,024 are soon used up.

The limit is raised as far as the system lets us. The programs that we start get the old one: select(2) cannot
deal with numbers from 1,024 on, and some programs close every number up to the limit one by one (systemd.exec(5),
LimitNOFILE). And a part is kept for ourselves: if clients could use all of it up, nobody could ask for the status
any more, and a tunnel that was lost could not come back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import time
from collections.abc import Sequence

_log = logging.getLogger("tunnels")

#: Files to ask for; systemd's own default for services is half a million (524,288).
MAX_FILES = 65_536

#: Files that no client gets: log, history, control socket, and connections that are being made.
RESERVE = 64

#: Seconds between two lines in the log about clients that are turned away.
LOG_INTERVAL = 10.0


class OpenFiles:
    """The limit of this process, and who was turned away because of it."""

    def __init__(self) -> None:
        self._before: int | None = None  # what programs that we start get
        self._said = float("-inf")
        self._since_said = 0
        self._sure = 0  # clients that there is room for, whatever else happens
        self.turned_away = 0  #: clients, so far

    @property
    def limit(self) -> int:
        """How many files may be open."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def raise_limit(self) -> None:
        """Allow as many files as the system lets us."""
        with contextlib.suppress(ValueError, OSError):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
            if soft != resource.RLIM_INFINITY and soft < wanted:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                self._before = soft

    def as_before(self, words: Sequence[str]) -> list[str]:
        """Return a command that runs a program with the limit that we were started with.

        A program that is not there is returned as it is, so that the error names it.
        """
        if self._before is None or shutil.which(words[0]) is None:
            return list(words)
        return ["/bin/sh", "-c", f'ulimit -S -n {self._before} 2>/dev/null || :; exec "$@"', "sh", *words]

    def none_left(self) -> bool:
        """Whether there is no room for one more client.

        The system gives out the lowest number that is free (open(2)), so the next number says it all. With room
        for many, it says it for some of them: at worst, these use up a quarter of the reserve.
        """
        if self._sure:
            self._sure -= 1
            return False
        limit = self.limit
        reserve = min(RESERVE, limit // 4)
        try:
            number = os.dup(0)
        except OSError:  # EMFILE; or standard input is closed, which no program of ours does
            return True
        os.close(number)
        room = limit - reserve - number
        self._sure = max(0, min(room - 1, reserve // 4))
        return room <= 0

    def turn_away(self) -> None:
        """One client is turned away. It is said in the log now and then."""
        self.turned_away += 1
        self._since_said += 1
        now = time.monotonic()
        if now - self._said >= LOG_INTERVAL:
            _log.warning(
                "%d %s turned away: this process may open %d files, and all but a reserve are in use; "
                "raise the limit (`ulimit -n`, LimitNOFILE= of systemd)",
                self._since_said,
                "client was" if self._since_said == 1 else "clients were",
                self.limit,
            )
            self._said, self._since_said = now, 0


#: Those of this process.
ours = OpenFiles()
