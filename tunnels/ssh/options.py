"""A destination as asyncssh's options. Pure: everything is explicit, and asyncssh reads no file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunnels.ssh import algorithms
from tunnels.ssh.destination import Destination

#: Seconds between keepalives, and how many may go unanswered; a dead link is found after 60 s.
KEEPALIVE = 15.0

#: Seconds for TCP to answer. ssh leaves it to the kernel, which takes two minutes (tcp(7), tcp_syn_retries).
CONNECT_TIMEOUT = 15.0

#: Seconds for key exchange and login, after TCP has answered; sshd's own LoginGraceTime is 120 s.
LOGIN_TIMEOUT = 30.0

#: What moves most bytes for a second of processor time. With AES in hardware AES-GCM needs 16 µs for a
#: packet of 32 KiB and ChaCha20-Poly1305 36 µs; without it, it is the other way round.
CIPHERS_WITH_AES = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
CIPHERS_WITHOUT_AES = ("chacha20-poly1305@openssh.com", *CIPHERS_WITH_AES[:2], *CIPHERS_WITH_AES[3:])


def keepalive_interval(destination: Destination) -> float:
    """Seconds between keepalives; 0: none."""
    return KEEPALIVE if destination.server_alive_interval is None else destination.server_alive_interval


def connect_timeout(destination: Destination) -> float:
    """Seconds for TCP to answer."""
    return CONNECT_TIMEOUT if destination.connect_timeout is None else destination.connect_timeout


def user_timeout(destination: Destination) -> float:
    """Seconds after which a silent peer counts as dead: the bound that the keepalives give."""
    return keepalive_interval(destination) * (destination.server_alive_count_max + 1)


def connect_options(
    destination: Destination, *, host_key_algorithms: Sequence[str], aes: bool
) -> dict[str, Any]:
    """The keyword arguments of ``asyncssh.connect`` that describe one hop.

    What has to be made for each attempt (the socket, the keys, the client object, and ``known_hosts``,
    which must never be left out) is not among them.

    Raises:
        BadSetting: a list of algorithms has none that asyncssh knows.

    """
    ciphers = CIPHERS_WITH_AES if aes else CIPHERS_WITHOUT_AES
    options: dict[str, Any] = {
        "host": destination.hostname,
        "port": destination.port,
        "username": destination.user,
        "config": None,
        "server_host_key_algs": list(host_key_algorithms),
        "x509_trusted_certs": None,
        "agent_path": None,  # the agent's keys are among client_keys, in our order
        "gss_kex": False,
        "gss_auth": False,
        "host_based_auth": False,
        "password_auth": destination.password_authentication,
        "kbdint_auth": destination.kbd_interactive_authentication,
        "keepalive_interval": keepalive_interval(destination),
        "keepalive_count_max": destination.server_alive_count_max,
        "login_timeout": 0,  # ours (`ssh.hop`) does not count the time that a person takes
        "tcp_keepalive": destination.tcp_keepalive,
        "compression_algs": ["zlib@openssh.com", "none"] if destination.compression else ["none"],
        "encryption_algs": list(ciphers),
    }
    if destination.ciphers:
        options["encryption_algs"] = algorithms.chosen("Ciphers", destination.ciphers, ciphers, destination)
    for option, keyword, said in (
        ("kex_algs", "KexAlgorithms", destination.kex_algorithms),
        ("mac_algs", "MACs", destination.macs),
        ("preferred_auth", "PreferredAuthentications", destination.preferred_authentications),
    ):
        if said:
            options[option] = algorithms.chosen(keyword, said, algorithms.defaults(keyword), destination)
    if destination.pubkey_accepted_algorithms:
        options["signature_algs"] = algorithms.signatures(destination.pubkey_accepted_algorithms, destination)
    if destination.rekey_bytes is not None:
        options["rekey_bytes"] = destination.rekey_bytes
    if destination.rekey_seconds is not None:
        options["rekey_seconds"] = destination.rekey_seconds
    if destination.host_key_alias is not None:
        options["host_key_alias"] = destination.host_key_alias
    return options
