"""Reading values that a person wrote: what fits becomes ours, what does not is noted, with its place.

A *reader* is given a value as TOML has it, where it stands, and `Notes` to add problems to. It returns
what it made of the value, or `BAD` after noting why not, so that everything else is read as well and
a person sees all problems at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tunnels.core.address import quoted
from tunnels.core.durations import DURATION, format_duration, parse_duration
from tunnels.errors import UsageError

if TYPE_CHECKING:
    from tunnels.core.toml_lines import KeyPath  # its scanner is needed only for files with mistakes

_BARE_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")

#: Stands where a value was given and could not be used: not the same as one that was not given.
BAD: Any = object()


class Note(NamedTuple):
    """A problem and where it is; the loader adds the line."""

    path: KeyPath
    message: str
    hint: str | None = None
    profiles: tuple[str, ...] = ()  #: those that a warning is about


class Notes:
    """What was found wrong, each thing once, in the order of finding."""

    def __init__(self) -> None:
        self._notes: dict[Note, None] = {}

    def add(
        self, path: KeyPath, message: str, hint: str | None = None, *, profiles: tuple[str, ...] = ()
    ) -> None:
        """Note a problem. The same one again, as when two profiles inherit it, is not noted twice."""
        self._notes[Note(path, message, hint, profiles)] = None

    def __iter__(self) -> Iterator[Note]:
        return iter(self._notes)

    def __len__(self) -> int:
        return len(self._notes)


Reader = Callable[[Any, "KeyPath", Notes], Any]

#: A JSON Schema, or a piece of one: what a value looks like, as far as that can be said without reading it.
Schema = dict[str, Any]


class Described:
    """A reader that can say what it takes. ``core.schema`` asks."""

    __slots__ = ("_read", "schema")

    def __init__(self, read: Reader, schema: Schema) -> None:
        self._read = read
        self.schema = schema

    def __call__(self, value: Any, path: KeyPath, notes: Notes) -> Any:
        """Read a value."""
        return self._read(value, path, notes)


TEXT: Schema = {"type": "string", "minLength": 1}


def schema_of(reader: Reader) -> Schema:
    """What a reader takes. Raises TypeError for one that nobody has described."""
    if not isinstance(reader, Described):
        raise TypeError(f"{reader!r} is not described: core.reading.Described does it")
    return reader.schema


def dotted(path: KeyPath) -> str:
    """Spell the path as TOML would: ``profiles.work-db.local[1].connect``."""
    written = ""
    for part in path:
        if isinstance(part, int):
            written += f"[{part}]"
            continue
        name = part
        if not part or not _BARE_KEY.issuperset(part):
            safe = part if part.isprintable() else part.encode("unicode_escape").decode("ascii")
            name = '"' + safe.replace('"', '\\"') + '"'
        written += f".{name}" if written else name
    return written


def one(parse: Callable[[Any], Any], schema: Schema = TEXT) -> Reader:
    """Make a reader of a function that raises `UsageError`; ``schema`` is what it takes."""

    def read(value: Any, path: KeyPath, notes: Notes) -> Any:
        try:
            return parse(value)
        except UsageError as error:
            notes.add(path, error.message, error.hint)
            return BAD

    return Described(read, schema)


def many(parse: Callable[[Any], Any], *, separator: str | None = None, schema: Schema = TEXT) -> Reader:
    """Read a list, or a single text (split at ``separator``), into a tuple."""
    read_one = one(parse)

    def read(value: Any, path: KeyPath, notes: Notes) -> Any:
        if isinstance(value, list):
            items = [read_one(item, (*path, index), notes) for index, item in enumerate(value)]
        elif isinstance(value, str) and separator is not None:
            items = [read_one(item.strip(), path, notes) for item in value.split(separator)]
        else:
            items = [read_one(value, path, notes)]
        return BAD if any(item is BAD for item in items) else tuple(items)

    return Described(read, one_or_many(schema))


def one_or_many(schema: Schema) -> Schema:
    """What takes a value or a list of them."""
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def table(fields: Mapping[str, Reader], *, required: Iterable[str] = (), example: str) -> Reader:
    """Read a table with these keys into a dictionary; a missing ``required`` key makes it `BAD`."""

    def read(value: Any, path: KeyPath, notes: Notes) -> Any:
        if not isinstance(value, dict):
            error = wrong_type(value, "a table", example)
            notes.add(path, error.message, error.hint)
            return BAD
        values = read_keys(value, fields, path, notes)
        missing = [key for key in required if key not in values]
        for key in missing:
            notes.add(path, f'"{key}" is missing', f"for example {example}")
        return BAD if missing or any(item is BAD for item in values.values()) else values

    return Described(read, table_schema(fields, required))


def table_schema(fields: Mapping[str, Reader], required: Iterable[str] = ()) -> Schema:
    """What takes a table with these keys and no others."""
    schema: Schema = {
        "type": "object",
        "properties": {key: schema_of(reader) for key, reader in fields.items()},
        "additionalProperties": False,
    }
    return {**schema, "required": sorted(required)} if required else schema


def read_keys(
    raw: Mapping[str, Any],
    fields: Mapping[str, Reader],
    path: KeyPath,
    notes: Notes,
    *,
    aliases: Mapping[str, str] | None = None,
    explain: Callable[[str, Any], str | None] = lambda _key, _value: None,
) -> dict[str, Any]:
    """Read every key that is in ``fields``; note the others, with the one that was likely meant.

    ``aliases`` are names that other programs have for a key, in lower case; ``explain`` gives
    the hint for an unknown key that resembles none.
    """
    values = {}
    for key, value in raw.items():
        if key in fields:
            values[key] = fields[key](value, (*path, key), notes)
        else:
            meant = likely(key, fields, aliases)
            if meant and meant not in raw:
                values[meant] = BAD  # so that nobody also calls it missing
            notes.add(
                (*path, key), "unknown key", f'did you mean "{meant}"?' if meant else explain(key, value)
            )
    return values


def likely(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str | None:
    """Guess which of the ``known`` words was meant: by another name, another spelling, or a slip."""
    word = word[:64].lower()
    squashed = word.replace("_", "").replace("-", "")
    known = list(known)
    for candidate in known:
        if candidate.replace("_", "") == squashed:
            return candidate
    if aliases and squashed in aliases:
        return aliases[squashed]
    import difflib  # noqa: PLC0415 - only for people who have made a mistake

    return next(iter(difflib.get_close_matches(word.replace("-", "_"), known, n=1)), None)


def wrong_type(value: Any, wanted: str, example: str) -> UsageError:
    """Say what was found and what should be there; ``example`` is a piece of TOML."""
    return UsageError(f"expected {wanted}, found {describe(value)}", hint=f"for example {example}")


def describe(value: Any) -> str:
    """Name a value of TOML as a person would."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"the integer {value}" if abs(value) < 10**18 else "a very large integer"
    if isinstance(value, float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, dt.date | dt.time):
        return "a date or time"
    return f"a {type(value).__name__}"


