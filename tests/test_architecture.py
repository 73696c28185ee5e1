"""The map of the house holds: who may import whom, and what every file has.

Each row of a table has its reason. A row that nothing corresponds to any more is a failure too, so that
the tables stay what is true (as Tailscale's ``deptest`` has it).
"""

from __future__ import annotations

import ast
import functools
import itertools
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tunnels
from tests.daemon.served import daemon_thread, profile_file, tunnel

PACKAGE = Path(tunnels.__file__).parent
TESTS = Path(__file__).parent
PYPROJECT = PACKAGE.parent / "pyproject.toml"

MAX_LINES = 400

#: Who may import what of ours. ``core`` stands for everything in it, ``forwarding.channel`` for one module.
ROOMS: dict[str, tuple[set[str], str]] = {
    "errors": (set(), "everything stands on it"),
    "core": ({"errors"}, "pure: values and decisions"),
    "tasks": (set(), "a tool that knows nothing of tunnels"),
    "turns": (set(), "a tool for sockets, whoever's they are"),
    "paths": ({"errors"}, "where files are, and no more"),
    "profiles": ({"core", "errors"}, "text becomes values; the command line needs it without the engine"),
    "opened": (
        {"core", "errors", "profiles"},
        "profiles that are in no file, for the daemon and the commands",
    ),
    "profile_writer": ({"core", "errors", "profiles"}, "changes the profile file; loaded by few commands"),
    "terminal": (set(), "the care of a terminal, for the command line and for `up -f`"),
    "open_files": (set(), "a limit of this process, and a tool that knows nothing of tunnels"),
    "lean_import": (set(), "comes before everything that it concerns"),
    "process": ({"open_files"}, "runs a command, and no more"),
    "password_command": ({"errors", "process"}, "runs a command for what it prints, and no more"),
    "system_keyring": ({"errors"}, "talks to the system, and to nobody of ours"),
    "log_file": ({"core"}, "what the daemon writes; `logs` and the view read it"),
    "programs": ({"core"}, "looks at the processes of this machine, and at nothing of ours"),
    "history_file": ({"core"}, "what the daemon writes and `why` reads"),
    "desired_state": ({"paths"}, "what the daemon writes and spawn reads"),
    "control_socket": ({"errors", "paths"}, "both sides of the socket use it"),
    "client": ({"control_socket", "core", "errors", "paths"}, "loads fast: every command has it"),
    "ending": (
        {"client", "control_socket", "desired_state", "errors", "paths"},
        "ends the daemon from outside",
    ),
    "service": ({"errors", "paths"}, "talks to systemd and launchd, and to nobody of ours"),
    "spawn": (
        {"client", "desired_state", "ending", "errors", "paths", "service", "version"},
        "starts the daemon without being it, through its service where there is one",
    ),
    "browsers": ({"core", "errors"}, "looks around in the system for one, and no more"),
    "browser_folder": ({"errors", "paths"}, "makes and removes folders, whatever they are for"),
    "proxy_probe": ({"core", "errors"}, "a client of a proxy, as any program is one"),
    "leak_watch": ({"core"}, "looks at the packets of this machine, and at nothing of ours"),
    "forwarding": (
        {"core", "errors", "open_files", "password_command", "tasks"},
        "moves bytes, knows nothing of SSH",
    ),
    "ssh": (
        {
            *("core", "errors", "forwarding.channel", "open_files", "password_command", "system_keyring"),
            *("tasks", "turns"),
        },
        "makes connections; of what moves on them it knows the shape of a channel",
    ),
    "supervisor": (
        {"core", "errors", "forwarding", "history_file", "process", "tasks"},
        "what connects is passed in",
    ),
    "daemon": (
        {
            *("control_socket", "core", "desired_state", "errors", "forwarding", "open_files", "opened"),
            *("paths", "profiles", "ssh", "supervisor", "system_keyring", "tasks", "terminal", "version"),
        },
        "the only place that wires things together; never the command line",
    ),
    "cli": (
        {
            *("browser_folder", "browsers", "client", "core", "desired_state", "ending", "errors"),
            *("history_file", "leak_watch", "lean_import", "log_file", "opened", "paths", "profile_writer"),
            *("profiles", "programs", "proxy_probe", "service", "spawn", "terminal", "version"),
        },
        "importing the engine costs every command 160 ms",
    ),
    "ui": (
        {
            *("cli.known", "cli.render", "client", "core", "errors", "log_file", "paths", "profiles"),
            *("programs", "spawn"),
        },
        "one more command; it shares the words of the others, and nobody else pays for it",
    ),
    "__main__": ({"cli"}, "the beginning of the command line"),
}

