"""What the end-to-end tests share: the site the tunnels lead to, and the product with a home of its own.

``TUNNELS_TEST_SERVER=compose`` runs them against the containers of ``docker-compose.test.yml`` instead
of an sshd of our own; tests marked ``loopback_site`` need to arrange the server and are not run then.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bed import accounts, netns
from tests.e2e.bed.accounts import Account, AccountSshd
from tests.e2e.bed.faults import Laptop
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.site import ComposeSite, LoopbackSite, Site
from tests.e2e.bed.sshd import Sshd, find_sshd

COMPOSE = os.environ.get("TUNNELS_TEST_SERVER") == "compose"

_products: weakref.WeakSet[Tunnels] = weakref.WeakSet()
_servers: weakref.WeakSet[Site | Sshd] = weakref.WeakSet()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "loopback_site: arranges the SSH server; not run against the containers"
    )
    config.addinivalue_line("markers", "namespaces: runs in a network of its own; Linux, root, ip and nft")

    config.addinivalue_line("markers", "accounts: makes an account on this machine; Linux, root and PAM")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = f"{Path(__file__).parent}{os.sep}"
    ours = [item for item in items if str(item.path).startswith(here)]
    without_sshd = not COMPOSE and find_sshd() is None
    no_namespaces = _why_no_namespaces(ours)
    no_accounts = (
        accounts.why_not() if any("_account" in getattr(it, "fixturenames", ()) for it in ours) else None
    )
    for item in ours:
        if "laptop_of" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.loopback_site)
            item.add_marker(pytest.mark.namespaces)
            item.add_marker(pytest.mark.openssh)
            if reason := no_namespaces or ("no sshd: install openssh-server" if without_sshd else None):
                item.add_marker(pytest.mark.skip(reason=reason))
        if "_account" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.loopback_site)
            item.add_marker(pytest.mark.accounts)
            item.add_marker(pytest.mark.openssh)
            if no_accounts is not None:
                item.add_marker(pytest.mark.skip(reason=no_accounts))
        if not {"_site", "start_sshd"} & set(getattr(item, "fixturenames", ())):
            continue
        item.add_marker(pytest.mark.openssh)
        if without_sshd:
            item.add_marker(pytest.mark.skip(reason="no sshd: install OpenSSH's server (openssh-server)"))
    if COMPOSE:
        left_out = [item for item in ours if item.get_closest_marker("loopback_site")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _why_no_namespaces(items: list[pytest.Item]) -> str | None:
    """Ask the system, but only if there is a test that wants to know."""
    if any("laptop_of" in getattr(item, "fixturenames", ()) for item in items):
        return netns.why_not()
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Show with a failure what the daemons and the servers have to say."""
    report: pytest.TestReport = yield
    if report.failed:
        for product in _products:
            report.sections.append(("the product's logs", product.log[-20000:]))
        for server in _servers:
            report.sections.append(("the server's log", server.log[-8000:]))
    return report


@pytest.fixture(scope="session")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    kind = ComposeSite if COMPOSE else LoopbackSite
    with kind(tmp_path_factory.mktemp("site")) as site:
        _servers.add(site)
        yield site
        _servers.discard(site)


@pytest.fixture
def site(_site: Site) -> Iterator[Site]:
    """The SSH server and the services behind it; running, whatever the test before did to it."""
    _site.start()
    yield _site
    _site.start()


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Start an sshd of this test's own, with lines for its configuration."""
    running: list[Sshd] = []

    def start(*config: str, identity: Path | None = None) -> Sshd:
        sshd = Sshd(tmp_path / f"sshd{len(running)}", config=config, identity=identity)
        running.append(sshd)
        _servers.add(sshd)
        sshd.start()
        return sshd

    yield start
    for sshd in running:
        sshd.stop()
        _servers.discard(sshd)


@pytest.fixture(scope="session")
def _account() -> Iterator[Account]:
    with accounts.account() as account:
        yield account


@pytest.fixture
def account(_account: Account) -> Account:
    """An account with a password and one-time codes; both are new."""
    _account.authorized_keys.write_text("")
    _account.new_password()
    return _account


@pytest.fixture
def start_account_sshd(account: Account, tmp_path: Path) -> Iterator[Callable[..., AccountSshd]]:
    """Start an sshd that this account logs in to, with a PAM stack or none, and lines for its configuration."""
    with contextlib.ExitStack() as running:

        def start(*config: str, stack: str | None = None) -> AccountSshd:
            folder = tmp_path / f"account{len(list(tmp_path.iterdir()))}"
            sshd = running.enter_context(AccountSshd(folder, account, stack=stack, config=config))
            _servers.add(sshd)
            running.callback(_servers.discard, sshd)
            return sshd

        yield start


@pytest.fixture
def laptop_of(tmp_path: Path) -> Iterator[Callable[..., Laptop]]:
    """Make a network of namespaces, with lines for the configuration of its SSH server."""
    with contextlib.ExitStack() as made:

        def make(*config: str) -> Laptop:
            laptop = made.enter_context(Laptop(tmp_path / "net", **({"config": config} if config else {})))
            _servers.add(laptop.sshd)
            return laptop

        yield make


@pytest.fixture
def laptop(laptop_of: Callable[..., Laptop]) -> Laptop:
    """A network of namespaces: the client, a router, and a server as distributions have it."""
    return laptop_of()


@pytest.fixture
def travelling(laptop: Laptop) -> Iterator[Tunnels]:
    """The product on the client's side of that network."""
    yield from _product(laptop.client.inside)


@pytest.fixture
def tunnels() -> Iterator[Tunnels]:
    """The product, with an empty home; its daemon is stopped after the test."""
    yield from _product()


def _product(inside: Sequence[str] = ()) -> Iterator[Tunnels]:
    product = Tunnels(inside)
    _products.add(product)
    try:
        yield product
    finally:
        product.close()
        _products.discard(product)


@pytest.fixture(scope="module")
def standing(_site: Site) -> Iterator[Tunnels]:
    """The product for a whole module: for tests that only use a tunnel and do not touch it."""
    _site.start()
    product = Tunnels()
    _products.add(product)
    try:
        yield product
    finally:
        product.close()
        _products.discard(product)
