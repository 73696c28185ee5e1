from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tunnels.errors import ServiceError
from tunnels.service import run as running
from tunnels.service.run import Done, run


def test_what_a_command_says_and_its_exit_code_are_returned() -> None:
    done = run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"])
    assert done == Done(3, "out\n", "err\n")


def test_a_program_that_is_not_there_is_an_error_of_ours() -> None:
    with pytest.raises(ServiceError, match="there is no systemctl-of-nobody"):
        run(["systemctl-of-nobody", "show"])


def test_a_program_that_cannot_be_run_is_an_error_of_ours(home: Path) -> None:
    program = home / "broken"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o700)
    with pytest.raises(ServiceError, match="cannot be run"):
        run([str(program)])


def test_a_program_that_does_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "TIMEOUT", 0.05)
    with pytest.raises(ServiceError, match="did not end"):
        run([sys.executable, "-c", "import time; time.sleep(60)"])


@pytest.mark.parametrize(
    ("done", "why"),
    [
        (Done(1, "", "a warning\nFailed to connect to bus\n\n"), "Failed to connect to bus"),
        (Done(1, "only this\n", ""), "only this"),
        (Done(5, "", ""), "exit code 5"),
    ],
)
def test_why_a_command_failed_is_the_last_thing_it_said(done: Done, why: str) -> None:
    assert done.why == why
