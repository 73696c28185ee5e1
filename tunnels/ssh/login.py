"""Logging in with what a person knows: passwords (RFC 4252 section 8) and challenges (RFC 4256).

Theory of operation
-------------------
Each request of a method is a round: the server takes what it is told, or not, or wants another method too
(partial success, RFC 4252 section 5.1). asyncssh says nothing of that to its client object, so
`tunnels.ssh.login_replies` listens. asyncssh also begins a round of the same method again for as long as it is
given something to say; the bounds are ours, and OpenSSH's: a person is asked in NumberOfPasswordPrompts rounds
of a method at most.

A secret that was refused is forgotten. Where a one-time code was typed in the same round it may have been the
code that was wrong; the password is forgotten all the same, because servers count wrong passwords.
"""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from tunnels.core.challenge import few_lines, is_password, is_password_change, one_line
from tunnels.core.question import Answer, Dialogue, Question
from tunnels.errors import LoginRefused
from tunnels.ssh.destination import Destination
from tunnels.ssh.secret_sources import Given, Slowly, Source, Sources, subject_of

PASSWORD = "password"  # noqa: S105 - the name of a method
CHALLENGE = "keyboard-interactive"

#: Prompts in one challenge, and challenges in one round; PAM of Linux has 32 messages at most (PAM_MAX_NUM_MSG).
MAX_PROMPTS = 32
MAX_CHALLENGES = 32

#: Rounds of a method beside those in which a person is asked: more sources than that there are not.
MAX_SILENT = 4


@dataclass(slots=True)
class _Round:
    """What a server has been told in one request of a method."""

    method: str
    given: list[Given] = field(default_factory=list)
    challenges: int = 0
    asked: bool = False  # a person has been
    code: bool = False  # something that is good only once was among it