#: What the command line imports of the engine, inside the function that needs it and nowhere else.
LAZY: dict[str, tuple[set[str], str]] = {
    "cli.up": ({"daemon.foreground"}, "`up -f` is the engine in the foreground"),
    "cli.open": ({"daemon.foreground"}, "`open --foreground` is the engine in the foreground"),
    "cli.ui": ({"ui.app"}, "the full-screen view, with a library that may be absent"),
    "cli.add": ({"ssh.keywords"}, "after a slip: which words are keywords of ssh"),
    "cli.import_": ({"ssh.config_forwards"}, "asks ssh what a Host forwards"),
    "cli.demo": ({"daemon.app", "daemon.demo"}, "the demo runs the engine"),
    "cli.be_daemon": ({"daemon.app"}, "`daemon run` is the daemon"),
    "cli.doctor": ({"daemon.doctor"}, "the doctor goes the way of a tunnel in its own process"),
    "cli.harden": (
        {"daemon.doctor", "daemon.harden"},
        "knows the way to every server, and tries what it allows",
    ),
    "cli.check": (
        {"forwarding.interfaces", "ssh.describe", "ssh.key_check", "ssh.resolve"},
        "shows what ssh_config makes of a profile, and which networks reach it",
    ),
}

#: Who may import what is not ours and not Python's.
LIBRARIES: dict[str, tuple[set[str], str]] = {
    "asyncssh": ({"ssh"}, "one place to change when it changes, and 160 ms"),
    "cryptography": ({"ssh.gcm", "ssh.wire"}, "the hot path seals and opens packets itself"),
    "aiohappyeyeballs": ({"ssh", "forwarding.remote"}, "the two places that connect over TCP"),
    "typer": ({"cli"}, "only the command line has one"),
    "rich": ({"cli", "ui"}, "only the command line is looked at"),
    "textual": ({"ui"}, "an extra: whoever has not got it misses the full-screen view"),
    "platformdirs": ({"paths"}, "one place knows where files are"),
    "tomlkit": ({"profile_writer"}, "changes TOML as a person would; 40 ms that most commands do without"),
    "psutil": (
        {"forwarding.interfaces", "forwarding.ports", "programs"},
        "names the holder of a port, the networks of this machine, and the programs that are clients",
    ),
    "keyring": ({"system_keyring"}, "an extra: whoever has not got it misses one file of ours"),
    "uvloop": ({"daemon.app"}, "one place chooses the event loop"),
}

#: What comes with an extra of ours, and may be absent.
EXTRAS: dict[str, tuple[set[str], str]] = {
    "pkcs11": ({"ssh.pkcs11_token"}, "smart cards; the only place that speaks with one"),
}

#: What of the standard library the pure core may use: nothing that waits, reads, writes, asks or rolls dice.
CORE_MAY = {
    *(
        "__future__",
        "base64",
        "bisect",
        "collections",
        "contextlib",
        "dataclasses",
        "datetime",
        "difflib",
        "enum",
    ),
    *("functools", "hashlib", "ipaddress", "itertools", "json", "math", "operator", "re", "shlex", "string"),
    *("textwrap", "types", "typing", "unicodedata", "urllib.parse"),
}

#: Clocks that hide in modules which the core may use.
CLOCKS = {"now", "utcnow", "today"}

#: Sources without a test file of their own.
WITHOUT_TESTS = {
    "__main__.py": "two lines; tests/cli/test_main.py runs them",
    "core/actions.py": "only values",
    "core/events.py": "only values",
    "core/question.py": "a value and an exception without behaviour",
    "core/state.py": "two enumerations",
    "supervisor/connector.py": "only the shape of what connects",
}


# --- reading the sources --------------------------------------------------------------------------


class Import(NamedTuple):
    """One import. ``module`` is ours without ``tunnels.``, or a foreign one with all its dots."""

    importer: str
    module: str
    line: int
    is_ours: bool
    is_lazy: bool  #: inside a function

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.module}"


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """``core.address``; ``cli`` for a package, ``version`` for the top one."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "version"


MODULES = {name_of(path): path for path in sources()}


@functools.cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


def walk(node: ast.AST, *, lazy: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it is only reached when a function is called."""
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, inside
        yield from walk(child, lazy=inside)


