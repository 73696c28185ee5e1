from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels import paths, profiles

Editor = Callable[[str], Path]


@pytest.fixture
def editor(home: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """Have a shell script as the editor; what it edits is ``$1``. It notes each of its runs.

    ``edit EXPRESSION`` in it is ``sed -i``, which not every system has.
    """
    edit = 'edit() { sed "$1" "$file" > "$file.made" && cat "$file.made" > "$file" && rm "$file.made"; }'

    def become(script: str) -> Path:
        program, runs = home / "editor", home / "runs"
        program.write_text(f'#!/bin/sh\nfile="$1"\n{edit}\necho "$1" >> {runs}\n{script}\n')
        program.chmod(0o700)
        monkeypatch.setenv("EDITOR", str(program))
        return runs

    return become


GOOD_EDIT = "edit s/bastion/gateway/"
BAD_EDIT = """echo 'hosst = 1' >> "$1" """


def leftovers(path: Path) -> list[Path]:
    return [other for other in path.parent.iterdir() if other != path]


# --- what is taken --------------------------------------------------------------------------------


def test_a_good_edit_takes_the_place_of_the_file_and_says_how_to_apply_it(editor: Editor) -> None:
    path = profile_file()
    editor(GOOD_EDIT)
    result = tunnels("edit")
    assert (result.code, result.out) == (0, f"{path} was changed\n")
    assert path.read_text() == FILE.replace("bastion", "gateway")
    assert "tunnels up" in result.err
    assert leftovers(path) == []


def test_what_runs_is_to_be_reloaded(editor: Editor) -> None:
    profile_file()
    editor(GOOD_EDIT)
    with daemon_thread(tunnel("work-db")):
        assert "tunnels reload" in tunnels("edit").err


def test_a_file_that_was_not_changed_is_not_written(editor: Editor) -> None:
    path = profile_file()
    before = path.stat()
    editor("true")
    result = tunnels("edit")
    assert (result.code, result.out) == (0, "")
    assert "nothing was changed" in result.err
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert leftovers(path) == []


def test_a_bad_edit_leaves_the_file_as_it_was_and_names_every_problem(editor: Editor) -> None:
    path = profile_file()
    editor(BAD_EDIT + "; echo 'locall = 2' >> \"$1\"")
    result = tunnels("edit")
    assert (result.code, result.out) == (2, "")
    assert path.read_text() == FILE
    assert "hosst" in result.err
    assert "locall" in result.err
    assert str(path) in result.words, "the name of a copy that is gone is of no use"


def test_what_is_not_taken_is_kept_in_a_private_file_that_is_named(editor: Editor) -> None:
    path = profile_file()
    path.chmod(0o644)
    editor(BAD_EDIT)
    result = tunnels("edit")
    kept = path.with_name("profiles.toml.rejected")
    assert leftovers(path) == [kept]
    assert kept.read_text() == FILE + "hosst = 1\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert str(kept) in result.words


def test_a_change_that_somebody_else_made_meanwhile_is_not_undone_and_the_edit_is_kept(
    editor: Editor,
) -> None:
    path = profile_file()
    editor(GOOD_EDIT + f"; echo '# added meanwhile' >> {path}")
    result = tunnels("edit")
    assert result.code == 2
    assert path.read_text() == FILE + "# added meanwhile\n"
    assert "somebody else" in result.words
    assert "gateway" in path.with_name("profiles.toml.rejected").read_text()


def test_the_line_ends_of_the_file_stay_what_they_are(editor: Editor) -> None:
    path = profile_file()
    path.write_bytes(FILE.replace("\n", "\r\n").encode())
    editor(GOOD_EDIT)
    assert tunnels("edit").code == 0
    assert path.read_bytes() == FILE.replace("bastion", "gateway").replace("\n", "\r\n").encode()


def test_an_edit_that_is_not_utf_8_is_not_taken(editor: Editor) -> None:
    path = profile_file()
    editor("""printf '# caf\\351\\n' >> "$1" """)
    result = tunnels("edit")
    profiles.load(path)  # raises if what is there now is not valid
    assert result.code == 2
    assert path.read_text() == FILE


def test_without_a_file_the_template_is_edited_into_a_private_one(editor: Editor) -> None:
    path = paths.config_file()
    path.parent.rmdir()
    editor("""printf '[profiles.new]\\nhost = "h"\\ndynamic = ["1080"]\\n' >> "$1" """)
    assert tunnels("edit").code == 0
    assert path.read_text().startswith(profiles.template())
    assert list(profiles.load(path).profiles) == ["new"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_editor_that_writes_a_new_file_is_an_editor_too(editor: Editor) -> None:
    path = profile_file()
    editor("""sed s/bastion/gateway/ "$1" > "$1.new" && mv "$1.new" "$1" """)
    assert tunnels("edit").code == 0
    assert "gateway" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link_and_its_file_is_changed(editor: Editor, home: Path) -> None:
    path = profile_file()
    target = home / "dotfiles" / "profiles.toml"
    target.parent.mkdir()
    path.rename(target)
    path.symlink_to(target)
    editor(GOOD_EDIT)
    assert tunnels("edit").code == 0
    assert path.is_symlink()
    assert "gateway" in target.read_text()
    assert leftovers(target) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
def test_the_mode_of_the_file_is_kept(mode: int, editor: Editor) -> None:
    path = profile_file()
    path.chmod(mode)
    editor(GOOD_EDIT)
    assert tunnels("edit").code == 0
    assert "gateway" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == mode


# --- the editor -----------------------------------------------------------------------------------


def test_the_editor_is_given_a_private_copy_beside_the_file_with_its_ending(
    editor: Editor, home: Path
) -> None:
    path = profile_file()
    runs = editor(f'ls -l "$1" > {home}/ls')
    tunnels("edit")
    copy = Path(runs.read_text().strip())
    assert copy.parent == path.parent
    assert copy.suffix == ".toml"
    assert copy != path
    assert (home / "ls").read_text().startswith("-rw-------")


def test_visual_comes_before_editor_and_may_have_arguments(
    editor: Editor, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = profile_file()
    editor("exit 1")
    visual = home / "my editor"
    visual.write_text(
        '#!/bin/sh\ntest "$1" = --wait && sed s/bastion/gateway/ "$2" > "$2.made" && mv "$2.made" "$2"\n'
    )
    visual.chmod(0o700)
    monkeypatch.setenv("VISUAL", f"'{visual}' --wait")
    assert tunnels("edit").code == 0
    assert "gateway" in path.read_text()


def test_an_editor_that_fails_changes_nothing(editor: Editor) -> None:
    path = profile_file()
    editor(GOOD_EDIT + "; exit 1")
    result = tunnels("edit")
    assert result.code == 2
    assert "status 1" in result.err
    assert path.read_text() == FILE
    assert leftovers(path) == []


@pytest.mark.parametrize("command", ["/nowhere/editor", "'unclosed"])
def test_an_editor_that_does_not_exist_is_said(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = profile_file()
    monkeypatch.setenv("EDITOR", command)
    result = tunnels("edit")
    assert result.code == 2
    assert "EDITOR" in result.err
    assert path.read_text() == FILE
    assert leftovers(path) == []


def test_an_editor_that_takes_the_copy_away_changes_nothing_and_is_no_bug(editor: Editor) -> None:
    path = profile_file()
    editor('rm "$1"')
    result = tunnels("edit")
    assert path.read_text() == FILE
    assert "this is a bug" not in result.err


def test_a_file_that_cannot_be_read_is_not_overwritten(editor: Editor) -> None:
    path = paths.config_file()
    path.write_bytes(b"# caf\xe9\n")
    runs = editor("true")
    assert tunnels("edit").code == 2
    assert path.read_bytes() == b"# caf\xe9\n"
    assert not runs.exists()


# --- on a terminal --------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["\n", "y\n", "yes\n", " YES \n"])
def test_a_bad_edit_can_be_mended_on_a_terminal(answer: str, editor: Editor) -> None:
    path = profile_file()
    runs = editor(f"""grep -q hosst "$1" && edit '/hosst/d; s/bastion/gateway/' || {BAD_EDIT}""")
    result = tunnels("edit", is_terminal=True, typed=answer)
    assert result.code == 0
    assert len(runs.read_text().splitlines()) == 2
    assert "gateway" in path.read_text()
    assert "hosst" not in path.read_text()


@pytest.mark.parametrize("answer", ["n\n", "no\n", "what?\n"])
def test_who_gives_up_on_a_bad_edit_keeps_the_old_file(answer: str, editor: Editor) -> None:
    path = profile_file()
    runs = editor(BAD_EDIT)
    result = tunnels("edit", is_terminal=True, typed=answer)
    assert result.code == 2
    assert len(runs.read_text().splitlines()) == 1
    assert path.read_text() == FILE
    assert [other.name for other in leftovers(path)] == ["profiles.toml.rejected"]


def test_ctrl_d_instead_of_an_answer_is_giving_up_and_no_bug(editor: Editor) -> None:
    path = profile_file()
    editor(BAD_EDIT)
    result = tunnels("edit", is_terminal=True, typed="")
    assert path.read_text() == FILE
    assert "this is a bug" not in result.err
    assert [other.name for other in leftovers(path)] == ["profiles.toml.rejected"]
