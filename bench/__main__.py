"""``make bench``: measure, and print each figure beside what it is compared with.

``python -m bench throughput latency`` measures only these; without names, everything in section 5 of the
design. ``--quick`` is for seeing whether it works: its figures mean nothing. ``--json FILE`` and ``--markdown
FILE`` write what was found; ``-`` is standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Protocol

from bench import (
    beside,
    crowd,
    distance,
    full_screen,
    hotpath,
    latency,
    newcomers,
    outage,
    recovery,
    scale,
    several,
    stalled,
    startup,
    survival,
    throughput,
    uplink,
)
from bench.machine import describe
from bench.table import Figure, markdown, show


class Measurement(Protocol):
    """One of them; ``quick`` asks for little."""

    def __call__(self, *, quick: bool = False) -> list[Figure]: ...


MEASUREMENTS: dict[str, Measurement] = {
    "throughput": throughput.measure,
    "latency": latency.measure,
    "newcomers": newcomers.measure,
    "crowd": crowd.measure,
    "beside": beside.measure,
    "several": several.measure,
    "scale": scale.measure,
    "screen": full_screen.measure,
    "stalled": stalled.measure,
    "startup": startup.measure,
    "recovery": recovery.measure,
    "distance": distance.measure,
    "uplink": uplink.measure,
    "hotpath": hotpath.measure,
    "outage": outage.measure,
    "survival": survival.measure,
}

ONLY_BY_NAME = {"outage", "survival"}
"""What takes long and is not of section 5."""


def main(arguments: list[str]) -> int:
    """Measure what was asked for, or everything."""
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="WHAT", help=", ".join(MEASUREMENTS))
    parser.add_argument("--quick", action="store_true", help="see whether it works; the figures mean nothing")
    parser.add_argument("--json", metavar="FILE", help="write all samples (-: standard output)")
    parser.add_argument(
        "--markdown", metavar="FILE", help="write a table for docs/performance.md (-: likewise)"
    )
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in MEASUREMENTS]:
        parser.error(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    names = asked.names or [name for name in MEASUREMENTS if name not in ONLY_BY_NAME]
    machine = describe()
    print("\n".join(f"{name}: {value}" for name, value in machine.items()), file=sys.stderr)
    found: dict[str, list[Figure]] = {}
    failed = False
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            found[name] = MEASUREMENTS[name](quick=asked.quick)
        except Exception as exc:  # noqa: BLE001  # the others can be measured all the same
            failed = True
            print(f"  {type(exc).__name__}: {exc}", file=sys.stderr)
            found[name] = [Figure(name, f"not measured: {exc}")]
        print(f"  {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    figures = [figure for some in found.values() for figure in some]
    document = {
        "machine": machine,
        "quick": asked.quick,
        "figures": {name: [figure.document() for figure in some] for name, some in found.items()},
    }
    _write(asked.json, json.dumps(document, indent=1) + "\n")
    told = "".join(f"- {name}: {value}\n" for name, value in machine.items())
    _write(asked.markdown, f"{told}\n{markdown(figures)}")
    if "-" not in (asked.json, asked.markdown):
        show(figures)
    return 1 if failed else 0


def _write(where: str | None, text: str) -> None:
    if where == "-":
        print(text, end="")
    elif where:
        Path(where).write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
