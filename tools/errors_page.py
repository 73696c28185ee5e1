"""``docs/reference/errors.md``: every code that an error of ours has, from the classes, with words for people."""

from __future__ import annotations

import importlib
import pkgutil

import tunnels
from tools.error_words import WORDS
from tunnels.errors import TunnelsError

_HEAD = """\
# Errors

Every error has a code (`error.code` in `--json`), a sentence, and most have a hint: the next thing to type. The
table is made from the program. **Tried again** says whether a tunnel goes on by itself; where it does not, the
tunnel is `failed` until a person changes something and says `tunnels up` again. **Exit code** is that of a command
that ends with this error.

`tunnels why NAME` says what happened last, and `tunnels doctor NAME` where on the way it happens.
"""


def error_classes() -> dict[str, type[TunnelsError]]:
    """Return every error class in the package by its code; a refinement that keeps a code is not a second one."""
    for module in pkgutil.walk_packages(tunnels.__path__, "tunnels."):
        if module.name != "tunnels.__main__":
            importlib.import_module(module.name)
    found: dict[str, type[TunnelsError]] = {}
    waiting: list[type[TunnelsError]] = [TunnelsError]
    while waiting:
        cls = waiting.pop(0)
        if cls.__module__.startswith("tunnels."):
            found.setdefault(cls.code, cls)
        waiting += cls.__subclasses__()
    return found


def page() -> str:
    """Return the whole page. Raises KeyError if there are no words for a code."""
    classes = error_classes()
    shown = {code: WORDS[code] for code in classes if WORDS[code] is not None}
    lines = [_HEAD, "| code | exit code | tried again | |", "| --- | --- | --- | --- |"]
    for code in shown:
        cls = classes[code]
        again = "yes" if cls.retryable else "no"
        lines.append(f"| [`{code}`](#{code}) | {cls.exit_code} | {again} | {_first_line(cls)} |")
    lines.append("")
    for code, words in shown.items():
        lines += [f"## {code}", "", f"{_first_line(classes[code])}", "", f"{words}".strip(), ""]
    return "\n".join(lines)


def _first_line(cls: type[TunnelsError]) -> str:
    return (cls.__doc__ or "").partition("\n\n")[0].replace("``", "`").replace("\n    ", " ").strip()
