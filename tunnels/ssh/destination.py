"""Where an SSH connection goes and on what terms: what ssh_config and the profile say together.

No process is started and no file is read here; `tunnels.ssh.resolve` does the asking.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from tunnels.core.profile import HostSpec, Profile
from tunnels.errors import BadSetting
from tunnels.ssh.keywords import Note
from tunnels.ssh.tokens import TokenError, Tokens

AddressFamily = Literal["any", "inet", "inet6"]
StrictHostKeyChecking = Literal["yes", "no", "ask", "accept-new"]
UpdateHostKeys = Literal["yes", "no", "ask"]

DEFAULT_PORT = 22
DEFAULT_KEEPALIVE_COUNT = 3  # ssh_config(5), ServerAliveCountMax
DEFAULT_PASSWORD_PROMPTS = 3  # ssh_config(5), NumberOfPasswordPrompts
DEFAULT_RSA_BITS = 1024  # ssh_config(5), RequiredRSASize


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """What tokens and defaults take from this machine and its user."""

    home: str  #: ``$HOME``: what ``~`` is in a profile
    ssh_home: str  #: from the password database: what ``~`` and ``%d`` are in ssh_config
    user: str
    uid: int
    hostname: str


@dataclass(frozen=True, slots=True)
class Destination:
    """One SSH server as ssh_config and the profile describe it. Durations are in seconds.

    Paths are expanded. An empty tuple of algorithms means: nobody has chosen, the default of ours serves.
    """

    alias: str  #: what the user called it
    hostname: str  #: what to connect to
    port: int
    user: str
    identity_files: tuple[str, ...] = ()  #: in the order to try them
    identity_files_configured: bool = False  #: ``False``: ssh's defaults, most of which do not exist
    certificate_files: tuple[str, ...] = ()
    identities_only: bool = False
    identity_agent: str | None = None  #: the agent's socket; ``None``: no agent
    identity_agent_usual: bool = False  #: it is whatever SSH_AUTH_SOCK names, and the agent may have moved
    user_known_hosts_files: tuple[str, ...] = ()  #: ``()`` is "no file", never "no check"
    global_known_hosts_files: tuple[str, ...] = ()
    revoked_host_keys: str | None = None  #: a file; if it cannot be read, no host key is good
    host_key_alias: str | None = None
    host_key_algorithms: tuple[str, ...] = ()
    strict_host_key_checking: StrictHostKeyChecking = "ask"
    hash_known_hosts: bool = False
    update_host_keys: UpdateHostKeys = "no"  #: ``ask`` is ``no`` with a line in the log
    proxy_jump: tuple[str, ...] = ()  #: as configured; what is dialled is `Route.hops`
    proxy_command: str | None = None  #: expanded, for the user's shell
    proxy_use_fdpass: bool = False  #: that command hands over a socket; we do not take one
    server_alive_interval: float | None = None  #: ``None``: nobody has said; 0: off
    server_alive_count_max: int = DEFAULT_KEEPALIVE_COUNT
    connect_timeout: float | None = None
    address_family: AddressFamily = "any"
    bind_address: str | None = None
    bind_interface: str | None = None
    tcp_keepalive: bool = True
    compression: bool = False
    ciphers: tuple[str, ...] = ()
    kex_algorithms: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()
    rekey_bytes: int | None = None
    rekey_seconds: float | None = None
    preferred_authentications: tuple[str, ...] = ()
    pubkey_authentication: bool = True
    password_authentication: bool = True
    kbd_interactive_authentication: bool = True
    number_of_password_prompts: int = DEFAULT_PASSWORD_PROMPTS
    batch_mode: bool = False  #: nobody is to be asked for a password or passphrase
    pubkey_accepted_algorithms: tuple[str, ...] = ()
    ca_signature_algorithms: tuple[str, ...] = ()
    required_rsa_size: int = DEFAULT_RSA_BITS  #: bits
    pkcs11_provider: str | None = None  #: a library
    security_key_provider: str | None = None  #: a library; ``None``: what is built in
    ip_qos: int | None = None  #: the byte of IP_TOS; ``None``: the system's own
    notes: tuple[Note, ...] = field(default=(), compare=False)  #: what is set and not done

    def __str__(self) -> str:
        return str(HostSpec(self.hostname, self.user, None if self.port == DEFAULT_PORT else self.port))

    @property
    def jump_name(self) -> str:
        """What messages call it where others are reached through it."""
        return f"jump host {self if self.alias == self.hostname else self.alias}"


@dataclass(frozen=True, slots=True)
class Route:
    """How a destination is reached: each hop through the one before it, the target through the last."""

    hops: tuple[Destination, ...]
    target: Destination


# --- what the profile says ------------------------------------------------------------------------


def with_profile(found: Destination, profile: Profile, machine: LocalMachine) -> Destination:
    """Let the profile's own keys win over what ssh_config says about its destination.

    Raises:
        BadSetting: the profile's proxy command has a token that does not exist.

    """
    found = with_timing(found, profile)
    if profile.identity_file:
        found = replace(
            found,
            identity_files=tuple(in_home(file, machine) for file in profile.identity_file),
            identity_files_configured=True,
        )
    if profile.certificate_file:
        found = replace(
            found, certificate_files=tuple(in_home(file, machine) for file in profile.certificate_file)
        )
    if profile.known_hosts:
        found = with_known_hosts(found, profile, machine)
    if profile.ciphers:
        found = replace(found, ciphers=profile.ciphers)
    if profile.compression is not None:
        found = replace(found, compression=profile.compression)
    if profile.jump is not None or profile.proxy_command is not None:
        # Whichever of the two is said keeps the other of ssh_config out, and so does a "none"
        # (ssh_config(5), ProxyJump: they compete, and what is said first wins).
        command = profile.proxy_command
        if profile.jump or command is None or command.strip().lower() == "none":
            command = None
        else:
            command = expand_proxy_command(command, tokens_of(found, machine))
        found = replace(found, proxy_jump=profile.jump or (), proxy_command=command)
    return found


def with_timing(found: Destination, profile: Profile) -> Destination:
    """Let the profile say how long to wait. This goes for every hop too: a dead hop is a dead tunnel."""
    if profile.keepalive is not None:
        found = replace(found, server_alive_interval=profile.keepalive)
    if profile.keepalive_count is not None:
        found = replace(found, server_alive_count_max=profile.keepalive_count)
    if profile.connect_timeout is not None:
        found = replace(found, connect_timeout=profile.connect_timeout)
    return found


def with_known_hosts(found: Destination, profile: Profile, machine: LocalMachine) -> Destination:
    """Put the profile's files in the place of UserKnownHostsFile, as if it were said with ``-o``."""
    files = tuple(in_home(file, machine) for file in profile.known_hosts if file.strip().lower() != "none")
    usual = {(f"{home}/.ssh/known_hosts",) for home in (machine.home, machine.ssh_home)}
    # ssh's default then (ssh_config(5), UpdateHostKeys)
    if files not in usual and found.update_host_keys == "yes":
        found = replace(found, update_host_keys="no")
    return replace(found, user_known_hosts_files=files)


def in_home(file: str, machine: LocalMachine) -> str:
    """Expand ``~`` in a path of the profile; per cent signs mean themselves there."""
    return machine.home + file[1:] if file == "~" or file.startswith("~/") else file


def tokens_of(found: Destination, machine: LocalMachine, *, jump: str = "") -> Tokens:
    """Gather what the tokens of ssh_config stand for at this destination."""
    return Tokens(
        home=machine.ssh_home,
        local_user=machine.user,
        local_uid=machine.uid,
        local_hostname=machine.hostname,
        alias=found.alias,
        hostname=found.hostname,
        port=found.port,
        user=found.user,
        host_key_alias=found.host_key_alias,
        jump=jump,
    )


def expand_proxy_command(command: str, tokens: Tokens) -> str:
    """Put the tokens into a ProxyCommand. Variables are left to the shell that runs it.

    Raises:
        BadSetting: it has a token that does not exist.

    """
    try:
        return tokens.expand(command)
    except TokenError as error:
        raise BadSetting(
            f"the proxy command of {tokens.alias} cannot be used: {error}",
            hint="write %% for a per cent sign",
        ) from error
