"""Turns what an attempt cannot decide by itself into a question to a person."""

from __future__ import annotations

import secrets

from tunnels.core.question import PersonNeeded, Question
from tunnels.errors import HostKeyRejected, HostKeyUnknown, TunnelsError, UsageError
from tunnels.ssh.host_keys import HostKeyChecker


def question_for(error: TunnelsError, checker: HostKeyChecker) -> TunnelsError:
    """The question that an error leads to, if there is one; otherwise the error itself."""
    new_key = getattr(error, "new_key", None)
    if not isinstance(error, HostKeyUnknown) or new_key is None:
        return error

    def take(answer: str) -> None:
        given = answer.strip()
        if given.lower() == "yes" or given == new_key.fingerprint:
            checker.trust(new_key)
        elif given.lower() in {"no", ""}:  # as in ssh, a letter is no answer to this (sshconnect.c, confirm)
            raise HostKeyRejected(f"the host key of {new_key.host} was not trusted")
        elif given.upper().startswith(("SHA256:", "MD5:")):
            raise UsageError(
                "that is not the fingerprint of the key that the server shows",
                hint="if it is the one that you were given, this is not the server that you mean: answer no",
            )
        else:
            raise UsageError("please answer yes, no, or the fingerprint")

    notes = "".join(f"{note[0].upper()}{note[1:]}.\n" for note in getattr(error, "notes", ()))
    question = Question(
        id=secrets.token_hex(8),
        kind="host-key",
        text=(
            f"{error.message}\n{notes}"
            "Compare this with what the server's administrator, or `ssh-keygen -lf` on the server, says."
        ),
        prompt="Trust this key from now on? (yes/no/fingerprint)",
        subject=new_key.fingerprint,
    )
    return PersonNeeded(error, question, take)
