"""Which profiles a person means: names, globs and tags; and what close names there are."""

from __future__ import annotations

import pytest

from tunnels import profiles
from tunnels.errors import NoSuchProfile, UsageError

FILE = profiles.parse(
    """\
[profiles.work-db]
host = "bastion"
tags = ["work"]
local = "5432:db.internal:5432"

[profiles.work-web]
host = "bastion"
tags = ["work", "web"]
local = "8080:web.internal:80"

[profiles.home]
host = "me@vps.example.com"
tags = ["web"]
remote = "2222:localhost:22"
""",
    "profiles.toml",
)


def chosen(*names: str, tags: tuple[str, ...] = (), everything: bool = False) -> list[str]:
    return [profile.name for profile in profiles.select(FILE, names, tags=tags, everything=everything)]


def test_profiles_are_selected_once_and_in_the_order_of_the_file() -> None:
    assert chosen("home", "work-db", "home", "work-*") == ["work-db", "work-web", "home"]


def test_names_globs_and_tags_add_up() -> None:
    assert chosen("home", tags=("work",)) == ["work-db", "work-web", "home"]
    assert chosen(tags=("web",)) == ["work-web", "home"]
    assert chosen("work-?b", "[h]ome") == ["work-db", "home"]
    assert chosen(everything=True) == ["work-db", "work-web", "home"]


def refused(*names: str, tags: tuple[str, ...] = ()) -> str:
    with pytest.raises(NoSuchProfile) as caught:
        chosen(*names, tags=tags)
    assert caught.value.exit_code == 4
    return f"{caught.value} ({caught.value.hint})"


def test_a_name_that_is_not_there_has_close_ones() -> None:
    assert refused("work-bd") == 'no profile "work-bd" in profiles.toml (did you mean work-db or work-web?)'


def test_a_name_that_resembles_none_is_told_which_there_are() -> None:
    assert refused("zzz") == 'no profile "zzz" in profiles.toml (there are: work-db, work-web, home)'


def test_every_name_that_is_not_there_is_named() -> None:
    assert refused("zzz", "home", "yyy").startswith('no profiles "zzz", "yyy"')


def test_a_glob_that_matches_nothing_is_refused() -> None:
    assert refused("x*").startswith('no profile "x*"')


def test_a_tag_that_nothing_has_is_refused() -> None:
    assert refused(tags=("wrok",)) == 'no profile has the tag "wrok" (did you mean work?)'


def test_nothing_is_not_everything() -> None:
    with pytest.raises(UsageError) as caught:
        chosen()

    assert caught.value.hint == "there are: work-db, work-web, home"


def test_a_file_without_profiles_has_none_to_select() -> None:
    with pytest.raises(NoSuchProfile, match="no profile in"):
        profiles.select(profiles.parse("", "profiles.toml"), everything=True)
