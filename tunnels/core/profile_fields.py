"""The keys of a profile, as one table; and how a profile's own values and the defaults become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tunnels.core.address import quoted
from tunnels.core.durations import format_duration
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.forward_fields import PROBE, PlacedRule, check_together, forwards
from tunnels.core.profile import (
    HostKeyPolicy,
    HostSpec,
    Profile,
    Retry,
    check_name,
    check_user,
    parse_host_spec,
    parse_jump,
)
from tunnels.core.reading import (
    BAD,
    TEXT,
    Described,
    Notes,
    Reader,
    arguments,
    command,
    duration,
    file_path,
    file_paths,
    flag,
    integer,
    likely,
    many,
    one,
    one_or_many,
    read_keys,
    table,
    text,
    wrong_type,
)
from tunnels.errors import UsageError

if TYPE_CHECKING:
    from tunnels.core.toml_lines import KeyPath

_DAY = 86_400.0

#: Seconds without clients after which a connection on demand is ended, unless the profile says otherwise: long
#: enough for a person who reads what a page or a query has brought.
ON_DEMAND_IDLE = 600.0

#: Values that were read, by their keys; `BAD` for those that could not be used.
Values = dict[str, Any]


def _checked(check: Callable[[str], Any], example: str) -> Callable[[Any], Any]:
    return lambda value: check(text(value, example))


def _policy(value: Any) -> HostKeyPolicy:
    words = {policy.value: policy for policy in HostKeyPolicy}
    word = text(value, 'host_key_policy = "ask"')
    if word not in words:
        meant = likely(word, words, {"no": "accept-new", "yes": "strict", "off": "accept-new"})
        raise UsageError(
            f"{quoted(word)} is none of ask, strict and accept-new", hint=meant and f'did you mean "{meant}"?'
        )
    return words[word]


#: Before the first of a list: add to the default, take from it, put in front of it (ssh_config(5), Ciphers).
_CIPHER_PREFIXES = "+-^"


def _read_ciphers(value: Any, path: KeyPath, notes: Notes) -> Any:
    """Read ``"a,b"``, ``["a", "b"]``, or a change of the default: ``"+a,b"``."""
    found = many(_cipher, separator=",")(value, path, notes)
    if found is BAD or not found:
        return found
    if any(name[0] in _CIPHER_PREFIXES for name in found[1:]):
        notes.add(path, "only the first cipher may have a +, - or ^", 'for example "+aes128-cbc,3des-cbc"')
        return BAD
    if found[0][0] not in _CIPHER_PREFIXES and any(set(name) & {"*", "?"} for name in found):
        notes.add(path, "a pattern is not the name of a cipher", 'for example "-*-cbc" takes them away')
        return BAD
    return found


def _cipher(value: Any) -> str:
    name = text(value, 'ciphers = "aes128-gcm@openssh.com"')
    bare = name[1:] if name[0] in _CIPHER_PREFIXES else name
    if not bare or not all(char.isascii() and (char.isalnum() or char in "@.-*?") for char in bare):
        raise UsageError(
            f"{quoted(name)} is not the name of a cipher",
            hint='ciphers = "aes128-gcm@openssh.com,aes256-ctr"',
        )
    return name


def _description(value: Any) -> str:
    return "" if value == "" else text(value, 'description = "Postgres behind the bastion"')


def _read_jump(value: Any, path: KeyPath, notes: Notes) -> Any:
    """Read ``"a,b"``, ``["a", "b"]`` or ``"none"`` into hops in the order they are passed."""
    example = 'jump = "bastion" or jump = ["gate", "me@bastion:2222"]'
    if isinstance(value, str):
        return one(_checked(parse_jump, example))(value, path, notes)
    if not isinstance(value, list):
        return one(lambda _: text(value, example))(value, path, notes)
    if value == ["none"]:
        return ()
    return many(_checked(_one_hop, example))(value, path, notes)


def _one_hop(hop: str) -> str:
    if "," in hop or hop.lower() == "none":
        raise UsageError(f"{quoted(hop)} is not one host", hint='jump = ["gate", "me@bastion:2222"]')
    parse_host_spec(hop)
    return hop.strip()


#: Every key of a profile, and what reads it.
PROFILE_FIELDS: dict[str, Reader] = {
    "host": one(_checked(parse_host_spec, 'host = "me@vps.example.com"')),
    "user": one(_checked(check_user, 'user = "me"')),
    "port": integer(1, 65535, "port = 22"),
    "identity_file": file_paths('identity_file = "~/.ssh/id_ed25519"'),
    "certificate_file": file_paths('certificate_file = "~/.ssh/id_ed25519-cert.pub"'),
    "jump": Described(_read_jump, one_or_many(TEXT)),
    "proxy_command": command('proxy_command = "nc -X connect -x proxy:3128 %h %p"'),
    "share_jump": flag("share_jump = false"),
    "known_hosts": file_paths('known_hosts = "~/.ssh/known_hosts"', none=True),
    "host_key_policy": one(_policy, {"enum": [policy.value for policy in HostKeyPolicy]}),
    "password_command": command('password_command = "pass show work/ssh"'),
    "ssh_config": one(lambda value: file_path(value, 'ssh_config = "~/.ssh/config"', none=True)),
    "keepalive": duration(1, _DAY, 'keepalive = "15s"', zero="turns it off"),
    "keepalive_count": integer(1, 1000, "keepalive_count = 3"),
    "connect_timeout": duration(1, 3600, 'connect_timeout = "10s"'),
    "hold": duration(0.001, 3600, 'hold = "20s"', zero="lets clients fail at once"),
    "probe": PROBE,
    "on_demand": flag("on_demand = true"),
    "idle_timeout": duration(1, 365 * _DAY, 'idle_timeout = "10m"', zero="turns it off"),
    "autostart": flag("autostart = true"),
    "exit_on_forward_failure": flag("exit_on_forward_failure = true"),
    "remote_unlink": flag("remote_unlink = true"),
    "tags": many(_checked(check_name, 'tags = ["work"]')),
    "description": one(_description, {"type": "string"}),
    "ciphers": Described(_read_ciphers, one_or_many(TEXT)),
    "compression": flag("compression = true"),
    "retry": table(
        {
            "initial": duration(0.1, 3600, 'retry.initial = "1s"'),
            "max": duration(0.1, _DAY, 'retry.max = "60s"'),
            "give_up_after": duration(1, 365 * _DAY, 'retry.give_up_after = "10m"', zero="means never"),
        },
        example='retry = { initial = "1s", max = "60s" }',
    ),
    "on_up": arguments('on_up = "notify-send connected"'),
    "on_down": arguments('on_down = ["sh", "-c", "echo $TUNNELS_NAME >> ~/drops"]'),
    "on_failed": arguments('on_failed = "~/bin/page-me"'),
    "captive_portal": flag("captive_portal = false"),
    "notify": flag("notify = false"),
    "local": forwards(ForwardKind.LOCAL),
    "remote": forwards(ForwardKind.REMOTE),
    "dynamic": forwards(ForwardKind.DYNAMIC),
}

#: What ssh_config(5) and other tunnel managers call these keys, in lower case and without separators.
_ALIASES = {
    "hostname": "host",
    "server": "host",
    "username": "user",
    "key": "identity_file",
    "identity": "identity_file",
    "proxyjump": "jump",
    "userknownhostsfile": "known_hosts",
    "stricthostkeychecking": "host_key_policy",
    "password": "password_command",
    "config": "ssh_config",
    "serveraliveinterval": "keepalive",
    "serveralivecountmax": "keepalive_count",
    "timeout": "connect_timeout",
    "localforward": "local",
    "remoteforward": "remote",
    "dynamicforward": "dynamic",
    "socks": "dynamic",
    "streamlocalbindunlink": "remote_unlink",
}


class PlacedProfile(NamedTuple):
    """A profile, and for each of its forwards where in the file that stands."""

    profile: Profile
    places: tuple[KeyPath, ...]


def read_profile(raw: Any, path: KeyPath, notes: Notes) -> Values:
    """Read the table of one profile, or of the defaults, and note what is wrong with it by itself."""
    if not isinstance(raw, dict):
        error = wrong_type(raw, "a table", "[profiles.work-db]")
        notes.add(path, error.message, error.hint)
        return {"host": BAD, "local": BAD}
    values = read_keys(
        raw,
        PROFILE_FIELDS,
        path,
        notes,
        aliases=_ALIASES,
        explain=lambda key, value: _dotted_name(key, value, path),
    )
    spec = values.get("host")
    if isinstance(spec, HostSpec):
        for key, written in (("user", spec.user), ("port", spec.port)):
            if key in values and values[key] is not BAD and written is not None and values[key] != written:
                notes.add(
                    (*path, key), f"{key} is {values[key]}, and host says {written}", "keep one of the two"
                )
    if _goes_somewhere(values, "jump") and _goes_somewhere(values, "proxy_command"):
        notes.add((*path, "proxy_command"), "a connection goes through jump or proxy_command, not both")
    return values


def _dotted_name(key: str, value: Any, path: KeyPath) -> str | None:
    """Explain an unknown table inside a profile: most often a name with a dot that has no quotes."""
    if len(path) < 2 or not isinstance(value, dict):
        return None
    name = f"{path[1]}.{key}"
    return f"a name with a dot stands in quotes: [profiles.{quoted(name)}]"


def make_profile(
    name: str, own: Values, defaults: Values, path: KeyPath, notes: Notes
) -> PlacedProfile | None:
    """Put a profile together: its own values win over the defaults, key by key (also those of ``retry``).

    ``None`` if a value is missing or unusable; then that is noted.
    """
    before = len(notes)
    if "host" not in own and "host" not in defaults:
        notes.add(path, "no host: where should the tunnel go?", 'for example host = "me@vps.example.com"')
    values = {**_inherited(own, defaults), **own}
    rules = _forwards(values, path, notes)
    retry = _retry(own, defaults, path, notes)
    _check_demand(values, rules, path, notes)
    if len(notes) > before or any(value is BAD for value in values.values()) or retry is None:
        return None
    spec: HostSpec = values.pop("host")
    own_spec = spec if "host" in own else None
    values["user"] = _first(own.get("user"), own_spec and own_spec.user, values.get("user"), spec.user)
    values["port"] = _first(own.get("port"), own_spec and own_spec.port, values.get("port"), spec.port)
    values["idle_timeout"] = (
        values.get("idle_timeout", ON_DEMAND_IDLE if values.get("on_demand") else 0) or None
    )
    for kind in ForwardKind:
        values.pop(kind.value, None)
    probe = values["probe"] = values.get("probe") or None
    spread = [(placed.path, _probed(forward, probe)) for placed in rules for forward in placed.rule.spread()]
    values |= {"retry": retry, "forwards": tuple(forward for _, forward in spread)}
    return PlacedProfile(Profile(name, spec.host, **values), tuple(place for place, _ in spread))


def _probed(forward: Forward, probe: float | None) -> Forward:
    """What a forward itself says comes before what its profile says; proxies have nobody to ask."""
    wanted = probe if forward.probe is None else forward.probe
    return replace(forward, probe=wanted or None) if forward.connect is not None else forward


def _inherited(own: Values, defaults: Values) -> Values:
    """Leave out of the defaults what a profile's own way to its server replaces."""
    other = {"jump": "proxy_command", "proxy_command": "jump"}
    return {
        key: value
        for key, value in defaults.items()
        if key not in other or not _goes_somewhere(own, other[key])
    }


