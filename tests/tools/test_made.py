"""What is made from the program is in step with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tools import completions, errors_page, made, manual, profile_page
from tools.command_tree import commands
from tools.error_words import WORDS
from tunnels.cli.app import VERBS
from tunnels.core.profile_fields import PROFILE_FIELDS


@pytest.mark.parametrize("name", list(made.made()))
def test_it_says_what_the_program_says_now(name: str) -> None:
    assert (made.ROOT / name).read_text("utf-8") == made.made()[name], "run: make made"


def test_every_command_is_in_the_reference_and_in_the_manual_with_its_example() -> None:
    page = (made.ROOT / "docs/reference/commands.md").read_text("utf-8")
    man = (made.ROOT / "man/tunnels.1").read_text("utf-8")
    found = commands()
    assert {command.words[0] for command in found if command.words} == set(VERBS)
    for command in found:
        assert f"## `{command.name}`\n" in page
        if not command.is_group:
            assert command.example is not None
            assert f"$ {command.example}\n" in page
            assert manual.escape(command.example) in man


def test_every_key_of_a_profile_is_on_its_page_once() -> None:
    rows = re.findall(r"^\| `(\w+)`(?:\\\*)? \|.*\|.*\|.*\|$", profile_page.page(), flags=re.MULTILINE)
    assert sorted(set(rows) & set(PROFILE_FIELDS)) == sorted(PROFILE_FIELDS)
    assert [key for key in PROFILE_FIELDS if rows.count(key) != 1] == []


def test_every_error_code_has_words_and_no_words_are_left_of_a_code_that_is_gone() -> None:
    assert set(WORDS) == set(errors_page.error_classes())


def test_the_manual_is_a_page_that_man_finds_nothing_wrong_with() -> None:
    groff = shutil.which("groff")
    if groff is None:
        assert ".SH NAME" in manual.page()
        return
    done = subprocess.run(
        [groff, "-man", "-ww", "-Tutf8", "-Kutf8", str(made.ROOT / "man/tunnels.1")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "tunnels - keeps SSH tunnels up" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--json", r"\-\-json"),
        (".nf is no request", r"\&.nf is no request"),
        ("it's `up`", r"it\(aqs \(gaup\(ga"),
        (r"a\b", r"a\eb"),
    ],
)
def test_the_manual_shows_what_is_written(text: str, shown: str) -> None:
    assert manual.escape(text) == shown


def test_bash_completes_with_the_script_that_is_installed(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    (tmp_path / "tunnels").write_text(
        '#!/bin/sh\nprintf "%s\\n" "$COMP_WORDS|$COMP_CWORD|$_TUNNELS_COMPLETE"\n'
    )
    (tmp_path / "tunnels").chmod(0o755)
    ask = (
        'source "$1"; complete -p tunnels; '
        'COMP_WORDS=(tunnels u); COMP_CWORD=1; _tunnels_completion tunnels; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [bash, "-c", ask, "bash", str(made.ROOT / "completions/tunnels.bash")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ("complete -o default -F _tunnels_completion tunnels\ntunnels u|1|complete_bash\n")


def test_zsh_completes_from_the_first_tab_on() -> None:
    """A file in $fpath is the body of the function: what it only defines would serve the second time."""
    assert completions.scripts()["_tunnels"].startswith("#compdef tunnels\n")
    assert completions.scripts()["_tunnels"].endswith('\n_tunnels_completion "$@"\n')


def test_check_names_what_is_behind_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(made, "ROOT", tmp_path)
    assert made.main(["--check"]) == 1
    assert "man/tunnels.1 is behind the program" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert made.main([]) == 0
    assert made.main(["--check"]) == 0
