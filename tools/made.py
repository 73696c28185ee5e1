"""Writes what is made from the program: ``python -m tools.made``. ``--check`` only says what is behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tools import commands_page, completions, errors_page, manual, profile_page

ROOT = Path(__file__).parent.parent


def made() -> dict[str, str]:
    """Return what each made file should say, by its path."""
    return {
        "docs/reference/profile.md": profile_page.page(),
        "docs/reference/commands.md": commands_page.page(),
        "docs/reference/errors.md": errors_page.page(),
        "man/tunnels.1": manual.page(),
        **{f"completions/{name}": text for name, text in completions.scripts().items()},
    }


def main(words: Sequence[str]) -> int:
    """Write what has changed; with ``--check`` name it instead. Returns 1 if something is behind."""
    behind = []
    for name, text in made().items():
        path = ROOT / name
        if not path.exists() or path.read_text("utf-8") != text:
            behind.append(name)
            if "--check" not in words:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
    for name in behind:
        print(f"{name} is behind the program" if "--check" in words else f"wrote {name}")
    return int("--check" in words and bool(behind))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
