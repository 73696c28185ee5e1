"""The commands of ``tunnels`` as data: what the help says, for whoever wants it in another form."""

from __future__ import annotations

from typing import Any, NamedTuple

from typer.main import get_command

from tunnels.cli.app import app


class Option(NamedTuple):
    """One option or argument: how it is written, and what it does."""

    written: str  #: ``-t, --tag TAG``
    text: str


class Command(NamedTuple):
    """One command, complete: ``tunnels service install`` is one, ``tunnels service`` is its group."""

    words: tuple[str, ...]  #: without ``tunnels``
    usage: str
    paragraphs: tuple[str, ...]  #: without the example
    example: str | None  #: a whole command line
    arguments: tuple[Option, ...]
    options: tuple[Option, ...]
    is_group: bool = False

    @property
    def name(self) -> str:
        """What is typed to run it."""
        return " ".join(("tunnels", *self.words))

    @property
    def summary(self) -> str:
        """Its first sentence or so."""
        return self.paragraphs[0] if self.paragraphs else ""


def root() -> Any:
    """``tunnels`` itself, as typer's own kind of command."""
    return get_command(app)


def commands() -> list[Command]:
    """Return ``tunnels`` itself and every command below it, in the order of the help."""
    top = root()
    return list(_below(top, (), None))


def _below(command: Any, words: tuple[str, ...], parent: Any) -> Any:
    context = command.context_class(command, info_name=words[-1] if words else "tunnels", parent=parent)
    children = [
        (name, command.get_command(context, name))
        for name in (command.list_commands(context) if hasattr(command, "list_commands") else ())
    ]
    yield _read(command, words, context, is_group=bool(children))
    for name, child in children:
        yield from _below(child, (*words, name), context)


def _read(command: Any, words: tuple[str, ...], context: Any, *, is_group: bool) -> Command:
    paragraphs = [" ".join(each.split()) for each in (command.help or "").split("\n\n")]
    example = next((each for each in paragraphs if each.startswith("Example: ")), None)
    found: dict[str, list[Option]] = {"argument": [], "option": []}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            written, text = record
            found[parameter.param_type_name].append(Option(written, " ".join(text.split())))
    return Command(
        words,
        command.get_usage(context).removeprefix("Usage: ").replace("\n", " "),
        tuple(each for each in paragraphs if each is not example),
        example and example.removeprefix("Example: "),
        tuple(found["argument"]),
        tuple(found["option"]),
        is_group,
    )
