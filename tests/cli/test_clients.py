from __future__ import annotations

import os

import pytest

from tests.cli.console import tunnels
from tests.cli.fake_client import FakeClient, run
from tests.daemon.served import forward, profile_file, tunnel
from tunnels.core.client_status import Clients, ClientStatus

FAR = ClientStatus("home", 0, "remote", ("2001:db8::1", 5), "localhost:22", 90.0)
HERE = ClientStatus("work-db", 0, "local", None, "db.internal:5432", 3.0, waiting=True, pid=os.getpid())


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


def daemon(*clients: ClientStatus, left_out: int = 0) -> FakeClient:
    home = forward("2222", "localhost:22", kind="remote")
    client = FakeClient((tunnel("work-db"), tunnel("home", forwards=(home,))))
    client.found_clients = Clients(clients, left_out)
    return client


def test_each_client_is_below_its_forward_with_its_program() -> None:
    result = run(daemon(FAR, HERE), "clients")
    lines = result.out.splitlines()
    assert lines[0] == "work-db"
    assert "db.internal:5432" in lines[1]
    assert f"(pid {os.getpid()})" in lines[2]
    assert "waits for the connection" in lines[2]
    assert "from [2001:db8::1]:5  1m 30s" in lines[5]
    assert result.code == 0


def test_only_the_named_tunnels_are_asked_about_also_by_glob() -> None:
    client = daemon(HERE)
    run(client, "clients", "work-*")
    assert client.calls == [("clients", ["work-db"])]


def test_nobody_is_no_failure_and_more_than_is_shown_is_said() -> None:
    assert "no program uses" in run(daemon(), "clients").err
    assert "and 3 more" in run(daemon(HERE, left_out=3), "clients").err


def test_as_json_the_program_has_a_name_and_a_pid() -> None:
    document = run(daemon(HERE, FAR), "clients", "--json").json
    assert document["clients"][0]["pid"] == os.getpid()
    assert document["clients"][0]["program"]
    assert document["clients"][1] == {**FAR.to_json(), "program": None}


def test_without_a_daemon_it_is_3_and_a_wrong_name_is_4() -> None:
    assert tunnels("clients").code == 3
    assert tunnels("clients", "work-dbb").code == 4
