"""The secrets of one tunnel: what a person has typed and will be needed again. Memory only."""

from __future__ import annotations


class Secrets:
    """Secrets by what they are about. Nothing in here shows one by accident."""

    def __init__(self) -> None:
        self._known: dict[str, bytearray] = {}

    def __repr__(self) -> str:
        return f"<Secrets: {len(self._known)}>"

    def recall(self, subject: str) -> str | None:
        """The secret, if it is known."""
        known = self._known.get(subject)
        return None if known is None else known.decode("utf-8", "surrogateescape")

    def remember(self, subject: str, secret: str) -> None:
        """Keep a secret in the place of what was known before."""
        self.forget(subject)
        self._known[subject] = bytearray(secret, "utf-8", "surrogateescape")

    def forget(self, subject: str) -> None:
        """Overwrite one. Python may still have copies of its text until their memory is used again."""
        known = self._known.pop(subject, None)
        if known is not None:
            known[:] = bytes(len(known))

    def wipe(self) -> None:
        """Overwrite all."""
        for subject in list(self._known):
            self.forget(subject)
