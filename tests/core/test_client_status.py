from __future__ import annotations

import json

import pytest

from tunnels.core.client_status import Clients, ClientStatus
from tunnels.errors import ProtocolViolation

PSQL = ClientStatus("work-db", 0, "local", ("127.0.0.1", 51234), "db:5432", 3.5)
UNIX = ClientStatus("work-db", 1, "local", None, "db:5432", 3.5, waiting=True, pid=4711)


def test_clients_survive_the_wire() -> None:
    clients = Clients((PSQL, UNIX), 7)
    assert Clients.from_json(json.loads(json.dumps(clients.to_json()))) == clients


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"clients": 1, "left_out": 0},
        {"clients": [], "left_out": "many"},
        {"clients": [1], "left_out": 0},
        {"clients": [{**PSQL.to_json(), "origin": [1]}], "left_out": 0},
        {"clients": [{**PSQL.to_json(), "seconds": None}], "left_out": 0},
    ],
)
def test_what_makes_no_sense_is_said_to_make_none(data: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation):
        Clients.from_json(data)
