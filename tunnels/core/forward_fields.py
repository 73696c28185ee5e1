"""The forwards of a profile as TOML has them: texts in OpenSSH's grammar, or tables that can say more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tunnels.core.address import Address, parse_connect, parse_listen, quoted
from tunnels.core.forward import EXAMPLES, ForwardKind, ForwardRule, ProxyAuth, make_rule, parse_forward
from tunnels.core.profile import check_name
from tunnels.core.reading import (
    BAD,
    TEXT,
    Described,
    Notes,
    Reader,
    Schema,
    command,
    dotted,
    duration,
    flag,
    one,
    one_or_many,
    read_keys,
    schema_of,
    table,
    table_schema,
    text,
    wrong_type,
)
from tunnels.errors import UsageError

if TYPE_CHECKING:
    from tunnels.core.toml_lines import KeyPath

#: Forwards of one profile, ranges spread out: what a process may hold open by default (ulimit -n).
MOST_FORWARDS = 1024

_TABLES = {
    ForwardKind.LOCAL: '{ listen = "127.0.0.1:6379", connect = "cache.internal:6379" }',
    ForwardKind.REMOTE: '{ listen = "2222", connect = "localhost:22" }',
    ForwardKind.DYNAMIC: '{ listen = "1080" }',
}
_AUTH = 'auth = { username = "me", password_command = "pass show proxy" }'


#: How often a destination is asked whether it is there.
PROBE = duration(1, 86_400, 'probe = "30s"', zero="turns it off")


class PlacedRule(NamedTuple):
    """A rule and where in the file it stands."""

    path: KeyPath
    rule: ForwardRule


def forwards(kind: ForwardKind) -> Reader:
    """Read a list of texts and tables, or a single one, into a tuple of `PlacedRule`."""

    def read(value: Any, path: KeyPath, notes: Notes) -> Any:
        if isinstance(value, list):
            places = [((*path, index), item) for index, item in enumerate(value)]
        else:
            places = [(path, value)]
        rules = []
        for place, item in places:
            rule = _read_forward(kind, item, place, notes)
            rules.append(rule if rule is BAD else PlacedRule(place, rule))
        return BAD if any(rule is BAD for rule in rules) else tuple(rules)

    return Described(read, one_or_many(_schema(kind)))


def _fields(kind: ForwardKind) -> dict[str, Reader]:
    """The keys of a forward that is written as a table."""
    port: Schema = {"type": "integer", "minimum": int(kind is not ForwardKind.REMOTE), "maximum": 65535}
    return {
        "name": one(lambda value: check_name(text(value, 'name = "redis"'))),
        "listen": one(lambda value: _listen(kind, value), {"anyOf": [TEXT, port]}),
        "connect": one(_connect),
        "auth": _read_auth,
        "expose": flag("expose = true"),
        "probe": PROBE,
    }


def _schema(kind: ForwardKind) -> Schema:
    fields = _fields(kind)
    if kind is ForwardKind.DYNAMIC:
        del fields["connect"]
    if kind is ForwardKind.LOCAL:
        del fields["auth"], fields["expose"]
    required = ["listen", "connect"] if kind is ForwardKind.LOCAL else ["listen"]
    texts: list[Schema] = [{**TEXT, "examples": [EXAMPLES[kind]]}]
    if kind is ForwardKind.DYNAMIC:
        texts.append({"type": "integer", "minimum": 1, "maximum": 65535})
    return {"anyOf": [*texts, table_schema(fields, required)]}


def check_together(rules: tuple[PlacedRule, ...], path: KeyPath, notes: Notes) -> None:
    """Note what is wrong with rules only because all of them are in the profile at ``path``."""
    count = sum(placed.rule.ports for placed in rules)
    if count > MOST_FORWARDS:
        notes.add(path, f"{count} forwards with their ranges; {MOST_FORWARDS} are the most of one profile")
        return
    taken: dict[object, list[tuple[Any, PlacedRule]]] = {}
    for placed in rules:
        clash = None
        for forward in placed.rule.spread():
            same_port = taken.setdefault(getattr(forward.listen, "port", None), [])
            clash = clash or next(
                (other for earlier, other in same_port if other is not placed and earlier.clashes(forward)),
                None,
            )
            same_port.append((forward, placed))
        if clash is not None:
            where = clash.path[len(path) :] if clash.path[: len(path)] == path else clash.path
            notes.add(
                placed.path,
                f"{placed.rule} wants to listen where {dotted(where)} ({clash.rule}) does already",
                "give one of them another port",
            )


def _read_forward(kind: ForwardKind, value: Any, path: KeyPath, notes: Notes) -> Any:
    if isinstance(value, dict):
        rule = _read_table(kind, value, path, notes)
    else:
        rule = one(lambda value: _parse_short(kind, value))(value, path, notes)
    if rule is not BAD and rule.spread()[0].is_open_proxy:
        notes.add(
            path,
            "anybody who reaches this port could use the proxy",
            f"leave out the bind address, or use a table with {_AUTH} or with expose = true",
        )
        return BAD
    return rule


def _parse_short(kind: ForwardKind, value: Any) -> ForwardRule:
    if isinstance(value, int) and not isinstance(value, bool) and kind is ForwardKind.DYNAMIC:
        value = str(value) if 0 <= value <= 99_999 else "99999"
    if not isinstance(value, str):
        raise wrong_type(value, "a text or a table", f'"{EXAMPLES[kind]}" or {_TABLES[kind]}')
    return parse_forward(kind, value)


def _read_table(kind: ForwardKind, raw: dict[str, Any], path: KeyPath, notes: Notes) -> Any:
    """Read ``{ name, listen, connect, auth, expose }``."""
    values = read_keys(raw, _fields(kind), path, notes, aliases=_ALIASES)
    before = len(notes)
    if "listen" not in values:
        notes.add(path, '"listen" is missing', f"for example {_TABLES[kind]}")
    if "connect" not in values and kind is ForwardKind.LOCAL:
        notes.add(path, '"connect" is missing', f"for example {_TABLES[kind]}")
    if "connect" in raw and kind is ForwardKind.DYNAMIC:
        notes.add((*path, "connect"), "a dynamic forward has no destination: its clients choose theirs")
    if "probe" in raw and "connect" not in raw:
        notes.add((*path, "probe"), "a proxy has no destination of its own that could be asked")
    if "connect" in raw and kind is not ForwardKind.DYNAMIC:
        for key in ("auth", "expose"):
            if key in raw:
                notes.add((*path, key), f'"{key}" is for proxies, and this forward has a destination')
    if len(notes) > before or any(value is BAD for value in values.values()):
        return BAD
    (listen, listen_ports), (connect, connect_ports) = values["listen"], values.get("connect", (None, 1))
    try:
        return make_rule(
            kind,
            listen,
            listen_ports,
            connect,
            connect_ports,
            name=values.get("name"),
            auth=values.get("auth"),
            expose=values.get("expose", False),
            probe=values.get("probe"),
        )
    except UsageError as error:
        notes.add(path, error.message, error.hint)
        return BAD


#: What other programs call these keys.
_ALIASES = {
    "bind": "listen",
    "source": "listen",
    "src": "listen",
    "from": "listen",
    "destination": "connect",
    "dest": "connect",
    "target": "connect",
    "to": "connect",
}


def _listen(kind: ForwardKind, value: Any) -> tuple[Address, int]:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value <= 99_999 else "99999"
    return parse_listen(text(value, 'listen = "127.0.0.1:6379"'), zero=kind is ForwardKind.REMOTE)


def _connect(value: Any) -> tuple[Address, int]:
    return parse_connect(text(value, 'connect = "cache.internal:6379"'))


def _username(value: Any) -> str:
    name = text(value, _AUTH)
    if ":" in name:  # RFC 7617 section 2: HTTP proxies could not be told it
        raise UsageError(f"a user name has no colon, as {quoted(name)} does")
    if len(name.encode("utf-8", "surrogatepass")) > 255:
        raise UsageError("a user name is at most 255 bytes long (RFC 1929)")
    return name


_auth_table = table(
    {"username": one(_username), "password_command": command(_AUTH)},
    required=("username", "password_command"),
    example=_AUTH,
)


def _auth(value: Any, path: KeyPath, notes: Notes) -> Any:
    values = _auth_table(value, path, notes)
    return values if values is BAD else ProxyAuth(**values)


_read_auth = Described(_auth, schema_of(_auth_table))
