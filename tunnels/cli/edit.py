"""``tunnels edit``: the profile file in $EDITOR; it is taken only if it is valid, and never lost."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from tunnels import profiles
from tunnels.cli import output
from tunnels.cli.options import ConfigOption
from tunnels.cli.run import config_path, verb
from tunnels.client import Client
from tunnels.errors import DaemonNotRunning, ProfileError, TunnelsError, UsageError


@verb
def edit(config: ConfigOption = None) -> int:
    """Edit the profile file; it is taken only if it is valid.

    What is not taken is kept beside it, in a file that ends with .rejected.

    Example: tunnels edit
    """
    path = config_path(config)
    target = path.resolve()  # a link, as dotfile managers make them, stays one
    before = _read(target)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=".toml", dir=target.parent)
    copy = Path(name)
    try:
        given = profiles.template() if before is None else before
        with open(fd, "wb") as file:  # noqa: PTH123 - a file descriptor, not a path
            file.write(given.encode("utf-8"))
        text = _edited(copy, path)
        if text is None:
            output.note(f"{path} is as it was")
            _keep(copy, given, target)
            return 2
        if text == before:
            output.note("nothing was changed")
            return 0
        _take(copy, text, before, path)
    finally:
        copy.unlink(missing_ok=True)
    output.out().print(f"{path} was changed", markup=False, soft_wrap=True)
    _say_how_to_apply()
    return 0


def _take(copy: Path, text: str, before: str | None, path: Path) -> None:
    from tunnels import profile_writer  # noqa: PLC0415 - only now it is known that there is something to write

    try:
        profile_writer.put(path, text, before=before)
    except UsageError:
        _keep(copy, before or "", path.resolve())
        raise


def _keep(copy: Path, given: str, target: Path) -> None:
    """Put what a person typed where they find it again; an hour of it is worth more than a tidy folder."""
    try:
        if not copy.exists() or copy.read_bytes() == given.encode("utf-8"):
            return
        kept = target.with_name(f"{target.name}.rejected")
        copy.chmod(0o600)
        copy.replace(kept)
    except OSError as exc:
        output.note(f"your text could not be kept: {exc.strerror or exc}")
    else:
        output.note(f"your text is kept in {kept}")


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: {exc}") from exc


def _edited(copy: Path, path: Path) -> str | None:
    """What the person made of it; None if they gave up on a file with problems."""
    while True:
        _run_editor(copy)
        try:
            text = copy.read_bytes().decode("utf-8")
            profiles.parse(text, str(path))
        except FileNotFoundError as exc:
            raise UsageError("the editor took the file away; nothing was changed") from exc
        except (ProfileError, UnicodeDecodeError) as exc:
            error = (
                exc
                if isinstance(exc, ProfileError)
                else UsageError("that is not UTF-8, which TOML is written in")
            )
            output.show_error(error)
            if not output.interactive():
                return None
            answer = output.ask("Edit it again? (yes/no)")
            if answer is None or answer.strip().lower() not in {"", "y", "yes"}:
                return None
        else:
            return text


def _run_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), str(path)], check=False).returncode
    except (OSError, ValueError) as exc:
        raise UsageError(f"{editor}: {exc}", hint="set EDITOR to your editor") from exc
    if code != 0:
        raise UsageError(f"{editor} ended with status {code}; nothing was changed")


def _say_how_to_apply() -> None:
    try:
        with Client.connect() as client:
            running = bool(client.status().tunnels)
    except DaemonNotRunning:
        running = False
    except TunnelsError:
        running = True
    output.note(
        "`tunnels reload` applies it to what runs" if running else "`tunnels up NAME` starts a tunnel"
    )
