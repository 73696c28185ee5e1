"""No secret gets out: every test that has one ends with a search for it, and this is what the search finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.e2e.bed import leaks
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import OK, Tunnels


@pytest.mark.parametrize(
    "place", ["state/history.jsonl", "state/log/tunnels.log", "run/x", ".config/deep/down"]
)
def test_a_secret_in_a_file_is_found_wherever_it_is(tmp_path: Path, place: str) -> None:
    secret = leaks.secret("a planted secret")
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff\x00" * 100_000 + secret.encode() + b"\n")
    assert leaks.in_files(tmp_path) == [f"a planted secret is in {file}"]
    assert leaks.in_files(tmp_path, but=[file]) == []
    file.write_text("nothing")
    (tmp_path / secret).touch()
    assert len(leaks.in_files(tmp_path)) == 1


def test_a_code_is_found_and_a_longer_number_is_none() -> None:
    leaks.known("918273", "a planted code")
    assert leaks.in_text("the code 918273.") == ["a planted code"]
    assert leaks.in_text("at 9182734, 1918273") == []


@pytest.mark.parametrize("argument", [True, False])
def test_a_secret_in_the_arguments_or_the_environment_of_a_process_is_found(argument: bool) -> None:
    secret = leaks.secret("a planted secret")
    with subprocess.Popen(
        [sys.executable, "-c", "print('', flush=True); input()", *([secret] if argument else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={} if argument else {"WORD": secret},
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert len(leaks.in_processes([psutil.Process(process.pid)])) == 1
        process.communicate(b"\n")


def test_a_test_fails_whose_product_has_let_a_secret_out() -> None:
    product = Tunnels()
    product.run("daemon", "status")
    (product.home / "notes").write_text(leaks.secret("a planted secret"))
    with pytest.raises(AssertionError, match="a planted secret is in .*notes"):
        product.close()
    assert not product.home.exists()


@pytest.mark.skipif(
    not hasattr(psutil.Process, "rlimit"), reason="only Linux says which limits a process has"
)
def test_a_crash_of_the_daemon_leaves_no_memory_behind(tunnels: Tunnels) -> None:
    tunnels.write(work={"host": "nowhere.invalid", "ssh_config": "none", "local": [f"{free_port()}:db:1"]})
    tunnels.run("up", "work", "--no-wait", expect=OK)
    assert psutil.Process(tunnels.daemon_pid()).rlimit(psutil.RLIMIT_CORE) == (0, 0)