def _goes_somewhere(values: Values, key: str) -> bool:
    """Whether jump or proxy_command is said, and is not the ``none`` that turns one of ssh_config off."""
    value = values.get(key)
    return value is not BAD and value not in {None, (), "none"}


def _forwards(values: Values, path: KeyPath, notes: Notes) -> tuple[PlacedRule, ...]:
    kinds = [values.get(kind.value, ()) for kind in ForwardKind]
    rules: tuple[PlacedRule, ...] = tuple(rule for rules in kinds if rules is not BAD for rule in rules)
    if not rules and not any(kind is BAD for kind in kinds):
        in_file = 'add local = ["5432:db.internal:5432"], remote or dynamic'
        typed = "-L 5432:db.internal:5432 forwards a port, -D 1080 is a proxy"  # it stands in no file
        notes.add(path, "nothing to forward", in_file if path else typed)
    check_together(rules, path, notes)
    return rules


def _check_demand(values: Values, rules: tuple[PlacedRule, ...], path: KeyPath, notes: Notes) -> None:
    if values.get("on_demand") is not True:
        return
    if values.get("hold") == 0:
        notes.add(
            (*path, "hold"),
            "with on_demand a client waits for the connection, so hold cannot be 0",
            'hold = "20s"',
        )
    if rules and all(placed.rule.kind is ForwardKind.REMOTE for placed in rules):
        notes.add(
            (*path, "on_demand"),
            "nobody can demand this tunnel: it has remote forwards only, and they need the connection",
            "leave on_demand out",
        )


def _retry(own: Values, defaults: Values, path: KeyPath, notes: Notes) -> Retry | None:
    given, inherited = own.get("retry", {}), defaults.get("retry", {})
    if given is BAD or inherited is BAD:
        return None
    values = {**inherited, **given}
    usual = Retry()
    longest: float = values.get("max", max(usual.max, values.get("initial", 0)))
    initial: float = values.get("initial", min(usual.initial, longest))
    if initial > longest:
        notes.add(
            (*path, "retry") if given else ("defaults", "retry"),
            f"initial is {format_duration(initial)}, longer than max, which is {format_duration(longest)}",
        )
    return Retry(initial, longest, values.get("give_up_after") or None)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
