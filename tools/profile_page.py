"""``docs/reference/profile.md``, made from the readers of the profile file and the example."""

from __future__ import annotations

from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

from tools.commands_page import cell
from tunnels.core.durations import DURATION, format_duration
from tunnels.core.forward import EXAMPLES, ForwardKind
from tunnels.core.profile import Profile, Retry
from tunnels.core.profile_fields import ON_DEMAND_IDLE, PROFILE_FIELDS
from tunnels.core.reading import Schema, schema_of
from tunnels.core.schema import DESCRIPTIONS
from tunnels.ssh.destination import DEFAULT_KEEPALIVE_COUNT
from tunnels.ssh.options import CONNECT_TIMEOUT, KEEPALIVE

_EXAMPLE = Path(__file__).parent.parent / "profiles.example.toml"

#: What is used where neither the profile nor ssh_config says anything, and a frozen profile cannot know it.
_OUTSIDE: dict[str, str] = {
    "user": "yours",
    "port": "22",
    "identity_file": "ssh's own, and the agent's keys",
    "jump": "as ssh_config says",
    "proxy_command": "as ssh_config says",
    "known_hosts": "ssh's own files",
    "host_key_policy": "`ask`",
    "ssh_config": "`~/.ssh/config` and the system's",
    "keepalive": f"`{format_duration(KEEPALIVE)}`",
    "keepalive_count": f"`{DEFAULT_KEEPALIVE_COUNT}`",
    "connect_timeout": f"`{format_duration(CONNECT_TIMEOUT)}`",
    "idle_timeout": f"`{format_duration(ON_DEMAND_IDLE)}` with `on_demand`, else never",
    "compression": "no",
    "ciphers": "AES-GCM first where the processor has AES, then as ssh",
    "probe": "never",
}

#: Of these the profile's own value, then that of ssh_config, then the default counts.
_FROM_SSH_CONFIG = {
    *("user", "port", "identity_file", "certificate_file", "jump", "proxy_command", "known_hosts"),
    *("host_key_policy", "keepalive", "keepalive_count", "connect_timeout", "ciphers", "compression"),
}

_GROUPS: dict[str, tuple[str, ...]] = {
    "Where to": ("host", "user", "port", "jump", "share_jump", "proxy_command", "ssh_config"),
    "Logging in": (
        *("identity_file", "certificate_file", "password_command", "known_hosts", "host_key_policy"),
        *("ciphers", "compression"),
    ),
    "What is forwarded": ("local", "remote", "dynamic", "exit_on_forward_failure", "remote_unlink", "probe"),
    "Staying up": ("keepalive", "keepalive_count", "connect_timeout", "hold", "retry", "captive_portal"),
    "When": ("on_demand", "idle_timeout", "autostart"),
    "Telling you": ("description", "tags", "on_up", "on_down", "on_failed", "notify"),
}

_HEAD = """\
# The profile file

`profiles.toml` is in `~/.config/tunnels` (on macOS in `~/Library/Application Support/tunnels`); `--config FILE` or
`TUNNELS_CONFIG` name another one. `tunnels edit` opens it and takes only what is right, `tunnels check` names every
problem in it at once, and `tunnels schema` prints a JSON Schema for your editor. Nobody but you may write to it.

`[profiles.NAME]` is one SSH destination with its forwards; `[defaults]` has any of the same keys, and a profile's own
value wins. Durations are texts such as `"500ms"`, `"15s"`, `"10m"`, `"1h30m"` or `"1d"`. Of the keys marked with *,
a value in the profile wins over ssh_config, and ssh_config over the default. This page is made from the program.
"""

_FORWARDS = """\
## Forwards

A forward is a text in OpenSSH's grammar, or a table that can say more. Without a bind address only this machine (for
`remote`: only the server itself) can connect, over IPv4 and IPv6; `*` stands for every interface. IPv6 addresses stand in
brackets. Ranges of equal length are ours: `8000-8010:web:8000-8010`.

| | text | |
| --- | --- | --- |
| `local` | `[bind_address:]port:host:hostport` | listen here, connect from the server |
| | `[bind_address:]port:remote_socket`, `local_socket:host:hostport`, `local_socket:remote_socket` | the same with unix sockets |
| `remote` | `[bind_address:]port:host:hostport`, or with unix sockets as above | listen on the server, connect from here; port 0 lets the server choose |
| | `[bind_address:]port` | a proxy on the server, whose clients come out here |
| `dynamic` | `[bind_address:]port` | a SOCKS and HTTP proxy here |

| key of the table | |
| --- | --- |
| `listen` | where to listen: a port, `address:port`, or a socket |
| `connect` | where to: `host:port` or a socket; none for a proxy |
| `name` | what `status` calls it |
| `auth` | `{ username = "me", password_command = "pass show proxy" }`: who may use a proxy |
| `expose` | `true`: a proxy that everybody may use who reaches its port |
| `probe` | as `probe` of the profile, for this forward alone |

A proxy that other machines can reach needs `auth` or `expose = true`.
"""


def page() -> str:
    """Return the whole page. Raises ValueError if a key is in no group, or in two."""
    grouped = [key for keys in _GROUPS.values() for key in keys]
    if sorted(grouped) != sorted(PROFILE_FIELDS):
        raise ValueError(f"these are in no group, or in two: {set(PROFILE_FIELDS) ^ set(grouped) or grouped}")
    parts = [_HEAD]
    for group, keys in _GROUPS.items():
        rows = [_row(key) for key in keys]
        parts.append(
            "\n".join(
                [f"## {group}", "", "| key | takes | default | |", "| --- | --- | --- | --- |", *rows, ""]
            )
        )
    parts += [_FORWARDS, "## All of it", f"```toml\n{_EXAMPLE.read_text('utf-8').strip()}\n```", ""]
    return "\n".join(parts)


def _row(key: str) -> str:
    star = "\\*" if key in _FROM_SSH_CONFIG else ""
    return f"| `{key}`{star} | {takes(key)} | {default(key)} | {cell(DESCRIPTIONS[key])} |"


def takes(key: str) -> str:
    """Return what a key takes, in words."""
    if key in {kind.value for kind in ForwardKind}:
        return f'`"{EXAMPLES[ForwardKind(key)]}"`, a table, or a list of these'
    if key == "retry":
        return '`{ initial = "1s", max = "60s", give_up_after = "1d" }`'
    return _type(schema_of(PROFILE_FIELDS[key]))


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f'`"{word}"`' for word in schema["enum"])
    if "anyOf" in schema:
        one, many = schema["anyOf"]
        return f"{_type(one)}, or a list" if many.get("type") == "array" else f"{_type(one)} or {_type(many)}"
    match schema.get("type"):
        case "boolean":
            return "`true`, `false`"
        case "integer":
            return f"{schema['minimum']} to {schema['maximum']}"
        case "string" if schema.get("pattern") == DURATION:
            return "duration"
        case _:
            return "text"


def default(key: str) -> str:
    """Return what counts where nobody says anything, in words."""
    if key in {kind.value for kind in ForwardKind} or key == "host":
        return "–"
    if key in _OUTSIDE:
        return _OUTSIDE[key]
    field = next(each for each in fields(Profile) if each.name == key)
    if key == "retry":
        usual = Retry()
        return f'`{{ initial = "{format_duration(usual.initial)}", max = "{format_duration(usual.max)}" }}`, for ever'
    value: Any = field.default if field.default is not MISSING else None
    if value is None or value in {"", ()}:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, float):
        return f"`{format_duration(value)}`"
    return f"`{value}`"
