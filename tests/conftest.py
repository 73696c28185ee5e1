"""What every test gets: an event loop that is strict, and a home that is not the user's.

* A test written as ``async def`` runs under ``asyncio.Runner(debug=True)``. It has ten seconds, or
  what ``@pytest.mark.time_limit(seconds)`` says. It fails if it leaves a task behind, or if something
  went wrong in a callback where nobody was looking. There are no async fixtures: a test opens what it
  needs with ``async with``, so that it is closed on the loop that opened it.
* Every test has its own HOME, XDG folders and ``TUNNELS_*`` folders. Their paths are short, because
  the path of a unix socket may not be longer than about a hundred bytes.
* In CI (``CI=true``) a skipped test makes the run fail: what is left out there is left out everywhere.

Several processes (``-n``) each have to know all tests before they run their part. What that costs is kept small
here: they share the work of making bytecode of the test files, and the garbage collector waits until they are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import inspect
import io
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

TIME_LIMIT = 10.0
"""Seconds an async test may take; no test here waits for real time, so this is only for deadlocks."""

GRACE_TURNS = 20
"""Turns of the event loop that a task which has been told to end may take to do so."""

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGCONT)

_SKIPPED = pytest.StashKey[list[tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until all tests are known: all that is made till then stays
    config.addinivalue_line("markers", "time_limit(seconds): how long an async test may take (default: 10)")
    config.stash[_SKIPPED] = []
    # What is started in the background of a script, or under nohup, ignores these and hands that on to every
    # command that a test starts; no terminal does.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


# --- getting to know the tests --------------------------------------------------------------------


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Let each process of a run begin with other files than its neighbours.

    pytest rewrites the assertions of a file when it is first imported, which takes ten times as long as reading
    the bytecode that it leaves; processes that go through the files side by side would all do all of it.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if not isinstance(collector, pytest.Session) or count == 1 or sys.dont_write_bytecode:
        return
    root = collector.config.rootpath
    files = sorted({file for asked in collector.config.args for file in (root / asked).rglob("test_*.py")})
    first = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) * len(files) // count
    for file in files[first:] + files[:first]:
        with contextlib.suppress(Exception):  # is said when pytest itself comes to the file
            importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: the short ones fill what is left at the end (`--dist loadfile`)."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


# --- async tests ----------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an ``async def`` test on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
    marker = pyfuncitem.get_closest_marker("time_limit")
    run_async(pyfuncitem.obj(**arguments), limit=float(marker.args[0]) if marker else TIME_LIMIT)
    return True


def run_async(test: Coroutine[Any, Any, None], *, limit: float = TIME_LIMIT) -> None:
    """Run one coroutine to its end, and fail if anything of it is still there afterwards."""
    __tracebackhide__ = True
    complaints: list[str] = []

    def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        complaints.append(f"{context['message']}: {error!r}" if error else context["message"])
        loop.default_exception_handler(context)

    async def supervised() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(complain)
        loop.slow_callback_duration = float("inf")  # a busy machine is not a failure
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                await test
        except TimeoutError:
            if deadline.expired():
                pytest.fail(f"not finished after {limit:g} s\n" + "\n".join(_others()))
            raise
        for _ in range(GRACE_TURNS):
            if not _others():
                break
            await asyncio.sleep(0)
        return _others()

    with asyncio.Runner(debug=True) as runner:
        left = runner.run(supervised())
    if left:
        pytest.fail("the test leaves tasks behind:\n" + "\n".join(left))
    if complaints:
        pytest.fail("went wrong where nobody was looking:\n" + "\n".join(complaints))


def _others() -> list[str]:
    """Every task but the running one, with the place it waits at."""
    found = []
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        where = io.StringIO()
        task.print_stack(limit=3, file=where)
        found.append(f"{task.get_name()}: {where.getvalue().strip()}")
    return sorted(found)


# --- a home that is not the user's ----------------------------------------------------------------


class _Home:
    """A folder with everything in it that a program may take from the environment."""

    REMOVED = (
        "SSH_AUTH_SOCK",
        "SSH_AGENT_PID",
        "SSH_ASKPASS",
        "NO_COLOR",
        "FORCE_COLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
        "LINES",
        "EDITOR",
        "VISUAL",
        "NOTIFY_SOCKET",
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "DBUS_SESSION_BUS_ADDRESS",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    )

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700)
        self.root = root

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        folders = {
            "HOME": self.root,
            "XDG_CONFIG_HOME": self.root / "config",
            "XDG_DATA_HOME": self.root / "data",
            "XDG_STATE_HOME": self.root / "state",
            "XDG_CACHE_HOME": self.root / "cache",
            "XDG_RUNTIME_DIR": self.root / "run",
            "TUNNELS_STATE_DIR": self.root / "tunnels-state",
            "TUNNELS_RUNTIME_DIR": self.root / "tunnels-run",
        }
        for variable, folder in folders.items():
            folder.mkdir(mode=0o700, exist_ok=True)
            patch.setenv(variable, str(folder))
        patch.setenv("TUNNELS_CONFIG", str(self.root / "config" / "profiles.toml"))
        patch.setenv("TERM", "xterm-256color")
        for variable in self.REMOVED:
            patch.delenv(variable, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _homes() -> Iterator[Path]:
    """The folder of all homes; also the home of whatever lives longer than one test."""
    top = Path(tempfile.mkdtemp(prefix="tn", dir="/tmp" if os.path.isdir("/tmp") else None)).resolve()  # noqa: PTH112
    with pytest.MonkeyPatch.context() as patch:
        _Home(top / "all").apply(patch)
        yield top
    shutil.rmtree(top, ignore_errors=True)


_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def home(_homes: Path) -> Iterator[Path]:
    """The home of this test, empty."""
    own = _Home(_homes / str(next(_numbers)))
    with pytest.MonkeyPatch.context() as patch:
        own.apply(patch)
        yield own.root


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The handlers that a test leaves, of a daemon in this process perhaps, are no other test's."""
    before = {number: signal.getsignal(number) for number in _HANDLED}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


# --- nothing is left out in CI --------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report: pytest.TestReport = yield
    # A process of pytest-xdist tells the others in UTF-8, and a log may have a file name in it that is none.
    report.sections = [(name, text.encode("utf-8", "replace").decode()) for name, text in report.sections]
    if report.skipped and not hasattr(report, "wasxfail"):
        item.config.stash[_SKIPPED].append((report.nodeid, _reason(report)))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report: pytest.CollectReport = yield
    if report.skipped:
        collector.config.stash[_SKIPPED].append((report.nodeid, _reason(report)))
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if _in_ci() and session.config.stash[_SKIPPED] and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash[_SKIPPED]
    if not (_in_ci() and skipped):
        return
    terminalreporter.section("left out, which fails the run in CI", red=True)
    for test, reason in skipped:
        terminalreporter.line(f"{test}: {reason}")
