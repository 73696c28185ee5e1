"""Lines of a TOML text: for everything that tomllib finds, and the right ones."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.toml_lines import KeyPath, scan


def found(text: str) -> dict[KeyPath, int]:
    return dict(scan(text).paths())


def test_keys_have_their_lines() -> None:
    assert found("a = 1\n\n# comment\nb = 2\r\n  c=3") == {("a",): 1, ("b",): 4, ("c",): 5}


def test_a_table_is_where_its_header_is() -> None:
    text = "[a]\nx = 1\n[b.c]\ny = 2\n[ b ]\nz = 3\n"

    assert found(text) == {
        ("a",): 1,
        ("a", "x"): 2,
        ("b",): 5,
        ("b", "c"): 3,
        ("b", "c", "y"): 4,
        ("b", "z"): 6,
    }


def test_a_dotted_key_brings_its_tables_with_it() -> None:
    assert found('a.b . "c.d" = 1\na.e = 2') == {
        ("a",): 1,
        ("a", "b"): 1,
        ("a", "b", "c.d"): 1,
        ("a", "e"): 2,
    }


def test_each_array_element_is_where_it_begins() -> None:
    text = 'a = [ # here\n  "x", """y\n""", [\n3],\n\n  {b = 1, c.d = [\n1]}, # done\n]\nz = 1'

    assert found(text) == {
        ("a",): 1,
        ("a", 0): 2,
        ("a", 1): 2,
        ("a", 2): 3,
        ("a", 2, 0): 4,
        ("a", 3): 6,
        ("a", 3, "b"): 6,
        ("a", 3, "c"): 6,
        ("a", 3, "c", "d"): 6,
        ("a", 3, "c", "d", 0): 7,
        ("z",): 9,
    }


def test_an_array_of_tables_counts_its_elements() -> None:
    text = "[[a]]\nx = 1\n[a.b]\ny = 1\n[[a]]\n[a.b]\ny = 2\n[[a.c]]\n[[a.c]]\nz = 1"

    assert found(text) == {
        ("a",): 1,
        ("a", 0): 1,
        ("a", 0, "x"): 2,
        ("a", 0, "b"): 3,
        ("a", 0, "b", "y"): 4,
        ("a", 1): 5,
        ("a", 1, "b"): 6,
        ("a", 1, "b", "y"): 7,
        ("a", 1, "c"): 8,
        ("a", 1, "c", 0): 8,
        ("a", 1, "c", 1): 9,
        ("a", 1, "c", 1, "z"): 10,
    }


@pytest.mark.parametrize(
    "value",
    [
        '"#,]}"',
        '"\\"\\\\"',
        "'#\\'",
        '""',
        '""""""',
        '"""""x"" y"""""',
        '"""\n\\""" x\n"""',
        "''''x''''",
        "'''\n]\n'''",
        "1979-05-27 07:32:00Z",
        "-1_000.5e+3",
        "inf",
        "[[],[[],],]",
        "{}",
        "{ a = {b = [ ]} }",
    ],
)
def test_a_value_ends_where_it_ends(value: str) -> None:
    text = f"x = {value}\ny = [{value}, 1]\nz = 1"
    expected = 3 + text.count("\n", 0, text.index("\nz")) - 1

    assert tomllib.loads(text)["z"] == 1
    assert found(text)[("z",)] == expected
    assert ("y", 1) in found(text)


def test_quoted_keys_are_unescaped() -> None:
    assert found('"a\\tb\\u00e9\\U0001F600\\"" = 1\n\'c\\d\' = 2') == {
        ('a\tb\u00e9\U0001f600"',): 1,
        ("c\\d",): 2,
    }


def test_what_is_not_in_the_text_has_the_line_of_what_is_around_it() -> None:
    lines = scan("a = 1\n[b]\nc = 1")

    assert lines.line_of(("b", "missing", 3)) == 2
    assert lines.line_of(("missing",)) == 1
    assert lines.line_of(()) == 1


