"""What the README and the pages of docs/ show is right: profiles, command lines, links, pictures."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tools.command_tree import root
from tunnels import profiles

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`tunnels ([^`]+)`")


class Example(NamedTuple):
    """A piece of a page."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str) -> Iterator[Example]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in _FENCE.finditer(text):
            if match[1] == language:
                yield Example(page, text.count("\n", 0, match.start()) + 2, match[2])


def typed() -> Iterator[Example]:
    """Every command line of ours behind a $ in a console block."""
    for block in blocks("console"):
        for number, line in enumerate(block.text.splitlines()):
            if line.startswith("$ ") and "tunnels" in line:
                yield Example(block.page, block.line + number, line.removeprefix("$ "))


def mentioned() -> Iterator[Example]:
    """Every `tunnels …` in a sentence."""
    for page in PAGES:
        for number, line in enumerate(
            _FENCE.sub(lambda found: "\n" * found[0].count("\n"), page.read_text("utf-8")).splitlines()
        ):
            for match in _INLINE.finditer(line):
                yield Example(page, number + 1, f"tunnels {match[1]}")


def our_commands(line: str) -> list[list[str]]:
    """The words of each of our commands in a line of a shell; what is done with their output does not matter."""
    found: list[list[str]] = []
    inner = re.findall(r"\$\((tunnels [^)]*)\)", line)
    for part in [*inner, *re.split(r"\s(?:&&|\||;)\s", line)]:
        words = shlex.split(part, comments=True)
        while words and (words[0] in {"sudo", "time"} or "=" in words[0]):
            del words[0]
        if words and words[0] == "tunnels":
            cut = next((at for at, word in enumerate(words) if word in {">", ">>", "<"}), len(words))
            found.append(words[1:cut])
    return found


def parse(words: list[str]) -> None:
    """Read a command line as the program does, without running it. Raises what typer raises."""
    command: Any = root()
    context = command.make_context("tunnels", list(words), resilient_parsing=False)
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "resolve_command"):
        name, child, rest = command.resolve_command(context, rest)
        assert child is not None
        context = child.make_context(name, rest, parent=context)
        command, rest = child, [*getattr(context, "_protected_args", ()), *context.args]


@pytest.mark.parametrize("block", list(blocks("toml")), ids=str)
def test_a_profile_that_is_shown_is_right(block: Example) -> None:
    file = profiles.parse(block.text, str(block))
    assert file.profiles or "defaults" in tomllib.loads(block.text)


@pytest.mark.parametrize("line", list(typed()), ids=str)
def test_a_command_line_that_is_shown_can_be_typed(line: Example) -> None:
    found = our_commands(line.text)
    assert found, "no command of ours in it"
    for words in found:
        parse(words)


@pytest.mark.parametrize("line", list(mentioned()), ids=str)
def test_a_command_that_a_sentence_names_exists(line: Example) -> None:
    for words in our_commands(line.text):
        command: Any = root()
        context = command.context_class(command, info_name="tunnels")
        while (
            words
            and hasattr(command, "get_command")
            and not words[0].startswith("-")
            and words[0] != "COMMAND"
        ):
            command = command.get_command(context, words.pop(0))
            assert command is not None, line.text
        known = {
            name
            for parameter in command.get_params(context)
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        wanted = {
            word.partition("=")[0] for word in words[: [*words, "--"].index("--")] if word.startswith("--")
        }
        assert wanted <= known | {"--help"}, line.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.is_file() or (anchor and anchor not in headings(there)):
            wrong.append(target)
    assert wrong == []


def headings(page: Path) -> set[str]:
    """The anchors of a page."""
    found = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text("utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in found}


def test_every_page_is_in_the_menu_and_the_menu_has_no_other() -> None:
    menu = set(
        re.findall(
            r"^ +- [^:]+: ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), flags=re.MULTILINE
        )
    )
    assert menu == {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}


def test_every_picture_is_shown_and_fetches_nothing() -> None:
    pictures = sorted((ROOT / "docs/pictures").glob("*.svg"))
    shown = {target for page in PAGES for target in _LINK.findall(page.read_text("utf-8"))}
    assert [one.name for one in pictures if f"pictures/{one.name}" not in shown] == []
    for picture in pictures:
        text = picture.read_text("utf-8")
        assert "@font-face" not in text
        assert re.findall(r"(?:href|src)=|url\((?!#)", text) == []


def test_the_readme_is_one_screen_and_a_half_and_its_test_commands_stay() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    assert "make demo" in text
    assert "make test" in text


def test_every_extra_is_named_where_people_install_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    page = (ROOT / "docs/index.md").read_text("utf-8")
    assert [extra for extra in extras if f"`tunnels[{extra}]`" not in page] == []


def test_the_changelog_knows_the_version() -> None:
    from tunnels import __version__

    assert f"## {__version__} " in (ROOT / "CHANGELOG.md").read_text("utf-8")
