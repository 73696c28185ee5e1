"""What keys have the daemon do. Each order runs in a thread of its own, on a connection of its own."""

from __future__ import annotations

from pathlib import Path

from tunnels import spawn
from tunnels.client import Client
from tunnels.errors import (
    AlreadyAnswered,
    ControlError,
    DaemonNotRunning,
    QuestionExpired,
    TunnelsError,
    UsageError,
)


def up(name: str, config: Path) -> str:
    """Bring a tunnel up; starts the daemon if there is none. Returns what there is to say. Raises TunnelsError."""
    with spawn.ensure_daemon(config) as client:
        found = client.up([name], str(config)).get(name)
    if found == "changed":
        return f"{name} runs with an older version of its profile; R applies the new one"
    return f"{name} is up already" if found == "already" else ""


def down(name: str, _config: Path) -> str:
    """Take it down. Raises TunnelsError."""
    with spawn.find_daemon() as client:
        return "" if client.down([name]) else f"{name} was not running"


def restart(name: str, config: Path) -> str:
    """Take it down and bring it up. Raises TunnelsError."""
    with spawn.ensure_daemon(config) as client:
        client.restart([name], str(config))
    return ""


def reload(_name: str, _config: Path) -> str:
    """Apply the changed profile file. Raises TunnelsError."""
    with spawn.find_daemon() as client:
        plan = client.reload()
    said = [
        f"{', '.join(plan[what])} {words}"
        for what, words in (
            ("restart", "restarted, with a changed profile"),
            ("stop", "stopped, no longer in the file"),
            ("start", "started, should have been up"),
        )
        if plan[what]
    ]
    return "; ".join(said) or "nothing that runs has changed"


class Reply:
    """What came of an answer: whether it is settled, whether the question has to be asked anew, what to say."""

    def __init__(self, said: str = "", *, settled: bool = True, anew: bool = False) -> None:
        self.said = said
        self.settled = settled
        self.anew = anew


def answer(name: str, question_id: str, text: str) -> Reply:
    """Answer a question. Raises ControlError where the daemon cannot be told."""
    with Client.connect() as client:
        try:
            client.answer(name, question_id, text)
        except AlreadyAnswered:
            return Reply(f"{name}: answered on another terminal")
        except QuestionExpired:
            return Reply(f"{name}: the server had stopped waiting for the answer; it asks again", anew=True)
        except UsageError as error:  # it was no answer to that question
            return Reply(spoken(error), settled=False)
        except DaemonNotRunning:
            return Reply(f"{name} was taken down meanwhile")
        except ControlError:
            raise
        except TunnelsError as error:  # the person said no
            return Reply(f"{name}: {error.message}")
    return Reply()


def spoken(error: TunnelsError) -> str:
    """An error and what to do about it, in one line."""
    return error.message + (f" → {error.hint}" if error.hint else "")
