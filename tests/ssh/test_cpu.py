"""Whether the processor has AES, as far as the system says."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunnels.ssh.cpu import has_aes

X86 = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: fpu vme {} sse4_2 avx2\nbugs\t\t: spectre_v1 aes\n"
ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm {} crc32 cpuid\n"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    has_aes.cache_clear()
    yield
    has_aes.cache_clear()


@pytest.fixture
def cpuinfo(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What ``/proc/cpuinfo`` says; put one text in, or nothing where there is no such file."""
    texts: list[str | None] = []

    def read_text(path: Path, *_: object) -> str:
        assert str(path) == "/proc/cpuinfo"
        if texts[0] is None:
            raise FileNotFoundError(path)
        return texts[0]

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "read_text", read_text)
    return texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("aes"), True),
        (X86.format("vaes"), False),  # another word, and that of the line of bugs does not count
        (X86.format(""), False),
        (ARM.format("aes pmull"), True),
        (ARM.format(""), False),  # a Raspberry Pi before the fifth
        ("processor\t: 0\nisa\t\t: rv64imafdc\n", False),
        ("", False),
    ],
)
def test_the_flags_of_the_processor_decide(text: str, expected: bool, cpuinfo: list[str | None]) -> None:
    cpuinfo.append(text)
    assert has_aes() is expected


@pytest.mark.parametrize(("machine", "expected"), [("x86_64", True), ("AMD64", True), ("riscv64", False)])
def test_without_flags_to_look_at_the_kind_of_machine_decides(
    machine: str, expected: bool, cpuinfo: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo.append(None)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert has_aes() is expected


def test_a_mac_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert has_aes() is True


def test_the_system_is_asked_once(cpuinfo: list[str | None]) -> None:
    cpuinfo.append(X86.format("aes"))
    assert has_aes() is True
    cpuinfo[0] = X86.format("")
    assert has_aes() is True
