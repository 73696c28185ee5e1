"""``make bench`` works: the cheapest of its measurements, with little to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import MEASUREMENTS
from bench.contestants import REPOSITORY

pytestmark = pytest.mark.long


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.usefixtures("start_sshd")  # it needs an sshd
def test_it_measures_beside_ssh_and_writes_what_it_found(tmp_path: Path) -> None:
    found, table = tmp_path / "found.json", tmp_path / "table.md"
    done = _bench("latency", "--quick", "--json", str(found), "--markdown", str(table))
    assert done.returncode == 0, done.stderr
    document = json.loads(found.read_text())
    assert document["quick"] is True
    assert {"processor", "kernel", "OpenSSH", "Python", "asyncssh", "cryptography"} <= set(
        document["machine"]
    )
    round_trip, *_ = document["figures"]["latency"]
    assert round_trip["limits"]["must"] == 1.25
    assert round_trip["met"] in ("aim", "must", "no")
    assert all(0 < seconds < 1 for seconds in round_trip["samples"]["tunnels"])
    assert table.read_text().count("\n| ") == 1 + 1 + sum(map(len, document["figures"].values()))
    assert "round trip of 64 bytes" in done.stdout


def test_a_measurement_that_does_not_exist_is_named_with_those_that_do() -> None:
    done = _bench("troughput")
    assert done.returncode == 2
    assert "no measurement troughput" in done.stderr
    assert all(name in done.stderr for name in MEASUREMENTS)
