"""Logging in with what a person knows: passwords (RFC 4252 section 8) and challenges (RFC 4256)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from tunnels.core.question import Dialogue, Question
from tunnels.ssh.destination import Destination

#: A hidden prompt for what is the same every time. What also has one of the other words is a one-time password.
_PASSWORD = re.compile(r"password|passwort|mot de passe", re.IGNORECASE)
_ONE_TIME = re.compile(r"one.?time|otp|token|code|verification|new password", re.IGNORECASE)


class Login:
    """What one server wants to know during one login. Secrets that prove good are remembered."""

    def __init__(self, destination: Destination, dialogue: Dialogue) -> None:
        self._destination = destination
        self._dialogue = dialogue
        self._used: dict[str, str] = {}  # subject -> the secret that the server has been told

    async def password(self) -> str | None:
        """The password, for the method of that name; None: there is none to try."""
        return await self._secret("password", f"{self._destination}'s password:")

    async def challenge(self, instruction: str, prompts: Sequence[tuple[str, bool]]) -> list[str]:
        """Answer each prompt of a challenge; there may be none."""
        answers = []
        for prompt, echo in prompts:
            if not echo and _PASSWORD.search(prompt) and not _ONE_TIME.search(prompt):
                answers.append(await self._secret("password", prompt))
            else:
                answers.append(
                    (await self._dialogue.ask(self._question("challenge", instruction, prompt, echo))).text
                )
        return answers

    def succeeded(self) -> None:
        """The server has let us in."""
        for subject, secret in self._used.items():
            self._dialogue.remember(subject, secret)
        self._used.clear()

    async def _secret(self, kind: str, prompt: str) -> str:
        subject = f"{kind} {self._destination}"
        known = self._dialogue.recall(subject)
        if known is not None and subject not in self._used:
            self._used[subject] = known
            return known
        self._dialogue.forget(subject)
        question = self._question(kind, "", prompt, echo=False)._replace(subject=subject, lasting=True)
        self._used[subject] = secret = (await self._dialogue.ask(question)).text
        return secret

    def _question(self, kind: str, instruction: str, prompt: str, echo: bool) -> Question:
        text = f"{self._destination} asks for an answer"
        return Question(
            id=secrets.token_hex(8),
            kind=kind,
            text=f"{text}\n{instruction}".strip(),
            prompt=prompt.strip(),
            secret=not echo,
        )
