"""The file of what happened: private, bounded, and readable after whatever has happened to it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tunnels import history_file
from tunnels.core.account import account
from tunnels.core.history import Facts, Record, What
from tunnels.errors import ErrorInfo
from tunnels.history_file import Writer, give_sign, last_sign, load, load_open

NINE = 1_795_165_200.0
LOST = ErrorInfo("connection-lost", "x" * 400)


def drops(count: int, *, begin: float = NINE) -> list[Record]:
    """A tunnel that is wanted and up, and then drops so often; 10 s each."""
    records = [Record(begin, What.WANTED, "home"), Record(begin, What.UP, "home")]
    for number in range(count):
        records.append(Record(begin + 10 * number + 5, What.DOWN, "home", LOST))
        records.append(Record(begin + 10 * number + 10, What.UP, "home", attempts=1))
    return records


@pytest.fixture
def path(home: Path) -> Path:
    return home / "history.jsonl"


def write(path: Path, records: list[Record]) -> None:
    writer = Writer(path, Facts(load(path)))
    for record in records:
        writer.write(record)
    writer.close()


def test_what_was_written_is_read_back_by_the_next_one_too(path: Path) -> None:
    records = drops(3)
    write(path, records[:4])
    write(path, records[4:])
    assert load(path) == records
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_there_are_at_most_two_files_of_a_bounded_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "MAX_BYTES", 10_000)
    write(path, drops(200))
    files = sorted(file.name for file in path.parent.glob("history*"))
    assert files == ["history.jsonl", "history.jsonl.1"]
    for file in files:
        assert (path.parent / file).stat().st_size < 11_000
        assert stat.S_IMODE((path.parent / file).stat().st_mode) == 0o600


def test_what_was_open_is_known_although_its_record_has_been_rotated_away_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "MAX_BYTES", 5_000)
    quiet = [Record(NINE - 9, What.WANTED, "quiet"), Record(NINE - 8, What.UP, "quiet")]
    write(path, [*quiet, *drops(100)])
    assert str(quiet[1]) in path.read_text()
    found = account(load(path), "quiet", NINE + 2000)
    assert (found.works, found.since, found.drops) == (True, NINE - 8, ())
    assert quiet[1] in load_open(path)
    path.unlink()  # a power cut in the middle of a rotation
    assert quiet[1] in load_open(path)


def test_a_tunnel_taken_down_with_the_record_that_fills_the_file_is_down(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "MAX_BYTES", 200)
    write(path, [*drops(0), Record(NINE + 1, What.STOPPED, "home")])
    assert not account(load(path), "home", NINE + 9).wanted


def test_so_much_that_is_open_that_it_fills_a_file_does_not_rotate_with_every_record(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "MAX_BYTES", 1000)
    many = [Record(NINE + n, What.UP, f"tunnel-{n}") for n in range(100)]
    write(path, many)
    before = path.stat().st_ino
    writer = Writer(path, Facts(load(path)))
    writer.write(Record(NINE + 200, What.DOWN, "tunnel-1"))  # rotates, because it is new to it
    after = path.stat().st_ino
    for number in range(3):
        writer.write(Record(NINE + 300 + number, What.UP, "tunnel-2"))
    writer.close()
    assert path.stat().st_ino == after != before


def test_a_line_that_a_power_cut_has_broken_off_is_passed_over_and_swallows_nothing(path: Path) -> None:
    records = drops(2)
    write(path, records[:3])
    path.write_bytes(path.read_bytes()[:-30])
    write(path, records[3:])
    assert load(path) == [*records[:2], *records[3:]]


def test_bytes_that_are_anything_are_passed_over(path: Path) -> None:
    write(path, drops(1))
    with path.open("ab") as file:
        file.write(b"\0" * 4096 + b"\xff\xfe\n")
    write(path, [Record(NINE + 99, What.STOPPED, "home")])
    assert load(path) == [*drops(1), Record(NINE + 99, What.STOPPED, "home")]


def test_without_files_nothing_has_happened(path: Path) -> None:
    assert load(path) == []


def test_a_file_that_somebody_deletes_is_made_again(path: Path) -> None:
    writer = Writer(path, Facts())
    for record in drops(0):
        writer.write(record)
        written = load(path)
        path.unlink()
        assert written == [record]
    writer.close()


def test_after_an_error_the_next_record_is_written(path: Path) -> None:
    path.mkdir()
    writer = Writer(path, Facts())
    with pytest.raises(OSError, match="directory"):
        writer.write(drops(0)[0])
    path.rmdir()
    writer.write(drops(0)[1])
    writer.close()
    assert load(path) == drops(0)[1:]


def test_half_a_line_on_a_full_disk_is_an_error_and_the_next_line_is_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = drops(0)
    writer = Writer(path, Facts())
    whole = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: whole(fd, data[:20]))
        with pytest.raises(OSError, match="No space"):
            writer.write(first)
    writer.write(second)
    writer.close()
    assert load(path) == [second]


def test_a_sign_of_life_has_its_time(home: Path) -> None:
    sign = home / "alive"
    assert last_sign(sign) is None
    give_sign(sign, NINE)
    give_sign(sign, NINE + 60)
    assert last_sign(sign) == NINE + 60
    give_sign(home / "later", NINE + 65)
    assert last_sign(sign, home / "later", home / "never") == NINE + 65
    assert stat.S_IMODE(sign.stat().st_mode) == 0o600
