"""A line is pasted as it stands in notes and scripts; what is not one command of ssh is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.shell_line import LONGEST_LINE, parse_line, parse_words
from tunnels.errors import UsageError

PLAIN = ("-N", "-L", "5432:db:5432", "me@bastion")


@pytest.mark.parametrize(
    "line",
    [
        "ssh -N -L 5432:db:5432 me@bastion",
        "  $ ssh -N -L 5432:db:5432 me@bastion\n",
        "% ssh -N -L 5432:db:5432 me@bastion",
        "> ssh -N -L 5432:db:5432 me@bastion",
        "ssh -N \\\n    -L 5432:db:5432 \\\r\n    me@bastion",
        "ssh -N -L '5432:db:5432' \"me@bastion\"",
        "ssh -N -L 5432:db:5432 me@bastion &",
        "ssh -N -L 5432:db:5432 me@bastion;",
        "ssh -N -L 5432:db:5432 me@bastion # the database",
        "# the database\nssh -N -L 5432:db:5432 me@bastion",
        "#!/bin/sh\n\nssh -N -L 5432:db:5432 me@bastion\n",
        "nohup ssh -N -L 5432:db:5432 me@bastion > /dev/null 2>&1 &",
        "exec /usr/bin/ssh -N -L 5432:db:5432 me@bastion < /dev/null",
        "ssh -N -L 5432:db:5432 me@bastion >>~/log 2>>~/log",
        "LC_ALL=C ssh -N -L 5432:db:5432 me@bastion",
        "ssh.exe -N -L 5432:db:5432 me@bastion",
    ],
)
def test_whatever_a_shell_does_around_the_command_is_left_out(line: str) -> None:
    assert parse_line(line) == ("ssh", PLAIN, ())


@pytest.mark.parametrize(
    "line",
    [
        "autossh -M 0 -N -L 5432:db:5432 me@bastion",
        "autossh -M0 -N -L 5432:db:5432 me@bastion",
        "AUTOSSH_GATETIME=0 autossh -M 20000:7 -N -L 5432:db:5432 me@bastion",
    ],
)
def test_the_own_flag_of_autossh_is_left_out_and_said(line: str) -> None:
    program, arguments, notes = parse_line(line)
    assert (program, arguments) == ("autossh", PLAIN)
    assert any("autossh" in note for note in notes)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sudo ssh -L 80:web:80 bastion", "sudo"),
        ("sshpass -p s3cret ssh bastion", "sshpass"),
        ("mosh bastion", "mosh"),
        ("SSH_AUTH_SOCK=/run/agent ssh bastion", "SSH_AUTH_SOCK"),
        ("ssh a && ssh b", "&&"),
        ("ssh a | tee log", "|"),
        ("ssh a; ssh b", "more than one"),
        ("ssh a & ssh b", "more than one"),
        ("ssh a\nssh b", "several"),
        ("ssh 'a", "quote"),
        ("", "no command"),
        ("   \n", "no command"),
        ("nohup", "no command"),
        ("$ ", "no command"),
    ],
)
def test_what_is_not_one_command_of_ssh_is_refused_by_name(line: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_line(line)
    assert said in refused.value.message
    assert "s3cret" not in f"{refused.value.message}{refused.value.hint}"


def test_words_that_a_shell_has_made_are_taken_as_they_are() -> None:
    assert parse_words(["ssh", "-o", "ProxyCommand=nc %h %p & # x", "h"]).arguments[1].endswith("& # x")


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(UsageError):
        parse_line("ssh " + "x" * LONGEST_LINE)


@given(st.text(alphabet="ssh autos-L'\"\\&|;<>#$= \n1:", max_size=40) | st.text(max_size=30))
def test_any_text_is_a_command_or_refused(text: str) -> None:
    try:
        command = parse_line(text)
    except UsageError:
        return
    assert command.program in {"ssh", "autossh"}
