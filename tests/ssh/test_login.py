"""What a server wants to know, and who answers: the person, or what is remembered; and that this ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tunnels.core.question import Answer, NobodyThere, Question
from tunnels.errors import LoginRefused
from tunnels.ssh.destination import Destination
from tunnels.ssh.login import CHALLENGE, MAX_CHALLENGES, MAX_PROMPTS, MAX_SILENT, PASSWORD, Login

BASTION = Destination("bastion", "bastion.example.com", 22, "me")
SUBJECT = "password me@bastion.example.com"
ASKS_PASSWORD = [("Password: ", False)]
ASKS_CODE = [("Verification code: ", False)]
BOTH = (PASSWORD, CHALLENGE)


class Person(NobodyThere):
    """Answers from a list, and remembers."""

    def __init__(self, *answers: str, known: str | None = None) -> None:
        self.answers = list(answers)
        self.asked: list[Question] = []
        self.known: dict[str, str] = {} if known is None else {SUBJECT: known}

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(self.answers.pop(0))

    def recall(self, subject: str) -> str | None:
        return self.known.get(subject)

    def remember(self, subject: str, secret: str) -> None:
        self.known[subject] = secret

    def forget(self, subject: str) -> None:
        self.known.pop(subject, None)


def refused(login: Login, method: str = PASSWORD) -> None:
    login.heard(method, BOTH, partial=False)


async def test_a_password_is_asked_for_once_and_remembered_when_it_was_good() -> None:
    person = Person("s3cret")
    login = Login(BASTION, person)
    assert await login.password() == "s3cret"
    assert person.known == {}
    await login.succeeded()
    assert await Login(BASTION, person).password() == "s3cret"
    assert len(person.asked) == 1
    assert person.asked[0].secret
    assert person.asked[0].lasting
    assert person.asked[0].subject == SUBJECT


async def test_a_one_time_code_is_never_remembered() -> None:
    person = Person("123456", "654321")
    for code in ("123456", "654321"):
        login = Login(BASTION, person)
        assert login.challenged()
        assert await login.challenge("", "", ASKS_CODE) == [code]
        await login.succeeded()
    assert person.known == {}
    assert not any(question.lasting or question.subject for question in person.asked)


async def test_a_remembered_password_that_is_refused_is_forgotten_and_asked_anew() -> None:
    person = Person("new", known="old")
    login = Login(BASTION, person)
    assert await login.password() == "old"
    refused(login)
    assert person.known == {}
    assert await login.password() == "new"
    assert person.asked[0].headline == (
        "me@bastion.example.com asks for the password; the last answer was not accepted"
    )
    await login.succeeded()
    assert person.known == {SUBJECT: "new"}


async def test_what_one_method_has_refused_is_not_told_to_the_other() -> None:
    person = Person("typed", known="old")
    login = Login(BASTION, person)
    assert login.challenged()
    assert await login.challenge("", "", ASKS_PASSWORD) == ["old"]
    refused(login, CHALLENGE)
    assert await login.password() == "typed"


async def test_a_person_is_asked_three_times_for_each_method_and_no_more() -> None:
    person = Person(*map(str, range(9)))
    login = Login(BASTION, person)
    for method in (CHALLENGE, PASSWORD):
        for _ in range(3):
            if method == PASSWORD:
                assert await login.password() is not None
            else:
                assert login.challenged()
                assert await login.challenge("", "", ASKS_PASSWORD) is not None
            refused(login, method)
    assert not login.challenged()
    assert await login.password() is None
    assert len(person.asked) == 6
    assert login.refused
    assert login.describe() == (
        "keyboard-interactive refused 3 times; password refused 3 times; "
        "the server takes password,keyboard-interactive"
    )


@pytest.mark.parametrize("prompts", [0, 1, 2])
async def test_number_of_password_prompts_is_followed(prompts: int) -> None:
    person = Person(*"abcdef")
    login = Login(replace(BASTION, number_of_password_prompts=prompts), person)
    while await login.password() is not None:
        refused(login)
    assert len(person.asked) == prompts


async def test_it_ends_also_where_nothing_is_heard_of_the_refusals() -> None:
    person = Person(*"abcdef", known="old")
    login = Login(BASTION, person)
    told = []
    while (secret := await login.password()) is not None:
        told.append(secret)
    assert told == ["old", "a", "b", "c"]


async def test_it_ends_also_where_the_server_takes_everything_and_is_never_content() -> None:
    login = Login(BASTION, Person("s3cret"))
    told = 0
    while await login.password() is not None:
        login.heard(PASSWORD, (PASSWORD,), partial=True)
        told += 1
    assert told == BASTION.number_of_password_prompts + MAX_SILENT
    while login.challenged():
        assert await login.challenge("", "", []) == []
        login.heard(CHALLENGE, (CHALLENGE,), partial=True)
        told += 1
    assert told == 2 * (BASTION.number_of_password_prompts + MAX_SILENT)


async def test_a_method_that_has_nothing_to_ask_with_is_not_tried_again() -> None:
    login = Login(BASTION, Person())
    assert login.challenged()
    refused(login, CHALLENGE)
    assert not login.challenged()
    assert "refused" not in login.describe()


async def test_what_the_server_takes_is_said_also_where_it_takes_nothing_any_more() -> None:
    login = Login(BASTION, Person("wrong"))
    refused(login, "none")
    await login.password()
    login.heard(PASSWORD, (), partial=False)
    assert login.describe() == "password refused; the server takes password,keyboard-interactive"


async def test_with_batch_mode_nobody_is_asked_and_that_is_said() -> None:
    person = Person("s3cret")
    login = Login(replace(BASTION, batch_mode=True), person)
    assert await login.password() is None
    assert login.challenged()
    assert await login.challenge("", "", ASKS_CODE) is None
    refused(login, "publickey")
    assert person.asked == []
    assert "BatchMode" in login.describe()


async def test_with_batch_mode_what_is_remembered_still_serves() -> None:
    login = Login(replace(BASTION, batch_mode=True), Person(known="old"))
    assert await login.password() == "old"


async def test_a_challenge_without_a_prompt_is_answered_with_nothing() -> None:
    person = Person()
    login = Login(BASTION, person)
    assert login.challenged()
    assert await login.challenge("", "", []) == []
    assert person.asked == []


async def test_what_the_server_says_without_asking_stands_above_its_next_question() -> None:
    person = Person("1")
    login = Login(BASTION, person)
    assert login.challenged()
    assert await login.challenge("Example Corp", "Your password expires\x1b[2J in 3 days", []) == []
    assert await login.challenge("", "Look at your phone", [("Code:\r\n", True)]) == ["1"]
    question = person.asked[0]
    assert question.text.splitlines() == [
        "me@bastion.example.com asks: Code",
        "Example Corp",
        "Your password expires [2J in 3 days",
        "Look at your phone",
    ]
    assert question.prompt == "Code:"
    assert not question.secret  # the server lets it be seen


async def test_several_prompts_of_one_challenge_are_answered_in_their_order() -> None:
    person = Person("123456", "me", known="s3cret")
    login = Login(BASTION, person)
    assert login.challenged()
    answers = await login.challenge("", "", [*ASKS_PASSWORD, *ASKS_CODE, ("Name: ", True)])
    assert answers == ["s3cret", "123456", "me"]


async def test_a_second_password_of_the_same_login_may_be_another_one() -> None:
    person = Person("other", known="s3cret")
    login = Login(BASTION, person)
    assert login.challenged()
    assert await login.challenge("", "", ASKS_PASSWORD) == ["s3cret"]
    assert await login.challenge("", "", ASKS_PASSWORD) == ["other"]
    await login.succeeded()
    assert person.known == {SUBJECT: "s3cret"}


async def test_a_password_that_was_the_first_of_two_factors_has_proved_good() -> None:
    person = Person("s3cret", "wrong")
    login = Login(BASTION, person)
    assert await login.password() == "s3cret"
    login.heard(PASSWORD, (CHALLENGE,), partial=True)
    assert person.known == {SUBJECT: "s3cret"}
    assert login.challenged()
    assert await login.challenge("", "", ASKS_CODE) == ["wrong"]
    login.heard(CHALLENGE, (CHALLENGE,), partial=False)
    assert person.known == {SUBJECT: "s3cret"}
    assert login.describe() == (
        "password accepted, and more wanted; keyboard-interactive refused; the server takes keyboard-interactive"
    )


async def test_a_password_that_was_just_accepted_serves_the_next_factor_too() -> None:
    person = Person("s3cret")
    login = Login(BASTION, person)
    assert await login.password() == "s3cret"
    login.heard(PASSWORD, (CHALLENGE,), partial=True)
    assert login.challenged()
    assert await login.challenge("", "", ASKS_PASSWORD) == ["s3cret"]
    assert len(person.asked) == 1


async def test_a_password_that_was_refused_together_with_a_code_is_asked_anew() -> None:
    person = Person("000000", "s3cret", "123456", known="s3cret")
    login = Login(BASTION, person)
    assert login.challenged()
    assert await login.challenge("", "", [*ASKS_PASSWORD, *ASKS_CODE]) == ["s3cret", "000000"]
    refused(login, CHALLENGE)
    assert login.challenged()
    assert await login.challenge("", "", [*ASKS_PASSWORD, *ASKS_CODE]) == ["s3cret", "123456"]
    assert len(person.asked) == 3


@pytest.mark.parametrize("prompts", [ASKS_CODE * (MAX_PROMPTS + 1), []])
async def test_a_server_that_asks_without_end_is_left(prompts: list[tuple[str, bool]]) -> None:
    login = Login(BASTION, Person())
    assert login.challenged()
    with pytest.raises(LoginRefused, match="asks more"):
        for _ in range(MAX_CHALLENGES + 1):
            await login.challenge("", "", prompts)


async def test_a_server_that_wants_a_new_password_is_told_apart() -> None:
    person = Person(known="s3cret")
    login = Login(BASTION, person)
    assert login.challenged()
    with pytest.raises(LoginRefused, match="new password") as caught:
        await login.challenge("", "", [("New password: ", False)])
    assert "ssh me@bastion" in (caught.value.hint or "")
    assert person.asked == []


async def test_nothing_shows_a_secret_by_accident() -> None:
    login = Login(BASTION, Person(known="s3cret"))
    await login.password()
    assert "s3cret" not in repr(vars(login))


async def test_what_the_server_says_before_the_login_is_shown_with_its_question() -> None:
    person = Person("s3cret")
    login = Login(BASTION, person)
    login.banner("Authorised use only\x1b[2J\r\nEnter PIN and token\n" + "x" * 100_000)
    await login.password()
    assert "Authorised use only" in person.asked[0].text
    assert "Enter PIN and token" in person.asked[0].text
    assert "\x1b" not in person.asked[0].text
    assert len(person.asked[0].text) < 5000
