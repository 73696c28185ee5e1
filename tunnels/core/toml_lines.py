"""On which line each key and each array element of a TOML text stands.

``tomllib`` forgets positions and tomlkit does not publish them, yet a problem is only worth reporting
with its line. This scanner finds where keys and values begin and end, and nothing else: what the
values are, and whether the text is TOML at all, tomllib has already decided.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

#: Where something is in a document: names of keys, and positions in arrays.
KeyPath = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LITERAL = re.compile(r"'([^'\n]*)'")
#: One or two quotes may stand right before the closing three and belong to the text.
_LONG_BASIC = re.compile(r'"""(?:[^"\\]+|\\.|"(?!""))*"""(?:"{1,2})?', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']+|'(?!''))*'''(?:'{1,2})?")
#: Numbers, booleans and dates; a date may have a space before its time.
_PLAIN = re.compile(r"[^,\]}#\r\n]+")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2})|(.))")
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}


class Node:
    """One key or array element: its line (the first is 1) and what it contains.

    A tree and not a dictionary of whole paths, which a long dotted key would make quadratic.
    """

    __slots__ = ("children", "is_table_array", "line")

    def __init__(self, line: int) -> None:
        self.line = line
        self.children: dict[str | int, Node] = {}
        self.is_table_array = False

    def line_of(self, path: KeyPath) -> int:
        """Find the line of ``path``, or of the nearest thing around it that is in the text."""
        node = self
        for part in path:
            child = node.children.get(part)
            if child is None:
                break
            node = child
        return node.line

    def paths(self) -> Iterator[tuple[KeyPath, int]]:
        """Every path in the document with its line."""
        waiting: list[tuple[KeyPath, Node]] = [((), self)]
        while waiting:
            path, node = waiting.pop()
            if path:
                yield path, node.line
            waiting.extend(((*path, part), child) for part, child in node.children.items())


def scan(text: str) -> Node:
    """Find the line of every key path in ``text``: valid TOML 1.0, perhaps with 1.1's inline tables.

    A key stands where it is written; an array element where its value begins; a table where its header
    is, or without one where it is first mentioned; an array of tables at its first header.

    Raises:
        ValueError: the text is not TOML. Most such texts are not noticed.

    """
    return _Scanner(text).document()


class _Scanner:
    """Walks once through the text; ``position`` is where it is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> Node:
        root = current = Node(1)
        self.skip(_BLANK)
        while self.position < len(self.text):
            current = self.header(root) if self.peek("[") else self.key_value(current)
            self.skip(_BLANK)
        return root

    def header(self, root: Node) -> Node:
        """``[table]`` or ``[[array of tables]]``: the node that the keys after it belong to."""
        line = self.line()
        brackets = 2 if self.peek("[[") else 1
        self.position += brackets
        *parents, last = self.key()
        self.position += brackets
        node = root
        for part in parents:
            node = _newest(node.children.setdefault(part, Node(line)))
        if brackets == 2:
            array = node.children.setdefault(last, Node(line))
            array.is_table_array = True
            element = array.children[len(array.children)] = Node(line)
            return element
        table = node.children.setdefault(last, Node(line))
        table.line = line  # a header says where a table is, even if [table.inner] came first
        return table

    def key_value(self, table: Node) -> Node:
        """``key = value``, the key perhaps dotted; gives back the table it was put into."""
        line = self.line()
        node = table
        for part in self.key():
            node = node.children.setdefault(part, Node(line))
        self.expect("=")
        self.skip(_SPACE)
        self.value(node)
        return table

    def key(self) -> list[str]:
        parts = []
        while True:
            self.skip(_SPACE)
            if self.peek('"'):
                parts.append(_ESCAPE.sub(_unescape, self.take(_BASIC)[1]))
            elif self.peek("'"):
                parts.append(self.take(_LITERAL)[1])
            else:
                parts.append(self.take(_BARE_KEY)[0])
            self.skip(_SPACE)
            if not self.peek("."):
                return parts
            self.position += 1

    def value(self, node: Node) -> None:
        """Skips one value, and hangs what is inside it below ``node``."""
        if self.peek('"""'):
            self.take(_LONG_BASIC)
        elif self.peek("'''"):
            self.take(_LONG_LITERAL)
        elif self.peek('"'):
            self.take(_BASIC)
        elif self.peek("'"):
            self.take(_LITERAL)
        elif self.peek("["):
            self.array(node)
        elif self.peek("{"):
            self.inline_table(node)
        else:
            self.take(_PLAIN)

    def array(self, node: Node) -> None:
        self.position += 1
        self.skip(_BLANK)
        while not self.peek("]"):
            element = node.children[len(node.children)] = Node(self.line())
            self.value(element)
            self.comma("]")
        self.position += 1

    def inline_table(self, node: Node) -> None:
        self.position += 1
        self.skip(_BLANK)
        while not self.peek("}"):
            self.key_value(node)
            self.comma("}")
        self.position += 1

    def comma(self, closing: str) -> None:
        self.skip(_BLANK)
        if not self.peek(closing):
            self.expect(",")
            self.skip(_BLANK)

    def line(self) -> int:
        return bisect_left(self.newlines, self.position) + 1

    def peek(self, token: str) -> bool:
        return self.text.startswith(token, self.position)

    def expect(self, token: str) -> None:
        if not self.peek(token):
            raise ValueError(f"line {self.line()}: {token!r} was expected")
        self.position += len(token)

    def skip(self, pattern: re.Pattern[str]) -> None:
        self.take(pattern)  # these patterns match nothing as well

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self.text, self.position)
        if match is None:
            raise ValueError(f"line {self.line()}: not TOML")
        self.position = match.end()
        return match


def _newest(node: Node) -> Node:
    """Step into the element that the last ``[[array]]`` began: ``[array.inner]`` hangs below it."""
    return node.children[len(node.children) - 1] if node.is_table_array else node


def _unescape(match: re.Match[str]) -> str:
    digits = match[1] or match[2] or match[3]
    return chr(int(digits, 16)) if digits else _ESCAPED.get(match[4], match[4])
