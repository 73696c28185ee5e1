"""What a server asks in a challenge (RFC 4256): made fit to be shown, and judged. Pure.

The judgment is whether an answer is good the next time too. It must never be wrong in one direction: a
one-time code that is kept would be sent again, refused, and counted against us. So a prompt is taken for a
password only where every word of it is known; anything else is asked for each time, and never kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from tunnels.core.logline import printable

#: Characters of a prompt, or of a line of the instruction, that are shown.
MAX_LINE = 200

#: Lines of the instruction that are shown.
MAX_LINES = 20

#: What says who is asked: OpenSSH puts ``(me@host) `` before a prompt of PAM, and ``me@host's`` is its own.
_WHO = re.compile(r"^\(\S+@\S+\)\s+|^\S+@\S+['\u2019]s\s+")

#: For whom: ``Password for me@REALM:``. Only one word, so that it can hide nothing.
_FOR = re.compile(
    r"\s+(?:for|of|für|pour|para|per)\s+(?:user\s+)?['\"]?(?!token|otp|code|sms|step|device|key\b)[\w.\\$@+-]+['\"]?\s*:?\s*$"
)


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: Words, without their accents, in the languages that Linux-PAM is translated into and people have servers in.
_PASSWORD_WORDS = _set_of(
    """
    password passwort kennwort contrasena senha wachtwoord adgangskode passord losenord salasana hasło heslo
    jelszo parola lozinka geslo sifre parole пароль 密码 密碼 口令 パスワード 비밀번호 암호
    """
)

#: What may stand beside them without making a one-time password of it.
_PLAIN_WORDS = _set_of(
    """
    your the my please enter type in user users account login logon unix linux ldap ad kerberos krb5 domain windows
    system root admin remote ssh bitte ihr eingeben geben sie das veuillez saisir votre
    """
)

_PHRASES = (("mot de passe", "password"), ("palavra passe", "password"), ("active directory", "ad"))

_NEW = re.compile(
    r"\b(?:new|neues|nouveau|nueva|nova|nuova|nieuw|retype|re-?enter|repeat|confirm|current|old|change|changing)\b"
)


def is_password(prompt: str, *, echo: bool) -> bool:
    """Whether a prompt asks for what is the same every time. In doubt it does not."""
    if echo or len(prompt) > MAX_LINE:
        return False
    text = _FOR.sub("", _WHO.sub("", prompt.strip().casefold()))
    words = list(_words(text))
    if re.search(r"[0-9+/&|()\[\]]", text):
        return False
    return sum(word in _PASSWORD_WORDS for word in words) == 1 and all(
        word in _PASSWORD_WORDS or word in _PLAIN_WORDS for word in words
    )


def is_password_change(prompt: str, *, echo: bool) -> bool:
    """Whether a prompt is part of choosing a new password (``Current password:``, ``New password:``)."""
    text = prompt.strip().casefold()
    return not echo and bool(_NEW.search(text)) and any(word in _PASSWORD_WORDS for word in _words(text))


def one_line(text: str, limit: int = MAX_LINE) -> str:
    """A line that a server has written, fit to be shown: nothing in it commands a terminal."""
    shown = " ".join(printable(text[: 4 * limit]).split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def few_lines(text: str) -> str:
    """Some lines that a server has written, without the empty ones."""
    lines = [one_line(line) for line in text[: 4 * MAX_LINE * MAX_LINES].splitlines()]
    return "\n".join([line for line in lines if line][:MAX_LINES])


def _words(text: str) -> Iterator[str]:
    for phrase, word in _PHRASES:
        text = text.replace(phrase, word)
    for word in re.findall(r"[^\W_]+(?:-[^\W_]+)*", text):
        # What a letter is without its accent; Cyrillic й and the kana lose nothing that way but stay as written.
        bare = "".join(
            char for char in unicodedata.normalize("NFKD", word) if not unicodedata.combining(char)
        )
        yield bare if bare in _PASSWORD_WORDS or bare in _PLAIN_WORDS else word