@functools.cache
def imports_of(module: str) -> tuple[Import, ...]:
    found = []
    for node, lazy in walk(tree_of(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide what is imported"
            assert node.module is not None
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else node.module for name in names]
        else:
            continue
        for name in names:
            is_ours = name.split(".")[0] == "tunnels"
            own = name.partition(".")[2] or "version"
            found.append(Import(module, own if is_ours else name, node.lineno, is_ours, lazy))
    return tuple(found)


def is_module(name: str) -> bool:
    """Whether ``from package import name`` imports a module of ours."""
    return name.startswith("tunnels.") and name.partition(".")[2] in MODULES


def within(module: str, rooms: set[str]) -> bool:
    """Whether a module is one of these, or in one of these."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def room_of(module: str) -> str:
    return module.partition(".")[0]


@functools.cache  # and not when this file is read, which each process of a run does
def all_imports() -> tuple[Import, ...]:
    return tuple(found for module in MODULES for found in imports_of(module))


# --- who imports whom -----------------------------------------------------------------------------


def test_every_module_has_a_row() -> None:
    assert {room_of(module) for module in MODULES} - {"version"} == set(ROOMS)
    assert imports_of("version") == ()


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_row_says(room: str) -> None:
    allowed, reason = ROOMS[room]
    wrong = [
        str(found)
        for found in all_imports()
        if found.is_ours
        and room_of(found.importer) == room
        and not within(found.module, allowed | {room})
        and not (found.is_lazy and found.module in LAZY.get(found.importer, (set(), ""))[0])
    ]
    assert wrong == [], f"{room}: {reason}"


def test_the_rows_lead_one_way() -> None:
    order: list[str] = []
    rows = {room: {room_of(one) for one in allowed} - {"version"} for room, (allowed, _) in ROOMS.items()}
    while rows:
        free = [room for room, allowed in rows.items() if allowed <= set(order)]
        assert free, f"these go round in a circle: {sorted(rows)}"
        order += free
        for room in free:
            del rows[room]


def test_every_name_in_a_row_is_a_module_that_exists() -> None:
    named = {name for allowed, _ in (*ROOMS.values(), *LAZY.values()) for name in allowed}
    assert named - set(MODULES) == set()


@pytest.mark.parametrize("module", LAZY)
def test_the_command_line_imports_the_engine_inside_functions_and_only_where_it_is_listed(
    module: str,
) -> None:
    allowed, reason = LAZY[module]
    engine = {"daemon", "supervisor", "ssh", "forwarding", "ui"}
    found = {each.module for each in imports_of(module) if each.is_lazy and within(each.module, engine)}
    assert found == allowed, f"{module}: {reason}"


@pytest.mark.parametrize("library", [*LIBRARIES, *EXTRAS])
def test_a_library_is_used_only_where_its_row_says(library: str) -> None:
    allowed, reason = {**LIBRARIES, **EXTRAS}[library]
    users = [each for each in all_imports() if not each.is_ours and room_of(each.module) == library]
    assert [str(each) for each in users if not within(each.importer, allowed)] == [], reason
    unused = {where for where in allowed if not any(within(each.importer, {where}) for each in users)}
    assert unused == set(), f"{library} is no longer used there"


def test_every_library_has_a_row_and_is_required_by_the_package() -> None:
    used = {room_of(each.module) for each in all_imports() if not each.is_ours}
    used -= sys.stdlib_module_names
    assert used - set(LIBRARIES) - set(EXTRAS) == set(), "not in the table"
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    assert set(EXTRAS) <= set(project["optional-dependencies"])
    required = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    names = {
        requirement.partition(";")[0].split("[")[0].strip(" <>=,.0123456789") for requirement in required
    }
    assert names == set(LIBRARIES)


# --- the core is pure -----------------------------------------------------------------------------


def core() -> list[str]:
    return [module for module in MODULES if room_of(module) == "core"]


def test_the_core_imports_nothing_that_waits_reads_asks_or_rolls_dice() -> None:
    foreign = [each for module in core() for each in imports_of(module) if not each.is_ours]
    assert [str(each) for each in foreign if not within(each.module, CORE_MAY)] == []


def test_the_core_looks_at_no_clock_and_opens_no_file() -> None:
    wrong = []
    for module in core():
        for node, _ in walk(tree_of(module)):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr in CLOCKS:
                wrong.append(f"{module}, line {called.lineno}: {called.attr}()")
            if isinstance(called, ast.Name) and called.id in {"open", "print", "input", "__import__"}:
                wrong.append(f"{module}, line {called.lineno}: {called.id}()")
    assert wrong == []


# --- what every file has --------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_a_file_says_at_its_top_what_it_is_for(module: str) -> None:
    said = ast.get_docstring(tree_of(module))
    assert said
    first = said.partition("\n")[0]
    assert first.rstrip()[-1] in ".:?", "its first line is a sentence"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_has_at_most_400_lines(module: str) -> None:
    lines = len(MODULES[module].read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: it has two jobs"


@pytest.mark.parametrize(
    "source",
    [path.relative_to(PACKAGE).as_posix() for path in sources() if path.name != "__init__.py"],
)
def test_a_source_has_a_test_file_that_mirrors_it(source: str) -> None:
    mirror = TESTS / Path(source).with_name(f"test_{Path(source).name}")
    if source in WITHOUT_TESTS:
        assert not mirror.exists(), "it is no longer without tests"
    else:
        assert mirror.exists(), f"tests/{mirror.relative_to(TESTS)} is missing"


def test_every_exception_from_the_mirror_is_a_source_that_exists() -> None:
    assert [source for source in WITHOUT_TESTS if not (PACKAGE / source).is_file()] == []


@pytest.mark.parametrize("path", [path for path in sources() if path.name == "__init__.py"], ids=name_of)
def test_a_package_does_nothing_when_it_is_imported(path: Path) -> None:
    """Which is why it needs no tests: it has a docstring and, at the top, the version."""
    allowed = (ast.Expr, ast.Assign) if path.parent == PACKAGE else (ast.Expr,)
    assert all(isinstance(node, allowed) for node in ast.parse(path.read_text("utf-8")).body)


# --- what the command line loads ------------------------------------------------------------------

ENGINE = {
    "aiohappyeyeballs",
    "asyncssh",
    "cryptography",
    "psutil",
    "pydantic",
    "textual",
    "tomlkit",
    "uvloop",
}

LOADED = """
import sys
sys.argv[1:] = {arguments!r}
from tunnels.__main__ import main
try:
    main()
except SystemExit as end:
    print(end.code, file=sys.stderr)
print(*sys.modules, file=sys.stderr)
"""


def loaded_by(*arguments: str) -> tuple[str, set[str]]:
    """What a command prints, and the modules that it has loaded when it ends with 0."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(arguments=list(arguments))],
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = done.stderr.splitlines()[-2:]
    assert code == "0", done.stderr
    return done.stdout, set(modules.split())


def test_status_loads_neither_the_engine_nor_typer_nor_asyncio() -> None:
    with daemon_thread(tunnel("work-db")):
        shown, modules = loaded_by("status")
    assert "work-db" in shown
    assert modules & (ENGINE | {"typer", "asyncio", "tomllib"}) == set()


def test_status_as_json_does_without_rich_too() -> None:
    with daemon_thread(tunnel("work-db")):
        shown, modules = loaded_by("status", "--json")
    assert "work-db" in shown
    assert modules & (ENGINE | {"typer", "rich", "asyncio"}) == set()


def test_importing_all_of_the_command_line_loads_no_engine() -> None:
    names = [f"tunnels.{module}" for module in MODULES if within(module, {"cli"})]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {', '.join(names)}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert set(names) <= loaded
    ours = {f"tunnels.{room}" for room in ("daemon", "supervisor", "ssh", "forwarding")}
    assert [name for name in loaded if within(name, ENGINE | ours | {"asyncio"})] == []


@pytest.mark.parametrize(
    "arguments",
    [["status", "work-db"], ["list"], ["up", "--help"], ["daemon", "--help"], ["service", "--help"]],
)
def test_no_other_command_loads_the_engine_either(arguments: list[str]) -> None:
    profile_file()
    with daemon_thread(tunnel("work-db")):
        _, modules = loaded_by(*arguments)
    assert modules & (ENGINE | {"asyncio"}) == set()
