from __future__ import annotations

from pathlib import Path

from tunnels.ui.log_book import KEPT, LogBook


def line(number: int, name: str = "work-db") -> str:
    return f"2026-11-20T09:00:00.{number:03}Z INFO {name} message {number}"


def test_each_tunnel_has_its_lines_from_before_and_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "tunnels.log"
    path.with_name("tunnels.log.1").write_text(f"{line(1)}\n{line(2, '-')}\n")
    path.write_text(f"{line(3, 'home')}\n    Traceback\n")
    book = LogBook(path)
    book.read()
    with path.open("a") as file:
        file.write(f"{line(4)}\n")
    book.read()
    assert book.of("work-db") == (line(1), line(4))
    assert book.of("home") == (line(3, "home"), "    Traceback")
    assert book.of("") == (line(2, "-"),)
    assert book.of("nobody") == ()
    book.close()


def test_only_the_last_lines_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "tunnels.log"
    path.write_text("".join(f"{line(number)}\n" for number in range(KEPT + 10)))
    book = LogBook(path)
    book.read()
    assert len(book.of("work-db")) == KEPT
    assert book.of("work-db")[-1] == line(KEPT + 9)
    book.close()
