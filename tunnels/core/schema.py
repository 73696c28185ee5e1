"""The profile file as a JSON Schema, for editors that complete and check what is typed.

It is made from the readers of the profile file, so that a key they learn is in it. It says less than they do:
whether two forwards want one port, or a host is one, only `tunnels check` knows. Whatever it refuses, they
refuse.
"""

from __future__ import annotations

from typing import Any

from tunnels.core.profile_fields import PROFILE_FIELDS
from tunnels.core.reading import Schema, table_schema

#: The newest draft that Taplo and what is built on it (Even Better TOML) understand.
DRAFT = "http://json-schema.org/draft-07/schema#"

#: What a name is; `core.profile.check_name`.
_NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

#: A line about each key, for the editor to show.
DESCRIPTIONS = {
    "host": "Where the tunnel goes: a Host of ~/.ssh/config, [user@]host[:port], or ssh://.",
    "user": "The login name. ssh_config decides where this is not said.",
    "port": "The port of the SSH server. ssh_config decides where this is not said.",
    "identity_file": "The private key to log in with, or several.",
    "certificate_file": "The certificate of a key, or several.",
    "jump": 'The hosts on the way, in the order they are passed; "none" for none, despite ssh_config.',
    "proxy_command": 'A command that carries the connection (%h and %p are host and port); "none" for none.',
    "share_jump": "Use one connection to a jump host together with other tunnels.",
    "known_hosts": "The files with the keys of known servers.",
    "host_key_policy": "What to do with the key of a new server. A changed one is always refused.",
    "password_command": "Run by sh; the first line it prints is the password.",
    "ssh_config": 'Another file than ~/.ssh/config, or "none".',
    "keepalive": 'How often the server is asked whether it is there; "0s" never asks.',
    "keepalive_count": "After so many answers that have not come, the connection is made anew.",
    "connect_timeout": "How long one attempt to connect may take.",
    "hold": 'How long a client waits while the connection is being made anew; "0s" lets it fail at once.',
    "probe": 'How often the destinations are asked whether they are there; "0s" never asks.',
    "on_demand": "Listen now, and connect when the first client comes.",
    "idle_timeout": 'Hang up when no client has been there for this long; "0s" never does. With on_demand.',
    "autostart": "Start it whenever the daemon starts.",
    "exit_on_forward_failure": "All forwards or none.",
    "remote_unlink": "Replace a dead unix socket that is in the way of a remote forward.",
    "tags": "Names of groups: tunnels up --tag NAME.",
    "description": "A line for people.",
    "ciphers": "The ciphers to offer, the best first; a + - or ^ before the first one changes the usual list.",
    "compression": "Compress what is sent.",
    "retry": "How a lost connection is dialled again.",
    "on_up": "A command for when it comes up: its words as a list, or a text that is split into words.",
    "on_down": "A command for when it leaves up.",
    "on_failed": "A command for when a person must do something.",
    "captive_portal": "Look for a Wi-Fi's login page where nothing gets through, and say where it is.",
    "notify": "Say on the desktop when it needs a person.",
    "local": "Listen here, connect from the server: what ssh -L takes, or a table.",
    "remote": "Listen on the server, connect from here: what ssh -R takes, or a table.",
    "dynamic": "A proxy here; every client says where it wants to go: what ssh -D takes, or a table.",
}


def profile_schema() -> Schema:
    """The whole profile file."""
    profile = table_schema(PROFILE_FIELDS)
    for key, schema in profile["properties"].items():
        profile["properties"][key] = {"description": DESCRIPTIONS.get(key, key), **schema}
    document: dict[str, Any] = {
        "$schema": DRAFT,
        "title": "tunnels: profiles.toml",
        "description": "SSH tunnels, one table each. `tunnels check` says everything that is wrong in it.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": {
                "description": "Any key of a profile; a profile's own value wins.",
                "$ref": "#/definitions/profile",
            },
            "profiles": {
                "description": "[profiles.NAME]: one SSH destination and its forwards.",
                "type": "object",
                "propertyNames": {"pattern": _NAME},
                "additionalProperties": {"$ref": "#/definitions/profile"},
            },
        },
        "definitions": {"profile": profile},
    }
    return document
