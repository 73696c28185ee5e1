"""``make bench``: measure, and print each figure beside what it is compared with.

``python -m bench startup outage`` measures only these. ``--json`` prints one document.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from bench import memory, outage, startup, survival
from bench.table import Figure, show

MEASUREMENTS: dict[str, Callable[[], list[Figure]]] = {
    "startup": startup.measure,
    "memory": memory.measure,
    "outage": outage.measure,
    "survival": survival.measure,
}


def main(arguments: list[str]) -> int:
    """Measure what was asked for, or everything."""
    as_json = "--json" in arguments
    names = [argument for argument in arguments if not argument.startswith("--")] or list(MEASUREMENTS)
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 2
    found: list[Figure] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr)
        found += MEASUREMENTS[name]()
    if as_json:
        print(json.dumps([figure._asdict() for figure in found], indent=2))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
