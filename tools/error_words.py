"""What a person can do about each error, by its code; ``None`` where nobody is ever shown it.

Words that are also in the hint of the message are kept short here: the message knows the names.
"""

from __future__ import annotations

WORDS: dict[str, str | None] = {
    "error": None,  # the root of the tree
    "connect-failed": None,  # only its children are raised
    "forward-failed": None,
    "control-failed": None,
    "link-lost": None,  # a client that meets it waits for the next connection
    "usage": "The message names what is wrong. `tunnels COMMAND --help` shows an example.",
    "already-answered": (
        "Another terminal was faster, or the tunnel no longer asks. `tunnels status` shows whether one still waits."
    ),
    "question-expired": (
        "The server hung up while it waited. Say `tunnels auth NAME` again: it dials anew, and the question is new."
    ),
    "profile-file": (
        "All problems are named at once, each with its line and, for a misspelt key, the likely one. "
        "`tunnels check` shows them again, and `tunnels edit` takes a file only when it is right. A running tunnel "
        "goes on with the last good file meanwhile. If the file is refused because others may write to it: "
        "`chmod go-w FILE`, also for its folder."
    ),
    "no-such-profile": "The message has the names that are close. `tunnels list` shows all of them.",
    "not-as-asked": (
        "The command did its work, and a tunnel is not where it should be; the lines before say which and why. "
        "`tunnels status` shows it, `tunnels doctor NAME` looks for the reason."
    ),
    "needs-input": (
        "A new host key, a passphrase, a password or a one-time code is wanted. `tunnels auth` on any terminal answers "
        "it. For places where nobody is, see [where nobody is](../ways-in.md#passwords-and-codes): "
        "`password_command`, the keyring, a key without a passphrase, `host_key_policy`."
    ),
    "host-unreachable": (
        "Refused: does sshd run there, and on this port? No answer: a firewall, a wrong address, or no network. "
        "Hung up before the login: the server is starting, overloaded (`MaxStartups`), blocks this address "
        "(fail2ban), or something that is not an SSH server answers there. It is tried again, after 1 s at first and "
        "then less and less often, up to `retry.max`; at once when the network changes or a client waits."
    ),
    "not-ssh": (
        "Something answers on the port of the SSH server, and it does not speak SSH: is the port right? A machine in "
        "between can do that too. It is tried again."
    ),
    "captive-portal": (
        "The Wi-Fi wants you to log in on a page first, whose address stands in the message: open it in a browser. "
        "The tunnel dials by itself as soon as the page is gone. `captive_portal = false` in the profile switches off "
        "the looking."
    ),
    "name-not-resolved": (
        "Is the name right, is this machine online, is the VPN up? Behind a jump host the name is looked up there. "
        "It is tried again."
    ),
    "handshake-failed": (
        "Something answered, and it does not speak SSH as this side does. No algorithm in common: update the older "
        "side, or set `ciphers`. Not SSH at all: check host and port."
    ),
    "host-key-unknown": (
        "Nobody has said yet that this server is the right one. `tunnels up` on a terminal shows the fingerprint and "
        "asks; compare it with what the administrator says. `host_key_policy` decides what happens where nobody is."
    ),
    "host-key-rejected": (
        "The key is not the one on file, or it is revoked. Somebody may be listening in: ask the administrator before "
        "anything else. If the server really has a new key, the message has the `ssh-keygen -R` line. Nothing turns "
        "this check off, and it is never tried again by itself."
    ),
    "login-refused": (
        "The message names each key that was tried, and each that was skipped and why. Usual reasons: the wrong "
        "`user`, the wrong key (`identity_file`), an agent without the key, a key that is not in `authorized_keys`. "
        "It is not tried again by itself, because servers count. A tunnel that has been up before tries again every "
        "three to five minutes."
    ),
    "jump-refused": (
        "The jump host let us in and connects nobody onwards: `AllowTcpForwarding`, `DisableForwarding` and `PermitOpen` "
        "in its sshd_config, and the options of the key in `authorized_keys`. A tunnel that has been up before "
        "tries again every three to five minutes."
    ),
    "bad-setting": (
        "A file or an option is missing, unreadable, wrong or not supported; the message names it. "
        "`tunnels check NAME` shows how the profile resolves."
    ),
    "connection-lost": (
        "The connection was up and has ended. It is dialled again at once; clients wait meanwhile (`hold`). "
        "`tunnels why NAME` says what ended it."
    ),
    "gave-up": "`retry.give_up_after` of the profile has passed. `tunnels up NAME` tries again; leave the key out for ever.",
    "listen-failed": (
        "A port is taken: the message names the program that has it. A port below 1024 needs a privilege: the message "
        "names a free one above. On the server: the port is taken, most often by the connection that was lost "
        "just before (see [the home box](../home-box.md#the-port-is-still-held)), or `GatewayPorts`, `AllowTcpForwarding` "
        "or `PermitListen` forbid it. Only that forward is concerned, and it is tried again."
    ),
    "destination-failed": (
        "One client could not reach what it asked for; the tunnel itself is fine. The message says whether the server "
        "forbids it, or the destination refused, is unreachable, has no such name, or did not answer in time."
    ),
    "allows-too-much": (
        "`tunnels harden NAME --test` found that the login can do more than the profile needs. The step says what, and "
        "`tunnels harden NAME` prints the line for `authorized_keys` that forbids it."
    ),
    "daemon-not-running": "There is nothing to ask. `tunnels up NAME` starts the daemon.",
    "daemon-start-failed": "The message has the last words of its log. `tunnels daemon run` shows everything.",
    "version-mismatch": (
        "The daemon is of another version than the command. `tunnels daemon stop` ends it; the next `tunnels up` starts "
        "the new one, and what was up comes back."
    ),
    "protocol-violation": "One side sent what makes no sense. `tunnels daemon stop`, then `tunnels up`; please report it.",
    "service-failed": (
        "systemd or launchd could not do it; the message has what they said. `tunnels service install --print` shows "
        "the file without installing it."
    ),
    "internal": "A fault of tunnels. The traceback is in the log (`tunnels logs`); please report it.",
}
