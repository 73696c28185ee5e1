from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.served import REMOTE, profile_file
from tunnels import paths
from tunnels.cli.be_daemon import Words, words_of


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "f", "daemon", "run"], Words("f", None)),
        (["--config", "f", "daemon", "run", "--ready-fd", "7"], Words("f", 7)),
        (["daemon", "run"], None),
        (["--config", "f", "daemon", "run", "--help"], None),
        (["--config", "f", "daemon", "run", "--ready-fd", "x"], None),
        (["--config", "f", "daemon", "stop"], None),
    ],
)
def test_the_words_that_a_daemon_is_started_with_are_read_without_typer(
    arguments: list[str], words: Words | None
) -> None:
    assert words_of(arguments) == words


def test_a_daemon_has_nothing_of_a_command_line_in_its_memory(tmp_path: Path) -> None:
    profile_file(REMOTE)
    look = (
        "import atexit, os, runpy, signal, sys, threading\n"
        "from tunnels.daemon import app\n"
        "app.ready_on = lambda fd: lambda word: os.kill(os.getpid(), signal.SIGTERM)\n"
        "atexit.register(lambda: print(sorted({'typer', 'rich', 'click'} & set(sys.modules))))\n"
        "runpy.run_module('tunnels', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", look, "--config", str(paths.config_file()), "daemon", "run"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=dict(os.environ),
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
