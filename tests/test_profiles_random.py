"""Whatever is in a file: it is read, or refused with problems that can be shown. Never anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunnels import profiles
from tunnels.core.profile_fields import PROFILE_FIELDS
from tunnels.errors import ProfileError

scalars = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet="ab0159:-*./~@[]sm ", max_size=12)
    | st.text(max_size=4)
)
words = st.sampled_from([*PROFILE_FIELDS, "listen", "connect", "name", "auth", "expose", "initial", "max"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
tables = st.dictionaries(words, values, max_size=5)


def toml(value: Any) -> str:
    """Write a value inline."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(char):08x}" for char in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    return str(value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables, st.dictionaries(st.sampled_from(["a", "b", "*", ""]), tables | values, max_size=2))
def test_any_toml_is_a_profile_file_or_a_profile_error(
    defaults: dict[str, Any], written: dict[str, Any]
) -> None:
    text = f"defaults = {toml(defaults)}\nprofiles = {toml(written)}\n"
    try:
        file = profiles.parse(text, "profiles.toml")
    except ProfileError as error:
        assert error.problems  # noqa: PT017 - most files are wrong
        for problem in error.problems:
            assert problem.line in {1, 2}
            assert str(problem).replace("\n", "").isprintable()
        return

    assert set(file.profiles) == set(written)
    for profile in file.profiles.values():
        assert profile.forwards
        assert not any(forward.is_open_proxy for forward in profile.forwards)


@given(st.text(alphabet='profiles.defaults[]{}=",\n #1', max_size=60) | st.text(max_size=40))
def test_any_text_is_a_profile_file_or_a_profile_error(text: str) -> None:
    try:
        profiles.parse(text, "profiles.toml")
    except ProfileError as error:
        assert error.problems  # noqa: PT017 - most texts are wrong


@given(st.binary(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_a_profile_file_or_a_profile_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "profiles.toml"
    path.write_bytes(content)
    path.chmod(0o600)
    try:
        profiles.load(path)
    except ProfileError as error:
        assert error.problems  # noqa: PT017 - most bytes are wrong
