"""The schema for editors takes every good profile file, and refuses what it can tell is wrong."""

from __future__ import annotations

import tomllib
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.test_ssh_command import tables as good_tables
from tests.test_profiles_random import tables, toml, values
from tunnels import profiles
from tunnels.core.profile_fields import PROFILE_FIELDS
from tunnels.core.reading import one, schema_of
from tunnels.core.schema import DESCRIPTIONS, profile_schema
from tunnels.errors import ProfileError

SCHEMA = jsonschema.Draft7Validator(profile_schema())

EXAMPLE = "profiles.example.toml"


def is_good(text: str) -> bool:
    return bool(SCHEMA.is_valid(tomllib.loads(text)))


def profile(text: str) -> str:
    return f'[profiles.a]\nhost = "h"\n{text}\n'


def test_it_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(profile_schema())


def test_every_key_of_a_profile_has_its_line_and_no_other() -> None:
    assert set(DESCRIPTIONS) == set(PROFILE_FIELDS), "a new key needs a line in core/schema.py, for editors"
    properties = profile_schema()["definitions"]["profile"]["properties"]
    assert list(properties) == list(PROFILE_FIELDS)
    assert all(schema["description"] == DESCRIPTIONS[key] for key, schema in properties.items())


def test_the_example_is_good_by_it(pytestconfig: pytest.Config) -> None:
    document = tomllib.loads((pytestconfig.rootpath / EXAMPLE).read_text("utf-8"))
    assert list(SCHEMA.iter_errors(document)) == []


@pytest.mark.parametrize(
    "text",
    [
        "hosst = 1",
        'port = "22"',
        "port = 0",
        "port = 65536",
        'keepalive = "15 s"',
        'keepalive = "s15"',
        'keepalive = ""',
        "keepalive = 15",
        'host_key_policy = "no"',
        "autostart = 1",
        "local = [1]",
        'local = { listen = "1" }',
        'local = { listen = "1", connect = "a:1", expose = true }',
        'dynamic = { listen = "1", connect = "a:1" }',
        'dynamic = { listen = "1", auth = { username = "me" } }',
        "remote = [-1]",
        'retry = "1s"',
        'retry = { often = "1s" }',
        "jump = [1]",
        'on_up = { a = "b" }',
    ],
)
def test_what_an_editor_can_tell_is_wrong_is_wrong_for_us_too(text: str) -> None:
    assert not is_good(profile(text))
    with pytest.raises(ProfileError):
        profiles.parse(profile(text), "profiles.toml")


@pytest.mark.parametrize("text", ["[profile.a]\n", '[profiles."a b"]\nhost = "h"\n', "profiles = 1\n"])
def test_tables_of_other_names_are_wrong(text: str) -> None:
    assert not is_good(text)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(good_tables(), st.dictionaries(st.sampled_from(list(PROFILE_FIELDS)), values, max_size=2))
def test_what_the_loader_takes_the_schema_takes(table: dict[str, Any], more: dict[str, Any]) -> None:
    text = f"profiles = {toml({'a': {**table, **more}})}\n"
    try:
        profiles.parse(text, "profiles.toml")
    except ProfileError:
        return
    assert [error.message for error in SCHEMA.iter_errors(tomllib.loads(text))] == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables)
def test_so_it_is_with_defaults(defaults: dict[str, Any]) -> None:
    text = f"defaults = {toml(defaults)}\n"
    try:
        profiles.parse(text, "profiles.toml")
    except ProfileError:
        return
    assert is_good(text)


@pytest.mark.parametrize("duration", ["0", "0s", "15s", "1h30m", "500ms", "1.5s", "1d", "1w2d"])
def test_every_way_to_write_a_duration_is_good(duration: str) -> None:
    assert is_good(profile(f'hold = "{duration}"'))


def test_a_reader_that_nobody_has_described_is_a_mistake_of_ours() -> None:
    assert schema_of(one(str)) == {"type": "string", "minLength": 1}
    with pytest.raises(TypeError):
        schema_of(lambda value, path, notes: value)
