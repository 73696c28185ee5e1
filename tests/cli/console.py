"""Runs a command line in this process, as the shell would, with streams that are a terminal or are not."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any, NamedTuple

import pytest

from tunnels.cli import main, output
from tunnels.cli import run as running


class Stream(io.StringIO):
    """What a program has as its standard output; a terminal if it is said."""

    def __init__(self, text: str = "", *, is_terminal: bool = False) -> None:
        super().__init__(text)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def fileno(self) -> int:
        return 1_000_000  # a terminal that is gone


class Result(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        """What it said to the person, on one line."""
        return " ".join(self.err.split())


@contextlib.contextmanager
def streams(*, is_terminal: bool = False, typed: str = "") -> Any:
    """Have other streams meanwhile; consoles that remember the old ones are forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        out, err = Stream(is_terminal=is_terminal), Stream(is_terminal=is_terminal)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "stdin", Stream(typed, is_terminal=is_terminal))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "excepthook", sys.excepthook)  # typer takes it
        patch.setattr(running._Global, "config", None)
        forget_consoles()
        try:
            yield out, err
        finally:
            forget_consoles()


def forget_consoles() -> None:
    output.out.cache_clear()
    output.err.cache_clear()


def tunnels(*arguments: str, is_terminal: bool = False, typed: str = "") -> Result:
    """Type ``tunnels …``; on a terminal, ``typed`` is what the person types when asked."""
    with streams(is_terminal=is_terminal, typed=typed) as (out, err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tunnels", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        code = ended.value.code
        assert isinstance(code, int) or code is None
        return Result(code or 0, out.getvalue(), err.getvalue())
