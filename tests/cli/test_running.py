"""A program that goes on for long is ended with all that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.bed.wait import eventually
from tunnels.cli.running import run_to_its_end

RUN = """
import sys
from tunnels.cli import running
running._GRACE = float(sys.argv[1])
ended = running.run_to_its_end(["sh", "-c", sys.argv[2]], environment={"PATH": "/usr/bin:/bin"}, quiet=True)
print(ended.code, ended.signal)
"""


def run(script: str, *, quiet: bool = True) -> tuple[int, int | None, str]:
    return run_to_its_end(["sh", "-c", script], environment=os.environ, quiet=quiet)


def test_its_exit_code_and_its_last_words_are_told() -> None:
    assert run("exit 0") == (0, None, "")
    assert run("seq 100 >&2; exit 7") == (7, None, "96\n97\n98\n99\n100")
    assert run("kill -9 $$") == (128 + 9, None, "")


def test_what_is_not_there_is_an_os_error_and_signals_are_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(FileNotFoundError):
        run_to_its_end(["/no/such/program"], environment={}, quiet=True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_inherits_what_is_to_be_kept_open() -> None:
    reader, writer = os.pipe()
    script = f"import os; os.write({writer}, b'open')"
    run_to_its_end([sys.executable, "-c", script], environment=os.environ, keep_open=[writer], quiet=True)
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.read() == "open"


def test_helpers_that_outlive_it_are_killed(tmp_path: Path) -> None:
    run(f"sleep 1000 & echo $! > {tmp_path}/helper")
    helper = int((tmp_path / "helper").read_text())

    def gone() -> bool:
        stat = Path(f"/proc/{helper}/stat")
        return not stat.exists() or stat.read_text().split()[2] == "Z"

    eventually(gone, within=5, what="the end of the helper")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_said(number: signal.Signals, tmp_path: Path) -> None:
    script = f"trap 'echo saved > {tmp_path}/saved; exit 3' TERM; touch {tmp_path}/began; while :; do sleep 0.05; done"
    process = subprocess.Popen([sys.executable, "-c", RUN, "5", script], stdout=subprocess.PIPE, text=True)
    eventually((tmp_path / "began").exists, within=10, what="its beginning")
    process.send_signal(number)
    assert process.communicate(timeout=10)[0] == f"3 {int(number)}\n"
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("patience", ["0.1", "1000"])
def test_what_does_not_want_to_end_is_killed_in_time_or_at_the_second_signal(
    patience: str, tmp_path: Path
) -> None:
    script = f"trap 'touch {tmp_path}/heard' TERM; touch {tmp_path}/began; while :; do sleep 0.05; done"
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, patience, script], stdout=subprocess.PIPE, text=True
    )
    eventually((tmp_path / "began").exists, within=10, what="its beginning")
    process.send_signal(signal.SIGTERM)
    if patience == "1000":
        eventually((tmp_path / "heard").exists, within=10, what="the first signal")
        process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[0] == f"{128 + 9} {int(signal.SIGTERM)}\n"
