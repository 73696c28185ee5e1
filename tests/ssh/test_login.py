"""What a server wants to know, and who answers: the person, or what is remembered."""

from __future__ import annotations

from tunnels.core.question import Answer, NobodyThere, Question
from tunnels.ssh.destination import Destination
from tunnels.ssh.login import Login

BASTION = Destination("bastion", "bastion.example.com", 22, "me")


class Person(NobodyThere):
    """Answers from a list, and remembers."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[Question] = []
        self.known: dict[str, str] = {}

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(self.answers.pop(0))

    def recall(self, subject: str) -> str | None:
        return self.known.get(subject)

    def remember(self, subject: str, secret: str) -> None:
        self.known[subject] = secret

    def forget(self, subject: str) -> None:
        self.known.pop(subject, None)


async def test_a_password_is_asked_for_once_and_remembered_when_it_was_good() -> None:
    person = Person("s3cret")
    login = Login(BASTION, person)
    assert await login.password() == "s3cret"
    assert person.known == {}
    login.succeeded()
    assert await Login(BASTION, person).password() == "s3cret"
    assert len(person.asked) == 1
    assert person.asked[0].secret


async def test_a_one_time_code_is_never_remembered() -> None:
    person = Person("123456", "654321")
    for code in ("123456", "654321"):
        login = Login(BASTION, person)
        assert await login.challenge("", [("Verification code: ", False)]) == [code]
        login.succeeded()
    assert person.known == {}
    assert not any(question.lasting for question in person.asked)