class Login:
    """What one server wants to know during one login. Secrets that prove good are remembered."""

    def __init__(
        self,
        destination: Destination,
        dialogue: Dialogue,
        *,
        before: Sequence[Destination] = (),
        password_command: str | None = None,
        slowly: Slowly = nullcontext,
    ) -> None:
        self._destination = destination
        self._dialogue = dialogue
        self._sources = Sources(
            subject_of("password", destination, before), dialogue, command=password_command, slowly=slowly
        )
        self._round: _Round | None = None
        self._asked: Counter[str] = Counter()  # method -> rounds in which a person was asked
        self._rounds: Counter[str] = Counter()  # method -> rounds, whatever came of them
        self._useless: set[str] = set()  # methods that the server has nothing to ask with
        self._proved: list[Given] = []
        self._said = ""  # by the server, to be shown with its next question
        self._rejected = False  # the last thing it was told
        self._events: list[str] = []
        self._methods: tuple[str, ...] = ()
        self.refused = False  #: the server has not taken something that it was told

    # --- what the server wants --------------------------------------------------------------------

    def banner(self, text: str) -> None:
        """The server has said something before the login: it is shown with its next question."""
        self._said = f"{self._said}\n{few_lines(text)}".strip()[-4096:]

    async def password(self) -> str | None:
        """The password, for the method of that name; None: there is none to try."""
        if not self._begin(PASSWORD):
            return None
        return await self._password(f"{self._destination}'s password:")

    def challenged(self) -> bool:
        """Whether to let the server ask in challenges."""
        return self._begin(CHALLENGE)

    async def challenge(
        self, name: str, instruction: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        """Answer each prompt of a challenge; there may be none. None: nobody is there who could.

        Raises LoginRefused where the server asks without end, or wants a new password to be chosen.
        """
        this = self._round = self._round or _Round(CHALLENGE)
        this.challenges += 1
        if this.challenges > MAX_CHALLENGES or len(prompts) > MAX_PROMPTS:
            raise LoginRefused(f"{self._destination} asks more than anybody can answer")
        said = few_lines(f"{name}\n{instruction}")
        self._said = f"{self._said}\n{said}".strip()[-4096:]
        answers = []
        for prompt, echo in prompts:
            if is_password_change(prompt, echo=echo):
                raise self.must_change()
            if is_password(prompt, echo=echo) and not this.given:
                answer = await self._password(one_line(prompt))
            else:  # also a second password: it may be another one
                answer = await self._code(one_line(prompt), echo=echo)
            if answer is None:
                self._round = None
                return None
            answers.append(answer)
        if prompts:
            self._said = ""
        return answers

    def must_change(self) -> LoginRefused:
        """The error for a server that wants a new password to be chosen (RFC 4252 section 8)."""
        return LoginRefused(
            f"{self._destination} wants a new password to be chosen before it lets anybody in",
            hint=f"`ssh {self._destination.user}@{self._destination.alias}` asks for it; then `tunnels up` again",
        )

    def heard(self, method: str, methods: tuple[str, ...], *, partial: bool) -> None:
        """The server has answered a request: it did not take it, or (``partial``) it wants more.

        ``methods`` are those that it takes from now on.
        """
        self._methods = methods or self._methods  # sshd lists none any more after PAM's own limit of tries
        this, self._round = self._round, None
        if partial:
            self._events.append(f"{method} accepted, and more wanted")
            self._rejected = False
        if this is None:
            return
        if partial:
            self._prove(this)
        else:
            self._refuse(this)

    async def succeeded(self) -> None:
        """The server has let us in."""
        this, self._round = self._round, None
        if this is not None:
            self._prove(this)
        proved, self._proved = self._proved, []
        for given in dict.fromkeys(proved):
            await self._sources.keep(given)
        self._sources.clear()

    def over(self) -> None:
        """It has ended, however."""
        self._sources.release()

    def describe(self) -> str:
        """What was tried here, in order, and what the server would have taken; in clauses, or nothing."""
        clauses = [
            f"{event} {count} times" if (count := len(list(same))) > 1 else event
            for event, same in itertools.groupby(self._events)
        ]
        if self._destination.batch_mode and {PASSWORD, CHALLENGE}.intersection(self._methods):
            clauses.append("nobody was asked, because of BatchMode in ssh_config")
        if self._methods:
            clauses.append(f"the server takes {one_line(','.join(self._methods))}")
        return "; ".join(clauses)

    # --- rounds -----------------------------------------------------------------------------------

    def _begin(self, method: str) -> bool:
        """Begin a round of a method; not without end."""
        if self._round is not None:  # nobody has told us, but to be asked again is an answer too
            self.heard(self._round.method, self._methods, partial=False)
        prompts = self._destination.number_of_password_prompts
        if method in self._useless or self._rounds[method] >= prompts + MAX_SILENT:
            return False
        if self._asked[method] >= prompts and self._asked[method]:
            return False
        self._rounds[method] += 1
        self._round = _Round(method)
        return True

    def _refuse(self, this: _Round) -> None:
        if this.method == CHALLENGE and not this.challenges:
            self._useless.add(this.method)  # as ssh: there is no device behind it (UsePAM no)
            return
        self.refused = self._rejected = True
        for given in this.given:
            self._sources.refuse(given, alone=not this.code)
        sources = [given.source.value for given in this.given if given.source is not Source.PERSON]
        told = f" ({sources[0]})" if sources else ""
        self._events.append(f"{this.method}{told} refused")

    def _prove(self, this: _Round) -> None:
        for given in this.given:
            self._sources.prove(given)
            self._proved.append(given)

    # --- answers ----------------------------------------------------------------------------------

    async def _password(self, prompt: str) -> str | None:
        given = await self._sources.next()
        if given is None and not self._sources.exhausted:
            answer = await self._ask(
                "password", prompt, secret=True, subject=self._sources.subject, lasting=True
            )
            if answer is not None:
                given = Given(self._sources.subject, answer.text, Source.PERSON, answer.save)
        if given is None or self._round is None:
            self._round = None
            return None
        self._round.given.append(given)
        return given.secret

    async def _code(self, prompt: str, *, echo: bool) -> str | None:
        answer = await self._ask("challenge", prompt, secret=not echo)
        if answer is None or self._round is None:
            return None
        self._round.code = True
        return answer.text

    async def _ask(
        self, kind: str, prompt: str, *, secret: bool, subject: str = "", lasting: bool = False
    ) -> Answer | None:
        """Ask the person; None where nobody may be asked (any more)."""
        this = self._round
        assert this is not None
        if self._destination.batch_mode:
            return None
        self._sources.release()  # a person takes long, and others may know what to answer
        if not this.asked:
            if self._asked[this.method] >= self._destination.number_of_password_prompts:
                return None
            this.asked = True
            self._asked[this.method] += 1
        wants = " for the password" if lasting else f": {prompt.rstrip(' :') or 'something'}"
        again = "; the last answer was not accepted" if self._rejected else ""
        return await self._dialogue.ask(
            Question(
                id=secrets.token_hex(8),
                kind=kind,
                text="\n".join(
                    line
                    for line in (
                        f"{self._destination} asks{wants}{again}",
                        self._sources.trouble if lasting else "",
                        self._said,
                    )
                    if line
                ),
                prompt=prompt or "Answer:",
                secret=secret,
                subject=subject,
                lasting=lasting,
            )
        )
