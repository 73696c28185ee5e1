"""``tunnels browse``: a browser that goes through a tunnel, with a profile that is thrown away."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from tunnels import browser_folder, paths
from tunnels.browsers import Browser, find_browser
from tunnels.cli import output
from tunnels.cli.options import ConfigOption
from tunnels.cli.run import INTERRUPTED, verb
from tunnels.cli.running import run_to_its_end
from tunnels.cli.through import (
    ForwardOption,
    NameArgument,
    TimeoutOption,
    Way,
    note_that_it_stays,
    way_through,
)
from tunnels.cli.up import DEFAULT_TIMEOUT, seconds_of
from tunnels.client import Client
from tunnels.core.browser import KINDS, arguments, profile_files
from tunnels.errors import NotAsAsked, TunnelsError, UsageError


@verb
def browse(
    name: NameArgument,
    rest: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URL] [-- ARGUMENTS...]", help="The page, and arguments for the browser."),
    ] = None,
    browser: Annotated[
        str | None,
        typer.Option(
            metavar="BROWSER",
            help="A path, or one of " + ", ".join(kind.name for kind in KINDS) + " (default: yours).",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Keep the browser's profile under this name, for the next time."),
    ] = None,
    down: Annotated[
        bool, typer.Option("--down", help="Take the tunnel down at the end, if this has brought it up.")
    ] = False,
    forward: ForwardOption = None,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    config: ConfigOption = None,
) -> int:
    """Open a browser that goes through the tunnel, and wait until it is closed.

    Its profile is new and gone afterwards; your own browser is not touched. Names are resolved at the
    far end, QUIC and non-proxied WebRTC are off, and when the tunnel drops nothing goes past it.

    Example: tunnels browse cafe https://example.com
    """
    seconds = seconds_of(timeout)
    url, extra = _page_and_arguments(rest or [])
    program = find_browser(browser)
    way = way_through(name, forward=forward, timeout=seconds, config=config)
    try:
        return _run(program, way, url, extra, keep)
    finally:
        if down and way.brought_up:
            with contextlib.suppress(TunnelsError), Client.connect() as client:  # it may be down by now
                client.down([way.tunnel])
        else:
            note_that_it_stays(way)


def _page_and_arguments(rest: list[str]) -> tuple[str | None, list[str]]:
    """Tell them apart: what begins with a dash is no page."""
    if rest and not rest[0].startswith("-"):
        return rest[0], rest[1:]
    return None, rest


def _run(program: Browser, way: Way, url: str | None, extra: list[str], keep: str | None) -> int:
    if way.needs_password:
        output.note("this proxy wants a password (auth): the browser will ask you for it")
    with _folder(program, keep) as folder:
        for file, text in profile_files(program.family, way.proxy, by_http=way.needs_password).items():
            _write(folder.path / file, text, replace=file == "user.js")
        command = arguments(
            program.family, way.proxy, str(folder.path), url, extra, by_http=way.needs_password
        )
        output.note(f"{program.title} goes through {way.tunnel} ({way.proxy}) until you close it")
        try:
            ended = run_to_its_end(
                [str(program.command), *command],
                environment={**os.environ, "MOZ_CRASHREPORTER_DISABLE": "1"},
                keep_open=[folder.lock],
                quiet=not extra,  # who gives it arguments wants to see what it makes of them
            )
        except OSError as exc:
            raise UsageError(f"{program.command} cannot be run: {exc.strerror or exc}") from exc
    if ended.signal is not None:
        return INTERRUPTED if ended.signal == 2 else 128 + ended.signal
    if ended.code:
        raise NotAsAsked(
            f"{program.title} ended with exit code {ended.code}",
            hint=f"its last words: {ended.said.splitlines()[-1]}" if ended.said else None,
        )
    return 0


def _folder(program: Browser, keep: str | None) -> contextlib.AbstractContextManager[browser_folder.Folder]:
    """A snap or a flatpak sees no other folder than its own."""
    if keep is None:
        return browser_folder.throwaway(program.home or paths.browsers_dir())
    root = (program.home or paths.kept_browsers_dir()) / program.family.value
    return browser_folder.kept(root, keep)


def _write(file: Path, text: str, *, replace: bool) -> None:
    """Write what the profile begins with; Chromium's preferences of the last time stay, user.js is read anew."""
    if file.exists() and not replace:
        return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    except OSError as exc:
        raise TunnelsError(f"{file} cannot be written: {exc.strerror or exc}") from exc
