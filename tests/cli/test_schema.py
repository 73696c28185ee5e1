"""``tunnels schema`` prints what an editor wants."""

from __future__ import annotations

import jsonschema

from tests.cli.console import tunnels
from tunnels.core.schema import profile_schema


def test_it_is_one_json_document_and_needs_no_profile_file() -> None:
    result = tunnels("schema")
    assert (result.code, result.err) == (0, "")
    assert result.json == profile_schema()
    jsonschema.Draft7Validator.check_schema(result.json)
