"""``tunnels leaktest``: shows on this machine that a proxy keeps its promises, and what cannot be shown."""

from __future__ import annotations

import contextlib
import secrets
from typing import Annotated

import typer

from tunnels import leak_watch, proxy_probe
from tunnels.cli import output
from tunnels.cli.options import ConfigOption, JsonOption
from tunnels.cli.run import verb
from tunnels.cli.through import (
    ForwardOption,
    NameArgument,
    TimeoutOption,
    Way,
    note_that_it_stays,
    refuse_password,
    way_through,
)
from tunnels.cli.up import DEFAULT_TIMEOUT, seconds_of
from tunnels.core import leak_report
from tunnels.core.leak_report import Check, Verdict
from tunnels.core.logline import printable, shortened
from tunnels.core.socks_words import BIND, CONNECT, UDP_ASSOCIATE
from tunnels.errors import DialError, NotAsAsked, UsageError

#: A domain that answers for everybody and belongs to nobody (RFC 2606): a name in it is really asked for.
_DOMAIN = "example.com"

#: Times that a new name is tried, where other programs drown what this machine sends.
_TRIES = 5

_MARKS = {
    Verdict.PASSED: ("✓", "green"),
    Verdict.FAILED: ("✗", "red"),
    Verdict.NOTICED: ("!", "yellow"),
    Verdict.UNKNOWN: ("?", "yellow"),
}


@verb
def leaktest(
    name: NameArgument,
    far_name: Annotated[
        str | None,
        typer.Option("--name", metavar="HOST[:PORT]", help="A name that only the far end knows."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="A page that says from which address it is asked.")
    ] = None,
    forward: ForwardOption = None,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show that nothing goes past the proxy of a tunnel, as far as that can be shown.

    A new name under example.com is asked for through it. Exit code 1 if something leaks.

    Example: tunnels leaktest cafe --name intranet.corp
    """
    seconds = seconds_of(timeout)
    host, port = _host_and_port(far_name)
    way = way_through(name, forward=forward, timeout=seconds, config=config, as_json=as_json)
    refuse_password(way, "this test does not know")
    asked = _Asked(way)
    checks = [
        leak_report.refused("udp", "UDP", asked.reply(UDP_ASSOCIATE, "0.0.0.0", 0)),  # noqa: S104
        leak_report.refused("bind", "BIND", asked.reply(BIND, _DOMAIN, 1)),
        asked.names(),
    ]
    if host is not None:
        code = asked.reply(CONNECT, host, port)
        checks.append(leak_report.far_name(host, code, known_here=proxy_probe.resolves_here(host)))
    if url is not None:
        checks.append(asked.page(url))
    checks += [leak_report.by_address(way.forward), leak_report.reach(way.forward)]
    if as_json:
        output.print_json(leak_report.to_json(way.tunnel, str(way.proxy), checks))
    else:
        for check in checks:
            _show(check)
        note_that_it_stays(way)
    return int(any(check.verdict is Verdict.FAILED for check in checks))


class _Asked:
    """Asks the proxy."""

    def __init__(self, way: Way) -> None:
        self._proxy = way.proxy

    def reply(self, command: int, host: str, port: int) -> int:
        """The code of the proxy's reply. Raises NotAsAsked where there is none."""
        try:
            return proxy_probe.ask(self._proxy, command, host, port)
        except DialError as error:
            raise NotAsAsked(error.message, hint=error.hint) from error

    def names(self) -> Check:
        """Ask for names that nobody has ever asked for, until it can be told who else was asked."""
        watch = leak_watch.open_watch(self._proxy)
        if watch is None:
            word = _new_name()
            return leak_report.names_are_resolved_far_away(
                word, self.reply(CONNECT, word, 80), None, None, ""
            )
        with contextlib.closing(watch):
            for _ in range(_TRIES):
                word = _new_name()
                watch.begin()
                code = self.reply(CONNECT, word, 80)
                saw = watch.saw(word.partition(".")[0])
                if saw is not None:
                    break
        return leak_report.names_are_resolved_far_away(word, code, saw, watch.how, watch.blind)

    def page(self, url: str) -> Check:
        """Fetch what says from where it is asked."""
        try:
            said = proxy_probe.fetch(self._proxy, url)
        except DialError as error:
            return Check("exit-address", Verdict.UNKNOWN, error.message)
        return leak_report.exit_address(url, shortened(printable(said), 200))


def _new_name() -> str:
    return f"leaktest-{secrets.token_hex(6)}.{_DOMAIN}"


def _host_and_port(text: str | None) -> tuple[str | None, int]:
    if text is None:
        return None, 0
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, 80
    if not (host and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"--name: {text} is not a name, or a name and a port", hint="intranet.corp:443")
    return host, int(port)


def _show(check: Check) -> None:
    from rich.text import Text  # noqa: PLC0415

    mark, colour = _MARKS[check.verdict]
    lines = [Text.assemble((mark, colour), f" {printable(check.text)}")]
    if check.limit is not None:
        lines.append(Text(f"  not shown: {printable(check.limit)}", "dim"))
    output.print_lines(lines)