def text(value: Any, example: str, *, several_lines: bool = False) -> str:
    """Check a text that is not empty and has no control characters (``several_lines``: but newlines, tabs).

    Raises:
        UsageError: it is something else.

    """
    if not isinstance(value, str):
        raise wrong_type(value, "a text", example)
    if not value.strip():
        raise UsageError("the text is empty", hint=f"for example {example}")
    for char in value:
        if (char < " " or "\x7f" <= char <= "\x9f") and not (several_lines and char in "\n\t"):
            raise UsageError("the text has a control character in it", hint=f"it is {char!a}")
    return value


def file_path(value: Any, example: str, *, none: bool = False) -> str:
    """Check the path of a file; with ``none``, that word may stand for no file.

    It has to say where it begins: the daemon does not run in the folder where the command was typed.

    Raises:
        UsageError: it is something else.

    """
    path = text(value, example)
    if not path.startswith(("/", "~/")) and not (none and path.strip().lower() == "none"):
        raise UsageError(f"{quoted(path)} does not begin with / or ~/", hint=f"for example {example}")
    return path


def file_paths(example: str, *, none: bool = False) -> Reader:
    """Read the path of a file or a list of them."""
    return many(lambda value: file_path(value, example, none=none))


def command(example: str) -> Reader:
    """Read a command for ``sh -c``, which may have several lines."""
    return one(lambda value: text(value, example, several_lines=True))


def arguments(example: str) -> Reader:
    """Read a command without a shell: a list as it is, a text split into words as a shell would.

    An empty list is no command, where the defaults have one.
    """

    def parse(value: Any) -> tuple[str, ...]:
        if isinstance(value, list):
            for position, word in enumerate(value):
                if position == 0 or word != "":
                    text(word, example, several_lines=True)
            return tuple(value)
        if not isinstance(value, str):
            raise wrong_type(value, "a command", example)
        if not value.strip():
            raise UsageError("the command is empty", hint="[] stands for none")
        import shlex  # noqa: PLC0415 - most profiles have no command

        try:
            words = tuple(shlex.split(text(value, example)))
        except ValueError:  # its own words are about the parser
            raise UsageError(
                f"{quoted(value)} has a quote without its partner", hint="a list of words needs no quoting"
            ) from None
        if not words[0]:
            raise UsageError("the command has no name", hint=f"for example {example}")
        return words

    return one(parse, {"anyOf": [TEXT, {"type": "array", "items": {"type": "string"}}]})


def flag(example: str) -> Reader:
    """Read ``true`` or ``false``; texts such as "yes" are not guessed at."""

    def parse(value: Any) -> bool:
        if not isinstance(value, bool):
            raise wrong_type(value, "true or false", example)
        return value

    return one(parse, {"type": "boolean"})


def integer(low: int, high: int, example: str) -> Reader:
    """Read an integer from ``low`` to ``high``."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(value, "an integer", example)
        if not low <= value <= high:
            raise UsageError(f"{describe(value)} is not from {low} to {high}", hint=f"for example {example}")
        return value

    return one(parse, {"type": "integer", "minimum": low, "maximum": high})


def duration(low: float, high: float, example: str, *, zero: str | None = None) -> Reader:
    """Read a duration from ``low`` to ``high`` seconds; also 0, where ``zero`` says what that means."""

    def parse(value: Any) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            key = example.partition(" = ")[0]
            raise UsageError(f"expected a duration, found {describe(value)}", hint=f'{key} = "{value}s"')
        if not isinstance(value, str):
            raise wrong_type(value, "a duration in quotes", example)
        seconds = parse_duration(value)
        if seconds == 0 and zero is not None:
            return 0.0
        if not low <= seconds <= high:
            limits = f"from {format_duration(low)} to {format_duration(high)}"
            raise UsageError(
                f"{format_duration(seconds)} is not {limits}", hint=f'"0s" {zero}' if zero else None
            )
        return seconds

    return one(parse, {"type": "string", "pattern": DURATION})
