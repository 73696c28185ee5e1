"""``man/tunnels.1``, made from the help of the program (groff_man(7)). It is in the wheel as a manual page."""

from __future__ import annotations

import re

from tools.command_tree import Command, Option, commands
from tunnels import __version__
from tunnels.core.profile_fields import PROFILE_FIELDS
from tunnels.core.schema import DESCRIPTIONS

_EXIT_CODES = {
    "0": "As asked.",
    "1": "A tunnel is not in the state that was asked for.",
    "2": "The command line or the profile file is wrong.",
    "3": "Not running: the tunnel, or the daemon.",
    "4": "No such profile.",
    "5": "A person must answer something, and there is no terminal.",
    "130": "Interrupted.",
}

_VARIABLES = {
    "TUNNELS_CONFIG": "The profile file, where --config does not say it.",
    "TUNNELS_RUNTIME_DIR": "The folder of the control socket.",
    "TUNNELS_STATE_DIR": "The folder of the log, the history, and what should be up.",
    "TUNNELS_DEBUG": "1 shows tracebacks.",
    "NO_COLOR": "No colours.",
}

_PROFILE = """\
[profiles.work-db]                # tunnels up work-db
host = "bastion"                  # a Host of ~/.ssh/config, or [user@]host[:port]
local = ["5432:db.internal:5432"] # what ssh -L takes

[profiles.home]
host = "me@vps.example.com"
remote = ["2222:localhost:22"]    # what ssh -R takes
autostart = true

[profiles.cafe]
host = "me@vps.example.com"
dynamic = ["1080"]                # what ssh -D takes
"""


def page() -> str:
    """Return the whole manual page."""
    top, *rest = commands()
    lines = [
        '.\\" Made from the program by tools/manual.py.',
        f'.TH TUNNELS 1 "" "tunnels {__version__}" "User Commands"',
        ".SH NAME",
        "tunnels \\- keeps SSH tunnels up",
        ".SH SYNOPSIS",
        ".B tunnels",
        "[\\fB\\-\\-config\\fR \\fIFILE\\fR] \\fICOMMAND\\fR [\\fIARGUMENT\\fR...]",
        ".SH DESCRIPTION",
        "You write down once which ports you need, in a profile file.",
        "One daemon per user then owns the listening ports, keeps each SSH connection alive,",
        "dials again when one drops, and lets programs wait meanwhile instead of failing.",
        ".SH OPTIONS",
        *_options(top),
        ".SH COMMANDS",
    ]
    for command in rest:
        lines += _command(command)
    lines += [".SH PROFILES", "The profile file is TOML. These are three of them:", ".PP", ".nf", ".RS"]
    lines += [escape(line) for line in _PROFILE.splitlines()]
    lines += [".RE", ".fi", ".PP", "The keys of a profile, which", ".B [defaults]", "may have as well:"]
    for key in PROFILE_FIELDS:
        lines += [".TP", f".B {escape(key)}", escape(DESCRIPTIONS[key])]
    lines.append(".SH EXIT STATUS")
    for code, text in _EXIT_CODES.items():
        lines += [".TP", f".B {code}", text]
    lines.append(".SH ENVIRONMENT")
    for name, text in _VARIABLES.items():
        lines += [".TP", f".B {name}", escape(text)]
    lines += [
        ".SH FILES",
        ".TP",
        ".I ~/.config/tunnels/profiles.toml",
        "The profiles; on macOS in ~/Library/Application Support/tunnels.",
        ".SH SEE ALSO",
        ".BR ssh (1),",
        ".BR ssh_config (5),",
        ".BR sshd_config (5)",
    ]
    return "\n".join(lines) + "\n"


def _command(command: Command) -> list[str]:
    lines = [f".SS {escape(command.usage)}", *_paragraphs(command.paragraphs)]
    shown = [*command.arguments, *(each for each in command.options if "--help" not in each.written)]
    lines += [line for each in shown for line in _option(each)]
    if command.example:
        lines += [".PP", "Example:", f".B {escape(command.example)}"]
    return lines


def _paragraphs(paragraphs: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += [".PP", escape(paragraph)]
    return lines[1:]


def _options(command: Command) -> list[str]:
    return [line for each in command.options for line in _option(each)]


def _option(option: Option) -> list[str]:
    return [".TP", f".B {escape(option.written)}", escape(option.text)]


def escape(text: str) -> str:
    """Return a line that groff shows as it is: no escapes, no request at its beginning, dashes that can be copied."""
    text = (
        text.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("`", "\\(ga")
        .replace("'", "\\(aq")
        .replace("^", "\\(ha")
    )
    text = text.replace("~", "\\(ti")
    return re.sub(r"^([.'])", r"\\&\1", text)
