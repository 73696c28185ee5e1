"""``tunnels demo``: see the main job at work, without a server and without configuration."""

from __future__ import annotations

import time

from tunnels.cli import output
from tunnels.cli.run import verb


@verb
def demo() -> int:
    """Show local, remote and dynamic forwards and a reconnect, against an SSH server inside this command.

    Example: tunnels demo
    """
    import logging  # noqa: PLC0415 - the engine, which only this and `up -f` need

    from rich.text import Text  # noqa: PLC0415

    from tunnels.daemon.app import run_loop  # noqa: PLC0415
    from tunnels.daemon.demo import run  # noqa: PLC0415

    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    logging.getLogger("tunnels").addHandler(logging.NullHandler())
    started = time.monotonic()
    shown: list[str] = []

    def say(text: str, done: bool) -> None:
        mark, colour = ("✓", "green") if done else ("…", "dim")
        shown.append(text)
        output.out().print(Text.assemble((mark, colour), " ", text))

    async def show() -> int:
        await run(say)
        return 0

    code = run_loop(show())
    output.out().print(
        Text(
            f"{sum(1 for _ in shown)} steps in {time.monotonic() - started:.1f} s; nothing was left running",
            "bold",
        )
    )
    return code