@pytest.mark.parametrize("text", ["a", "a = ", "= 1", "a = [1", "a = {b = 1", 'a = "'])
def test_a_text_that_is_not_toml_does_not_hang(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        scan(text)


@given(st.text(alphabet="a=[]{}\"'.,#\\ \n1", max_size=30))
def test_any_text_ends_in_lines_or_a_value_error(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except ValueError:
        with contextlib.suppress(ValueError):
            scan(text)
        return

    assert set(found(text)) == set(all_paths(data))


def all_paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from all_paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from all_paths(inner, (*path, index))


class Writer:
    """Writes a random document, and on the way notes on which line each path is."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def write(self, text: str) -> None:
        self.text += text

    def here(self, path: KeyPath, *, again: bool = False) -> None:
        line = self.text.count("\n") + 1
        if again or path not in self.lines:
            self.lines[path] = line

    def blank(self) -> None:
        """White space in which lines may end."""
        self.write(self.draw(st.sampled_from(["", " ", "\n", "\t\n\n", " # ]}\"'\n", "\r\n"])))

    def end_line(self) -> None:
        self.write(self.draw(st.sampled_from(["\n", " # [x]\n", "\n\n  ", "\r\n"])))

    def key(self, name: str) -> None:
        quoted = '"' + "".join(f"\\u{ord(char):04x}" if char in '"\\\t' else char for char in name) + '"'
        spellings = [quoted]
        if "'" not in name:
            spellings.append(f"'{name}'")
        if name.isascii() and name.isalnum():
            spellings.append(name)
        self.write(self.draw(st.sampled_from(spellings)) + self.draw(st.sampled_from(["", " "])))

    def dotted(self, names: tuple[str, ...]) -> None:
        for index, name in enumerate(names):
            self.write("." + self.draw(st.sampled_from(["", " "])) if index else "")
            self.key(name)

    def scalar(self) -> None:
        plain = ["1", "-0.5e3", "true", "1979-05-27", "1979-05-27 07:32:00", "0xdead_beef", "nan"]
        texts = ['"a"', "'b'", '"\\"#\\\\"', '"""\n\n"""', '"""a""\n\\""""', "'''\n#'\n'''", '""', '"x = 1"']
        self.write(self.draw(st.sampled_from(plain + texts)))

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.draw(st.integers(0, 3 if depth else 1))
        if kind == 2:
            self.write("[")
            for index in range(self.draw(st.integers(0, 3))):
                self.blank()
                self.here((*path, index))
                self.value((*path, index), depth - 1)
                self.blank()
                self.write(",")
            self.blank()
            self.write("]")
        elif kind == 3:
            self.write("{")
            for index, name in enumerate(self.draw(names)):
                self.write(", " if index else " ")
                self.pair(path, name, depth - 1)
            self.write("}")
        else:
            self.scalar()

    def pair(self, path: KeyPath, name: str, depth: int) -> None:
        inner = self.draw(st.lists(a_name, max_size=2)) if self.draw(st.booleans()) else []
        chain = (name, *inner)
        for length in range(1, len(chain) + 1):
            self.here((*path, *chain[:length]))
        self.dotted(chain)
        self.write("= ")
        self.value((*path, *chain), depth)

    def body(self, path: KeyPath, used: set[str]) -> None:
        for name in self.draw(names):
            if name not in used:
                used.add(name)
                self.pair(path, name, 2)
                self.end_line()

    def header(self, chain: tuple[str, ...], brackets: int) -> None:
        self.write("[" * brackets + self.draw(st.sampled_from(["", " "])))
        self.dotted(chain)
        self.write("]" * brackets)


a_name = st.text(alphabet="ab1 .#'\"\\\té", max_size=3)
names = st.lists(a_name, max_size=3, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[KeyPath, int]]:
    writer = Writer(draw)
    writer.blank()
    top: set[str] = set()
    writer.body((), top)
    for name in draw(names):
        if name in top:
            continue
        top.add(name)
        if draw(st.booleans()):  # [name.inner], and perhaps [name] after it
            inner = draw(a_name)
            writer.here((name,))
            writer.here((name, inner))
            writer.header((name, inner), 1)
            writer.end_line()
            writer.body((name, inner), set())
            if draw(st.booleans()):
                writer.here((name,), again=True)
                writer.header((name,), 1)
                writer.end_line()
                writer.body((name,), {inner})
            continue
        for index in range(draw(st.integers(1, 3))):
            path = (name, index)
            writer.here((name,))
            writer.here(path)
            writer.header((name,), 2)
            writer.end_line()
            used: set[str] = set()
            writer.body(path, used)
            inner = draw(a_name)
            if inner not in used and draw(st.booleans()):  # [name.inner] belongs to this element
                writer.here((*path, inner))
                writer.header((name, inner), 1)
                writer.end_line()
                writer.body((*path, inner), set())
    return writer.text, writer.lines


@settings(max_examples=60, deadline=None)
@given(documents())
def test_every_path_of_any_document_has_the_line_it_was_written_on(
    document: tuple[str, dict[KeyPath, int]],
) -> None:
    text, lines = document

    assert set(all_paths(tomllib.loads(text))) == set(lines)
    assert found(text) == lines
